# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a module's arguments to the new register of clients: everything is checked here, before anything is written.

Pure: no I/O, no Ansible. Keys are not made here: a client that needs new ones is named in `Plan.fresh`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import asdict, dataclass, replace
from typing import Any, Mapping, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.client_expiry import parse_expiry
from ansible_collections.homelab.fabric.plugins.module_utils.client_pool import Pool
from ansible_collections.homelab.fabric.plugins.module_utils.client_register import (
    EVERYWHERE,
    FULL,
    SPLIT,
    Client,
    Limit,
    Register,
)
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    TunnelError,
    covers,
    parse_endpoint,
    parse_host,
    parse_keepalive,
    parse_key,
    parse_mtu,
    parse_name,
    parse_port,
    parse_prefix,
    prefix_order,
    sorted_prefixes,
)


@dataclass(frozen=True)
class Surroundings:
    """What a plan must respect: bare addresses and public keys → whose they are, names → the interface they are
    clients of, the port on which the hub listens, the time in seconds since 1970."""

    addresses: Mapping[str, str]
    public_keys: Mapping[str, str]
    names: Mapping[str, str]
    listen_port: int | None
    now: int


@dataclass(frozen=True)
class Plan:
    """The register as it shall be; the names of clients that get a new key pair, and of those that are revoked."""

    register: Register
    fresh: tuple[str, ...]
    revoked: tuple[str, ...]


def plan_clients(old: Register, params: Mapping[str, Any], around: Surroundings) -> Plan:
    """Raises TunnelError for the first mistake. `params` are the module's arguments."""
    register = _common(old, params, around)
    present, absent = _listed(params["clients"], around)
    if params["purge"]:
        absent += [name for name in old.clients if name not in present]
    revoked = tuple(name for name in absent if name in old.clients)
    staying = {name: client for name, client in old.clients.items() if name not in revoked}
    wanted: dict[str, Client] = {}
    fresh: list[str] = []
    for name, item in present.items():
        there = staying.get(name)
        if there and item.get("keep"):
            item = {**_as_written(there), **{key: value for key, value in item.items() if value is not None}}
        client, is_fresh = _Reader(item, params, f"clients[{name}]", around.now).client(there)
        wanted[name] = client
        fresh += [name] if is_fresh else []
    if wanted and not register.endpoint:
        raise TunnelError("endpoint", "missing", "give the host and port under which clients dial this hub")
    if wanted and not register.pool:
        raise TunnelError("pool", "missing", "give the prefixes that clients get their addresses from")
    addresses = _addresses(old, staying, present, Pool(register.pool, register.reserved, around.addresses))
    staying.update({name: replace(client, addresses=addresses[name]) for name, client in wanted.items()})
    _check_endpoint(register)
    in_use = {address for client in staying.values() for address in client.addresses}
    before = [address for client in old.clients.values() for address in client.addresses]
    freed = [address for address in (*old.freed, *before) if address not in in_use]
    register = replace(register, clients=staying, freed=tuple(dict.fromkeys(freed)))
    for name in wanted:
        _check_limits(register, staying[name])
    _check_keys(register, around)
    return Plan(register, tuple(fresh), revoked)


def _common(old: Register, params: Mapping[str, Any], around: Surroundings) -> Register:
    """What is not given stays as the register has it."""
    pool, networks, endpoint = params.get("pool"), params.get("networks"), params.get("endpoint")
    changes: dict[str, Any] = {}
    if pool is not None:
        changes["pool"] = sorted_prefixes(parse_prefix(prefix, "pool") for prefix in pool)
    if params.get("reserved") is not None:
        changes["reserved"] = sorted_prefixes(map(_parse_reserved, params["reserved"]))
    if networks is not None:
        changes["networks"] = sorted_prefixes(parse_prefix(prefix, "networks") for prefix in networks)
    if params.get("masquerade") is not None:
        changes["masquerade"] = bool(params["masquerade"])
    if endpoint is not None:
        changes["endpoint"] = _parse_endpoint(endpoint, around.listen_port)
    return replace(old, **changes)


