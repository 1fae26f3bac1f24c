# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would cost a pfSense firewall its way in or its way out, refused by name before anything is written.

Pure: what was read in, TunnelError out.
"""

from __future__ import annotations

from typing import Any, Collection, Iterable, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_config import (
    Firewall,
    Item,
    addresses_of,
    number,
)
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
    if firewall.holder and not firewall.assigned:
        raise TunnelError(
            "name",
            f"interface {firewall.holder} is on {firewall.name} already, and not of our making",
            "choose another number, or remove it in Interfaces > Assignments",
        )


def check_unused(firewall: Firewall, gateways: Collection[str], whole: bool) -> None:
    """What leans on what shall go and is not ours stops it: pfSense would leave it dangling.

    `gateways`: names of ours that shall go; `whole`: the interface goes as well, and all that stands on it.
    """
    dump, key = firewall.dump, firewall.assigned if whole else None
    others = [item for item in dump["gateways"] if key and item.get("interface") == key]
    names = {*gateways, *(str(item.get("name")) for item in others)}
    users = [f"gateway {name}" for name in sorted(names.difference(gateways))]
    routes = [item for item in dump["routes"] if not firewall.owns(item)]
    users += [f"route {item.get('network')}" for item in routes if item.get("gateway") in names]
    for what, items, own in (
        ("rule", dump["rules"], firewall.owned_rules(dump["rules"])),
        ("port forward", dump["port_forwards"], []),
        ("outbound NAT rule", dump["nat_rules"], firewall.owned(dump["nat_rules"])),
    ):
        leaning = [item for item in items if item.get("gateway") in names or (key and _names(item, key))]
        users += [f"{what} {item.get('descr') or item.get('tracker')!r}" for item in leaning if item not in own]
    for group in dump["gateway_groups"]:
        members = {str(member).partition("|")[0] for member in group.get("item") or ()}
        users += [f"gateway group {group.get('name')}"] if members & names else []
    if names.intersection(dump["dns_gateways"]):
        users.append("a DNS server (System > General Setup)")
    if names.intersection(dump["default_gateways"].values()):
        users.append("the default gateway (System > Routing)")
    if key:
        groups = [group for group in dump["groups"] if key in str(group.get("members") or "").split()]
        users += [f"interface group {group.get('ifname')}" for group in groups]
        bridges = [bridge for bridge in dump["bridges"] if key in str(bridge.get("members") or "").split(",")]
        users += [f"bridge {bridge.get('bridgeif')}" for bridge in bridges]
    if users:
        leaves = ", ".join(filter(None, [key, *sorted(gateways)]))
        raise TunnelError(
            "state" if whole else "routes",
            f"{', '.join(users)} is not of our making and needs {leaves}, which would go",
            "remove or change it first" + ("" if whole else ", or keep a route through that peer"),
        )


def _names(rule: Item, key: str) -> bool:
    """Whether a rule stands on an interface, or names its network or address."""
    named = [rule.get("target"), *(_network(rule.get(side)) for side in ("source", "destination"))]
    return key in str(rule.get("interface", "")).split(",") or key in named or f"{key}ip" in named


def _network(side: Any) -> Any:
    return side.get("network") if isinstance(side, dict) else None


class Connection(NamedTuple):
    """How Ansible is connected: from which address to which one and port; empty texts if it is not known."""

    client: str = ""
    server: str = ""
    port: str = ""


def connection(text: str) -> Connection:
    """What sshd says in SSH_CONNECTION."""
    words = [word.partition("%")[0] for word in text.split()]
    return Connection(words[0], words[2], words[3]) if len(words) == 4 else Connection()


def check_way_in(firewall: Firewall, bare: Tunnel | None, goal: Tunnel | None, client: str) -> bool:
    """Whether Ansible is connected through the tunnel. `bare`: the tunnel as it is; `client`: see Connection."""
    through = bool(client) and bare is not None and _carries(firewall, bare, client, _routes(firewall))
    if through and not (goal and _carries(firewall, goal, client, goal.routes or ())):
        raise TunnelError(
            "peers" if goal else "state",
            f"Ansible is connected from {client} through this tunnel, and could not come back",
            "keep the peer that leads there, or connect to the firewall from its LAN",
        )
    if goal is None:
        return through
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
    return through


def check_let_in(firewall: Firewall, after: Iterable[Item], ssh: Connection) -> None:
    """`after`: the filter rules as they would be. Who is let in through the tunnel now must be let in then."""
    if any(_lets_in(firewall, rule, ssh) for rule in firewall.dump["rules"]) and not any(
        _lets_in(firewall, rule, ssh) for rule in after
    ):
        raise TunnelError(
            "forward_to",
            f"Ansible is connected from {ssh.client} to {ssh.server} through this tunnel, and no rule would let it in "
            "any more",
            f"keep what holds {ssh.server}, or connect to the firewall from its LAN",
        )


def _lets_in(firewall: Firewall, rule: Item, ssh: Connection) -> bool:
    """Whether a rule passes ssh from the tunnel. An alias passes nothing: nobody knows what is in it."""
    key = str(firewall.assigned)
    groups = [group for group in firewall.dump["groups"] if key in str(group.get("members") or "").split()]
    # The package's own group holds its tunnels without naming them.
    here = {key, "WireGuard", *(str(group.get("ifname")) for group in groups)}
    source, destination = (rule.get(side) or {} for side in ("source", "destination"))
    ports = [number(part) for part in str(destination.get("port") or ssh.port).replace("-", ":").split(":")]
    return (
        rule.get("type") == "pass"
        and "disabled" not in rule
        and bool(here.intersection(str(rule.get("interface", "")).split(",")))
        and rule.get("protocol") in (None, "", "any", "tcp", "tcp/udp")
        and ports[0] <= number(ssh.port) <= ports[-1]
        and "port" not in source
        and _meets(firewall, source, ssh.client)
        and _meets(firewall, destination, ssh.server)
    )


def _meets(firewall: Firewall, side: Item, host: str) -> bool:
    """Whether a rule's source or destination holds an address."""
    if "any" in side:
        return True
    if "not" in side or "address" in side:
        return "not" not in side and _holds(str(side["address"]), host)
    name = str(side.get("network", ""))
    for key, item in firewall.interfaces.items():
        for address in addresses_of(item):
            if name in (f"{key}ip", "(self)") and address.partition("/")[0] == host:
                return True
            if name == key and _holds(address, host):
                return True
    return _holds(name, host)


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
