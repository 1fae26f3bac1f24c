"""plan(): a network of a thousand nodes in under a second, and in proportion to what it returns."""

from __future__ import annotations

import ipaddress
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.topology import plan

from tests.bench.ratios import medians, show

SIZES = (250, 500, 1000, 2000)


def star(size: int) -> dict[str, Any]:
    """A hub and its spokes, a network behind each."""
    addresses = ipaddress.ip_network("10.64.0.0/16").hosts()
    behind = ipaddress.ip_network("172.16.0.0/12").subnets(new_prefix=24)
    nodes: dict[str, Any] = {
        f"node{number}": {"address": str(next(addresses)), "networks": [str(next(behind))]} for number in range(size)
    }
    nodes["node0"]["endpoint"] = "203.0.113.10"
    return {"big": {"prefix": "10.64.0.0/16", "nodes": nodes}}


def mesh(size: int) -> dict[str, Any]:
    """Everybody can be dialled, so everybody is everybody's peer."""
    document = star(size)
    for number, node in enumerate(document["big"]["nodes"].values()):
        node["endpoint"] = f"node{number}.example.org"
    return document


def output(document: dict[str, Any]) -> int:
    """Peers and their prefixes in the result."""
    tunnels = plan(document)["big"].values()
    return sum(1 + len(peer.allowed_ips) for tunnel in tunnels for peer in tunnel.peers)


@pytest.mark.parametrize("shape", [star, mesh])
def test_plan(shape: Any) -> None:
    documents = {size: shape(size) for size in SIZES}
    times = medians({str(size): partial(plan, document) for size, document in documents.items()}, rounds=5)
    name = shape.__name__
    show(f"plan(), {name} of 1,000 nodes", times["1000"], 1, " s")
    for small, large in pairwise(SIZES):
        growth = times[str(large)] / times[str(small)]
        # The output of both shapes grows with the square: every spoke's list of prefixes, every node's list of peers.
        show(
            f"plan(), {name}: time, {small} → {large} nodes",
            growth,
            output(documents[large]) / output(documents[small]),
        )
