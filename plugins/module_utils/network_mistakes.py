# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with networks that were read: lines of network, node, field, value and remedy."""

from __future__ import annotations

import bisect
import ipaddress
import itertools
from typing import Iterable, Mapping, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.network import Network, Node
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    TunnelError,
    covers,
    parse_address,
    prefix_order,
    sorted_prefixes,
)


def network_mistakes(network: Network) -> Iterable[str]:
    """Within one network. Its nodes' addresses get the length of its prefix."""
    where = f"wireguard_networks.{network.name}"
    nodes = list(network.nodes.values())
    versions = [prefix_order(prefix)[0] for prefix in network.prefixes]
    if len(set(versions)) < len(versions):
        yield f"{where}.prefix: two prefixes of one IP version: give one for IPv4 and one for IPv6"
    taken: dict[str, Node] = {}
    for node in nodes:
        yield from _address_mistakes(network, node, taken)
        if node.mtu not in (None, network.mtu):
            yield (
                f"{node.where}.mtu: {node.mtu} differs from the network's {network.mtu}, and the larger packets would "
                f"vanish: set mtu once, at {where}.mtu"
            )
        for prefix in node.networks + node.routes:
            if prefix_order(prefix)[2] == 0:
                yield f"{node.where}.networks: {prefix} would cut devices off from the Internet: name what it leads to"
        talks_to_hub = network.hub_of(node) is not None
        if node.preshared_key and not talks_to_hub:
            yield f"{node.where}.preshared_key: it belongs to a link with a hub: set it at the other node of the link"
        if node.routes and not talks_to_hub:
            yield f"{node.where}.routes: they are sent to the hub, and there is none: name one at {where}.hub"
    if network.hubs:
        hubs = [network.nodes[name] for name in network.hubs]
        links = [(network.hub_of(node), node) for node in nodes]
        for hub, node in [*links, *itertools.combinations(hubs, 2)]:
            if hub and not _meet(hub, node):
                yield (
                    f"{hub.where}.endpoint: neither {hub.name} nor {node.name} can be dialled by the other one: give "
                    f"the hub the name or address under which others reach it{_SERVER}"
                )
        if len(hubs) > 1 and not network.client_masquerade:
            yield (
                f"{where}.client_masquerade: with several hubs the nodes cannot know to which one a road warrior is "
                "connected: leave it on"
            )
    else:
        apart = next((pair for pair in itertools.combinations(nodes, 2) if not _meet(*pair)), None)
        if apart:
            yield (
                f"{where}.hub: neither {apart[0].name} nor {apart[1].name} can be dialled by the other one: name a "
                f"node with an endpoint as the hub between them{_SERVER}"
            )
    owned = [(prefix, node) for node in nodes for prefix in node.networks]
    yield from _overlaps(owned, {prefix: _reserved(network, prefix) for prefix in network.prefixes})
    yield from _endpoint_mistakes(network, [prefix for prefix, owner in owned])


def _meet(one: Node, other: Node) -> bool:
    """Whether one of them dials the other one."""
    return bool((one.endpoint and other.dials) or (other.endpoint and one.dials))


_SERVER = " (GL.iNet's wgserver dials nobody)"


def _endpoint_mistakes(network: Network, owned: Sequence[str]) -> Iterable[str]:
    """Addresses that are dialled through the tunnel which dialling them makes."""
    nodes = list(network.nodes.values())
    routed = sorted((prefix_order(prefix), prefix) for prefix in [*network.prefixes, *owned])
    sent = [(network.hub_of(node), node, prefix) for node in nodes for prefix in node.routes]
    for node in nodes:
        if node.endpoint is None or node.endpoint.is_name:
            continue
        host = node.endpoint.host
        for hub, spoke, prefix in sent:
            if hub is node and covers(prefix, host):
                yield (
                    f"{spoke.where}.routes: {prefix} holds {host}, under which {node.name} is dialled, so packets to "
                    "it would go into the tunnel that they carry: narrow the prefix"
                )
        index = bisect.bisect_right(routed, (prefix_order(host), "~"))
        if index and covers(routed[index - 1][1], host):
            yield (
                f"{node.where}.endpoint: {host} lies in {routed[index - 1][1]}, so packets to it would go into the "
                "tunnel that they carry: give an address outside, or narrow the prefix"
            )


