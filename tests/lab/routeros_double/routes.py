"""Which routes exist and are active: the connected ones that addresses make, and the static ones they carry."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from .tree import Row, Tree

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Connected:
    """The network that an enabled address makes reachable through its interface (`interface` is an id)."""

    number: int
    network: Network
    interface: str
    local: str


def up(tree: Tree, interface_id: str) -> bool:
    """Whether an interface exists and is enabled; the double's links are always running."""
    row = tree.table("/interface").get(interface_id)
    return row is not None and row.values.get("disabled") != "true"


def connected(tree: Tree, family: int) -> list[Connected]:
    """One per enabled address on an interface that is up, in the order of the addresses."""
    found = []
    for number, row in enumerate(tree.table("/ip/address" if family == 4 else "/ipv6/address")):
        values = row.values
        if values.get("disabled") == "true" or not up(tree, values["interface"]):
            continue
        address = values.get("composed") or values["address"]
        if "from-pool" in values and "composed" not in values:
            continue
        local, _slash, length = address.partition("/")
        network = ipaddress.ip_network(f"{values.get('network', local)}/{length}", strict=False)
        found.append(Connected(number, network, values["interface"], local))
    return found


def immediate(tree: Tree, row: Row, links: list[Connected]) -> list[str]:
    """The gateways of a static route that can be used now, as `address%*ID` or `*ID`; empty if it is not active."""
    if row.values.get("disabled") == "true":
        return []
    usable = []
    for gateway in row.values.get("gateway", "").split(","):
        base, _percent, device = gateway.partition("%")
        if base.startswith("*"):
            usable += [base] if up(tree, base) else []
        elif device:
            usable += [gateway] if up(tree, device) else []
        elif base:
            address = ipaddress.ip_address(base)
            link = next((link for link in links if address in link.network), None)
            usable += [f"{base}%{link.interface}"] if link else []
    return usable
