"""Ansible killed at any moment, the router's connection cut at every write: the next run finishes the work.

What a kill between two steps of a module leaves is proved step by step in tests/integration/linux and
tests/unit/plugins/routeros; this is the whole playbook, on blank devices.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.integration.relay import devices
from tests.integration.relay.conftest import Built, new_lab
from tests.integration.relay.inventory import inventory
from tests.integration.relay.lab import Playbook, is_open, lab, play, until

# Seconds into each run, one after the other on the same devices: packages, firewall, nginx, tunnel, DNS, router.
MOMENTS = (2.5, 6.3, 4.1, 5.6, 3.3)


def test_ansible_is_killed_again_and_again(built: Built) -> None:
    new_lab()
    for moment in MOMENTS:
        run = Playbook(variables=inventory())
        time.sleep(moment)
        assert run.kill() > 3, "it had ended before it was killed"
        run.finish()
    play(variables=inventory()).ok()
    until(is_open, 10, "the visitor opens the page")
    before = devices.everything()
    assert play(variables=inventory()).ok().changed == []
    assert devices.differences(before, devices.everything()) == []


@pytest.fixture
def blank_router(repaired: None) -> Iterator[None]:
    """The router is new: it has no tunnel, and its next key pair is another one."""
    lab("stop", "mikrotik-gw")
    for path in devices.ROUTER.iterdir():
        path.unlink()
    lab("start", "mikrotik-gw")
    yield
    (devices.ROUTER / "fault").unlink(missing_ok=True)


@pytest.mark.usefixtures("blank_router")
@pytest.mark.parametrize("place", ["before", "after"])
def test_the_router_is_cut_off_at_every_write(place: str) -> None:
    """Each run carries out one write more than the one before, and says what happened."""
    before_first = [] if place == "after" else [play("--limit", "mikrotik-gw", "--check", variables=inventory())]
    assert all(run.ok() for run in before_first)
    written, peers = 0, []
    for number in range(1, 20):
        (devices.ROUTER / "fault").write_text(f"{place} {1 if place == 'after' else 2}")
        run = play("--limit", "mikrotik-gw", variables=inventory())
        peers.append(devices.router_peers())
        if run.status == 0:
            break
        (failed,) = run.with_status("failed")
        assert failed.result["msg"].startswith("hostname: the connection to 10.10.0.1:8729 was lost at `/"), failed
        assert "Traceback" not in run.output
        written = number
    assert written >= 3
    # The peer came whole, and stayed.
    assert {len(each) for each in peers} <= {0, 1}
    whole = [each for each in peers if each]
    assert whole == [whole[0]] * len(whole)
    (devices.ROUTER / "fault").unlink(missing_ok=True)
    # The VPS learns the new key, and the old one goes.
    play(variables=inventory()).ok()
    assert len(devices.vps_peers()) == 1
    until(is_open, 30, "the visitor opens the page")
