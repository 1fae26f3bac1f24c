# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Linux host that a module runs on: its commands, its files, and what its interfaces are like right now."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import re
import shlex
import shutil
import socket
import tempfile
import time
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.commands import (
    MISSING,
    Result,
    Run,
    execute,
    search_path,
)
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.values import Secret, sorted_prefixes
from ansible_collections.homelab.fabric.plugins.module_utils.wg import LivePeer, given, live_peer, redact

LOCK_TIMEOUT = 60  # seconds to wait for another run
PACKAGES = {
    "wg": "wireguard-tools",
    "wg-quick": "wireguard-tools",
    "ip": "iproute2",
    "nft": "nftables",
    "systemctl": "systemd",
}
TEMPORARY = ".homelab.fabric-"
CLIENTS = "clients"  # the folder of the road warriors' files, in wg-quick's


class Link(NamedTuple):
    """A WireGuard interface that exists. `routes`: destination → who made it (``boot``: `ip route add`)."""

    private_key: Secret
    public_key: str
    listen_port: int
    peers: dict[str, LivePeer]
    up: bool
    mtu: int
    addresses: tuple[str, ...]
    routes: dict[str, str]


class Unit(NamedTuple):
    """A systemd unit: whether it starts at boot, whether it runs."""

    enabled: bool
    active: bool


