# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would cost a pfSense firewall its way in or its way out, refused by name before anything is written.

Pure: what was read in, TunnelError out.
"""

from __future__ import annotations

from typing import Iterable

from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_config import Firewall, number
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError, covers


def check_free(firewall: Firewall, goal: Tunnel) -> None:
    """The name and the port, which the package does not look at."""
    for tunnel in firewall.others:
        if goal.listen_port and number(tunnel.get("listenport")) == goal.listen_port:
            raise TunnelError(
                "listen_port", f"{goal.listen_port} is {tunnel.get('name')}'s already", "choose another port"
            )
    if number(firewall.name[len("tun_wg") :]) > 32767:
        raise TunnelError("name", f"{firewall.name} is beyond tun_wg32767", "choose a smaller number")


def check_way_in(firewall: Firewall, bare: Tunnel | None, goal: Tunnel | None, client: str) -> None:
    """`bare`: the tunnel as it is; `client`: the address from which Ansible is connected, empty if it is not known."""
    through = bool(client) and bare is not None and _carries(firewall, bare, client, _routes(firewall))
    if through and not (goal and _carries(firewall, goal, client, goal.routes or ())):
        raise TunnelError(
            "peers" if goal else "state",
            f"Ansible is connected from {client} through this tunnel, and could not come back",
            "keep the peer that leads there, or connect to the firewall from its LAN",
        )
    if goal is None:
        return
    precious = {peer.endpoint.host: f"the endpoint of {peer.name}" for peer in goal.peers if peer.endpoint}
    if client and not through:
        precious[client] = "the address from which Ansible is connected"
    into = [*(goal.routes or ()), *goal.networks]
    present = _routes(firewall)
    for host, what in precious.items():
        taking = [prefix for prefix in into if _holds(prefix, host) and prefix not in present]
        # A network of the firewall's own within the route is not affected by it.
        if taking and not any(_holds(near, host) and covers(taking[0], near) for near in firewall.networks()):
            raise TunnelError(
                "routes", f"{taking[0]} holds {host}, {what}: its packets would go into the tunnel", "leave it out"
            )


def _carries(firewall: Firewall, tunnel: Tunnel, host: str, routes: Iterable[str]) -> bool:
    """Whether packets to a host go into the tunnel, and a peer takes them."""
    into = any(_holds(prefix, host) for prefix in (*tunnel.networks, *routes))
    nearer = any(_holds(prefix, host) for prefix in firewall.networks())
    taken = any(_holds(prefix, host) for peer in tunnel.peers for prefix in peer.allowed_ips)
    return into and taken and not nearer


def _routes(firewall: Firewall) -> set[str]:
    """The prefixes that static routes lead into the tunnel at present, whoever made them."""
    gateways = {item.get("name") for item in firewall.dump["gateways"] if item.get("interface") == firewall.assigned}
    routes = [item for item in firewall.dump["routes"] if "disabled" not in item]
    return {str(item.get("network")) for item in routes if firewall.assigned and item.get("gateway") in gateways}


def _holds(prefix: str, host: str) -> bool:
    try:
        return covers(prefix, host)
    except ValueError:
        return False  # a host name, or an alias: nobody knows its addresses before they are asked