def _address_mistakes(network: Network, node: Node, taken: dict[str, Node]) -> Iterable[str]:
    """Completes the addresses with the prefix's length, and yields what is wrong with them."""
    complete: list[str] = []
    for address in node.addresses:
        try:
            host = address.partition("/")[0]
            home = [prefix for prefix in network.prefixes if covers(prefix, str(ipaddress.ip_address(host)))]
            if not home:
                prefixes = ", ".join(network.prefixes)
                yield f"{node.where}.address: {address} lies outside {prefixes}: choose one inside, or widen the prefix"
                continue
            length = "" if "/" in address else "/" + home[0].partition("/")[2]
            complete.append(parse_address(address + length, f"{node.where}.address"))
        except TunnelError as error:
            yield str(error)
            continue
        except ValueError:
            yield f"{node.where}.address: {address!r} is not an IP address: write it like 10.100.0.1"
            continue
        if not covers(home[0], complete[-1]):
            yield (
                f"{node.where}.address: {address} is wider than {home[0]}, so what lies around the network would go "
                "into the tunnel: leave the length out"
            )
        other = taken.setdefault(complete[-1].partition("/")[0], node)
        if other is not node:
            yield f"{node.where}.address: {host} is {other.name}'s already: choose another one"
    node.addresses = sorted_prefixes(complete)


def _overlaps(owned: Iterable[tuple[str, Node]], reserved: Mapping[str, str]) -> Iterable[str]:
    """Prefixes that hold each other. Prefixes nest or are disjoint, so one pass in order finds them all."""
    entries = sorted([*owned, *((prefix, None) for prefix in reserved)], key=lambda entry: prefix_order(entry[0]))
    outer: tuple[str, Node | None] | None = None
    for prefix, node in entries:
        if outer is None or not covers(outer[0], prefix):
            outer = (prefix, node)
            continue
        other_prefix, other = outer
        if node is not None and node is other:
            yield f"{node.where}.networks: {other_prefix} holds {prefix} already: leave the smaller one out"
        elif node is not None:
            whose = f"{other.name}'s {other_prefix}" if other else reserved[other_prefix]
            yield f"{node.where}.networks: {prefix} overlaps {whose}: renumber or narrow one of them"
        elif other is not None:
            yield f"{other.where}.networks: {other_prefix} overlaps {reserved[prefix]}: renumber or narrow one of them"


def host_mistakes(networks: Sequence[Network]) -> Iterable[str]:
    """What only shows on a host that is in several networks."""
    homes: dict[str, list[tuple[Network, Node]]] = {}
    for network in networks:
        for node in network.nodes.values():
            homes.setdefault(node.name, []).append((network, node))
    for name, places in homes.items():
        if len(places) < 2:
            continue
        ports: dict[int, Node] = {}
        interfaces: dict[str, Node] = {}
        for node in (node for network, node in places):
            if ports.setdefault(node.listen_port, node) is not node:
                first = ports[node.listen_port].where
                yield f"{node.where}.listen_port: {node.listen_port} is taken on {name} by {first}: choose another port"
            if interfaces.setdefault(node.interface, node) is not node:
                first = interfaces[node.interface].where
                yield f"{node.where}.interface: {node.interface} is taken on {name} by {first}: choose another name"
        owned = [
            (prefix, other)
            for network, node in places
            for other in network.nodes.values()
            if other.name != name
            for prefix in other.networks
        ]
        own = {prefix: node for network, node in places for prefix in node.networks}
        for (first_network, _node), (network, _other) in itertools.combinations(places, 2):
            for one, another in itertools.product(first_network.prefixes, network.prefixes):
                if covers(one, another) or covers(another, one):
                    yield (
                        f"wireguard_networks.{network.name}.prefix: {another} overlaps {one} of {first_network.name}, "
                        f"and {name} is in both: renumber one of the two networks"
                    )
        reserved = {prefix: _reserved(network, prefix) for network, node in places for prefix in network.prefixes}
        yield from _overlaps([*owned, *own.items()], reserved)


def _reserved(network: Network, prefix: str) -> str:
    return f"the prefix {prefix} of {network.name} itself"
