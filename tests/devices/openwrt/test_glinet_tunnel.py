"""A Flint 2 with a computer in its LAN and a hub on its wire: packets through what module and firmware made."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from openwrt_double.factory import DEFAULTS
from openwrt_double.router import Router

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.devices.openwrt.test_glinet_owner import PROVIDER
from tests.devices.openwrt.test_glinet_wireguard import RTP2

Owner = Any  # of conftest.py: what the fixture `own` makes
Result = dict[str, Any]
HUB, MOVED = "198.51.100.1", "198.51.100.9"
INSIDE = "10.0.10.1"  # behind the hub
PC = "192.168.8.10"
HUB_CONFIG = {
    "network": DEFAULTS["network"].replace("198.51.100.", "192.0.2."),
    "firewall": DEFAULTS["firewall"].replace("\tlist network 'wan'", "\tlist network 'wan'\n\tlist device 'uplink'"),
}
# A clock that is ahead for whoever asks for seconds.
LATER = (
    '#!/bin/sh\n[ $1 = +%s ] && exec expr $(/usr/libexec/busybox date +%s) + 160\nexec /usr/libexec/busybox date "$@"\n'
)


class Site:
    """The Flint dials hub.example.org, which its hosts file leads to."""

    def __init__(self, hub: Owner, flint: Owner, pc: int) -> None:
        self.hub, self.flint, self.pc = hub, flint, pc
        flint.router.uplink(hub.router, f"{HUB}/24")
        self.lead_to(HUB)
        flint.router.sh("echo nameserver 127.0.0.1 >/tmp/resolv.conf.d/resolv.conf.auto")
        self.plug_in()
        hub.router.sh(f"ip address add {INSIDE}/32 dev lo")
        key = hub.run(addresses=["10.3.2.1/24"], listen_port=51821, open_port=True)["public_key"]
        peer = {"name": "hub", "public_key": key, "endpoint": "hub.example.org:51821", "persistent_keepalive": "1"}
        self.state: Result = {
            "addresses": ["10.3.2.6/24"],
            "listen_port": 51820,
            "peers": [{**peer, "allowed_ips": ["10.3.2.0/24", "10.0.10.0/24"]}],
            "forward_to": ["192.168.8.0/24"],
            "handshake_timeout": 0,
        }
        known = flint.run(**{**self.state, "peers": [{"name": "hub"}]})["public_key"]
        self.of_hub: Result = {
            "addresses": ["10.3.2.1/24"],
            "listen_port": 51821,
            "open_port": True,
            "peers": [{"name": "london", "public_key": known, "allowed_ips": ["10.3.2.6/32", "192.168.8.0/24"]}],
        }

    def plug_in(self) -> None:
        """The computer, at the far end of lan1."""
        enter = ["nsenter", f"--target={self.flint.router.pid}", "--net"]
        move = f"ip link set far-lan1 netns {self.pc} name eth0".split()
        subprocess.run([*enter, *move], check=True)
        lines = f"ip address add {PC}/24 dev eth0; ip link set eth0 up; ip route add default via 192.168.8.1"
        subprocess.run(["nsenter", f"--target={self.pc}", "--net", "sh", "-c", lines], check=True)

    def lead_to(self, address: str) -> None:
        self.flint.router.sh(f"echo '{address} hub.example.org' >/etc/hosts")

    def reaches(self, address: str, patience: float = 0) -> bool:
        """Whether a packet from the computer comes back."""
        command = ["nsenter", f"--target={self.pc}", "--net", "ping", "-c", "1", "-W", "1", address]
        deadline = time.monotonic() + patience
        while subprocess.run(command, capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                return False
        return True


@pytest.fixture(scope="module", params=["gl-4.8", "gl-4.8-op24"])
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    own: Callable[..., Owner],
    computer: Callable[[], AbstractContextManager[int]],
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with (
        computer() as pid,
        Router(folder / "hub", release="23.05", config=HUB_CONFIG) as hub,
        Router(folder / "flint", release=request.param, minute=0.2) as flint,
    ):
        yield Site(own(hub), own(flint, glinet=True), pid)


def test_packets_go_both_ways_once_the_hub_has_answered(site: Site) -> None:
    """Also to and from the router itself, whose packets the firmware leaves to WAN."""
    router = site.flint.router
    site.flint.run(**site.state)
    assert "hub has not answered yet" in site.flint.warnings[-1]
    assert site.reaches(HUB), "the rest of the Internet goes on"
    site.hub.run(**site.of_hub)
    assert site.reaches(INSIDE, patience=15)
    # The firewall is loaded a moment after the handshake.
    for sender, script in (
        (site.hub.router, f"ping -c 1 -W 1 -I {INSIDE} {PC}"),
        (site.hub.router, f"ping -c 1 -W 1 -I {INSIDE} 192.168.8.1"),
        (router, f"ping -c 1 -W 1 {INSIDE}"),
    ):
        assert " 0% packet loss" in sender.wait(script, " 0% packet loss"), script
    done = site.flint.run(**site.state)
    assert not done["changed"]
    assert done["peers"][0]["handshake_age"] < 60
    assert not site.flint.warnings


def test_a_ping_from_the_lan_address_does_not_hide_a_hub_that_lacks_the_lan(site: Site) -> None:
    """So the matrix sees it: only what has the address of WAN is given the tunnel's."""
    router = site.flint.router
    peer = {**site.of_hub["peers"][0], "allowed_ips": ["10.3.2.6/32"]}
    site.hub.run(**{**site.of_hub, "peers": [peer]})
    assert " 0% packet loss" in router.wait(f"ping -c 1 -W 1 {INSIDE}", " 0% packet loss")
    assert " 100% packet loss" in router.sh(f"ping -c 1 -W 1 -I 192.168.8.1 {INSIDE}")
    site.hub.run(**site.of_hub)
    assert " 0% packet loss" in router.wait(f"ping -c 1 -W 1 -I 192.168.8.1 {INSIDE}", " 0% packet loss")


