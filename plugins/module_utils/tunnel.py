# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one model of a WireGuard interface: normal form, merge, diff.

Pure: no I/O, no Ansible, no device. Everything inside a `Tunnel` is in the normal form of values.py.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    REDACTED,
    UNREADABLE,
    Endpoint,
    Secret,
    TunnelError,
    covers,
    parse_address,
    parse_endpoint,
    parse_forward,
    parse_interface,
    parse_keepalive,
    parse_key,
    parse_mtu,
    parse_name,
    parse_port,
    parse_prefix,
    sorted_prefixes,
)

MARKER = "homelab.fabric: "


@dataclass(frozen=True)
class Peer:
    """One peer. `name` is its identity across key changes; one that is not `ours` was put there by somebody else.

    `public_key` None: not known in this run, the device keeps what it has. `preshared_key` None: left as the device
    has it; an empty one removes it. `keepalive` is in seconds, 0 is off. `client`: a road warrior, which only
    `wireguard_client` adds or removes.
    """

    name: str
    public_key: str | None = None
    preshared_key: Secret | None = None
    endpoint: Endpoint | None = None
    allowed_ips: tuple[str, ...] = ()
    keepalive: int = 0
    ours: bool = True
    client: bool = False

    @property
    def identity(self) -> tuple[str, str]:
        """What makes it the same peer in another state: its name, or its key where nobody of ours named it."""
        return ("client" if self.client else "node", self.name) if self.ours else ("foreign", str(self.public_key))


@dataclass(frozen=True)
class Tunnel:
    """One interface with its peers on one device.

    `routes` None: what the peers' allowed IPs need; `listen_port` and `mtu` None: left alone. `forward_to`
    holds interfaces or prefixes that traffic from the tunnel may be forwarded to; `masquerade` the source prefixes
    whose traffic leaves this device under the device's own address; `open_port` whether others dial this device.
    """

    name: str
    addresses: tuple[str, ...] = ()
    listen_port: int | None = None
    mtu: int | None = None
    peers: tuple[Peer, ...] = ()
    routes: tuple[str, ...] | None = None
    forward_to: tuple[str, ...] = ()
    masquerade: tuple[str, ...] = ()
    open_port: bool = False
    public_key: str | None = field(default=None, compare=False)

    @property
    def networks(self) -> tuple[str, ...]:
        """Those that its addresses are in."""
        return tuple(str(ipaddress.ip_interface(address).network) for address in self.addresses)


class Change(NamedTuple):
    """One difference: what `kind` of thing, its name, before and after (None: not there)."""

    kind: str
    name: str
    before: Any
    after: Any


def parse_peer(raw: Mapping[str, Any], argument: str) -> Peer:
    """A peer as a module's argument: name, public_key, preshared_key, endpoint, allowed_ips, persistent_keepalive."""
    key, psk, endpoint = raw.get("public_key"), raw.get("preshared_key"), raw.get("endpoint")
    allowed = raw.get("allowed_ips") or ()
    return Peer(
        name=parse_name(raw["name"], f"{argument}.name"),
        public_key=key if key == KNOWN_AFTER_APPLY else parse_key(key, f"{argument}.public_key") if key else None,
        preshared_key=None if psk is None else Secret(parse_key(psk, f"{argument}.preshared_key", True) if psk else ""),
        endpoint=parse_endpoint(endpoint, f"{argument}.endpoint") if endpoint else None,
        allowed_ips=sorted_prefixes(parse_prefix(p, f"{argument}.allowed_ips") for p in allowed),
        keepalive=parse_keepalive(raw.get("persistent_keepalive") or 0, f"{argument}.persistent_keepalive"),
    )


