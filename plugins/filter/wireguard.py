# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that hand one host's part of `wireguard_networks` to its module."""

from __future__ import annotations

import ipaddress
from typing import Any, Callable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.homelab.fabric.plugins.module_utils.network import Node
from ansible_collections.homelab.fabric.plugins.module_utils.network_document import TopologyError, read_networks
from ansible_collections.homelab.fabric.plugins.module_utils.topology import in_document, tunnels_of
from ansible_collections.homelab.fabric.plugins.module_utils.values import public_key_fact, sorted_prefixes


def wireguard_network(networks: Mapping[str, Any], node: str, network: str = "") -> str:
    """The name of the network that `node` is in; `network` chooses where it is in several."""
    homes = [
        name
        for name, document in networks.items()
        if isinstance(document, Mapping) and node in (document.get("nodes") or {})
    ]
    if network:
        if network not in homes:
            raise AnsibleFilterError(f"{node} is not among the nodes of wireguard_networks.{network}: add it there")
        return network
    if len(homes) != 1:
        what = f"in several networks ({', '.join(homes)})" if homes else "in no network of wireguard_networks"
        remedy = "name one of them in the role's variable for the network" if homes else "add it to a network's nodes"
        raise AnsibleFilterError(f"{node} is {what}: {remedy}")
    return homes[0]


def wireguard_tunnel(
    networks: Mapping[str, Any], node: str, hostvars: Mapping[str, Any], network: str = ""
) -> dict[str, Any]:
    """The tunnel arguments of `node`'s module, with the public keys that this run has learned so far."""
    name = wireguard_network(networks, node, network)

    def key_of(other: Node) -> str | None:
        if other.name not in hostvars:
            return in_document(other)
        known = hostvars[other.name]
        fact = public_key_fact(other.interface)
        # Facts are variables as well only with INJECT_FACTS_AS_VARS, whose default is on its way out.
        return known.get("ansible_facts", {}).get(fact) or known.get(fact) or in_document(other)

    try:
        document = next(document for document in read_networks(networks) if document.name == name)
    except TopologyError as error:
        raise AnsibleFilterError(str(error)) from error
    # Looking into hostvars costs far more than a plan, so only the keys of this node's own peers are looked up.
    tunnel, nodes = tunnels_of(document)[node], document.nodes
    return {
        "name": tunnel.name,
        "addresses": list(tunnel.addresses),
        "listen_port": tunnel.listen_port,
        "mtu": tunnel.mtu,
        "peers": [
            {
                "name": peer.name,
                "public_key": key_of(nodes[peer.name]),
                "preshared_key": peer.preshared_key.reveal() if peer.preshared_key else None,
                "endpoint": str(peer.endpoint) if peer.endpoint else None,
                "allowed_ips": list(peer.allowed_ips),
                "persistent_keepalive": str(peer.keepalive),
            }
            for peer in tunnel.peers
        ],
        "gateways": {
            peer.name: [address.partition("/")[0] for address in nodes[peer.name].addresses]
            for peer in tunnel.peers
            if nodes[node].device == "pfsense"  # it alone wants a next hop
        },
        "forward_to": list(tunnel.forward_to),
        "masquerade": list(tunnel.masquerade),
        "open_port": tunnel.open_port,
    }


def wireguard_new_keys(tunnel: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """The peers of `tunnel` whose public key the result `made` of its module does not have."""
    there = {peer["name"]: peer["public_key"] for peer in made["peers"]}
    return [
        peer["name"] for peer in tunnel["peers"] if peer["public_key"] and there.get(peer["name"]) != peer["public_key"]
    ]


def wireguard_hub(networks: Mapping[str, Any], node: str, network: str = "") -> dict[str, Any]:
    """What `node`, as the hub of road warriors, tells them about the network."""
    name = wireguard_network(networks, node, network)
    try:
        document = next(document for document in read_networks(networks) if document.name == name)
    except TopologyError as error:
        raise AnsibleFilterError(str(error)) from error
    hub = document.nodes[node]
    if hub.endpoint is None:
        raise AnsibleFilterError(
            f"{hub.where}.endpoint: road warriors dial {node}: give the name or address under which they reach it"
        )
    return {
        "interface": hub.interface,
        "endpoint": str(hub.endpoint),
        "prefixes": list(document.prefixes),
        "reserved": [address for other in document.nodes.values() for address in other.hosts],
        "networks": list(sorted_prefixes(prefix for other in document.nodes.values() for prefix in other.networks)),
        "mtu": document.mtu,
        "masquerade": document.client_masquerade,
    }


def wireguard_sites(
    networks: Mapping[str, Any], node: str, hostvars: Mapping[str, Any], network: str = ""
) -> dict[str, str]:
    """An address at every other site, by the names of their nodes, that a packet from `node` can be sent to."""
    name = wireguard_network(networks, node, network)
    try:
        document = next(document for document in read_networks(networks) if document.name == name)
    except TopologyError as error:
        raise AnsibleFilterError(str(error)) from error

    def probe(other: Node) -> str:
        given = hostvars[other.name].get("site_to_site_probe") if other.name in hostvars else None
        if given:
            return str(given)
        # Mostly the router itself, which answers without anybody's help.
        behind = ipaddress.ip_network(other.networks[0]) if other.networks else None
        return str(behind[min(1, behind.num_addresses - 1)]) if behind else other.hosts[0].partition("/")[0]

    return {other.name: probe(other) for other in document.nodes.values() if other.name != node}


def wireguard_picture(networks: Mapping[str, Any], network: str) -> str:
    """The network as an SVG document."""
    # Each task that uses any filter of this collection loads this file.
    from ansible_collections.homelab.fabric.plugins.module_utils.picture import draw

    if network not in networks:
        raise AnsibleFilterError(f"wireguard_networks has no network {network!r}: name one of {', '.join(networks)}")
    try:
        return draw(networks, network)
    except TopologyError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filters over the inventory's wireguard_networks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "wireguard_hub": wireguard_hub,
            "wireguard_network": wireguard_network,
            "wireguard_new_keys": wireguard_new_keys,
            "wireguard_picture": wireguard_picture,
            "wireguard_sites": wireguard_sites,
            "wireguard_tunnel": wireguard_tunnel,
        }
