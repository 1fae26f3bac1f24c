"""Peers come, change and go while another one carries a ping every 10 ms: none of its packets is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.relay import devices
from tests.integration.relay.inventory import inventory
from tests.integration.relay.lab import play
from tests.integration.relay.pings import lost, ping_every_10_ms

KEYS = ("b0LAbL6M9bZlSlRNy0KvPX0r+QmXyZ0yTtSpVJHhxXM=", "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=")
# Reached by nobody. A second one that can be dialled makes a mesh, in which both devices get it as a peer. Without a
# hub nobody may name a preshared key, so the devices keep theirs.
OFFICE = {"address": "10.100.0.9", "endpoint": "198.51.100.200", "public_key": KEYS[0], "networks": ["10.77.0.0/24"]}
WITHOUT = {"mikrotik-gw": {"preshared_key": None}}
MESH: list[dict[str, Any]] = [
    {**WITHOUT, "office": OFFICE},
    {**WITHOUT, "office": {**OFFICE, "networks": ["10.77.0.0/24", "10.78.0.0/24"], "listen_port": 51999}},
    {**WITHOUT, "office": {**OFFICE, "public_key": KEYS[1]}},
    {},
]
# Dials the VPS, which stays the hub: the router's own peer, which carries the ping, gets another prefix.
TABLET = {"address": "10.100.0.20", "public_key": KEYS[0]}
STAR: list[dict[str, Any]] = [
    {"tablet": TABLET},
    {"tablet": {**TABLET, "networks": ["10.79.0.0/24"], "public_key": KEYS[1]}},
    {},
]


@pytest.mark.usefixtures("repaired")
@pytest.mark.parametrize("steps", [MESH, STAR], ids=["mesh", "star"])
def test_no_packet_is_lost(steps: list[dict[str, Any]]) -> None:
    vps, router = devices.vps_peers(), devices.router_peers()
    seen = []
    with ping_every_10_ms() as output:
        for nodes in steps:
            run = play(variables=inventory(nodes=nodes, vps_relay_check_timeout=1))
            # The peer that comes and goes is not there to shake hands, and the last play says so.
            assert {result.action for result in run.with_status("failed")} <= {"homelab.fabric.wireguard_check"}
            assert {result.host for result in run.with_status("changed")} == {"vps-relay", "mikrotik-gw"}
            seen.append((len(devices.vps_peers()), len(devices.router_peers())))
    assert len(output) > 100 * len(steps)
    assert lost(output) == []
    assert [line for line in output if line.startswith("ping: ")] == []  # packets that could not even be sent
    # The peers were there, and left.
    second = 2 if steps is MESH else 1
    assert seen == [(2, second)] * (len(steps) - 1) + [(1, 1)]
    assert devices.vps_peers() == vps
    assert devices.router_peers() == router
