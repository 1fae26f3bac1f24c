# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RouterOS's rows of a tunnel, and the sentences that bring them to a target: interface, addresses, peers, routes.

Pure: rows in, sentences out. It compares rows, not tunnels, because a row can be wrong in ways that a tunnel cannot
(disabled, there twice, without its comment).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Iterable, Mapping, NamedTuple, Sequence, Union

from ansible_collections.homelab.fabric.plugins.module_utils.routeros_api import Row, Sentence
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER, Peer, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    UNREADABLE,
    Endpoint,
    Secret,
    TunnelError,
    parse_host,
    sorted_prefixes,
)

INTERFACE = "/interface/wireguard"
PEERS = "/interface/wireguard/peers"
ADDRESS = {4: "/ip/address", 6: "/ipv6/address"}
ROUTE = {4: "/ip/route", 6: "/ipv6/route"}
DEFAULT_PORT = 13231

Fields = Mapping[str, Union[str, Secret]]


class Steps(NamedTuple):
    """Sentences that add or mend, and those that remove: what leans on a thing comes between."""

    coming: list[Sentence]
    leaving: list[Sentence]


def is_on(row: Row, flag: str) -> bool:
    """A flag of a row; an absent one is off."""
    return row.get(flag) in ("true", "yes")


def seconds(text: str) -> int | None:
    """A duration (`1m33s`, `4w2d`, `00:01:33`, `93`, `1s500ms`) in whole seconds; None if it is none."""
    whole = re.sub(r"\d+ms$", "", text)
    match = re.fullmatch(r"((?:\d+[wdhms])*)(?:(\d+):(\d+):)?(\d+)?", whole)
    if not text or match is None:
        return None
    units, hours, minutes, rest = match.groups()
    weights = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
    total = sum(int(number) * weights[unit] for number, unit in re.findall(r"(\d+)([wdhms])", units))
    return total + int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(rest or 0)


@lru_cache(maxsize=4096)
def prefixes(text: str) -> tuple[str, ...]:
    """A comma-separated list in normal form; what is no prefix (a device holds none such) is left out."""
    found = (_network(part.strip()) for part in text.split(","))
    return sorted_prefixes(prefix for prefix in found if prefix)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return ""


# The interface


def plan_interface(rows: Sequence[Row], target: Tunnel) -> list[Sentence]:
    """`rows`: all WireGuard interfaces. Raises TunnelError if another one listens on the port that would be written."""
    row = next((row for row in rows if row["name"] == target.name), None)
    if row is None:
        # A port is always sent, because what an omitted one becomes is not documented; never a private key, so the
        # router makes its pair.
        fields = {"name": target.name, "listen-port": str(target.listen_port or DEFAULT_PORT)}
        fields.update({"mtu": str(target.mtu)} if target.mtu else {})
        fields["comment"] = MARKER + target.name
    else:
        wanted = {"listen-port": target.listen_port, "mtu": target.mtu}
        fields = {key: str(value) for key, value in wanted.items() if value and row.get(key) != str(value)}
        fields.update({"disabled": "no"} if is_on(row, "disabled") else {})
    _check_port(rows, target.name, fields.get("listen-port"))
    if row is None:
        return [Sentence(INTERFACE, "add", fields)]
    return [Sentence(INTERFACE, "set", fields, row[".id"], {"name": target.name})] if fields else []


def _check_port(rows: Sequence[Row], name: str, port: str | None) -> None:
    for row in rows:
        if port and row["name"] != name and row.get("listen-port") == port and not is_on(row, "disabled"):
            raise TunnelError("listen_port", f"{row['name']} of this router listens on {port}", "give another port")


# Addresses


def plan_addresses(menu: str, rows: Sequence[Row], addresses: Iterable[str], name: str) -> Steps:
    """`rows`: all of the menu. Raises TunnelError if an address sits on another interface."""
    static = [row for row in rows if not is_on(row, "dynamic")]
    free = [row for row in static if row["interface"] == name]
    coming = []
    for address in addresses:
        ip = ipaddress.ip_interface(address).ip
        there = [row for row in free if _ip(row) == ip]
        # A row whose interface was deleted keeps that interface's id in its place.
        orphans = [row for row in static if row["interface"].startswith("*") and _ip(row) == ip]
        row = next((row for row in there if _same_address(row, address)), next(iter(there + orphans), None))
        _check_elsewhere(rows, address, name)
        if row is None:
            coming.append(Sentence(menu, "add", {**_address_fields(menu, address), **_added(menu, name)}))
            continue
        if row in free:
            free.remove(row)
        wrong = {} if _same_address(row, address) else _address_fields(menu, address)
        wrong.update({} if row["interface"] == name else {"interface": name})
        wrong.update({"disabled": "no"} if is_on(row, "disabled") else {})
        if wrong:
            coming.append(Sentence(menu, "set", wrong, row[".id"], _address_finder(row)))
    leaving = [row for row in free if not _comes_along(row)]
    return Steps(coming, [Sentence(menu, "remove", {}, row[".id"], _address_finder(row)) for row in leaving])


