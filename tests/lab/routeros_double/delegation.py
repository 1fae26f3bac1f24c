"""What a delegated IPv6 prefix changes: the client's pool, and the addresses taken from it."""

from __future__ import annotations

import ipaddress

from .tree import Tree


def delegate(tree: Tree, prefix: str) -> None:
    """Give `prefix` to every enabled DHCPv6 client that requests one, and renumber the addresses of its pool."""
    network = ipaddress.IPv6Network(prefix)
    for client in tree.table("/ipv6/dhcp-client"):
        if client.values.get("disabled") == "true" or "prefix" not in client.values["request"].split(","):
            continue
        client.replace({**client.values, "delegated": str(network)})
        pool = client.values.get("pool-name")
        if pool is None:
            continue
        length = client.values.get("pool-prefix-length", "64")
        pools = tree.table("/ipv6/pool")
        for old in [row for row in pools if row.values["name"] == pool]:
            pools.remove(old)
        pools.insert({"name": pool, "prefix": str(network), "prefix-length": length, "dynamic": ""})
        _compose(tree, pool, network, int(length))


def _compose(tree: Tree, pool: str, network: ipaddress.IPv6Network, length: int) -> None:
    users = [row for row in tree.table("/ipv6/address") if row.values.get("from-pool") == pool]
    for row, part in zip(users, network.subnets(new_prefix=length), strict=False):
        bits = int(ipaddress.ip_interface(row.values["address"]).ip) & int(part.hostmask)
        row.replace({**row.values, "composed": f"{part[bits]}/{length}"})