def _parse_endpoint(text: str, port: int | None) -> str:
    """host:port; without a port it is the one on which the hub listens."""
    bare = text.strip()
    has_port = bare.rpartition("]")[2].count(":") == 1
    if has_port or port is None:
        return str(parse_endpoint(bare, "endpoint"))
    host = parse_host(bare, "endpoint")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_endpoint(register: Register) -> None:
    """Packets to the hub must not go into the tunnel that they carry."""
    host = register.endpoint.rpartition(":")[0].strip("[]")
    for prefix in (*register.pool, *register.networks):
        try:
            inside = bool(host) and covers(prefix, host)
        except ValueError:
            return  # a name
        if inside:
            raise TunnelError(
                "endpoint",
                f"{host} lies in {prefix}, which clients send into the tunnel",
                "give the address or name under which the hub is dialled from outside",
            )


def _parse_reserved(item: object) -> str:
    """A prefix, or an address. One with the length of its network, as nodes have it, means the address alone."""
    text = str(item).strip()
    bare = text.partition("/")[0]
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        return parse_prefix(text, "reserved")
    return parse_prefix(bare if interface.ip != interface.network.network_address else text, "reserved")


def _listed(items: Sequence[Mapping[str, Any]], around: Surroundings) -> tuple[dict[str, Any], list[str]]:
    """The clients by name, and the names of those that must go."""
    present: dict[str, Any] = {}
    absent: list[str] = []
    for index, item in enumerate(items):
        name = parse_name(item["name"], f"clients[{index}].name")
        if name in present or name in absent:
            raise TunnelError(f"clients[{index}].name", f"{name} is in the list twice", "leave one of them out")
        if name in around.names and item["state"] == "present":
            raise TunnelError(
                f"clients[{index}].name",
                f"{name} is a client of {around.names[name]} already, and its files have that name",
                "choose another name, or revoke it there",
            )
        if item["state"] == "absent":
            absent.append(name)
        else:
            present[name] = item
    return present, absent


def _as_written(client: Client) -> dict[str, Any]:
    """A client's settings as an item of `clients` gives them."""
    return {
        "access": list(client.access),
        "isolated": client.isolated,
        "limits": [asdict(limit) for limit in client.limits],
        "dns": list(client.dns),
        "dns_search": list(client.dns_search),
        "mtu": client.mtu,
        "persistent_keepalive": client.keepalive,
        "preshared_key": client.preshared_key,
        "expires": client.expires_given or "never",
    }


class _Reader:
    """One item of `clients`; what it leaves out is the module's own option of that name."""

    def __init__(self, item: Mapping[str, Any], params: Mapping[str, Any], where: str, now: int) -> None:
        self.item, self.params, self.where, self.now = item, params, where, now

    def value(self, name: str) -> Any:
        own = self.item.get(name)
        return self.params.get(name) if own is None else own

    def argument(self, name: str) -> str:
        return name if self.item.get(name) is None else f"{self.where}.{name}"

    def client(self, old: Client | None) -> tuple[Client, bool]:
        """The client without its addresses, and whether it needs a new key pair."""
        own = self.item.get("public_key")
        rotate = bool(self.item.get("rotate"))
        if own and rotate:
            raise TunnelError(
                f"{self.where}.rotate", "its key is made by the device", "give the device's new public_key instead"
            )
        fresh = not own and (old is None or rotate)
        expires, given = self._expiry(None if fresh else old, old is None or rotate)
        client = Client(
            name=str(self.item["name"]).strip(),
            addresses=(),
            public_key=parse_key(own, f"{self.where}.public_key") if own else KNOWN_AFTER_APPLY,
            own_key=bool(own),
            preshared_key=bool(self.value("preshared_key")),
            access=self._access(),
            isolated=bool(self.value("isolated")),
            limits=tuple(self._limit(i, raw) for i, raw in enumerate(self.value("limits") or ())),
            dns=tuple(dict.fromkeys(self._server(server) for server in self.value("dns") or ())),
            dns_search=tuple(dict.fromkeys(self._domain(name) for name in self.value("dns_search") or ())),
            mtu=parse_mtu(self.value("mtu"), self.argument("mtu")) if self.value("mtu") is not None else None,
            keepalive=parse_keepalive(self.value("persistent_keepalive") or 0, self.argument("persistent_keepalive")),
            expires=expires,
            expires_given=given,
        )
        if old and not fresh and not own:
            client = replace(client, public_key=old.public_key, own_key=old.own_key, key_check=old.key_check)
        return client, fresh

    def _expiry(self, old: Client | None, must_be_ahead: bool) -> tuple[int | None, str]:
        given = str(self.value("expires") or "").strip()
        if given.lower() in ("", "never"):
            return None, ""
        if old and old.expires_given == given:
            return old.expires, given
        argument = self.argument("expires")
        expires = parse_expiry(given, argument, self.now)
        if must_be_ahead and expires <= self.now:
            raise TunnelError(
                argument, f"{given} is over, so {self.item['name']} could never connect", "give a time to come"
            )
        return expires, given

    def _access(self) -> tuple[str, ...]:
        argument, items = self.argument("access"), [str(item).strip() for item in self.value("access") or ()]
        if not items:
            raise TunnelError(argument, "it is empty", "give split, full, or the prefixes that the client shall reach")
        words = [item for item in items if item in (SPLIT, FULL)]
        prefixes = [parse_prefix(item, argument) for item in items if item not in (SPLIT, FULL)]
        if FULL in words:
            return (FULL,)
        return (*dict.fromkeys(words), *sorted_prefixes(prefixes))

    def _limit(self, index: int, raw: Mapping[str, Any]) -> Limit:
        argument = f"{self.argument('limits')}[{index}]"
        ports = _merge_ports([str(port) for port in raw.get("ports") or ()], f"{argument}.ports")
        return Limit(parse_prefix(raw["network"], f"{argument}.network"), raw.get("protocol") or "any", ports)

    def _server(self, text: Any) -> str:
        try:
            return str(ipaddress.ip_address(str(text).strip()))
        except ValueError:
            raise TunnelError(
                self.argument("dns"), f"{text!r} is not an IP address", "names of domains belong into dns_search"
            ) from None

    def _domain(self, text: Any) -> str:
        argument = self.argument("dns_search")
        name = parse_host(text, argument)
        if ":" in name or name.replace(".", "").isdigit():
            raise TunnelError(argument, f"{name} is an address", "servers belong into dns")
        return name