def _address_fields(menu: str, address: str) -> dict[str, str]:
    # The network does not surely follow a changed address by itself.
    network = {"network": str(ipaddress.ip_interface(address).network.network_address)} if menu == ADDRESS[4] else {}
    return {"address": address, **network}


def _added(menu: str, name: str) -> dict[str, str]:
    advertise = {"advertise": "no"} if menu == ADDRESS[6] else {}
    return {"interface": name, **advertise, "comment": MARKER + name}


def _address_finder(row: Row) -> dict[str, str]:
    return {"address": row["address"], "interface": row["interface"]}


def _ip(row: Row) -> object:
    try:
        return ipaddress.ip_interface(row["address"]).ip
    except ValueError:
        return None


def _same_address(row: Row, address: str) -> bool:
    return str(ipaddress.ip_interface(row["address"])) == address


def is_set(row: Row, wanted: Iterable[str]) -> bool:
    """Whether this is an address that somebody gave the interface, and that is in use."""
    return (
        not is_on(row, "dynamic") and not is_on(row, "disabled") and (row["address"] in wanted or not _comes_along(row))
    )


def _comes_along(row: Row) -> bool:
    """Link-local addresses come with the interface; only one that was asked for is ours to change."""
    return ipaddress.ip_interface(row["address"]).is_link_local


def _check_elsewhere(rows: Sequence[Row], address: str, name: str) -> None:
    ip = ipaddress.ip_interface(address).ip
    for row in rows:
        if (
            row["interface"] != name
            and not row["interface"].startswith("*")
            and _ip(row) == ip
            and not ip.is_link_local
        ):
            raise TunnelError(
                "addresses",
                f"{row['interface']} of this router has {row['address']}",
                f"remove it there, or give {name} another address",
            )


# Peers


def plan_peers(rows: Sequence[Row], target: Tunnel) -> Steps:
    """`rows`: the interface's peers. `coming` begins with the ones that leave, so that their prefixes are free.

    A row is paired by its public key, and only then by its name: no sentence ever gives a row a key that another row
    has, and a peer that is adopted or whose key moves is never missing. Raises TunnelError for a key that is there
    twice, which leaves open what is meant.
    """
    static = [row for row in rows if not is_on(row, "dynamic")]
    by_key = {row["public-key"]: row for row in static}
    kept = {peer.public_key for peer in target.peers if not peer.ours}
    ours = [peer for peer in target.peers if peer.ours]
    if ours:
        _check_keys(static, target.name)
    pairs = {peer.name: by_key[key] for peer in ours for key in [str(peer.public_key)] if key in by_key}
    taken = {row[".id"] for row in pairs.values()}
    named = {row["comment"]: row for row in static if row[".id"] not in taken and row.get("comment")}
    for peer in ours:
        if peer.name not in pairs and MARKER + peer.name in named:
            pairs[peer.name] = named[MARKER + peer.name]
    taken |= {row[".id"] for row in pairs.values()}
    leaving = [row for row in static if row[".id"] not in taken and row["public-key"] not in kept]
    steps = [Sentence(PEERS, "remove", {}, row[".id"], _peer_finder(row)) for row in leaving]
    steps += [
        Sentence(PEERS, "set", wrong, row[".id"], _peer_finder(row))
        for row, peer in _givers_first([(pairs[peer.name], peer) for peer in ours if peer.name in pairs])
        for wrong in [_wrong(peer, row)]
        if wrong
    ]
    steps += [_add_peer(target.name, peer) for peer in ours if peer.name not in pairs]
    return Steps(steps, [])


def _check_keys(rows: Sequence[Row], name: str) -> None:
    seen: dict[str, Row] = {}
    for row in rows:
        key = row["public-key"]
        if key and seen.setdefault(key, row) is not row:
            raise TunnelError(
                "peers", f"{name} has two peers with the public key {key}", f"remove one of them in {PEERS} by hand"
            )