def parse_tunnel(raw: Mapping[str, Any], device: str) -> Tunnel:
    """A tunnel as a module's arguments (plugins/doc_fragments/tunnel.py). Raises TunnelError for the first mistake."""
    port, mtu, routes = raw.get("listen_port"), raw.get("mtu"), raw.get("routes")
    tunnel = Tunnel(
        name=parse_interface(raw["name"], "name", device),
        addresses=sorted_prefixes(parse_address(a, "addresses") for a in raw.get("addresses") or ()),
        listen_port=None if port is None else parse_port(port, "listen_port"),
        mtu=None if mtu is None else parse_mtu(mtu, "mtu"),
        peers=tuple(parse_peer(peer, f"peers[{i}]") for i, peer in enumerate(raw.get("peers") or ())),
        routes=None if routes is None else sorted_prefixes(parse_prefix(r, "routes") for r in routes),
        forward_to=tuple(sorted({parse_forward(f) for f in raw.get("forward_to") or ()})),
        masquerade=sorted_prefixes(parse_prefix(p, "masquerade") for p in raw.get("masquerade") or ()),
        open_port=bool(raw.get("open_port")),
    )
    check_peers(tunnel.peers)
    return tunnel


def check_peers(peers: Sequence[Peer]) -> None:
    """No name, key or allowed IP twice on one interface: a device would silently let the last one win."""
    seen: dict[tuple[str, str], Peer] = {}
    for peer in peers:
        claims = [("allowed IP", prefix) for prefix in peer.allowed_ips]
        if peer.public_key and peer.public_key != KNOWN_AFTER_APPLY:
            claims.append(("public key", peer.public_key))
        if peer.ours:
            claims.append(("client" if peer.client else "name", peer.name))
        for claim in claims:
            other = seen.setdefault(claim, peer)
            # Two peers of somebody else's are not ours to judge.
            if other is not peer and (other.ours or peer.ours):
                what, value = claim
                raise TunnelError(
                    "peers", f"{other.name} and {peer.name} have the same {what} {value}", "give it to one of them"
                )


def needed_routes(addresses: Iterable[str], allowed_ips: Iterable[str]) -> tuple[str, ...]:
    """The allowed IPs that the interface's own networks do not cover: what `wg-quick` adds as routes."""
    return _needed_routes(tuple(addresses), tuple(allowed_ips))


@lru_cache(maxsize=4096)  # of each peer it is asked several times
def _needed_routes(addresses: tuple[str, ...], allowed_ips: tuple[str, ...]) -> tuple[str, ...]:
    return sorted_prefixes(prefix for prefix in allowed_ips if not any(covers(own, prefix) for own in addresses))


def in_order(peers: Iterable[Peer]) -> tuple[Peer, ...]:
    """Nodes, then road warriors, then peers of others, each by name."""
    return tuple(sorted(peers, key=lambda peer: (not peer.ours, peer.client, peer.name)))


class Merged(NamedTuple):
    """What the device shall become, and the names of peers that must wait until their public key is known."""

    target: Tunnel
    waiting: list[str]


def merge(current: Tunnel | None, wanted: Tunnel, purge: bool = False, route_foreign: bool = False) -> Merged:
    """Join what is wanted with what only the device knows.

    A peer is found by its name, else by its public key (so a peer made by hand is adopted, not doubled). Peers of
    others and road warriors stay as they are; `purge` drops the former. `route_foreign`: the allowed IPs of others'
    peers get routes too, as wg-quick does it.
    """
    there = current.peers if current else ()
    nodes = {peer.identity: peer for peer in there}
    keys = {peer.public_key: peer for peer in there if not peer.client}
    peers: list[Peer] = []
    waiting: list[str] = []
    claimed: set[str | None] = set()
    for peer in wanted.peers:
        found = nodes.get(peer.identity) or (keys.get(peer.public_key) if peer.public_key else None)
        key, preshared = peer.public_key, peer.preshared_key
        if found:
            claimed.add(found.public_key)
            key = key or found.public_key
            if preshared is None or found.preshared_key == UNREADABLE:
                preshared = found.preshared_key
        if key is None:
            waiting.append(peer.name)
        else:
            peers.append(replace(peer, public_key=key, preshared_key=preshared or None))
    claimed |= {peer.public_key for peer in peers}
    others = [peer for peer in there if peer.public_key not in claimed and (peer.client or not (peer.ours or purge))]
    routed = [prefix for peer in peers for prefix in peer.allowed_ips]
    routed += [prefix for peer in others if route_foreign or peer.client for prefix in peer.allowed_ips]
    target = replace(
        wanted,
        listen_port=wanted.listen_port or (current.listen_port if current else None),
        mtu=wanted.mtu or (current.mtu if current else None),
        peers=in_order(peers + others),
        routes=wanted.routes if wanted.routes is not None else needed_routes(wanted.addresses, routed),
        public_key=current.public_key if current else None,
    )
    check_peers(target.peers)
    return Merged(target, waiting)


