# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a relay's host has: packages, SSH's ports, UFW, nginx, kernel settings.

Everything is read in one go and nothing is written, so that a run with nothing to do costs the role one task.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.commands import Run, execute


class Host:
    """The host as it is. Commands start together when this is made; a reading waits for its own."""

    def __init__(self, run: Run, packages: Sequence[str] = ()) -> None:
        self.packages = packages
        together = ThreadPoolExecutor()
        self._answers = {
            name: together.submit(execute, run, command)
            for name, command in (
                ("packages", ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages]),
                ("sshd", ["sshd", "-T"]),
                ("sockets", ["ss", "-Hltnp"]),
                (
                    "units",
                    ["systemctl", "show", "-p", "Id,UnitFileState,MainPID,Listen", "nginx.service", "ssh.socket"],
                ),
                ("filter", ["iptables", "-S"]),
                ("filter6", ["ip6tables", "-S"]),
            )
        }

    def said(self, name: str) -> str:
        """A command's standard output; empty if there is no such program."""
        return self._answers[name].result().out

    @property
    def missing_packages(self) -> list[str]:
        installed = {line.split()[0] for line in self.said("packages").splitlines() if line.endswith(" installed")}
        return [package for package in self.packages if package not in installed]

    @property
    def unit(self) -> dict[str, dict[str, str]]:
        """By unit, the properties that systemd shows of it."""
        units: dict[str, dict[str, str]] = {}
        for block in self.said("units").split("\n\n"):
            shown: dict[str, str] = {}
            for key, _equals, value in (line.partition("=") for line in block.splitlines()):
                shown[key] = f"{shown[key]}\n{value}" if key in shown else value
            units[shown.get("Id", "")] = shown
        return units

    @property
    def ssh_ports(self) -> set[int]:
        """The port of this very connection, and those that sshd, or systemd for it, is set to listen on."""
        listens = re.findall(r"^listenaddress .*:(\d+)$", self.said("sshd"), re.MULTILINE)
        socket = self.unit.get("ssh.socket", {})
        if socket.get("UnitFileState") == "enabled":
            listens += re.findall(r":(\d+) \(Stream\)", socket.get("Listen", ""))
        return {int(port) for port in [*listens, *_connected_port()]}

    def holder(self, port: int) -> str | None:
        """Which program other than nginx listens on a TCP port."""
        for line in self.said("sockets").splitlines():
            fields = line.split(None, 5)
            if len(fields) > 3 and fields[3].endswith(f":{port}"):
                program = re.search(r'\(\("([^"]+)"', fields[5]) if len(fields) > 5 else None
                if not program or program[1] != "nginx":
                    return program[1] if program else "another program"
        return None

    def firewall(self, profile: str, ports: str) -> tuple[bool, bool]:
        """Whether UFW is set up to let in the ports of this profile and nothing by default; whether that is loaded."""
        wanted = {(p, protocol) for part in ports.split("|") for p, protocol in _split(part)}
        settings = _read("/etc/ufw/ufw.conf") + _read("/etc/default/ufw")
        set_up = all(
            re.search(rf"^{line}$", settings, re.MULTILINE)
            for line in ("ENABLED=yes", "IPV6=yes", 'DEFAULT_INPUT_POLICY="?DROP"?')
        ) and all(_accepted(_read(path), profile) == wanted for path in ("/etc/ufw/user.rules", "/etc/ufw/user6.rules"))
        families = ["filter", "filter6"] if has_ipv6() else ["filter"]
        loaded = all(
            "-P INPUT DROP\n" in self.said(name) and _accepted(self.said(name), profile) == wanted for name in families
        )
        return set_up, loaded

    def nginx_loaded(self, path: str) -> bool:
        """Whether nginx starts at boot, runs, and its workers are younger than this file of its configuration."""
        unit = self.unit.get("nginx.service", {})
        started = [start for parent, start in _processes("nginx") if parent == int(unit.get("MainPID") or 0)]
        try:
            changed = os.stat(path).st_ctime
        except OSError:
            return False
        return unit.get("UnitFileState") == "enabled" and bool(started) and max(started) >= changed


def has_ipv6() -> bool:
    """Whether the kernel has IPv6 switched on."""
    return os.path.exists("/proc/net/if_inet6")


def checksum(path: str) -> str:
    """SHA-256 of a file, empty if there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""


def sysctls_differing(wanted: Mapping[str, Any], path: str) -> list[str]:
    """As ``name=value``, the kernel settings that do not hold now, or by this file would not after a boot."""
    stored = dict(re.findall(r"^\s*([^#;\s=]+)\s*=\s*(.*?)\s*$", _read(path), re.MULTILINE))
    differing = []
    for name, value in wanted.items():
        text = " ".join(str(value).split())
        if not text == stored.get(name) == " ".join(_read(f"/proc/sys/{name.replace('.', '/')}").split()):
            differing.append(f"{name}={text}")
    return differing


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _split(part: str) -> Iterable[tuple[str, str]]:
    numbers, _slash, protocol = part.partition("/")
    return [(number, protocol) for number in numbers.split(",")]


def _accepted(rules: str, profile: str) -> set[tuple[str, str]]:
    """Ports with their protocol that the rules of a UFW application profile accept, in iptables' language."""
    found: set[tuple[str, str]] = set()
    for line in rules.splitlines():
        match = re.search(r"-p (tcp|udp) .*--dports? (\S+)", line)
        if match and re.search(rf"'dapp_{re.escape(profile)}[\\',]", line) and "-j ACCEPT" in line:
            found.update(_split(f"{match[2]}/{match[1]}"))
    return found


def _connected_port() -> list[int]:
    """The server's port of the SSH connection that this process came by.

    sudo takes SSH_CONNECTION out of the environment, so the processes above this one are asked, too.
    """
    pid = os.getpid()
    while pid > 1:
        match = re.search(r"(?:^|\0)SSH_CONNECTION=\S+ \d+ \S+ (\d+)\0", _read(f"/proc/{pid}/environ"))
        if match:
            return [int(match[1])]
        stat = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        pid = int(stat[1]) if stat else 0
    return []


def _processes(program: str) -> Iterable[tuple[int, float]]:
    """Of each process of a program its parent and the time it started at, in seconds since 1970."""
    booted = time.time() - float(_read("/proc/uptime").split()[0])
    for pid in filter(str.isdigit, os.listdir("/proc")):
        name, _bracket, rest = _read(f"/proc/{pid}/stat").rpartition(")")
        if name.endswith(f"({program}"):
            fields = rest.split()
            yield int(fields[1]), booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")
