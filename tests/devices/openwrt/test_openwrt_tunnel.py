"""Two routers on one wire, a hub and a spoke with a real tunnel between them: packets while things change."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from openwrt_double.factory import DEFAULTS
from openwrt_double.router import Router

Owner = Any  # of conftest.py: what the fixture `own` makes
Result = dict[str, Any]
Key = Callable[[int], str]
HUB, MOVED = "198.51.100.1", "198.51.100.9"
# Its Internet is the wire to the spoke.
HUB_CONFIG = {
    "network": DEFAULTS["network"].replace("198.51.100.", "192.0.2."),
    "firewall": DEFAULTS["firewall"].replace("\tlist network 'wan'", "\tlist network 'wan'\n\tlist device 'uplink'"),
}
# A clock that is ahead for whoever asks for seconds.
LATER = (
    '#!/bin/sh\n[ $1 = +%s ] && exec expr $(/usr/libexec/busybox date +%s) + 160\nexec /usr/libexec/busybox date "$@"\n'
)


class Pair:
    """Both as their module made them. The spoke dials hub.example.org, which its hosts file leads to."""

    def __init__(self, hub: Owner, spoke: Owner) -> None:
        self.hub, self.spoke = hub, spoke
        spoke.router.uplink(hub.router, f"{HUB}/24")
        self.lead_to(HUB)
        # Whom nobody answers would be waited for.
        spoke.router.sh("echo nameserver 127.0.0.1 >/tmp/resolv.conf.d/resolv.conf.auto")
        key = hub.run(addresses=["10.3.2.1/24"], listen_port=51821, open_port=True)["public_key"]
        peer = {"public_key": key, "endpoint": "hub.example.org:51821", "persistent_keepalive": "1"}
        self.of_spoke: Result = {
            "addresses": ["10.3.2.5/24"],
            "listen_port": 51820,
            "peers": [{"name": "hub", **peer, "allowed_ips": ["10.3.2.1/32"]}],
        }
        key = spoke.run(**self.of_spoke)["public_key"]
        self.of_hub: Result = {
            "addresses": ["10.3.2.1/24"],
            "listen_port": 51821,
            "open_port": True,
            "peers": [{"name": "spoke", "public_key": key, "allowed_ips": ["10.3.2.5/32"]}],
        }
        hub.run(**self.of_hub)
        self.wait_for_answers()

    def lead_to(self, address: str) -> None:
        self.spoke.router.sh(f"echo '{address} hub.example.org' >/etc/hosts")

    def wait_for_answers(self) -> None:
        deadline = time.monotonic() + 20
        while " 1 received" not in self.ping("-c", "1", "-W", "1").communicate()[0]:
            assert time.monotonic() < deadline

    def ping(self, *words: str) -> subprocess.Popen[str]:
        """The machine's ping on the spoke."""
        command = ["nsenter", f"--target={self.spoke.router.pid}", "--net", "ping", "-n", *words, "10.3.2.1"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    @contextmanager
    def ping_every_10_ms(self) -> Iterator[list[int]]:
        """Fills the list with the packets lost; the last one may be under way."""
        lost: list[int] = []
        ping = self.ping("-i", "0.01", "-W", "2")
        try:
            yield lost
        finally:
            ping.send_signal(signal.SIGINT)
            output = ping.communicate()[0]
        sent = re.search(r"(\d+) packets transmitted", output)
        assert sent
        assert int(sent[1]) > 100
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+)", output)}
        lost += sorted(set(range(1, int(sent[1]))) - answered)


@pytest.fixture(scope="module", params=["23.05", "25.12"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, own: Callable[[Router], Owner]
) -> Iterator[Pair]:
    if os.geteuid():
        pytest.skip("needs root, to plug two routers together")  # for root a skip fails: tests/conftest.py
    folder = tmp_path_factory.mktemp("pair")
    with (
        Router(folder / "hub", release=request.param, config=HUB_CONFIG) as hub,
        Router(folder / "spoke", release=request.param, minute=2) as spoke,
    ):
        yield Pair(own(hub), own(spoke))


def test_no_packet_is_lost_while_other_peers_come_change_and_go(pair: Pair, key: Key) -> None:
    third = {"name": "third", "public_key": key(3), "allowed_ips": ["10.3.2.9/32", "10.77.0.0/24"]}
    steps = [
        [third],
        [
            {
                **third,
                "allowed_ips": ["10.3.2.9/32", "10.78.0.0/24"],
                "endpoint": "198.51.100.77:5",
                "preshared_key": key(9),
            }
        ],
        [{**third, "public_key": key(4)}],
        [],
    ]
    with pair.ping_every_10_ms() as lost:
        for more in steps:
            for owner, state in ((pair.spoke, pair.of_spoke), (pair.hub, pair.of_hub)):
                given = {**state, "peers": [*state["peers"], *more], "forward_to": ["lan"] if more else []}
                assert owner.run(**given)["changed"]
                assert {entry["name"] for entry in owner.run(check=True, **given)["peers"]} == {
                    peer["name"] for peer in given["peers"]
                }
    assert lost == []


def test_a_hub_that_moves_is_found_by_its_name(pair: Pair) -> None:
    """Its lease ends, its record changes, and nobody does anything about it."""
    router = pair.spoke.router
    assert "* * * * * /usr/bin/wireguard_watchdog # homelab.fabric\n" in router.sh("cat /etc/crontabs/root")
    pair.hub.router.sh(f"ip address del {HUB}/24 dev uplink; ip address add {MOVED}/24 dev uplink")
    assert " 0 received" in pair.ping("-c", "1", "-W", "1").communicate()[0]
    pair.lead_to(MOVED)
    time.sleep(5)  # two minutes of cron's
    assert HUB in router.sh("wg show wg0 endpoints"), "it may answer still"
    router.sh("rm /bin/date; cat >/bin/date; chmod +x /bin/date", text=LATER)
    pair.wait_for_answers()
    assert MOVED in router.sh("wg show wg0 endpoints")
    assert not pair.spoke.run(**pair.of_spoke)["changed"]