def diff(current: Tunnel | None, target: Tunnel | None) -> list[Change]:
    """The ordered changes from one to the other: what is new comes before what leans on it, what leaves after.

    Peers are paired by name (or key, for a peer that is adopted), so a new key changes a peer instead of replacing it.
    """
    if target is None:
        return [] if current is None else [Change("tunnel", current.name, current, None)]
    changes: list[Change] = []
    if current is None:
        changes.append(Change("tunnel", target.name, None, target))
        current = Tunnel(target.name, listen_port=target.listen_port, mtu=target.mtu)
    for setting in ("listen_port", "mtu"):
        before, after = getattr(current, setting), getattr(target, setting)
        if before != after:
            changes.append(Change(setting, target.name, before, after))
    named = {peer.identity: peer for peer in current.peers}
    foreign = {peer.public_key: peer for peer in current.peers if not peer.ours}
    pairs = [(named.get(peer.identity) or foreign.get(peer.public_key), peer) for peer in target.peers]
    kept = {id(before) for before, after in pairs if before is not None}
    leaving = [Change("peer", peer.name, peer, None) for peer in current.peers if id(peer) not in kept]
    changed = [Change("peer", after.name, before, after) for before, after in pairs if before and before != after]
    coming = [Change("peer", after.name, None, after) for before, after in pairs if not before]
    changes += _coming("address", current.addresses, target.addresses)
    changes += leaving + changed + coming
    changes += _coming("route", current.routes or (), target.routes or ())
    changes += _leaving("route", current.routes or (), target.routes or ())
    changes += _leaving("address", current.addresses, target.addresses)
    for kind in ("forward_to", "masquerade"):
        changes += _coming(kind, getattr(current, kind), getattr(target, kind))
        changes += _leaving(kind, getattr(current, kind), getattr(target, kind))
    if current.open_port != target.open_port:
        changes.append(Change("open_port", target.name, current.open_port, target.open_port))
    return changes


def _coming(kind: str, before: Sequence[str], after: Sequence[str]) -> list[Change]:
    return [Change(kind, item, None, item) for item in _only_in(after, before)]


def _leaving(kind: str, before: Sequence[str], after: Sequence[str]) -> list[Change]:
    return [Change(kind, item, item, None) for item in _only_in(before, after)]


def _only_in(items: Sequence[str], others: Sequence[str]) -> list[str]:
    known = set(others)
    return [item for item in items if item not in known]


def describe(tunnel: Tunnel | None) -> str:
    """The normal form as YAML text with every secret redacted, for `--diff`."""
    if tunnel is None:
        return ""
    lines = [f"name: {tunnel.name}", f"public_key: {tunnel.public_key or KNOWN_AFTER_APPLY}"]
    lines += [f"{k}: {v}" for k, v in (("listen_port", tunnel.listen_port), ("mtu", tunnel.mtu)) if v is not None]
    for title, items in (
        ("addresses", tunnel.addresses),
        ("routes", tunnel.routes or ()),
        ("forward_to", tunnel.forward_to),
        ("masquerade", tunnel.masquerade),
    ):
        if items:
            lines += [f"{title}:", *(f"  - {item}" for item in items)]
    if tunnel.open_port:
        lines.append("open_port: true")
    lines += ["peers:"] if tunnel.peers else []
    for peer in in_order(tunnel.peers):
        owner = "" if peer.ours else "  # not made by homelab.fabric"
        lines.append(f"  - name: {peer.name}{owner}")
        lines.append(f"    public_key: {peer.public_key}")
        if peer.preshared_key:
            lines.append(f"    preshared_key: {REDACTED}")
        if peer.endpoint:
            lines.append(f"    endpoint: {peer.endpoint}")
        lines.append(f"    allowed_ips: {', '.join(peer.allowed_ips)}")
        if peer.keepalive:
            lines.append(f"    persistent_keepalive: {peer.keepalive}")
    return "\n".join(lines) + "\n"