class Host:
    """Commands, by AnsibleModule.run_command, and files.

    `folder` is wg-quick's, `units` systemd's; it writes nowhere else.
    """

    def __init__(
        self,
        run_command: Run,
        folder: str = "/etc/wireguard",
        proc: str = "/proc",
        units: str = "/etc/systemd/system",
    ) -> None:
        self._run_command = run_command
        self.folder = folder
        self.proc = proc
        self.units = units
        self._lock: int | None = None

    # Commands

    def run(self, command: Sequence[str], stdin: str = "") -> Result:
        return execute(self._run_command, command, stdin, WG_ENDPOINT_RESOLUTION_RETRIES="3")

    def demand(self, command: Sequence[str], remedy: str, stdin: str = "") -> str:
        """The output of a command that must succeed. Raises DeviceError, which never shows a key."""
        result = self.run(command, stdin)
        if result.status == MISSING:
            raise missing(command[0])
        if result.status:
            answer = redact(result.err.strip() or result.out.strip()) or "nothing"
            raise DeviceError(f"`{shlex.join(command)}` ended with {result.status}, it said: {answer}. {remedy}")
        return result.out

    def has(self, tool: str) -> bool:
        return shutil.which(tool, path=search_path()) is not None

    # Files

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def read(self, path: str) -> str | None:
        """A file's text, None if there is none."""
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DeviceError(f"{path} cannot be read: {error.strerror}. Run the task with `become: true`") from error

    def write(self, path: str, text: str, check: Callable[[str], object], mode: int = 0o600) -> None:
        """Replace a file as a whole after `check(temporary path)` found the new one good."""
        with self._staged({path: text}, mode) as staged:
            check(staged[path])

    def write_all(self, files: Mapping[str, str]) -> None:
        """Replace several files of one folder, mode 0600, each as a whole, all safe on disk before the first is."""
        with self._staged(files, 0o600):
            pass

    @contextlib.contextmanager
    def _staged(self, files: Mapping[str, str], mode: int) -> Iterator[dict[str, str]]:
        """Path → the new file beside it, which goes to its place at the end."""
        folder = os.path.dirname(min(files))
        temporary = tempfile.mkdtemp(prefix=TEMPORARY, dir=folder)
        try:
            staged = {path: os.path.join(temporary, os.path.basename(path)) for path in files}
            for path, text in files.items():
                handle = os.open(staged[path], os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
                    file.write(text)
                    if len(files) == 1:
                        file.flush()
                        os.fsync(handle)
            if len(files) > 1:
                os.sync()  # one for all: hundreds of fsyncs take seconds
            yield staged
            for path, new in staged.items():
                os.replace(new, path)
            sync_folder(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def remove(self, *paths: str) -> None:
        """Remove files, which may be gone already."""
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
        for folder in {os.path.dirname(path) for path in paths}:
            if os.path.isdir(folder):
                sync_folder(folder)

    def too_open(self, path: str, mode: int) -> bool:
        """Whether others may do with it what `mode` does not let them."""
        try:
            return bool(os.stat(path).st_mode & 0o777 & ~mode)
        except FileNotFoundError:
            return False

    def lock(self) -> None:
        """Keep other runs out until this process ends, and clear away what a killed one left."""
        try:
            os.makedirs(self.folder, 0o700, exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise DeviceError(
                f"{self.folder} cannot be used: {error.strerror}. Run the task with `become: true`"
            ) from error
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise DeviceError(
                        f"another run holds {self.folder} since {LOCK_TIMEOUT} s. Wait for it, or end it"
                    ) from None
                time.sleep(0.1)
        for folder in (self.folder, self.path(CLIENTS), self.units):
            for left in glob.glob(os.path.join(folder, f"{TEMPORARY}*")):
                shutil.rmtree(left, ignore_errors=True)

    # State

    def link(self, name: str, table: str) -> Link | None:
        """The interface as it is; None: there is none. `table` is the routing table its routes are in."""
        shown = self.run(["ip", "-j", "address", "show", "dev", name])
        if shown.status:
            return None
        device = next(item for item in json.loads(shown.out) if item.get("ifname") == name)
        dump = self.demand(["wg", "show", name, "dump"], f"{name} is no WireGuard interface: choose another name")
        interface, *peers = [line.split("\t") for line in dump.splitlines()]
        return Link(
            Secret(given(interface[0])),
            interface[1],
            int(interface[2]),
            dict(map(live_peer, peers)),
            "UP" in device["flags"],
            device["mtu"],
            sorted_prefixes(f"{address['local']}/{address['prefixlen']}" for address in device["addr_info"]),
            self._routes(name, table),
        )

    def _routes(self, name: str, table: str) -> dict[str, str]:
        routes: dict[str, str] = {}
        for family, length in (("-4", 32), ("-6", 128)):
            # A table that was never used is an error to `ip`; it has no routes.
            shown = self.run(["ip", "-j", family, "route", "show", "dev", name, "table", table]).out.strip()
            for route in json.loads(shown or "[]"):
                destination = route["dst"]
                if destination == "default":
                    continue
                prefix = destination if "/" in destination else f"{destination}/{length}"
                routes[prefix] = route.get("protocol", "boot")  # `ip` does not mention its own
        return routes

    def way_to(self, address: str) -> tuple[str, int] | None:
        """Device and prefix length of the route that packets to an address take now."""
        shown = self.run(["ip", "-j", "route", "get", "fibmatch", address])
        routes = json.loads(shown.out or "[]") if shown.status == 0 else []
        if not routes or "dev" not in routes[0]:
            return None
        destination = str(routes[0]["dst"])
        whole = 128 if ":" in address else 32
        length = 0 if destination == "default" else int(destination.partition("/")[2] or whole)
        return str(routes[0]["dev"]), length

    def routes_elsewhere(self, name: str, table: str) -> dict[str, str]:
        """Destination → device, of the routes by other devices that one of `ip route add` would meet: the host's own
        networks, and those of the metric that it takes by itself (IPv4 0, IPv6 1024)."""
        found: dict[str, str] = {}
        for family, length, metric in (("-4", 32, 0), ("-6", 128, 1024)):
            shown = self.run(["ip", "-j", family, "route", "show", "table", table]).out.strip()
            for route in json.loads(shown or "[]"):
                met = route.get("protocol") == "kernel" or route.get("metric", 0) == metric
                if met and route.get("dev") != name:
                    destination = route["dst"]
                    prefix = destination if "/" in destination else f"{destination}/{length}"
                    found[prefix] = str(route.get("dev", "another way"))
        return found

    def port_is_free(self, port: int) -> bool:
        """Whether nothing on this host, WireGuard in the kernel included, has this UDP port."""
        return _can_bind(socket.AF_INET, "0.0.0.0", port) and _can_bind(socket.AF_INET6, "::", port)

    def now(self) -> int:
        """Seconds since 1970."""
        return int(time.time())

    def unit(self, name: str) -> Unit:
        shown = self.run(["systemctl", "show", "--property=ActiveState,UnitFileState", name]).out
        state: dict[str, Any] = dict(line.partition("=")[::2] for line in shown.splitlines())
        return Unit(
            state.get("UnitFileState", "").startswith("enabled"), state.get("ActiveState") in ("active", "activating")
        )

    def switch(self, name: str) -> str:
        """The value of a switch below /proc/sys/net; empty if the kernel has none."""
        return (self.read(os.path.join(self.proc, "sys/net", name)) or "").strip()

    def ssh_client(self) -> str | None:
        """The address that this run is controlled from, if that is by ssh.

        sudo clears the environment, so it is looked for in the parents' as well.
        """
        found = os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_CLIENT")
        process = os.getppid()
        while not found and process > 1:
            environment = self._process(process, "environ").split("\0")
            found = next((item[15:] for item in environment if item.startswith("SSH_CONNECTION=")), None)
            parent = re.search(r"^PPid:\s*(\d+)", self._process(process, "status"), re.MULTILINE)
            process = int(parent.group(1)) if parent else 0
        return found.split()[0].partition("%")[0] if found else None

    def _process(self, number: int, item: str) -> str:
        try:
            return self.read(os.path.join(self.proc, str(number), item)) or ""
        except DeviceError:
            return ""


def _can_bind(family: int, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE  # without IPv6, nobody has its ports
    return True


def sync_folder(folder: str) -> None:
    """Make a rename or a removal in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def missing(tool: str) -> DeviceError:
    package = PACKAGES.get(tool, tool)
    return DeviceError(f"`{tool}` is not on this host. Install the package {package} before this task")
