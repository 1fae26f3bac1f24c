# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pfSense's configuration as the script of pfsense_php.py reads it: what is whose, and what it says as a Tunnel.

Pure: no I/O. An object is ours when its description begins with the marker, the tunnel's name included where several
tunnels could own one.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import zlib
from functools import lru_cache
from typing import Any, Iterable, Mapping, Tuple

from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER, Peer
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    Endpoint,
    Secret,
    TunnelError,
    parse_host,
    sorted_prefixes,
)

Item = Mapping[str, Any]

AUTO = "tun_wg"  # instead of a name with a number: the tunnel is found by its description
FIRST_PORT = 51820
_TRACKERS = (1200000000, 300000000)  # first, and how many: unix times of years in which nobody clicks any more


class Firewall:
    """What was read of one firewall, for the tunnel that is asked for (by name, or by description if it is AUTO)."""

    def __init__(self, dump: Mapping[str, Any], asked: str, description: str) -> None:
        self.dump = dump
        self.interfaces: dict[str, Item] = dict(dump["interfaces"])
        tunnels: list[Item] = dump["tunnels"]
        self.descr = MARKER + (description or asked)
        if asked == AUTO:
            found = [tunnel for tunnel in tunnels if tunnel.get("descr") == self.descr]
            self.name = str(found[0]["name"]) if found else _free_name(tunnels, self.interfaces)
        else:
            found = [tunnel for tunnel in tunnels if tunnel.get("name") == asked]
            self.name = asked
        self.tunnel: Item | None = found[0] if found else None
        self.others = [tunnel for tunnel in tunnels if tunnel.get("name") != self.name]
        self.peers: list[Item] = [peer for peer in dump["peers"] if peer.get("tun") == self.name]
        self.marker = f"{MARKER}{self.name}: "
        """What the description of gateways, routes and rules begins with."""
        self.holder = next((key for key, item in self.interfaces.items() if item.get("if") == self.name), None)
        """The interface (opt1, …) on a device of this name, be it the tunnel's or not."""
        self.assigned = self.holder if self.tunnel is not None or self.unfinished else None
        """The interface that the tunnel is assigned to."""

    @property
    def live(self) -> Mapping[str, Any] | None:
        """The running interface: up, public_key, listen_port, peers by public key."""
        found = self.dump["live"].get(self.name)
        return found if isinstance(found, dict) else None

    @property
    def unfinished(self) -> bool:
        """Whether a run was cut short between writing and applying."""
        return self.name in self.dump["unfinished"]

    def owns(self, item: Item) -> bool:
        return str(item.get("descr", "")).startswith(self.marker)

    def owned(self, items: Iterable[Item]) -> list[Item]:
        return [item for item in items if self.owns(item)]

    def owned_rules(self, rules: Iterable[Item]) -> list[Item]:
        """Filter rules of ours: a copy that a person made has the description, and a number of its own."""
        return [item for item in self.owned(rules) if _is_tracker(item.get("tracker"), str(item["descr"]))]

    def purpose(self, item: Item) -> str:
        """What an object of ours is for: the rest of its description."""
        return str(item["descr"])[len(self.marker) :]

    def free_port(self) -> int:
        taken = {str(tunnel.get("listenport")) for tunnel in self.others}
        return next(port for port in range(FIRST_PORT, 65536) if str(port) not in taken)

    def interface(self, name: str, argument: str) -> str:
        """The key (wan, lan, opt1, …) of an interface given by key, description or device, in any case."""
        for key, item in self.interfaces.items():
            if name.lower() in (key, str(item.get("descr", "")).lower(), item.get("if")):
                return key
        known = ", ".join(f"{key} ({item.get('descr') or key.upper()})" for key, item in self.interfaces.items())
        raise TunnelError(argument, f"this firewall has no interface {name}", f"name one of {known}")

    def networks(self) -> dict[str, str]:
        """The fixed networks of the other interfaces that are on: prefix → interface."""
        found = {}
        for key, item in self.interfaces.items():
            if item.get("if") != self.name and "enable" in item:
                for address in addresses_of(item):
                    found[str(ipaddress.ip_interface(address).network)] = key
        return found


def _free_name(tunnels: Iterable[Item], interfaces: Mapping[str, Item]) -> str:
    taken = {tunnel.get("name") for tunnel in tunnels} | {item.get("if") for item in interfaces.values()}
    return next(f"{AUTO}{number}" for number in range(32768) if f"{AUTO}{number}" not in taken)


