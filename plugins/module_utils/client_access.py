# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hub lets its clients do: chains for nft. Pure.

The allowed IPs in a device's configuration protect nothing, its user can change them. So the hub holds each client
to them, and to its limits. Clients with equal rights share a chain, found by one look-up of the source address;
WireGuard itself warrants that address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

from ansible_collections.homelab.fabric.plugins.module_utils.client_register import (
    EVERYWHERE,
    FULL,
    Limit,
    Register,
    collapse,
)
from ansible_collections.homelab.fabric.plugins.module_utils.values import prefix_order

_FAMILY = {4: "ip", 6: "ip6"}


@dataclass(frozen=True)
class Rights:
    """Where a client may go: to `allowed`, or, if `limits` is given, only there (and to ask its DNS servers)."""

    allowed: tuple[str, ...]
    limits: tuple[Limit, ...] = ()
    dns: tuple[str, ...] = ()
    isolated: bool = False


@dataclass(frozen=True)
class ClientAccess:
    """The clients of a tunnel as its packet filter sees them. `rights`: host prefix → what it may do.

    `sources`: prefixes that hold all of them; `inside`: prefixes that need no masquerade where it is not asked for;
    `full`: hosts with a full tunnel, which need it towards the Internet in any case.
    """

    sources: tuple[str, ...]
    rights: tuple[tuple[str, Rights], ...]
    inside: tuple[str, ...]
    full: tuple[str, ...]
    masquerade: bool

    @property
    def versions(self) -> frozenset[int]:
        return frozenset(prefix_order(host)[0] for host, rights in self.rights)


def access_of(register: Register) -> ClientAccess | None:
    """None: there are no clients. The expired ones are in it: the tunnel takes nothing from them."""
    if not register.clients:
        return None
    rights: dict[str, Rights] = {}
    full: list[str] = []
    for client in register.clients.values():
        dns = client.dns if client.limits else ()
        given = Rights(register.allowed_ips(client), client.limits, dns, client.isolated)
        rights.update((host, given) for host in client.hosts)
        full += client.hosts if FULL in client.access else ()
    hosts = sorted(rights, key=prefix_order)
    # A client may have kept an address from before the pool changed.
    sources = (*register.pool, *hosts) if register.pool else tuple(hosts)
    return ClientAccess(
        sources=collapse(sources),
        rights=tuple((host, rights[host]) for host in hosts),
        inside=(*register.networks, *register.pool),
        full=tuple(sorted(full, key=prefix_order)),
        masquerade=register.masquerade,
    )


def forward_rules(access: ClientAccess) -> list[str]:
    """For the forward chain, after what is answered already: each client on to its rights."""
    return _look_ups(access, access.rights)


def input_rules(access: ClientAccess) -> list[str]:
    """For the input chain: a limited client is limited towards the hub too. None if nobody is."""
    return _look_ups(access, [(host, rights) for host, rights in access.rights if rights.limits])


def rights_chains(access: ClientAccess) -> dict[str, list[str]]:
    """Chain → rules, one for each different set of rights."""
    numbers = _numbers(access)
    return {f"rights_{number}": _rights(rights, access) for rights, number in numbers.items()}


def masquerade_rules(access: ClientAccess, interface: str) -> list[str]:
    """Clients leave under the hub's address, but not to each other; if only asked for, no more than they must."""
    hosts = [host for host, rights in access.rights]
    rules = []
    for version, family in _FAMILY.items():
        everybody, full = nft_set(hosts, version), nft_set(access.full, version)
        if access.masquerade and everybody:
            rules.append(f"{family} saddr {everybody} {family} daddr != {everybody} masquerade")
        elif full:
            inside = nft_set(access.inside, version)
            outside = f" {family} daddr != {inside}" if inside else ""
            rules.append(f'oifname != "{interface}" {family} saddr {full}{outside} masquerade')
    return rules


def nft_set(prefixes: Iterable[str], version: int) -> str:
    """The prefixes of an IP version as a set, which must not overlap; empty if there are none."""
    members = collapse(prefix for prefix in prefixes if prefix_order(prefix)[0] == version)
    return f"{{ {', '.join(members)} }}" if members else ""


def _numbers(access: ClientAccess) -> dict[Rights, int]:
    numbers: dict[Rights, int] = {}
    for _host, rights in access.rights:
        numbers.setdefault(rights, len(numbers) + 1)
    return numbers


def _look_ups(access: ClientAccess, rights: Iterable[tuple[str, Rights]]) -> list[str]:
    numbers, rules = _numbers(access), []
    several = list(rights)
    for version, family in _FAMILY.items():
        to = [
            f"{host.partition('/')[0]} : goto rights_{numbers[right]}" for host, right in several if _is(host, version)
        ]
        if to:
            rules.append(f"{family} saddr vmap {{ {', '.join(to)} }}")
    return rules


def _is(prefix: str, version: int) -> bool:
    return prefix_order(prefix)[0] == version


def _rights(rights: Rights, access: ClientAccess) -> list[str]:
    apart = [host for host, other in access.rights if rights.isolated or other.isolated]
    rules = [
        f"{family} daddr {hosts} drop" for version, family in _FAMILY.items() if (hosts := nft_set(apart, version))
    ]
    if rights.limits:
        for limit in rights.limits:
            rules += _limit(limit)
        for server in rights.dns:
            family = _FAMILY[prefix_order(server)[0]]
            rules += [f"{family} daddr {server} {protocol} dport 53 accept" for protocol in ("udp", "tcp")]
        return [*rules, "drop"]
    if rights.allowed == EVERYWHERE:
        return [*rules, "accept"]
    rules += [
        f"{family} daddr {nets} accept"
        for version, family in _FAMILY.items()
        if (nets := nft_set(rights.allowed, version))
    ]
    return [*rules, "drop"]


def _limit(limit: Limit) -> list[str]:
    to = f"{_FAMILY[prefix_order(limit.network)[0]]} daddr {limit.network}"
    if not limit.ports:
        words = [""] if limit.protocol == "any" else [f" meta l4proto {limit.protocol}"]
    else:
        protocols = ("tcp", "udp") if limit.protocol == "any" else (limit.protocol,)
        words = [f" {protocol} dport {{ {', '.join(limit.ports)} }}" for protocol in protocols]
    return [f"{to}{word} accept" for word in words]
