"""GL.iNet as the hub: the apply script killed before each of its commands: the next run finishes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.devices.openwrt.test_glinet_killed import FIRST
from tests.devices.openwrt.test_glinet_server import edited, hub, sofia
from tests.devices.openwrt.test_openwrt_killed import die_at

__all__ = ["hub", "sofia"]  # fixtures
Owner = Any  # of conftest.py: the fixture `flint`
Result = dict[str, Any]
Key = Callable[[int], str]


def state_of(hub: Owner) -> str:
    """What carries packets, and what a reboot brings back."""
    script = (
        "wg show wgserver dump 2>&- | tail -n +2 | cut -f 1-4,8 | sort; nft list ruleset | grep wgserver;"
        "for t in main 9910; do ip route show dev wgserver table $t 2>&- | cut -d ' ' -f 1 | sort; done;"
        "uci show firewall; uci show network;"
        # A peer that was gone for a while comes back under another number.
        "uci show wireguard_server 2>&- | grep -v _key= | sed 's/peer_[0-9]*//; s/[.]peer_id=.*//' | sort"
    )
    return str(hub.router.sh(script))


def settled(hub: Owner, wanted: str) -> str:
    """The state once it is the wanted one, or does not become it: netifd works beside the script."""
    deadline = time.monotonic() + 10
    while (state := state_of(hub)) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return state


def test_a_change_of_peers_killed_anywhere(hub: Owner, sofia: Result, london: Result, own: Any, key: Key) -> None:
    """Beside a client, and to the other state and back in turn, so that every run finishes what another one left."""
    own(hub.router, glinet=True).run(**london)
    states = [{**sofia, "forward_to": []}, edited(sofia, key)]
    wanted = []
    hub.run(**states[1])
    for state in states:
        hub.run(**state)
        wanted.append(state_of(hub))
    index = hub.router.sh("cat /sys/class/net/wgserver/ifindex")
    number, now = FIRST, 1
    while die_at(hub, number, **states[1 - now]):
        hub.run(**states[1 - now])
        now = 1 - now
        assert settled(hub, wanted[now]) == wanted[now], number
        assert hub.router.sh("ls -A /var/run/homelab.fabric; cat /sys/class/net/wgserver/ifindex") == index
        number += 2
    assert number >= 18


def test_the_first_run_and_the_last_killed_anywhere(hub: Owner, sofia: Result) -> None:
    blank = state_of(hub)
    number = FIRST - 3
    while die_at(hub, number, **sofia):
        hub.run(**sofia)
        assert "192.168.9.0/24" in hub.router.wait("ip route show dev wgserver", "192.168.9.0/24"), number
        die_at(hub, number // 2, state="absent")  # its end as well
        hub.run(state="absent")
        assert settled(hub, blank) == blank, number
        number += 4
    assert number >= 18
