# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A WireGuard interface of this host as it is now, asked through `wg` for everything but its private keys."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import socket
import time
from typing import Iterable

from ansible_collections.homelab.fabric.plugins.module_utils.commands import Run, execute
from ansible_collections.homelab.fabric.plugins.module_utils.links import Broken, Link, Wait
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER
from ansible_collections.homelab.fabric.plugins.module_utils.values import covers

ALIVE = 180  # seconds; WireGuard's REJECT_AFTER_TIME, after which a session carries nothing


class Interface:
    """Raises Broken where `wg` or the wg-quick file has no answer. `run` is AnsibleModule.run_command."""

    def __init__(self, run: Run, name: str, wg: str, config: str) -> None:
        self._run, self.name, self.wg, self.config = run, name, wg, config

    def show(self, what: str) -> dict[str, str]:
        """`wg show NAME WHAT`, by public key."""
        status, out, problem = execute(self._run, [self.wg, "show", self.name, what])
        if status:
            raise Broken(
                f"{self.name} is not up on this host ({problem.strip()}). "
                f"Look at: systemctl status wg-quick@{self.name}"
            )
        rows = (line.partition("\t") for line in out.splitlines())
        return {key: value for key, tab, value in rows}

    def named(self) -> dict[str, str]:
        """Public keys by the names that the marker comments of the wg-quick file give their peers."""
        try:
            with open(self.config, encoding="utf-8") as file:
                sections = re.split(r"(?m)^\s*\[", file.read())
        except OSError as error:
            raise Broken(f"{self.config} cannot be read: {error.strerror}. Look at: ls -l {self.config}") from None
        keys: dict[str, str] = {}
        for section in sections:
            name = re.search(rf"(?m)^\s*#\s*{re.escape(MARKER)}(\S+)\s*$", section)
            key = re.search(r"(?mi)^\s*PublicKey\s*=\s*(\S+)", section)
            if section.lower().startswith("peer]") and name and key:
                keys[name[1]] = key[1]
        return keys

    def carriers(self, addresses: Iterable[str]) -> set[str]:
        """Names of the peers whose allowed IPs hold one of the addresses."""
        hosts = [f"{address}/{128 if ':' in address else 32}" for address in addresses]
        held = {
            key: [prefix for prefix in prefixes.split() if "/" in prefix]
            for key, prefixes in self.show("allowed-ips").items()
        }
        return {
            name
            for name, key in self.named().items()
            if any(covers(prefix, host) for prefix in held.get(key, ()) for host in hosts)
        }

    def check_peer(self, name: str, key: str, wait: Wait) -> Link:
        """Waits for a handshake that is not too old to carry packets."""
        address = self._address(key)
        seen: list[int] = []

        def age() -> int:
            since = int(self.show("latest-handshakes").get(key) or 0)
            seen[:] = [max(0, int(time.time()) - since)] if since else []
            if not seen or seen[0] >= ALIVE:
                _send(address)
                raise OSError(errno.ETIMEDOUT, "no handshake")
            return seen[0]

        try:
            seconds, milliseconds = wait.until(age)
        except OSError:
            raise Broken(self._no_handshake(name, key, seen, wait)) from None
        endpoint = self.show("endpoints").get(key, "")
        return Link(f"handshake with {name}", milliseconds, f"{seconds} s ago, from {endpoint}")

    def _address(self, key: str) -> str | None:
        """The peer's own address."""
        prefixes = self.show("allowed-ips").get(key, "").replace("(none)", "").split()
        networks = (ipaddress.ip_network(prefix, strict=False) for prefix in prefixes)
        return next((str(network[0]) for network in networks if network.num_addresses == 1), None)

    def _no_handshake(self, name: str, key: str, seen: list[int], wait: Wait) -> str:
        endpoint = self.show("endpoints").get(key, "(none)")
        last = f"the last one was {seen[0]} s ago" if seen else "there has never been one"
        waited = f" after {wait.seconds:g} s" if wait.seconds else ""
        port, own = "".join(self.show("listen-port")), "".join(self.show("public-key"))
        if endpoint == "(none)":
            look = (
                f"does UDP {port} reach this host (the provider's firewall, `ufw status`)? does {name} dial this "
                f"host's address and port {port}, with a keepalive (after a restart of this host it calls within two "
                "minutes)?"
            )
        else:
            look = f"is {name} switched on, and can {endpoint} by UDP be reached from here?"
        return (
            f"no handshake with {name} on {self.name}{waited} ({last}). Look at: {look} "
            f"is {own} the key it has of this host, and {key} still its own?"
        )

    def why_not(self, address: str) -> str | None:
        """What keeps packets to an address out of this tunnel, if it shows on this host."""
        host = f"{address}/{128 if ':' in address else 32}"
        prefixes = " ".join(self.show("allowed-ips").values()).replace("(none)", "").split()
        if not any(covers(prefix, host) for prefix in prefixes):
            return f"{address} is in no peer's allowed IPs on {self.name}"
        route = execute(self._run, ["ip", "-o", "route", "get", address])
        device = re.search(r"\bdev (\S+)", route.out)
        if device and device[1] != self.name:
            return f"packets to {address} leave by {device[1]} instead of {self.name}"
        return None


def _send(address: str | None) -> None:
    """A packet to the discard port: a peer is only called when there is something to send to it."""
    if address:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.settimeout(0)
            with contextlib.suppress(OSError):  # no endpoint yet: it has to call us
                out.sendto(b"", (address, 9))
