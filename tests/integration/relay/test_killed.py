"""Ansible killed at any moment, the router's connection cut at every write: the next run finishes the work.

What a kill between two steps of a module leaves is proved step by step in tests/integration/linux and
tests/devices/routeros; this is the whole playbook, on blank devices.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.integration.relay import devices
from tests.integration.relay.conftest import Built, new_lab
from tests.integration.relay.inventory import inventory
from tests.integration.relay.lab import Playbook, is_open, lab, on, play, until

# Seconds into each run, one after the other on the same devices: packages, firewall, nginx, tunnel, DNS, router.
MOMENTS = (2.5, 6.3, 4.1, 5.6, 3.3)


def test_ansible_is_killed_again_and_again(built: Built) -> None:
    new_lab()
    for moment in MOMENTS:
        run = Playbook(variables=inventory())
        time.sleep(moment)
        assert run.process.poll() is None, "it had ended before it was killed"
        run.kill()
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
    cut("after", 10_000)  # in place of one that is still to come


def cut(place: str, write: int) -> None:
    (devices.ROUTER / "fault").write_text(f"{place} {write}")


@pytest.mark.usefixtures("blank_router")
@pytest.mark.parametrize(("place", "write"), [("before", 2), ("after", 1)])
def test_the_router_is_cut_off_at_every_write(place: str, write: int) -> None:
    """Each run carries out one write more than the one before, and says what happened."""
    key = on("vps-relay", "wg", "show", "wg0", "public-key").strip()
    known = inventory(nodes={"vps-relay": {"public_key": key}})
    messages: list[str] = []
    peers: list[dict[str, str]] = []
    while len(messages) < 20:
        cut(place, write)
        run = play("--limit", "mikrotik-gw", variables=known)
        assert "Traceback" not in run.output
        peers += devices.router_peers().values()
        if run.status == 0:
            break
        (failed,) = run.with_status("failed")
        messages.append(failed.result["msg"])
    assert [text for text in messages if "the connection to 10.10.0.1:8729 was lost at `/" not in text] == []
    assert len(messages) >= 3
    # The peer came whole, and stayed as it was.
    assert len(peers) >= 2
    assert all(peer == peers[0] for peer in peers)
    cut("after", 10_000)
    # The VPS learns the new key, and the old one goes.
    play(variables=inventory()).ok()
    assert len(devices.vps_peers()) == 1
    until(is_open, 30, "the visitor opens the page")
