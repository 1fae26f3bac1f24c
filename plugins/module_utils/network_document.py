# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's `wireguard_networks`: read, and judged before a device sees it. The document:

relay:                           # name of the network
  prefix: 10.100.0.0/24          # or a list, with one prefix per IP version
  hub: vps-relay                 # optional: everybody talks to it, and through it to each other; several: [one, two]
  mtu: 1420                      # optional, one for all
  client_masquerade: true        # road warriors appear as their hub; false: the nodes get a route to them
  nodes:
    vps-relay:                   # an inventory host, or any other device whose public_key is given
      device: linux              # linux (default), routeros, pfsense, openwrt, glinet
      interface: wg0             # default: the device's usual name; wgserver for a hub of GL.iNet
      address: 10.100.0.1        # or a list; the length is the prefix's if left out
      endpoint: 203.0.113.10     # name or address under which others dial it; none: it cannot be dialled
      listen_port: 51820         # default 51820
      networks: []               # prefixes that lie behind it
      hub: vps-relay             # which of several hubs it talks to; default the first one
      routes: []                 # further prefixes that it sends to the hub
      forward_to: []             # interfaces or prefixes it forwards to; default: its networks
      masquerade: []             # source prefixes that it hides behind its own address
      keepalive: 25              # seconds; default 25 where it cannot be dialled, and towards a name; else off
      public_key: …              # of a device that this inventory does not manage
      preshared_key: …           # for its link to the hub
"""

from __future__ import annotations

import difflib
from typing import Any, Callable, Mapping, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.network import DEFAULT_MTU, DEFAULT_PORT, Network, Node
from ansible_collections.homelab.fabric.plugins.module_utils.network_mistakes import host_mistakes, network_mistakes
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    DEVICES,
    Endpoint,
    Secret,
    TunnelError,
    parse_boolean,
    parse_forward,
    parse_host,
    parse_interface,
    parse_keepalive,
    parse_key,
    parse_mtu,
    parse_name,
    parse_port,
    parse_prefix,
    sorted_prefixes,
)

_INTERFACES = {"linux": "wg0", "routeros": "wg0", "openwrt": "wg0", "pfsense": "tun_wg0", "glinet": "wgclient1"}
_NETWORK_KEYS = ("prefix", "hub", "mtu", "client_masquerade", "nodes")
_NODE_KEYS = (
    "device",
    "interface",
    "address",
    "endpoint",
    "listen_port",
    "networks",
    "hub",
    "routes",
    "forward_to",
    "masquerade",
    "keepalive",
    "mtu",
    "public_key",
    "preshared_key",
)


class TopologyError(ValueError):
    """Everything that is wrong with the document, a line a mistake: network, node, field, value and remedy."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(self.mistakes))


def read_networks(networks: Mapping[str, Any]) -> list[Network]:
    """The document in normal form. Raises TopologyError that lists every mistake."""
    mistakes: list[str] = []
    if not isinstance(networks, Mapping):
        raise TopologyError(["wireguard_networks: not a mapping: write each network under its name"])
    parsed = [_Reader(mistakes).network(name, raw) for name, raw in networks.items()]
    if not mistakes:
        for network in parsed:
            mistakes += network_mistakes(network)
        mistakes += host_mistakes(parsed)
    if mistakes:
        raise TopologyError(list(dict.fromkeys(mistakes)))
    return parsed


