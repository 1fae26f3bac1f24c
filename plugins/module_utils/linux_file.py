# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between a tunnel and its wg-quick file on a Linux host. Pure."""

from __future__ import annotations

from typing import Iterable, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.linux_firewall import (
    hooked,
    nft_header,
    opened_port,
)
from ansible_collections.homelab.fabric.plugins.module_utils.linux_host import Link
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel, needed_routes
from ansible_collections.homelab.fabric.plugins.module_utils.values import parse_address, sorted_prefixes
from ansible_collections.homelab.fabric.plugins.module_utils.wg_quick import WgQuickFile, lenient_endpoint

_ADD_ROUTE = "PostUp = ip route add "


def tunnel_of(name: str, file: WgQuickFile, script: str | None, link: Link | None, source: str) -> Tunnel:
    """What an interface started with this file and this nft script is; `source` names the file in errors."""
    addresses = sorted_prefixes(parse_address(item, f"{source}: Address") for item in file.values("Address"))
    forward_to, masquerade = nft_header(script or "") if hooked(file.own_lines) else ((), ())
    return Tunnel(
        name=name,
        addresses=addresses,
        listen_port=_number(file.value("ListenPort")),
        mtu=_number(file.value("MTU")),
        peers=file.peers + _live_only(file, link),
        routes=_routes_of(file, addresses),
        forward_to=forward_to,
        masquerade=masquerade,
        open_port=opened_port(file.own_lines),
    )


def _live_only(file: WgQuickFile, link: Link | None) -> tuple[Peer, ...]:
    """Peers that somebody added to the running interface alone. They are left alone, routes and all.

    With SaveConfig the next stop would write them into the file; then they are taken as if it had done so.
    """
    known = {peer.public_key for peer in file.peers} | pending(file, "peer")
    others = {key: live for key, live in sorted(link.peers.items() if link else ()) if key not in known}
    if not _saves(file):
        return tuple(Peer(key, key, ours=False) for key in others)
    return tuple(
        Peer(
            name=key,
            public_key=key,
            preshared_key=live.preshared_key or None,
            endpoint=lenient_endpoint(live.endpoint or ""),
            allowed_ips=live.allowed_ips,
            keepalive=live.keepalive,
            ours=False,
        )
        for key, live in others.items()
    )


def _saves(file: WgQuickFile) -> bool:
    return file.value("SaveConfig").lower() == "true"


def wanted_file(old: WgQuickFile | None, target: Tunnel, hooks: Sequence[str], notes: Iterable[str]) -> WgQuickFile:
    """The file for a target, equal to the old one if nothing is to change. A new one has no private key yet."""
    file = old or WgQuickFile()
    if old is None or sorted_prefixes(file.values("Address")) != target.addresses:
        file = file.with_values("Address", target.addresses)
    for key, value in (("ListenPort", target.listen_port), ("MTU", target.mtu)):
        if _number(file.value(key)) != value:
            file = file.with_values(key, [str(value)])
    own = [*_route_lines(target, user_table(file)), *hooks]
    file = file.with_values("SaveConfig", ()).with_own_lines(own).with_pending(notes)
    return file.with_peers(_peers_of(old, target))


def _peers_of(old: WgQuickFile | None, target: Tunnel) -> list[Peer]:
    """The target's peers, but not those that are only live."""
    there = {peer.public_key for peer in old.peers} if old else set()
    keep_all = old is None or _saves(old)
    return [peer for peer in target.peers if keep_all or peer.ours or peer.public_key in there]


def summary(old: WgQuickFile | None, new: WgQuickFile) -> str:
    """Which peers a new file adds, changes and removes, in words."""
    before = {peer.identity: peer for peer in old.peers} if old else {}
    after = {peer.identity: peer for peer in new.peers}
    names = {
        "with": [peer.name for identity, peer in after.items() if identity not in before],
        "changed": [peer.name for identity, peer in after.items() if before.get(identity, peer) != peer],
        "without": [peer.name for identity, peer in before.items() if identity not in after],
    }
    return "; ".join(f"{word} {', '.join(some)}" for word, some in names.items() if some)


def pending(file: WgQuickFile, kind: str) -> set[str]:
    """The keys (`peer`) or prefixes (`route`) that an unfinished run noted."""
    return {note[len(kind) + 1 :] for note in file.pending if note.startswith(f"{kind} ")}


def user_table(file: WgQuickFile | None) -> str:
    """The file owner's ``Table``, empty if there is none."""
    return (file.value("Table") if file else "").lower()


def routing_table(file: WgQuickFile | None) -> str | None:
    """The table that this file's routes are in; None if its owner does the routing himself."""
    table = user_table(file)
    return "main" if table in ("", "auto") else None if table == "off" else table


def derived_routes(tunnel: Tunnel) -> tuple[str, ...]:
    """What wg-quick makes of the allowed IPs."""
    return needed_routes(tunnel.addresses, (prefix for peer in tunnel.peers for prefix in peer.allowed_ips))


def _route_lines(target: Tunnel, table: str) -> list[str]:
    """For routes other than those wg-quick makes of the allowed IPs: it makes none, and these are added instead."""
    if target.routes == derived_routes(target):
        return []
    into = "" if table in ("", "auto", "off") else f" table {table}"
    return ["Table = off", *(f"{_ADD_ROUTE}{prefix} dev {target.name}{into}" for prefix in target.routes or ())]


def _routes_of(file: WgQuickFile, addresses: Sequence[str]) -> tuple[str, ...]:
    if "Table = off" in file.own_lines:
        added = [line for line in file.own_lines if line.startswith(_ADD_ROUTE)]
        return sorted_prefixes(line[len(_ADD_ROUTE) :].split()[0] for line in added)
    if user_table(file) == "off":
        return ()
    return needed_routes(addresses, (prefix for peer in file.peers for prefix in peer.allowed_ips))


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
