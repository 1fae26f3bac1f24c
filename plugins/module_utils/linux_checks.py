# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Linux host would be cut off by, or could not take: refused before anything is written."""

from __future__ import annotations

import ipaddress
from typing import Iterable

from ansible_collections.homelab.fabric.plugins.module_utils.linux_file import routing_table
from ansible_collections.homelab.fabric.plugins.module_utils.linux_host import Host, Link
from ansible_collections.homelab.fabric.plugins.module_utils.linux_live import wanted_routes
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError, covers, prefix_order
from ansible_collections.homelab.fabric.plugins.module_utils.wg_quick import WgQuickFile


def check_room(host: Host, file: WgQuickFile | None, link: Link | None, target: Tunnel) -> None:
    """What is new must not be on this host already: wg-quick would take the interface down again at its start."""
    port = target.listen_port
    if port and (link is None or link.listen_port != port) and not host.port_is_free(port):
        raise TunnelError(
            "listen_port",
            f"UDP port {port} is in use on this host already",
            "`ss -ulnp` or `wg show` tells by whom: give another port, or end that",
        )
    table = routing_table(file)
    networks = [
        str(ipaddress.ip_interface(address).network)
        for address in target.addresses
        if (link is None or address not in link.addresses) and not ipaddress.ip_interface(address).is_link_local
    ]
    routes = [route for route in wanted_routes(file, target) if link is None or route not in link.routes]
    for argument, prefixes, where in (("addresses", networks, "main"), ("routes", routes, table)):
        elsewhere = host.routes_elsewhere(target.name, where) if prefixes and where else {}
        for prefix in prefixes:
            if prefix in elsewhere:
                raise TunnelError(
                    argument,
                    f"{prefix} is on {elsewhere[prefix]} of this host already",
                    "one of two networks with the same addresses has to be renumbered, or left out of allowed_ips",
                )


def check_default_route(target: Tunnel, conf: str) -> None:
    """wg-quick routes a /0 by rules and marks, at start only; what is not done live is refused."""
    for peer in target.peers:
        if peer.ours and any(prefix.endswith("/0") for prefix in peer.allowed_ips):
            raise TunnelError(
                "peers",
                f"{peer.name} has a default route in its allowed_ips, which would take all traffic of this host",
                f"list the networks behind it, or set `Table = off` in {conf} and route it yourself",
            )


def check_way_home(host: Host, target: Tunnel) -> None:
    """No route may swallow this run's own connection, nor the packets of the tunnel itself."""
    prefixes = [*(target.routes or ()), *target.networks]
    client = host.ssh_client()
    taken = _taken(host, target.name, client, prefixes) if client else None
    if taken and taken[1] != target.name:
        raise TunnelError(
            "routes",
            f"{taken[0]} holds {client}, from which this run is connected: it would cut itself off",
            "leave that prefix out, or run the playbook from within the tunnel",
        )
    for peer in target.peers:
        taken = _taken(host, target.name, peer.endpoint.host, prefixes) if peer.ours and peer.endpoint else None
        if taken:
            raise TunnelError(
                "peers",
                f"{taken[0]} holds {peer.name}'s own endpoint {peer.endpoint}: no packet would get there",
                "leave the endpoint's address out of the allowed_ips, or dial another address",
            )


def _taken(host: Host, name: str, address: str, prefixes: Iterable[str]) -> tuple[str, str] | None:
    """The longest of the prefixes that packets to an address would follow, and the device they take now."""
    try:
        holding = [prefix for prefix in prefixes if covers(prefix, address)]
    except ValueError:
        return None  # a host name: nobody knows its address before it is asked
    way = host.way_to(address) if holding else None
    if not way:
        return None
    longest = max(holding, key=lambda prefix: prefix_order(prefix)[2])
    captured = way[0] == name or prefix_order(longest)[2] >= way[1]
    return (longest, way[0]) if captured else None
