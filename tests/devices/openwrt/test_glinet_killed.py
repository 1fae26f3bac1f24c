"""GL.iNet: the apply script killed before each of its commands: the peer is old or new, and the next run finishes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.devices.openwrt.test_openwrt_killed import die_at

Owner = Any  # of conftest.py: the fixture `flint`
Result = dict[str, Any]
Key = Callable[[int], str]
NAMED = "hub.example.org:51821"
FIRST = 7  # the points before are those of every router: test_openwrt_killed.py


def state_of(flint: Owner) -> Result:
    """What carries packets, and what a reboot brings back."""
    router = flint.router
    script = (
        "wg show wgclient1 dump 2>&- | tail -n +2 | cut -f 1-4,8; ip rule; cat /etc/domain_mac_list/dst_net*;"
        "iptables -t mangle -S; uci show route_policy; uci show network; uci show firewall;"
        "uci show wireguard | grep -v private_key; cat /etc/firewall.user /etc/crontabs/root /etc/fabric_watch 2>&-;"
        "pidof crond | wc -w"
    )
    return {"all": router.sh(script), "key": router.sh("uci get wireguard.peer_1001.private_key")}


def settled(flint: Owner, wanted: Result) -> Result:
    """The state once it is the wanted one, or does not become it: netifd and rtp2.sh work beside the script."""
    deadline = time.monotonic() + 10
    while (state := state_of(flint)) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return state


def test_a_change_killed_anywhere(flint: Owner, london: Result, key: Key) -> None:
    """To the other state and back in turn, so that every run finishes what another one left."""
    flint.router.sh("echo nameserver 127.0.0.1 >/tmp/resolv.conf.d/resolv.conf.auto")
    flint.router.sh("echo '198.51.100.9 hub.example.org' >/etc/hosts")
    hub = {**london["peers"][0], "public_key": key(7), "endpoint": NAMED, "allowed_ips": ["10.3.2.1/32"]}
    states = [london, {**london, "peers": [hub], "kill_switch": True, "open_port": True, "mtu": 1400}]
    flint.run(**states[1])
    wanted = []
    for state in states:
        flint.run(**state)
        flint.router.wait("wg show wgclient1 peers", state["peers"][0]["public_key"])
        wanted.append(state_of(flint))
    number, now = FIRST, 1
    while die_at(flint, number, **states[1 - now]):
        peers = flint.router.sh("wg show wgclient1 dump 2>&- | tail -n +2 | cut -f 1-4,8")
        assert any(peers in state["all"] for state in wanted), (number, peers, wanted)
        flint.run(**states[1 - now])
        now = 1 - now
        assert settled(flint, wanted[now]) == wanted[now], number
        assert flint.router.sh("ls -A /var/run/homelab.fabric") == ""
        number += 1
    assert number >= 20


def test_the_first_run_and_the_last_killed_anywhere(flint: Owner, london: Result, key: Key) -> None:
    def all_but_the_switch() -> str:
        return str(state_of(flint)["all"]).replace("='1'", "='0'")

    blank = all_but_the_switch()
    number = FIRST
    while die_at(flint, number, **london):
        done = flint.run(**london)
        assert [peer["public_key"] for peer in done["peers"]] == [key(1)]
        assert key(1) in flint.router.wait("wg show wgclient1 peers", key(1))
        die_at(flint, number // 2, state="absent")  # its end as well
        flint.run(state="absent")
        assert all_but_the_switch() == blank, number
        number += 2
    assert number >= 18
