# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tunnel's sections in OpenWrt's `firewall`: zone, forwardings, rules. Pure.

What is ours carries our name (fabric_KIND_INTERFACE): forwardings have no other place for it. A zone that somebody
else put the interface into is used, and left alone.
"""

from __future__ import annotations

from typing import Iterable, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_network import is_ours, own_id, prefixes
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import (
    Line,
    Options,
    Section,
    Sections,
    delete,
    edits,
)
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError, sorted_prefixes

FIREWALL = "firewall"
ZONE_NAME = 11  # characters; fw3 passes longer ones over with a warning


class Wanted(NamedTuple):
    """A section of ours: its kind within our names, its type and options."""

    kind: str
    type: str
    options: Options


class Policy(NamedTuple):
    """What of a Tunnel is the firewall's."""

    forward_to: tuple[str, ...]
    masquerade: tuple[str, ...]
    open_port: bool


def policy_of(sections: Sections, network: Sections, name: str, goal: Iterable[str]) -> Policy:
    """What our sections grant, in the goal's words where it has one for it."""
    own = {section.id[len("fabric_") : -len(name) - 1]: section for section in _own(sections, name)}
    granted: set[str] = set()
    for version in ("4", "6"):
        to, back = own.get(f"to{version}"), own.get(f"from{version}")
        granted.update(set(prefixes(to, "dest_ip")).intersection(prefixes(back, "src_ip")) if to and back else ())
    zones = {section.get("dest") for kind, section in own.items() if kind.startswith("fwd")}
    zones &= {section.get("src") for kind, section in own.items() if kind.startswith("rev")}
    words: set[str] = set()
    for item in goal:
        zone = None if _is_prefix(item) else _find_zone(sections, network, item)
        if zone and zone in zones:
            words.add(item)
    spelled = {_find_zone(sections, network, item) for item in words}
    hidden = {word for kind, section in own.items() if kind.startswith("nat") for word in section.words("src_ip")}
    return Policy(
        tuple(sorted(granted | words | {zone for zone in zones if zone not in spelled})),
        sorted_prefixes(hidden),
        "port" in own,
    )


def plan_firewall(sections: Sections, network: Sections, target: Tunnel) -> list[Line]:
    """The lines that make, change and remove our sections."""
    return plan_sections(sections, target.name, _wanted(sections, network, target))


def plan_sections(sections: Sections, name: str, several: Iterable[Wanted]) -> list[Line]:
    """The lines for these sections and against all others of ours."""
    own = {section.id: section for section in _own(sections, name)}
    lines: list[Line] = []
    for wanted in several:
        identity = own_id(wanted.kind, name)
        there = own.pop(identity, None)
        if there and there.type != wanted.type:
            lines.append(delete(FIREWALL, there))
            there = None
        lines += edits(FIREWALL, there, identity, wanted.type, wanted.options)
    return lines + [delete(FIREWALL, section) for section in own.values()]


def plan_gone(sections: Sections, name: str) -> list[Line]:
    return [delete(FIREWALL, section) for section in _own(sections, name)]


def _own(sections: Sections, name: str) -> list[Section]:
    return [section for section in sections.values() if is_ours(section, name)]


def _wanted(sections: Sections, network: Sections, target: Tunnel) -> list[Wanted]:
    name = target.name
    foreign = next(
        (zone for zone in _zones(sections) if name in zone.words("network") and not is_ours(zone, name)), None
    )
    zone = foreign.get("name") if foreign else _zone_name(sections, name)
    wanted = [] if foreign else [_zone(name, zone), _ping(name, zone)]
    wanted += open_port(target)
    for version in ("4", "6"):
        near = tuple(item for item in target.forward_to if _is_prefix(item) and (":" in item) == (version == "6"))
        if near:
            both = {"proto": "all", "family": f"ipv{version}"}
            wanted.append(_rule(f"to{version}", name, {"src": zone, "dest": "*", "dest_ip": near, **both}))
            wanted.append(_rule(f"from{version}", name, {"src": "*", "src_ip": near, "dest": zone, **both}))
    near_zones = {_zone_of(sections, network, item) for item in target.forward_to if not _is_prefix(item)}
    for index, other in enumerate(sorted(near_zones - {zone})):
        wanted.append(Wanted(f"fwd{index}", "forwarding", {"src": zone, "dest": other}))
        wanted.append(Wanted(f"rev{index}", "forwarding", {"src": other, "dest": zone}))
    return wanted + hidden_sources(target)