def _merge_ports(texts: Sequence[str], argument: str) -> tuple[str, ...]:
    """Ports and ranges, without overlaps, which nft refuses."""
    ranges = []
    for text in texts:
        first, dash, last = text.strip().partition("-")
        start = parse_port(first, argument)
        end = parse_port(last, argument) if dash else start
        if end < start:
            raise TunnelError(argument, f"{text!r} ends before it begins", f"write {end}-{start}")
        ranges.append((start, end))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(str(start) if start == end else f"{start}-{end}" for start, end in merged)


def _addresses(
    old: Register, staying: Mapping[str, Client], present: Mapping[str, Any], pool: Pool
) -> dict[str, tuple[str, ...]]:
    """The addresses of the clients in `present`: those asked for, else those they have, else free ones."""
    for name, client in staying.items():
        if name not in present:
            pool.take(client.addresses, name)
    chosen: dict[str, list[str]] = {}
    for name, item in present.items():
        asked = pool.parse(item.get("addresses") or (), f"clients[{name}].addresses")
        versions = {prefix_order(address)[0] for address in asked}
        has = staying[name].addresses if name in staying else ()
        kept = [address for address in has if prefix_order(address)[0] not in versions]
        for address in kept:
            pool.check_inside(address, f"clients[{name}].addresses")
        chosen[name] = asked + kept
    for name, several in chosen.items():
        for address in several:
            pool.claim(address, name, f"clients[{name}].addresses")
    before = [address for client in old.clients.values() for address in client.addresses]
    freed = [*old.freed, *(address for address in before if address not in pool.taken)]
    for name, several in chosen.items():
        versions = {prefix_order(address)[0] for address in several}
        several += [pool.next_free(version, freed, name) for version in sorted(pool.versions - versions)]
    return {name: tuple(sorted(several, key=prefix_order)) for name, several in chosen.items()}


def _check_limits(register: Register, client: Client) -> None:
    reach = register.allowed_ips(client)
    for index, limit in enumerate(client.limits):
        if reach != EVERYWHERE and not any(covers(prefix, limit.network) for prefix in reach):
            raise TunnelError(
                f"clients[{client.name}].limits[{index}].network",
                f"{limit.network} is in no network that {client.name} reaches ({', '.join(reach) or 'none'})",
                "name one within these, or add it to access",
            )


def _check_keys(register: Register, around: Surroundings) -> None:
    """Two peers with one key are one peer to WireGuard."""
    owners = dict(around.public_keys)
    for client in register.clients.values():
        if client.public_key == KNOWN_AFTER_APPLY:
            continue
        other = owners.setdefault(client.public_key, client.name)
        if other != client.name:
            raise TunnelError(
                f"clients[{client.name}].public_key",
                f"{client.public_key} is {other}'s already",
                "each device has a key of its own: make a new one on the device",
            )