def rows(container: Any) -> list[Item]:
    """The rows of <addresses> or <allowedips>; one that is empty is read as a text."""
    found = container.get("row") if isinstance(container, dict) else None
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def prefixes_of(container: Any) -> tuple[str, ...]:
    """The rows in normal form; what is no prefix is left out."""
    return sorted_prefixes(filter(None, (_parsed(row.get("address"), row.get("mask"))[1] for row in rows(container))))


def addresses_of(interface: Item) -> tuple[str, ...]:
    """The fixed addresses of an interface; ``dhcp`` and its like are left out."""
    pairs = (("ipaddr", "subnet"), ("ipaddrv6", "subnetv6"))
    return sorted_prefixes(filter(None, (_parsed(interface.get(a), interface.get(b))[0] for a, b in pairs)))


@lru_cache(maxsize=10000)
def _parsed(address: Any, length: Any) -> tuple[str, str]:
    """The address with its length, and its network; empty texts for what is none."""
    try:
        found = ipaddress.ip_interface(f"{address}/{length}")
    except ValueError:
        return "", ""
    return str(found), str(found.network)


def peer_of(item: Item) -> Peer:
    """The peer that an item holds, in normal form."""
    descr, key, psk = str(item.get("descr", "")), str(item.get("publickey", "")), str(item.get("presharedkey") or "")
    ours = descr.startswith(MARKER)
    # A peer that somebody else switched off claims no address.
    resting = not ours and item.get("enabled") != "yes"
    return Peer(
        name=descr[len(MARKER) :] if ours else descr or key,
        public_key=key,
        preshared_key=Secret(psk) if psk else None,
        endpoint=_endpoint(item),
        allowed_ips=() if resting else prefixes_of(item.get("allowedips")),
        keepalive=number(item.get("persistentkeepalive")),
        ours=ours,
    )


def _endpoint(item: Item) -> Endpoint | None:
    host = str(item.get("endpoint") or "")
    if not host:
        return None
    with contextlib.suppress(TunnelError):  # somebody else's: shown as it is
        host = parse_host(host, "endpoint")
    return Endpoint(host, number(item.get("port")) or FIRST_PORT)


def number(value: Any) -> int:
    text = str(value or "")
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else 0


Running = Tuple[Tuple[str, ...], bool, int]
"""Of a peer that runs: allowed IPs, whether it has a preshared key, keepalive in seconds."""


def wanted_peers(firewall: Firewall) -> dict[str, Running]:
    """How the configured peers run, by public key. An allowed IP that two of them have is the last one's."""
    enabled = [(item, prefixes_of(item.get("allowedips"))) for item in firewall.peers if item.get("enabled") == "yes"]
    owner = {prefix: item for item, prefixes in enabled for prefix in prefixes}
    return {
        str(item.get("publickey")): (
            tuple(prefix for prefix in prefixes if owner[prefix] is item),
            bool(item.get("presharedkey")),
            number(item.get("persistentkeepalive")),
        )
        for item, prefixes in enabled
    }


def running_peer(peer: Item) -> Running:
    """The same of a peer as `wg show dump` has it."""
    text = str(peer["allowed_ips"]).replace("(none)", "")
    prefixes = sorted_prefixes(str(ipaddress.ip_network(prefix)) for prefix in text.split(",") if prefix)
    return prefixes, peer["preshared_key"] != "(none)", number(peer["keepalive"])


def live_peer(peer: Item, now: int) -> dict[str, Any]:
    """How a peer is: see converge.Backend.live."""
    endpoint, handshake = str(peer.get("endpoint", "")), number(peer.get("handshake"))
    return {
        "endpoint": endpoint if endpoint not in ("", "(none)") else None,
        "handshake_age": max(0, now - handshake) if handshake else None,
        "received": number(peer.get("received")),
        "sent": number(peer.get("sent")),
    }


def _is_tracker(value: Any, descr: str) -> bool:
    """Whether this is the number that we give to a rule with this description."""
    return 0 <= number(value) - _first_tracker(descr) < 16


def tracker(descr: str, taken: Iterable[Any]) -> str:
    """A rule's number, the same in every run."""
    used = {str(item) for item in taken}
    first = _first_tracker(descr)
    return next(str(found) for found in range(first, first + 16) if str(found) not in used)


def _first_tracker(descr: str) -> int:
    first, count = _TRACKERS
    return first + zlib.crc32(descr.encode("utf-8")) % count