def _givers_first(pairs: list[tuple[Row, Peer]]) -> list[tuple[Row, Peer]]:
    """A peer that gives a prefix away comes before the one that takes it.

    Two peers may hold one prefix at a time, but RouterOS does not document which of them then has the traffic.
    """
    holder = {prefix: i for i, (row, _peer) in enumerate(pairs) for prefix in prefixes(row.get("allowed-address", ""))}
    pending = {
        i: {holder[prefix] for prefix in peer.allowed_ips if holder.get(prefix, i) != i}
        for i, (_row, peer) in enumerate(pairs)
    }
    order: list[int] = []
    while pending:
        # In a circle one has to be the first.
        ready = [i for i, waits_for in pending.items() if waits_for.isdisjoint(pending)] or [next(iter(pending))]
        order += ready
        for i in ready:
            del pending[i]
    return [pairs[i] for i in order]


def _peer_fields(peer: Peer) -> dict[str, str | Secret]:
    endpoint = peer.endpoint or Endpoint("", 0)
    return {
        "public-key": str(peer.public_key),
        "allowed-address": ",".join(peer.allowed_ips),
        "endpoint-address": endpoint.host,
        "endpoint-port": str(endpoint.port),
        "persistent-keepalive": str(peer.keepalive),
        "preshared-key": peer.preshared_key or Secret(""),
        "comment": MARKER + peer.name,
        "disabled": "no",
    }


def _row_fields(row: Row) -> dict[str, str | Secret]:
    return {
        "public-key": row["public-key"],
        "allowed-address": ",".join(prefixes(row.get("allowed-address", ""))),
        "endpoint-address": host_of(row),
        "endpoint-port": row.get("endpoint-port", "0"),
        "persistent-keepalive": str(seconds(row.get("persistent-keepalive", "")) or 0),
        "preshared-key": Secret(row.get("preshared-key", "")),
        "comment": row.get("comment", ""),
        "disabled": "yes" if is_on(row, "disabled") else "no",
    }


def host_of(row: Row) -> str:
    """The host that a peer is dialled at, in normal form; empty for none."""
    text = row.get("endpoint-address", "")
    try:
        return parse_host(text, "endpoint-address") if text else ""
    except TunnelError:
        return text


def _wrong(peer: Peer, row: Row) -> Fields:
    there, wanted = _row_fields(row), _peer_fields(peer)
    return {key: value for key, value in wanted.items() if value != there[key] and value != UNREADABLE}


def _add_peer(name: str, peer: Peer) -> Sentence:
    """A new peer; what stands at its default is not sent."""
    fields = {
        key: value for key, value in _peer_fields(peer).items() if value not in ("", "0", "no", UNREADABLE, _NO_KEY)
    }
    return Sentence(PEERS, "add", {"interface": name, **fields})


_NO_KEY = Secret("")


def _peer_finder(row: Row) -> dict[str, str]:
    return {"interface": row["interface"], "public-key": row["public-key"]}


# Routes


def plan_routes(menu: str, rows: Sequence[Row], routes: Iterable[str], name: str) -> Steps:
    """`rows`: those through the interface, and those with our comment. A route of others serves as well, and stays."""
    static = [row for row in rows if not is_on(row, "dynamic") and row.get("routing-table", "main") == "main"]
    ours = {row[".id"]: row for row in static if row.get("comment") == MARKER + name}
    # One that works comes first, then one of ours, which can be mended.
    useful = [row for row in static if _works(row, name) or row[".id"] in ours]
    useful.sort(key=lambda row: (not _works(row, name), row[".id"] not in ours), reverse=True)
    best = {prefix: row for row in useful for prefix in prefixes(row["dst-address"])}
    coming = []
    for route in routes:
        row = best.get(route)
        if row is None:
            fields = {"dst-address": route, "gateway": name, "comment": MARKER + name}
            coming.append(Sentence(menu, "add", fields))
            continue
        ours.pop(row[".id"], None)
        wrong = {} if row.get("gateway") == name else {"gateway": name}
        wrong.update({"disabled": "no"} if is_on(row, "disabled") else {})
        if wrong:
            coming.append(Sentence(menu, "set", wrong, row[".id"], _route_finder(row)))
    return Steps(coming, [Sentence(menu, "remove", {}, item, _route_finder(row)) for item, row in ours.items()])


def _works(row: Row, name: str) -> bool:
    return row.get("gateway") == name and not is_on(row, "disabled")


def _route_finder(row: Row) -> dict[str, str]:
    return {key: row[key] for key in ("dst-address", "gateway", "comment") if key in row}


def served_routes(rows: Sequence[Row], name: str, goal: Iterable[str]) -> tuple[str, ...]:
    """The routes into the tunnel that work: ours, and those of others that the goal would else need to add."""
    wanted = set(goal)
    return sorted_prefixes(
        prefix
        for row in rows
        if not is_on(row, "dynamic") and _works(row, name) and row.get("routing-table", "main") == "main"
        for prefix in prefixes(row["dst-address"])
        if prefix in wanted or row.get("comment") == MARKER + name
    )
