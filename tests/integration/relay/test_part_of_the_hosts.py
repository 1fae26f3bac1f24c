"""A run that reaches one host alone leaves the other's place in the tunnel as it was."""

from __future__ import annotations

import pytest

from tests.integration.relay import devices
from tests.integration.relay.devices import differences
from tests.integration.relay.inventory import inventory
from tests.integration.relay.lab import is_open, lab, play, until


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize("host", ["vps-relay", "mikrotik-gw"])
def test_one_host_alone(host: str) -> None:
    before = devices.everything()
    assert play("--limit", host, variables=inventory()).ok().changed == []
    assert differences(before, devices.everything()) == []
    assert is_open()


@pytest.mark.usefixtures("repaired")
@pytest.mark.parametrize("host", ["vps-relay", "mikrotik-gw"])
def test_a_change_on_one_host_alone_keeps_its_peer(host: str) -> None:
    """The other's key is not known in this run, and yet the peer's line has to be written anew."""
    vps, router = devices.vps_peers(), devices.router_peers()
    changed = inventory(nodes={"mikrotik-gw": {"networks": ["10.20.0.0/24", "10.30.0.0/24"], "keepalive": 20}})
    assert play("--limit", host, variables=changed).ok().changed
    assert set(devices.vps_peers()) == set(vps)
    assert {name: row["public-key"] for name, row in devices.router_peers().items()} == {
        name: row["public-key"] for name, row in router.items()
    }
    assert is_open()


@pytest.mark.usefixtures("repaired")
def test_the_vps_is_switched_off() -> None:
    router = devices.router()
    lab("stop", "vps-relay")
    run = play("-e", "ansible_ssh_timeout=3", variables=inventory())
    assert [result.host for result in run.with_status("unreachable", "failed")] == ["vps-relay"]
    assert "Traceback" not in run.output
    assert devices.router() == router
    lab("start", "vps-relay")
    until(is_open, 180, "the path is back")


@pytest.mark.usefixtures("repaired")
def test_the_router_is_switched_off() -> None:
    """With it the home is cut off, so its owner runs the playbook from afar."""
    peers = devices.vps_peers()
    lab("stop", "mikrotik-gw")
    shorter = inventory(mikrotik_wireguard_timeout=2, vps_relay_check_timeout=2)
    whole, vps_alone = (
        play(host="visitor", variables=shorter),
        play("--limit", "vps-relay", host="visitor", variables=shorter),
    )
    assert [result.host for result in whole.with_status("failed")] == ["mikrotik-gw"]
    (check,) = vps_alone.with_status("failed")
    assert check.action.endswith("wireguard_check")
    assert "Look at: " in check.result["msg"]
    for run in (whole, vps_alone):
        assert run.changed == []
        assert "Traceback" not in run.output
    assert devices.vps_peers() == peers != {}
    lab("start", "mikrotik-gw")
    until(is_open, 60, "the path is back")
