# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The register of road warriors: what a hub knows of its clients, and how it is kept as JSON.

Pure: no I/O. It holds no secret: private and preshared keys are in files of their own. All values are in the normal
form of values.py.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Iterable, Mapping

from ansible_collections.homelab.fabric.plugins.module_utils.client_expiry import utc
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    Secret,
    TunnelError,
    prefix_order,
    sorted_prefixes,
)

SPLIT, FULL = "split", "full"
EVERYWHERE = ("0.0.0.0/0", "::/0")
FORMAT = 1


@dataclass(frozen=True)
class Limit:
    """A destination that a limited client may go to; without ports everything there, else TCP and/or UDP ports."""

    network: str
    protocol: str = "any"
    ports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Client:
    """One road warrior.

    `addresses` are bare, one per IP version. `own_key`: the device made its key, the private one was never here;
    otherwise `key_check` tells whether the key file still holds the private key of `public_key`. `access`: what the
    device sends into the tunnel: `split`, `full`, or prefixes. `expires` is in seconds since 1970, `expires_given` as
    it was written, since a period counts from the day on which it was first given.
    """

    name: str
    addresses: tuple[str, ...]
    public_key: str
    own_key: bool = False
    key_check: str = ""
    preshared_key: bool = True
    access: tuple[str, ...] = (SPLIT,)
    isolated: bool = False
    limits: tuple[Limit, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    mtu: int | None = None
    keepalive: int = 25
    expires: int | None = None
    expires_given: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Its addresses as /32 and /128."""
        return _hosts(self.addresses)

    def expired(self, now: int) -> bool:
        return self.expires is not None and self.expires <= now

    def peer(self, preshared_key: Secret | None) -> Peer:
        """As the hub has it in its list."""
        return Peer(self.name, self.public_key, preshared_key, allowed_ips=self.hosts, client=True)


@dataclass(frozen=True)
class Register:
    """The clients of one interface, and what they have in common.

    `pool`: prefixes of the network, from which clients get their addresses, but for what is `reserved`; `networks`:
    what lies behind the network's nodes;
    `endpoint`: where clients dial the hub; `freed`: addresses of former clients, the longest free first.
    """

    pool: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    endpoint: str = ""
    masquerade: bool = True
    freed: tuple[str, ...] = ()
    clients: Mapping[str, Client] = field(default_factory=dict)

    @property
    def expiring(self) -> list[Client]:
        """Clients whose time ends or has ended, in that order."""
        several = [client for client in self.clients.values() if client.expires is not None]
        return sorted(several, key=lambda client: (client.expires or 0, client.name))

    def allowed_ips(self, client: Client) -> tuple[str, ...]:
        """Where a client may go: what its device sends into the tunnel, and what the hub forwards at most.

        Split tunnel is the networks behind the nodes, and the tunnel's own, of the IP versions that the client
        speaks. Full tunnel takes both versions, or the missing one would go past the tunnel.
        """
        if FULL in client.access:
            return EVERYWHERE
        spoken = {prefix_order(host)[0] for host in client.hosts}
        common = [prefix for prefix in (*self.networks, *self.pool) if prefix_order(prefix)[0] in spoken]
        listed = [prefix for prefix in client.access if prefix != SPLIT]
        return collapse(listed + (common if SPLIT in client.access else []))


@lru_cache(maxsize=None)
def _hosts(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return sorted_prefixes(str(ipaddress.ip_network(address)) for address in addresses)


def collapse(prefixes: Iterable[str]) -> tuple[str, ...]:
    """The same addresses in as few prefixes as can be, so that a QR code stays small."""
    return _collapse(tuple(prefixes))


@lru_cache(maxsize=None)  # most clients have the same rights
def _collapse(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    networks = [ipaddress.ip_network(prefix) for prefix in prefixes]
    v4 = ipaddress.collapse_addresses(net for net in networks if isinstance(net, ipaddress.IPv4Network))
    v6 = ipaddress.collapse_addresses(net for net in networks if isinstance(net, ipaddress.IPv6Network))
    return tuple(str(network) for several in (v4, v6) for network in several)


def parse_registers(text: str | None, source: str) -> dict[str, Register]:
    """By interface, the registers in the file `source`; none if there is no file."""
    if text is None:
        return {}
    try:
        raw = json.loads(text)
        if raw["format"] != FORMAT:
            raise TunnelError(
                source, f"it has the format {raw['format']}, not {FORMAT}", "use the homelab.fabric that wrote it"
            )
        return {name: _register(register) for name, register in raw["interfaces"].items()}
    except TunnelError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError):
        raise TunnelError(
            source, "it is no register of homelab.fabric", "restore it from a backup, or remove it to begin anew"
        ) from None


def _register(raw: Mapping[str, Any]) -> Register:
    values = _tuples(raw)
    values["clients"] = {name: _client(client) for name, client in raw["clients"].items()}
    return Register(**values)


def _client(raw: Mapping[str, Any]) -> Client:
    values = _tuples(raw)
    values["limits"] = tuple(Limit(**_tuples(limit)) for limit in raw["limits"])
    return Client(**values)


def _tuples(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}


def render_registers(registers: Mapping[str, Register]) -> str:
    """The file's text; an interface without clients and without addresses that were in use leaves no trace."""
    kept = {
        name: dataclasses.asdict(register) for name, register in registers.items() if register.clients or register.freed
    }
    return json.dumps({"format": FORMAT, "interfaces": kept}, indent=1, sort_keys=True) + "\n"


def describe_register(register: Register) -> str:
    """YAML text for `--diff`."""
    lines = []
    for client in sorted(register.clients.values(), key=lambda client: client.name):
        lines.append(f"- name: {client.name}")
        lines.append(f"  addresses: {', '.join(client.addresses)}")
        lines.append(f"  public_key: {client.public_key}{'  # of its own making' if client.own_key else ''}")
        lines.append(f"  preshared_key: {str(client.preshared_key).lower()}")
        lines.append(f"  allowed_ips: {', '.join(register.allowed_ips(client))}")
        if client.isolated:
            lines.append("  isolated: true")
        for limit in client.limits:
            ports = f" {limit.protocol} {', '.join(limit.ports)}" if limit.ports else ""
            lines.append(f"  limit: {limit.network}{ports}")
        names = [*client.dns, *client.dns_search]
        lines += [f"  dns: {', '.join(names)}"] if names else []
        lines += [f"  mtu: {client.mtu}"] if client.mtu else []
        lines.append(f"  persistent_keepalive: {client.keepalive}")
        lines += [f"  expires: {utc(client.expires)}"] if client.expires is not None else []
    return "\n".join([*lines, ""]) if lines else ""