def test_wan_within_an_allowed_prefix_is_not_cut_off(site: Site) -> None:
    """Marks come before the main table's longer prefixes: what WAN's network holds, and answers to it, go there."""
    router, peer, beyond = site.flint.router, site.state["peers"][0], "198.51.7.1"
    state = {**site.state, "peers": [{**peer, "allowed_ips": [*peer["allowed_ips"], "198.51.0.0/16"]}]}
    site.hub.router.sh(f"ip address add {beyond}/32 dev lo; nft insert rule inet fw4 srcnat ip saddr {beyond} accept")
    site.hub.router.sh("nft insert rule inet fw4 input iifname wg0 ip daddr 198.51.0.0/16 drop")
    site.flint.run(**state)
    assert not site.flint.run(**state)["changed"]
    router.wait("ip route show table 1001", "198.51.0.0/16")
    assert site.reaches(INSIDE, patience=15)
    for sender, script in (
        (router, f"ping -c 1 -W 1 {INSIDE}"),
        (site.hub.router, "ping -c 1 -W 1 198.51.100.60"),
        (site.hub.router, f"ping -c 1 -W 1 -I {beyond} 198.51.100.60"),
        (router, f"ping -c 1 -W 1 {HUB}"),
    ):
        assert " 0% packet loss" in sender.wait(script, " 0% packet loss"), script
    assert site.reaches(HUB)
    site.flint.run(**site.state)


def test_an_owners_vpn_for_everything_leaves_the_sites_alone(site: Site, key: Callable[[int], str]) -> None:
    """It does not answer, and its kill switch drops all that it takes."""
    router = site.flint.router
    theirs = PROVIDER.replace("OWN", key(77)).replace("OTHER", key(78)).replace("tunnel_id=1", "tunnel_id=9")
    router.sh(f"{theirs} uci reorder route_policy.theirs=0; uci commit; {RTP2}")
    assert not site.reaches(INSIDE)
    site.flint.run(**site.state)
    assert site.reaches(INSIDE, patience=15)
    assert not site.reaches(HUB)
    router.sh(f"uci delete route_policy.theirs; uci delete wireguard.peer_855; uci commit; {RTP2}")


def test_a_hub_that_moves_is_found_by_its_name(site: Site) -> None:
    """Its lease ends, its record changes, and nobody does anything about it."""
    router = site.flint.router
    site.hub.router.sh(f"ip address del {HUB}/24 dev uplink; ip address add {MOVED}/24 dev uplink")
    site.lead_to(MOVED)
    time.sleep(1)  # some minutes of cron's
    assert HUB in router.sh("wg show wgclient1 endpoints"), "it may answer still"
    router.sh("rm /bin/date; cat >/bin/date; chmod +x /bin/date", text=LATER)
    assert site.reaches(INSIDE, patience=15)
    assert MOVED in router.sh("wg show wgclient1 endpoints")
    assert not site.flint.run(**site.state)["changed"]


def test_the_kill_switch_takes_the_tunnels_packets_alone(site: Site) -> None:
    """What is left in table 1001 while the hub is away is a blackhole: only what belongs there may meet it."""
    site.flint.run(**site.state, kill_switch=True)
    assert site.reaches(INSIDE, patience=15)
    site.hub.run(state="absent")
    site.flint.router.sh("ifdown wgclient1; ifup wgclient1")
    assert "blackhole" in site.flint.router.wait("ip route show table 1001", "blackhole")
    assert not site.reaches(INSIDE)
    assert site.reaches(MOVED, patience=5)