class _Reader:
    """Turns the document into Network and Node; what it cannot read goes into `mistakes` and reading goes on."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes

    def take(self, where: str, raw: Any, parse: Callable[[Any, str], Any], default: Any = None) -> Any:
        """parse(raw, where), or the default if nothing is there or it is wrong."""
        if raw is None or raw == "":
            return default
        try:
            return parse(raw, where)
        except TunnelError as error:
            self.mistakes.append(str(error))
            return default

    def several(self, where: str, raw: Any, parse: Callable[[Any, str], str]) -> tuple[str, ...]:
        """A list, or one value alone, in the order written."""
        items = raw if isinstance(raw, (list, tuple)) else [] if raw is None or raw == "" else [raw]
        return tuple(item for item in (self.take(where, one, parse) for one in items) if item is not None)

    def unknown(self, where: str, raw: Mapping[str, Any], known: Sequence[str]) -> None:
        for key in raw:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                remedy = f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"
                self.mistakes.append(f"{where}.{key}: unknown key: {remedy}")

    def network(self, name: str, raw: Any) -> Network:
        where = f"wireguard_networks.{name}"
        network = Network(name)
        if not isinstance(raw, Mapping) or not isinstance(raw.get("nodes"), Mapping) or not raw["nodes"]:
            self.mistakes.append(f"{where}: no nodes: list its devices under {where}.nodes")
            return network
        self.unknown(where, raw, _NETWORK_KEYS)
        network.prefixes = sorted_prefixes(self.several(f"{where}.prefix", raw.get("prefix"), parse_prefix))
        if not raw.get("prefix"):
            self.mistakes.append(f"{where}.prefix: missing: give the network's own prefix, such as 10.100.0.0/24")
        network.mtu = self.take(f"{where}.mtu", raw.get("mtu"), parse_mtu, DEFAULT_MTU)
        network.client_masquerade = self.take(
            f"{where}.client_masquerade", raw.get("client_masquerade"), parse_boolean, True
        )
        network.nodes = {str(key): self.node(f"{where}.nodes.{key}", key, value) for key, value in raw["nodes"].items()}
        network.hubs = tuple(dict.fromkeys(self.several(f"{where}.hub", raw.get("hub"), parse_name)))
        if not network.hubs:
            dialled = [node.name for node in network.nodes.values() if node.endpoint]
            network.hubs = tuple(dialled) if len(dialled) == 1 else ()
        for hub in network.hubs:
            if hub not in network.nodes:
                self.mistakes.append(f"{where}.hub: {hub!r} is not among its nodes: name one of them")
            elif network.nodes[hub].device == "glinet" and not raw["nodes"][hub].get("interface"):
                network.nodes[hub].interface = "wgserver"
        for node in network.nodes.values():
            if node.hub and node.name in network.hubs:
                self.mistakes.append(f"{node.where}.hub: {node.name} is a hub itself: leave it out")
            elif node.hub and node.hub not in network.hubs:
                self.mistakes.append(f"{node.where}.hub: {node.hub!r} is no hub: name it at {where}.hub, too")
        return network

    def node(self, where: str, name: str, raw: Any) -> Node:
        node = Node(self.take(where, name, parse_name, str(name)), where)
        if not isinstance(raw, Mapping):
            self.mistakes.append(f"{where}: not a mapping: give at least its address")
            return node
        self.unknown(where, raw, _NODE_KEYS)
        node.device = raw.get("device") or "linux"
        if node.device not in DEVICES:
            self.mistakes.append(f"{where}.device: {node.device!r} is not known: use one of {', '.join(DEVICES)}")
            node.device = "linux"

        def interface(value: Any, argument: str) -> str:
            return parse_interface(value, argument, node.device)

        node.interface = self.take(
            f"{where}.interface", raw.get("interface") or _INTERFACES[node.device], interface, ""
        )
        node.addresses = self.several(f"{where}.address", raw.get("address"), lambda value, where: str(value))
        if not node.addresses:
            self.mistakes.append(f"{where}.address: missing: give it an address in the network's prefix")
        node.listen_port = self.take(f"{where}.listen_port", raw.get("listen_port"), parse_port, DEFAULT_PORT)
        host = self.take(f"{where}.endpoint", raw.get("endpoint"), parse_host)
        node.endpoint = Endpoint(host, node.listen_port) if host else None
        node.networks = sorted_prefixes(self.several(f"{where}.networks", raw.get("networks"), parse_prefix))
        node.hub = self.take(f"{where}.hub", raw.get("hub"), parse_name)
        node.routes = sorted_prefixes(self.several(f"{where}.routes", raw.get("routes"), parse_prefix))
        node.forward_to = self.several(f"{where}.forward_to", raw.get("forward_to"), parse_forward)
        node.masquerade = sorted_prefixes(self.several(f"{where}.masquerade", raw.get("masquerade"), parse_prefix))
        node.keepalive = self.take(f"{where}.keepalive", raw.get("keepalive"), parse_keepalive)
        node.mtu = self.take(f"{where}.mtu", raw.get("mtu"), parse_mtu)
        node.public_key = self.take(f"{where}.public_key", raw.get("public_key"), parse_key)
        psk = self.take(f"{where}.preshared_key", raw.get("preshared_key"), lambda v, w: parse_key(v, w, secret=True))
        node.preshared_key = Secret(psk) if psk else None
        return node
