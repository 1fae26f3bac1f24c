# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RouterOS's rows of a tunnel, and the sentences that bring them to a target: interface, addresses and routes.

Pure: rows in, sentences out. It compares rows, not tunnels, because a row can be wrong in ways that a tunnel cannot
(disabled, there twice, without its comment).
"""

from __future__ import annotations

import ipaddress
from typing import Iterable, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.routeros_rows import Row, Sentence, is_on, prefixes
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError, sorted_prefixes

INTERFACE = "/interface/wireguard"
ADDRESS = {4: "/ip/address", 6: "/ipv6/address"}
ROUTE = {4: "/ip/route", 6: "/ipv6/route"}
DEFAULT_PORT = 13231


class Steps(NamedTuple):
    """Sentences that add or mend, and those that remove: what leans on a thing comes between."""

    coming: list[Sentence]
    leaving: list[Sentence]


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
