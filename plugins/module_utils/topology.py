# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the inventory's `wireguard_networks` and the public keys known so far to one Tunnel per node.

Pure: no I/O, no Ansible, no device. The document itself, and what is refused in it, is in network_document.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Iterable, Mapping, Optional

from ansible_collections.homelab.fabric.plugins.module_utils.network import Network, Node
from ansible_collections.homelab.fabric.plugins.module_utils.network_document import read_networks
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import sorted_prefixes

KeyOf = Callable[[Node], Optional[str]]
"""A node's public key, None if it is not known."""

CGNAT_KEEPALIVE = 25


def in_document(node: Node) -> str | None:
    """The key that the document itself gives, for a device that this inventory does not manage."""
    return node.public_key


def plan(networks: Mapping[str, Any], key_of: KeyOf = in_document) -> dict[str, dict[str, Tunnel]]:
    """One Tunnel per network and node. Raises TopologyError that lists every mistake.

    A key that nobody knows is None in the peer: the device keeps the key that it has.
    """
    return {network.name: tunnels_of(network, key_of) for network in read_networks(networks)}


def tunnels_of(network: Network, key_of: KeyOf = in_document) -> dict[str, Tunnel]:
    """The tunnels of one network by node."""
    tunnels = _stars(network, key_of) if network.hubs else _mesh(network, key_of)
    return dict(sorted(tunnels.items()))


def _tunnel(network: Network, node: Node, peers: tuple[Peer, ...], through: tuple[str, ...] = ()) -> Tunnel:
    return Tunnel(
        name=node.interface,
        addresses=node.addresses,
        listen_port=node.listen_port,
        mtu=network.mtu,
        peers=peers,
        forward_to=tuple(sorted({*(node.forward_to or node.networks), *through})),
        masquerade=node.masquerade,
        open_port=node.endpoint is not None,
    )


def _keepalive(viewer: Node, node: Node) -> int:
    """A mapping of a CGNAT dies after about 30 s, so who cannot be dialled must keep it alive. And whom only a name
    leads to may move: who has nothing to send would not notice. And who does not dial waits for the other one."""
    if viewer.keepalive is not None or not viewer.dials:
        return viewer.keepalive or 0
    moves = node.endpoint is not None and node.endpoint.is_name
    return CGNAT_KEEPALIVE if viewer.endpoint is None or moves or not node.dials else 0


def _peer(node: Node, viewer: Node, allowed_ips: Iterable[str], key_of: KeyOf) -> Peer:
    """A node as another one has it in its list."""
    return Peer(
        name=node.name,
        public_key=key_of(node),
        preshared_key=viewer.preshared_key or node.preshared_key,
        endpoint=node.endpoint if viewer.dials else None,
        allowed_ips=sorted_prefixes(allowed_ips),
        keepalive=_keepalive(viewer, node),
    )


def _stars(network: Network, key_of: KeyOf) -> dict[str, Tunnel]:
    """Every spoke has one peer, its hub, through which it reaches all that is not its own; hubs have each other."""
    nodes = list(network.nodes.values())
    spokes: dict[str, list[Node]] = {name: [] for name in network.hubs}
    everything = sorted_prefixes(prefix for node in nodes for prefix in node.prefixes)
    position = {prefix: index for index, prefix in enumerate(everything)}
    tunnels: dict[str, Tunnel] = {}
    for spoke in nodes:
        hub = network.hub_of(spoke)
        if hub is None:
            continue
        spokes[hub.name].append(spoke)
        # Copying slices, not filtering, is what keeps a thousand nodes under a second.
        cuts = sorted(position[prefix] for prefix in set(spoke.prefixes))
        rest: tuple[str, ...] = ()
        for start, end in zip([-1, *cuts], [*cuts, len(everything)]):
            rest += everything[start + 1 : end]
        more = spoke.routes + (() if network.client_masquerade else network.prefixes)
        rest = sorted_prefixes(rest + more) if more else rest
        tunnels[spoke.name] = _tunnel(network, spoke, (replace(_peer(hub, spoke, (), key_of), allowed_ips=rest),))
    for name, own in spokes.items():
        behind = {node.name: node.prefixes for node in own}
        for other in network.hubs:
            if other != name:
                behind[other] = tuple(p for node in (network.nodes[other], *spokes[other]) for p in node.prefixes)
        hub = network.nodes[name]
        peers = tuple(_peer(network.nodes[peer], hub, behind[peer], key_of) for peer in sorted(behind))
        through = [*network.prefixes, *(p for node in nodes if node is not hub for p in node.networks)]
        tunnels[name] = _tunnel(network, hub, peers, tuple(through) if len(peers) > 1 else ())
    return tunnels


def _mesh(network: Network, key_of: KeyOf) -> dict[str, Tunnel]:
    """Everybody has everybody else as a peer."""
    nodes = sorted(network.nodes.values(), key=lambda node: node.name)
    views: dict[tuple[int | None, bool, bool], list[Peer]] = {}
    tunnels: dict[str, Tunnel] = {}
    for index, viewer in enumerate(nodes):
        # A peer looks the same to all viewers with one notion of keepalive, so it is made once for them.
        kind = (viewer.keepalive, viewer.endpoint is None, viewer.dials)
        if kind not in views:
            views[kind] = [_peer(node, viewer, node.prefixes, key_of) for node in nodes]
        seen = views[kind]
        tunnels[viewer.name] = _tunnel(network, viewer, (*seen[:index], *seen[index + 1 :]))
    return tunnels
