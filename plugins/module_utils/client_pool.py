# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses for clients: who has which, and which one is next. Pure."""

from __future__ import annotations

import ipaddress
from typing import Iterable, Mapping, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError, covers, prefix_order


class Pool:
    """The addresses in some prefixes. `reserved` prefixes are nobody's; `taken`: bare address → whose it is."""

    def __init__(self, prefixes: Sequence[str], reserved: Sequence[str], taken: Mapping[str, str]) -> None:
        self.prefixes = prefixes
        self.reserved = reserved
        self.taken = dict(taken)
        self._next: dict[str, int] = {}

    @property
    def versions(self) -> set[int]:
        return {prefix_order(prefix)[0] for prefix in self.prefixes}

    def parse(self, texts: Iterable[object], argument: str) -> list[str]:
        """Addresses that somebody asks for, at most one per IP version, bare."""
        found: dict[int, str] = {}
        for text in texts:
            bare, slash, length = str(text).strip().partition("/")
            try:
                address = ipaddress.ip_address(bare)
            except ValueError:
                raise TunnelError(argument, f"{text!r} is not an IP address", "write it like 10.100.0.10") from None
            if slash and length != str(address.max_prefixlen):
                raise TunnelError(argument, f"{text!r} is more than one address", f"write {address}")
            if address.version in found:
                raise TunnelError(
                    argument, f"{found[address.version]} and {address} are of one IP version", "give one of each"
                )
            self.check_inside(str(address), argument)
            found[address.version] = str(address)
        return list(found.values())

    def check_inside(self, address: str, argument: str) -> None:
        """Raises TunnelError for an address that no client can have."""
        home = next((prefix for prefix in self.prefixes if covers(prefix, address)), None)
        if home is None:
            pool = ", ".join(self.prefixes) or "empty"
            raise TunnelError(argument, f"{address} is outside the pool ({pool})", "choose one inside, or widen `pool`")
        first, last = _ends(home)
        if not first <= int(ipaddress.ip_address(address)) <= last:
            raise TunnelError(argument, f"{address} is the first or last address of {home}", "choose one between them")

    def take(self, addresses: Iterable[str], name: str) -> None:
        """Note whose they are, without a judgement."""
        self.taken.update((address, name) for address in addresses)

    def claim(self, address: str, name: str, argument: str) -> None:
        """Note that it is this client's. Raises TunnelError if it is somebody else's."""
        owner = self.taken.get(address, name)
        if owner != name:
            raise TunnelError(argument, f"{address} is {owner}'s already", "choose another one, or leave it out")
        reserved = next((prefix for prefix in self.reserved if covers(prefix, address)), None)
        if reserved:
            raise TunnelError(
                argument, f"{address} is in `reserved` ({reserved})", "choose another one, or leave it out"
            )
        self.taken[address] = name

    def next_free(self, version: int, freed: Sequence[str], name: str) -> str:
        """The lowest address that was never used; if there is none, the one that is free for the longest time."""
        several = [prefix for prefix in self.prefixes if prefix_order(prefix)[0] == version]
        found = next(filter(None, (self._unused(prefix, set(freed)) for prefix in several)), None)
        for address in freed if found is None else ():
            inside = any(covers(prefix, address) for prefix in several)
            if inside and address not in self.taken and not any(covers(prefix, address) for prefix in self.reserved):
                found = address
                break
        if found is None:
            raise TunnelError(
                "pool",
                f"{', '.join(several)} has no free address for {name}",
                "revoke clients that are not needed any more, or widen the prefix",
            )
        self.taken[found] = name
        return found

    def _unused(self, prefix: str, freed: set[str]) -> str | None:
        first, last = _ends(prefix)
        ranges = sorted(
            _whole(reserved) for reserved in self.reserved if covers(prefix, reserved) or covers(reserved, prefix)
        )
        number = self._next.get(prefix, first)
        make = ipaddress.IPv4Address if "." in prefix else ipaddress.IPv6Address
        while number <= last:
            beyond = next((end for start, end in ranges if start <= number <= end), None)
            address = str(make(number))
            if beyond is not None:
                number = beyond + 1
            elif address in self.taken or address in freed:
                number += 1
            else:
                self._next[prefix] = number + 1
                return address
        self._next[prefix] = number
        return None


def _whole(prefix: str) -> tuple[int, int]:
    network = ipaddress.ip_network(prefix)
    return int(network.network_address), int(network.broadcast_address)


def _ends(prefix: str) -> tuple[int, int]:
    """The first and last address that a host may have. IPv6's first one is the routers' (RFC 4291, 2.6.1)."""
    first, last = _whole(prefix)
    if last - first > 1:
        first += 1
        last -= 1 if "." in prefix else 0
    return first, last