def hidden_sources(target: Tunnel) -> list[Wanted]:
    """What gives packets from some prefixes the device's own address."""
    v6 = [prefix for prefix in target.masquerade if ":" in prefix]
    if v6:
        raise TunnelError("masquerade", f"{v6[0]} is an IPv6 prefix", "route it instead: OpenWrt hides IPv4 only")
    wanted = []
    for index, prefix in enumerate(target.masquerade):
        options = {"src": "*", "src_ip": prefix, "dest_ip": f"!{prefix}", "proto": "all", "target": "MASQUERADE"}
        wanted.append(Wanted(f"nat{index}", "nat", {"name": f"{MARKER}{target.name} nat", **options}))
    return wanted


def open_port(target: Tunnel) -> list[Wanted]:
    """The rule that lets others dial, if they may."""
    if not target.open_port:
        return []
    if not target.listen_port:
        raise TunnelError("open_port", "the port is not known", "set listen_port, usually 51820")
    # Whoever dials comes through whichever zone leads to the Internet today.
    return [_rule("port", target.name, {"src": "*", "proto": "udp", "dest_port": str(target.listen_port)})]


def _zone(name: str, zone: str) -> Wanted:
    policy = {"input": "REJECT", "output": "ACCEPT", "forward": "REJECT", "mtu_fix": "1"}
    return Wanted("zone", "zone", {"name": zone, "network": (name,), **policy})


def _ping(name: str, zone: str) -> Wanted:
    return _rule("ping", name, {"src": zone, "proto": "icmp", "icmp_type": "echo-request"})


def _rule(kind: str, name: str, options: Options) -> Wanted:
    return Wanted(kind, "rule", {"name": f"{MARKER}{name} {kind}", **options, "target": "ACCEPT", "enabled": None})


# Zones


def _zones(sections: Sections) -> list[Section]:
    return [section for section in sections.values() if section.type == "zone"]


def _zone_name(sections: Sections, name: str) -> str:
    """Our zone's name: the interface's, cut to what a zone can hold, and nobody else's."""
    ours = sections.get(own_id("zone", name))
    if ours and ours.get("name"):
        return ours.get("name")
    taken = {zone.get("name") for zone in _zones(sections)}
    wanted, number = name[:ZONE_NAME], 1
    while wanted in taken:
        number += 1
        wanted = name[: ZONE_NAME - len(str(number))] + str(number)
    return wanted


def _zone_of(sections: Sections, network: Sections, item: str) -> str:
    zone = _find_zone(sections, network, item)
    if zone is None:
        names = sorted(zone.get("name") for zone in _zones(sections))
        raise TunnelError(
            "forward_to",
            f"this router has no interface or firewall zone {item}",
            f"name one of its zones ({', '.join(names)}), a network of theirs, or a prefix",
        )
    return zone


def _find_zone(sections: Sections, network: Sections, item: str) -> str | None:
    """The zone that an OpenWrt network is in, or that has this name, or whose network is on this device."""
    zones = _zones(sections)
    on_device = {
        section.id
        for section in network.values()
        if section.type == "interface" and item in section.words("device") + section.words("ifname")
    }
    for match in (
        lambda zone: item in zone.words("network"),
        lambda zone: item == zone.get("name"),
        lambda zone: item in zone.words("device") or on_device.intersection(zone.words("network")),
    ):
        found = next((zone for zone in zones if match(zone)), None)
        if found:
            return found.get("name")
    return None


def _is_prefix(item: str) -> bool:
    return "/" in item
