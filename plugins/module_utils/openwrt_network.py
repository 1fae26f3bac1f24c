# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tunnel's sections in OpenWrt's `network`: interface, peers, routes; as a Tunnel, and towards a target. Pure.

A peer of ours is known by its description. A route comes from the peer that it leads to (`route_allowed_ips`); only
routes that no peer brings are sections of their own.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from functools import lru_cache
from typing import Iterable, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import Line, Section, Sections, delete, edits
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER, Peer, Tunnel, needed_routes
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    Endpoint,
    Secret,
    TunnelError,
    parse_host,
    parse_key,
    sorted_prefixes,
)

NETWORK = "network"
DEFAULT_PORT = 51820  # of an endpoint without one
HIDDEN = "hidden"  # what the read script puts in a private key's place


class RoutePlan(NamedTuple):
    """Names of the peers of ours that bring routes, and the prefixes that need sections of their own."""

    peers: set[str]
    sections: tuple[str, ...]


def peer_sections(sections: Sections, name: str) -> list[Section]:
    return [section for section in sections.values() if section.type == f"wireguard_{name}"]


def route_sections(sections: Sections, name: str) -> list[Section]:
    """Everybody's routes through the interface."""
    return [
        section
        for section in sections.values()
        if section.type in ("route", "route6") and section.get("interface") == name
    ]


def is_ours(section: Section, name: str) -> bool:
    """Whether a section is one of those that carry our name: fabric_KIND_INTERFACE, whose KIND has no `_`."""
    return re.fullmatch(rf"fabric_[a-z0-9]+_{re.escape(name)}", section.id) is not None


def own_id(kind: str, name: str) -> str:
    return f"fabric_{kind}_{name}"


# What is there


def peer_of(section: Section) -> Peer | None:
    """None for a section that makes no peer because it has no key, or one that is none."""
    return _peer_of(*map(section.options.get, _PEER_OPTIONS))


_PEER_OPTIONS = (
    "description",
    "public_key",
    "preshared_key",
    "allowed_ips",
    "persistent_keepalive",
    "endpoint_host",
    "endpoint_port",
    "disabled",
)


@lru_cache(maxsize=4096)  # each is asked for several times in a run, and there may be hundreds
def _peer_of(*options: tuple[str, ...] | None) -> Peer | None:
    section = Section("", "", {name: values for name, values in zip(_PEER_OPTIONS, options) if values})
    description, key, preshared, allowed, keepalive, host, port = map(section.get, _PEER_OPTIONS[:-1])
    ours = description.startswith(MARKER)
    public_key: str | None = None
    try:
        public_key = parse_key(key, "public_key")
    except TunnelError:
        if not ours:
            return None
    return Peer(
        name=description[len(MARKER) :].strip() if ours else description or str(public_key),
        public_key=public_key,
        preshared_key=Secret(preshared) if preshared else None,
        endpoint=_endpoint(host, port),
        allowed_ips=_prefixes(allowed) if ours or not section.is_on("disabled") else (),
        keepalive=_number(keepalive) or 0,
        ours=ours,
    )


def prefixes(section: Section, option: str) -> tuple[str, ...]:
    """The prefixes of a list; what stands in it besides is no prefix to anybody."""
    return _prefixes(section.get(option))


@lru_cache(maxsize=4096)
def _prefixes(text: str) -> tuple[str, ...]:
    words = map(parse_network, re.split(r"[\s,]+", text))
    return sorted_prefixes(word for word in words if word)


def addresses(section: Section) -> tuple[str, ...]:
    words = map(_interface, section.words("addresses"))
    return sorted_prefixes(word for word in words if word)


def tunnel_of(sections: Sections, name: str, goal: Iterable[str], public_key: str | None) -> Tunnel | None:
    """The interface with its peers and those routes that are ours or that the goal needs, without the firewall."""
    interface = sections.get(name)
    if interface is None or interface.type != "interface":
        return None
    peers: dict[tuple[str, str], Peer] = {}
    for section in peer_sections(sections, name):
        peer = peer_of(section)
        if peer:
            peers.setdefault(peer.identity, peer)
    own, foreign = _routed(sections, name, addresses(interface))
    return Tunnel(
        name=name,
        addresses=addresses(interface),
        listen_port=_number(interface.get("listen_port")),
        mtu=_number(interface.get("mtu")),
        peers=tuple(peers.values()),
        routes=sorted_prefixes({*own, *foreign.intersection(goal)}),
        public_key=public_key,
    )


def _routed(sections: Sections, name: str, own_addresses: Iterable[str]) -> tuple[set[str], set[str]]:
    """The routes into the tunnel that we made, and those of others."""
    ours: set[str] = set()
    others: set[str] = set()
    for section in peer_sections(sections, name):
        if section.is_on("route_allowed_ips") and not section.is_on("disabled"):
            peer = peer_of(section)
            if peer:
                (ours if peer.ours else others).update(needed_routes(own_addresses, peer.allowed_ips))
    for section in route_sections(sections, name):
        (ours if is_ours(section, name) else others).update(_target(section))
    return ours, others


def installed_routes(sections: Sections, name: str) -> set[str]:
    """All that netifd routes into the tunnel by this configuration, the host routes of allowed IPs included."""
    routes: set[str] = set()
    for section in peer_sections(sections, name):
        if section.is_on("route_allowed_ips") and not section.is_on("disabled"):
            routes.update(prefixes(section, "allowed_ips"))
    for section in route_sections(sections, name):
        routes.update(_target(section))
    return routes


