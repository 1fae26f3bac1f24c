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

import bisect
import difflib
import ipaddress
import itertools
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Mapping, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    DEVICES,
    Endpoint,
    Secret,
    TunnelError,
    covers,
    parse_address,
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
    prefix_order,
    sorted_prefixes,
)

DEFAULT_PORT = 51820
DEFAULT_MTU = 1420
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


@dataclass
class Node:
    """A node's lines of the document in normal form."""

    name: str
    where: str
    device: str = "linux"
    interface: str = ""
    addresses: tuple[str, ...] = ()
    endpoint: Endpoint | None = None
    listen_port: int = DEFAULT_PORT
    networks: tuple[str, ...] = ()
    hub: str | None = None
    routes: tuple[str, ...] = ()
    forward_to: tuple[str, ...] = ()
    masquerade: tuple[str, ...] = ()
    keepalive: int | None = None
    mtu: int | None = None
    public_key: str | None = None
    preshared_key: Secret | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """Its own tunnel addresses as /32 and /128."""
        return tuple(str(ipaddress.ip_network(address.partition("/")[0])) for address in self.addresses)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """All that is reached through it alone."""
        return self.hosts + self.networks

    @property
    def dials(self) -> bool:
        """Whether it dials anybody at all: GL.iNet's server only answers."""
        return (self.device, self.interface) != ("glinet", "wgserver")


@dataclass
class Network:
    """A network of the document in normal form."""

    name: str
    prefixes: tuple[str, ...] = ()
    hubs: tuple[str, ...] = ()
    mtu: int = DEFAULT_MTU
    client_masquerade: bool = True
    nodes: dict[str, Node] = field(default_factory=dict)

    def hub_of(self, node: Node) -> Node | None:
        """The hub that a spoke talks to; None for a hub, and where there is none."""
        if not self.hubs or node.name in self.hubs:
            return None
        return self.nodes[node.hub or self.hubs[0]]


def read_networks(networks: Mapping[str, Any]) -> list[Network]:
    """The document in normal form. Raises TopologyError that lists every mistake."""
    mistakes: list[str] = []
    if not isinstance(networks, Mapping):
        raise TopologyError(["wireguard_networks: not a mapping: write each network under its name"])
    parsed = [_Reader(mistakes).network(name, raw) for name, raw in networks.items()]
    if not mistakes:
        for network in parsed:
            mistakes += _network_mistakes(network)
        mistakes += _host_mistakes(parsed)
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


def _network_mistakes(network: Network) -> Iterable[str]:
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
            if hub and not ((hub.endpoint and node.dials) or (node.endpoint and hub.dials)):
                yield (
                    f"{hub.where}.endpoint: neither {hub.name} nor {node.name} can be dialled by the other one: give "
                    "the hub the name or address under which others reach it (GL.iNet's wgserver dials nobody)"
                )
        if len(hubs) > 1 and not network.client_masquerade:
            yield (
                f"{where}.client_masquerade: with several hubs the nodes cannot know to which one a road warrior is "
                "connected: leave it on"
            )
    else:
        silent = [node for node in nodes if not node.endpoint]
        if len(silent) > 1:
            names = " and ".join(node.name for node in silent[:2])
            yield f"{where}.hub: {names} can both not be dialled: name a node with an endpoint as the hub between them"
    owned = [(prefix, node) for node in nodes for prefix in node.networks]
    yield from _overlaps(owned, {prefix: _reserved(network, prefix) for prefix in network.prefixes})
    yield from _endpoint_mistakes(network, [prefix for prefix, owner in owned])


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


def _host_mistakes(networks: Sequence[Network]) -> Iterable[str]:
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
