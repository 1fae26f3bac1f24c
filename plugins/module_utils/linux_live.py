# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that bring a running interface of a Linux host to a target, and touch nothing else. Pure.

Only the peers that differ are touched (`wg addconf`, `wg set … remove`), not the whole list (`wg syncconf`): that one
takes every peer's allowed IPs away for a moment (it sends each with "replace"), puts roamed endpoints back to what
the file says, and drops all sessions if it is fed without a private key. Here no private key travels at all.
"""

from __future__ import annotations

import ipaddress
import shlex
from typing import NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.linux_file import (
    derived_routes,
    pending,
    routing_table,
    user_table,
)
from ansible_collections.homelab.fabric.plugins.module_utils.linux_host import Link
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import KNOWN_AFTER_APPLY, Secret, sorted_prefixes
from ansible_collections.homelab.fabric.plugins.module_utils.wg import LivePeer, peer_text
from ansible_collections.homelab.fabric.plugins.module_utils.wg_quick import WgQuickFile


class Step(NamedTuple):
    """A command, whom it is about, and its standard input, which may hold preshared keys."""

    command: list[str]
    about: str = ""
    stdin: str = ""

    @property
    def text(self) -> str:
        return shlex.join(self.command) + (f"  # {self.about}" if self.about else "")


class LiveChange(NamedTuple):
    """The steps, and the notes that the file must carry until they are all done."""

    steps: list[Step]
    notes: list[str]


def live_change(file: WgQuickFile, current: Tunnel, target: Tunnel, link: Link) -> LiveChange:
    """What is new comes before what leans on it, what leaves goes after."""
    changed, dialled = changed_peers(file, target, link)
    there = {peer.public_key for peer in target.peers}
    gone = [key for key in sorted(link.peers) if key not in there]
    routes = wanted_routes(file, target)
    leaving = leaving_routes(file, current, routes, link)
    table = routing_table(file)
    steps = _addresses_coming(target, link) + _settings(target, link)
    steps += _add_peers(target.name, changed, dialled) + _remove_peers(current, gone)
    coming = [_route("add", prefix, target.name, table) for prefix in routes if prefix not in link.routes]
    steps += _at_once(coming + [_route("delete", prefix, target.name, table) for prefix in leaving])
    steps += _addresses_leaving(target, link, routes, table)
    return LiveChange(steps, [f"peer {key}" for key in (*gone, *dialled)] + [f"route {prefix}" for prefix in leaving])


def changed_peers(file: WgQuickFile, target: Tunnel, link: Link) -> tuple[list[Peer], list[str]]:
    """Peers of ours that are not live as they shall be, and the keys of those whose endpoint must be set.

    A live endpoint that differs from the file is a peer that roamed. It is put back only if the file's own changes.
    """
    endpoints = {peer.public_key: peer.endpoint for peer in file.peers}
    unfinished = pending(file, "peer")
    changed, dialled = [], []
    for peer in target.peers:
        key = str(peer.public_key)
        if not peer.ours:
            continue
        live = link.peers.get(key)
        redirected = key in endpoints and endpoints[key] != peer.endpoint
        dial = peer.endpoint and (
            live is None
            or live.endpoint is None
            or (live.endpoint != str(peer.endpoint) and (redirected or key in unfinished))
        )
        if dial:
            dialled.append(key)
        wanted = (peer.preshared_key or Secret(""), peer.allowed_ips, peer.keepalive)
        if dial or live is None or wanted != (live.preshared_key, live.allowed_ips, live.keepalive):
            changed.append(peer)
    return changed, dialled


def _add_peers(name: str, peers: Sequence[Peer], dialled: Sequence[str]) -> list[Step]:
    if not peers:
        return []
    text = "\n".join(peer_text(peer, peer.public_key in dialled) for peer in peers)
    return [Step(["wg", "addconf", name, "/dev/stdin"], ", ".join(peer.name for peer in peers), text)]


def _remove_peers(current: Tunnel, gone: Sequence[str]) -> list[Step]:
    if not gone:
        return []
    names = {peer.public_key: peer.name for peer in current.peers}
    words = [word for key in gone for word in ("peer", key, "remove")]
    return [Step(["wg", "set", current.name, *words], ", ".join(names.get(key, key) for key in gone))]


def _settings(target: Tunnel, link: Link) -> list[Step]:
    steps = []
    if target.mtu and target.mtu != link.mtu:
        steps.append(Step(["ip", "link", "set", "mtu", str(target.mtu), "dev", target.name]))
    if not link.up:
        steps.append(Step(["ip", "link", "set", "up", "dev", target.name]))
    if target.listen_port and target.listen_port != link.listen_port:
        steps.append(Step(["wg", "set", target.name, "listen-port", str(target.listen_port)]))
    return steps


def _addresses_coming(target: Tunnel, link: Link) -> list[Step]:
    coming = [address for address in target.addresses if address not in link.addresses]
    return [_address("add", address, target.name) for address in coming]


def _addresses_leaving(target: Tunnel, link: Link, routes: Sequence[str], table: str | None) -> list[Step]:
    """Linux takes more than the address: the younger ones of the same network, unless it is told to promote them, and
    with the last IPv4 address every IPv4 route of the interface, which are put back.

    IPv6 makes link-local addresses by itself; they stay.
    """
    leaving = [
        address
        for address in link.addresses
        if address not in target.addresses and not ipaddress.ip_interface(address).is_link_local
    ]
    v4 = [address for address in leaving if "." in address]
    kept = [address for address in target.addresses if "." in address]
    networks = [ipaddress.ip_interface(address).network for address in (*v4, *kept)]
    steps = []
    if v4 and len(set(networks)) < len(networks):
        switch = f"/proc/sys/net/ipv4/conf/{target.name}/promote_secondaries"
        steps.append(Step(["sh", "-c", f"echo 1 > {switch}"]))
    steps += [_address("delete", address, target.name) for address in leaving]
    if v4 and not kept:
        steps += _at_once([_route("replace", prefix, target.name, table) for prefix in routes if "." in prefix])
    return steps


def wanted_routes(file: WgQuickFile | None, target: Tunnel) -> list[str]:
    """Without those of a /0, which wg-quick keeps in a table of its own, and those that `Table = off` forbids."""
    if target.routes == derived_routes(target) and user_table(file) == "off":
        return []
    return [prefix for prefix in target.routes or () if not prefix.endswith("/0")]


def assumed_link(file: WgQuickFile, tunnel: Tunnel, before: Link | None) -> Link:
    """The interface as it is when the file's tunnel has come up."""
    peers = {
        str(peer.public_key): LivePeer(
            peer.preshared_key or Secret(""),
            str(peer.endpoint) if peer.endpoint else None,
            peer.allowed_ips,
            handshake=0,
            received=0,
            sent=0,
            keepalive=peer.keepalive,
        )
        for peer in tunnel.peers
    }
    return Link(
        file.private_key,
        tunnel.public_key or KNOWN_AFTER_APPLY,
        tunnel.listen_port or 0,
        peers,
        True,
        tunnel.mtu or (before.mtu if before else 0),
        tunnel.addresses,
        dict.fromkeys(wanted_routes(file, tunnel), "boot"),
    )


def leaving_routes(file: WgQuickFile, current: Tunnel, wanted: Sequence[str], link: Link) -> list[str]:
    """Live routes of ours that nobody wants any more. What a routing daemon made, or a person, stays."""
    ours = set(current.routes or ()) | pending(file, "route")
    return [prefix for prefix in sorted_prefixes(ours - set(wanted)) if link.routes.get(prefix) == "boot"]


def _address(verb: str, address: str, name: str) -> Step:
    return Step(["ip", "address", verb, address, "dev", name])


def _route(verb: str, prefix: str, name: str, table: str | None) -> Step:
    return Step(["ip", "route", verb, prefix, "dev", name, *(("table", table) if table not in (None, "main") else ())])


def _at_once(steps: Sequence[Step]) -> list[Step]:
    """Several commands of `ip` as one process, in their order: one for each of hundreds takes seconds."""
    if len(steps) < 2:
        return list(steps)
    lines = [shlex.join(step.command[1:]) for step in steps]
    return [Step(["ip", "-batch", "-"], "; ".join(lines), "\n".join(lines) + "\n")]
