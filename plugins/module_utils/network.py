# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network of the inventory's `wireguard_networks` in normal form. See network_document.py."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from ansible_collections.homelab.fabric.plugins.module_utils.values import Endpoint, Secret

DEFAULT_PORT = 51820
DEFAULT_MTU = 1420


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