def routes_after(sections: Sections, target: Tunnel) -> set[str]:
    """What `installed_routes` will be once the target is the configuration."""
    plan = plan_routes(sections, target)
    foreign = {peer.public_key for peer in target.peers if not peer.ours}
    stay = {
        section.id: section
        for section in sections.values()
        if not is_ours(section, target.name)
        and (section.type in ("route", "route6") or getattr(peer_of(section), "public_key", None) in foreign)
    }
    routes = installed_routes(stay, target.name) | set(plan.sections)
    return routes.union(*(peer.allowed_ips for peer in target.peers if peer.name in plan.peers and peer.ours))


def _target(section: Section) -> tuple[str, ...]:
    text = section.get("target")
    if section.get("netmask") and "/" not in text:
        text += "/" + section.get("netmask")
    network = parse_network(text)
    return (network,) if network else ()


def _endpoint(host: str, port: str) -> Endpoint | None:
    if not host:
        return None
    with contextlib.suppress(TunnelError):  # somebody else's slip, which then differs from what is wanted
        host = parse_host(host, "endpoint_host")
    return Endpoint(host, _number(port) or DEFAULT_PORT)


@lru_cache(maxsize=65536)
def _interface(word: str) -> str | None:
    """An address with its length in normal form, None for what is none."""
    try:
        return str(ipaddress.ip_interface(word))
    except ValueError:
        return None


@lru_cache(maxsize=65536)
def parse_network(word: str) -> str | None:
    """The prefix around an address with its length, in normal form; None for what is none."""
    address = _interface(word)
    return str(ipaddress.ip_network(address, strict=False)) if address else None


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


# What shall be there


def plan_network(sections: Sections, target: Tunnel, purge: bool) -> list[Line]:
    """The lines for the interface, its peers and routes, without the private key."""
    name = target.name
    lines = edits(NETWORK, sections.get(name), name, "interface", interface_options(target))
    routes = plan_routes(sections, target)
    pairs, leaving = _pair(sections, target, purge)
    lines += [delete(NETWORK, section) for section in leaving]
    taken = set(sections)
    for peer, section in pairs:
        identity = section.id if section else _free(f"{name}_{re.sub('[^A-Za-z0-9]', '_', peer.name)}", taken)
        taken.add(identity)
        lines += edits(NETWORK, section, identity, f"wireguard_{name}", _peer(peer, peer.name in routes.peers))
    own = {section.id: section for section in route_sections(sections, name) if is_ours(section, name)}
    for index, prefix in enumerate(routes.sections):
        identity, kind = own_id(f"route{index}", name), "route6" if ":" in prefix else "route"
        there = own.pop(identity, None)
        if there and there.type != kind:
            lines.append(delete(NETWORK, there))
            there = None
        lines += edits(NETWORK, there, identity, kind, {"interface": name, "target": prefix, "netmask": None})
    return lines + [delete(NETWORK, section) for section in own.values()]


def plan_gone(sections: Sections, name: str) -> list[Line]:
    """The lines that remove the interface with all its peers and our routes."""
    interface = sections.get(name)
    gone = [section for section in route_sections(sections, name) if is_ours(section, name)]
    gone += peer_sections(sections, name)
    gone += [interface] if interface else []
    return [delete(NETWORK, section) for section in gone]


def plan_routes(sections: Sections, target: Tunnel) -> RoutePlan:
    wanted = set(target.routes or ())
    by_peer: set[str] = set()
    served: set[str] = set()
    for peer in target.peers:
        needed = needed_routes(target.addresses, peer.allowed_ips)
        if peer.ours and needed and wanted.issuperset(needed):
            by_peer.add(peer.name)
            served.update(needed)
    _own, others = _routed(sections, target.name, target.addresses)
    return RoutePlan(by_peer, sorted_prefixes(wanted - served - others))


def interface_options(target: Tunnel) -> dict[str, str | tuple[str, ...] | None]:
    return {
        "proto": "wireguard",
        "disabled": None,
        "addresses": target.addresses,
        **({"listen_port": str(target.listen_port)} if target.listen_port else {}),
        **({"mtu": str(target.mtu)} if target.mtu else {}),
    }


def _peer(peer: Peer, routed: bool) -> dict[str, str | tuple[str, ...] | None]:
    return {
        "description": MARKER + peer.name,
        "public_key": str(peer.public_key),
        "preshared_key": peer.preshared_key.reveal() if peer.preshared_key else None,
        "allowed_ips": peer.allowed_ips,
        "route_allowed_ips": "1" if routed else None,
        "endpoint_host": peer.endpoint.host if peer.endpoint else None,
        "endpoint_port": str(peer.endpoint.port) if peer.endpoint else None,
        "persistent_keepalive": str(peer.keepalive) if peer.keepalive else None,
        "disabled": None,
    }


def _pair(sections: Sections, target: Tunnel, purge: bool) -> tuple[list[tuple[Peer, Section | None]], list[Section]]:
    """Our peers with the sections that they have, by name or else by key, and the sections that have to go."""
    there = [(section, peer_of(section)) for section in peer_sections(sections, target.name)]
    named: dict[str, Section] = {}
    keyed: dict[str | None, Section] = {}
    for section, peer in there:
        if peer and peer.ours:
            named.setdefault(peer.name, section)
        elif peer:
            keyed.setdefault(peer.public_key, section)
    pairs = [(peer, named.get(peer.name) or keyed.get(peer.public_key)) for peer in target.peers if peer.ours]
    taken = {section.id for _peer, section in pairs if section}
    # The same key twice is one peer to WireGuard, and the last section would win.
    keys = {peer.public_key for peer, _section in pairs}
    leaving = [
        section
        for section, peer in there
        if section.id not in taken and (purge or (peer and (peer.ours or peer.public_key in keys)))
    ]
    return pairs, leaving


def _free(wanted: str, taken: set[str]) -> str:
    """A section name that nobody has."""
    number, name = 1, wanted
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name
