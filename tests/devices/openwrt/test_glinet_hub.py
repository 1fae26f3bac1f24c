"""A Flint 2 as the hub, a computer in its LAN, a spoke with OpenWrt on its wire, a phone: packets between them all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from openwrt_double.router import Router

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.devices.openwrt.test_glinet_tunnel import HUB_CONFIG, INSIDE, PC

Owner = Any  # of conftest.py: what the fixture `own` makes
Result = dict[str, Any]
FLINT = "198.51.100.60:51821"
PHONE = f"hf{os.getpid()}"  # its interface's name, which all of the machine shares


class Site:
    """`computer`: who is in the LAN; a command runs there by `at_pc`."""

    def __init__(self, flint: Owner, spoke: Owner, computer: int) -> None:
        self.flint, self.spoke, self.computer = flint, spoke, computer
        flint.name = "wgserver"
        flint.router.uplink(spoke.router, "198.51.100.1/24")
        spoke.router.sh(f"ip address add {INSIDE}/32 dev lo")
        enter = ["nsenter", f"--target={flint.router.pid}", "--net"]
        subprocess.run([*enter, *f"ip link set far-lan1 netns {computer} name eth0".split()], check=True)
        self.at_pc(f"ip address add {PC}/24 dev eth0; ip link set eth0 up; ip route add default via 192.168.8.1")
        bare = {"addresses": ["10.3.2.5/24"], "peers": [{"name": "flint"}]}
        known = spoke.run(**bare)["public_key"]
        peer = {"name": "valchedrym", "public_key": known, "allowed_ips": ["10.3.2.5/32", "10.0.10.0/24"]}
        self.state: Result = {
            "addresses": ["10.3.2.1/24"],
            "listen_port": 51821,
            "peers": [peer],
            "forward_to": ["192.168.8.0/24"],
            "open_port": True,
        }
        self.key = flint.run(**self.state)["public_key"]
        hub = {"name": "flint", "public_key": self.key, "endpoint": FLINT, "persistent_keepalive": "1"}
        spoke.run(**{**bare, "peers": [{**hub, "allowed_ips": ["10.3.2.0/24", "192.168.8.0/24"]}]})

    def at_pc(self, script: str, text: str = "") -> str:
        command = ["nsenter", f"--target={self.computer}", "--net", "sh", "-c", script]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def reaches(self, address: str, patience: float = 10) -> bool:
        """Whether a packet from the computer comes back."""
        deadline = time.monotonic() + patience
        while " 0% packet loss" not in self.at_pc(f"ping -c 1 -W 1 {address}"):
            if time.monotonic() > deadline:
                return False
        return True


@pytest.fixture(scope="module", params=["gl-4.7", "gl-4.8", "gl-4.8-op24"])
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    own: Callable[..., Owner],
    computer: Callable[[], AbstractContextManager[int]],
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with (
        computer() as pid,
        Router(folder / "spoke", release="23.05", config=HUB_CONFIG) as spoke,
        Router(folder / "flint", release=request.param) as flint,
    ):
        yield Site(own(flint, glinet=True), own(spoke), pid)


def test_packets_go_both_ways_between_the_lan_and_a_spoke(site: Site) -> None:
    """Nobody's address is hidden: the spoke answers to the computer's own."""
    assert site.reaches(INSIDE)
    spoke, router = site.spoke.router, site.flint.router
    spoke.sh("nft add table ip seen; nft add chain ip seen in '{ type filter hook input priority -200; }'")
    spoke.sh(f"nft add rule ip seen in ip saddr {PC} ip daddr {INSIDE} counter")
    assert site.reaches(INSIDE)
    assert "packets 0" not in spoke.sh("nft list table ip seen")
    for sender, script in (
        (spoke, f"ping -c 1 -W 1 -I {INSIDE} {PC}"),
        (spoke, "ping -c 1 -W 1 192.168.8.1"),
        (router, f"ping -c 1 -W 1 {INSIDE}"),
    ):
        assert " 0% packet loss" in sender.wait(script, " 0% packet loss"), script
    done = site.flint.run(**site.state)
    assert not done["changed"]
    assert done["peers"][0]["handshake_age"] < 60


def test_a_phone_reaches_the_spoke_and_comes_and_goes_without_a_loss(site: Site) -> None:
    private = site.at_pc("wg genkey").strip()
    phone = {"name": "phone", "public_key": site.at_pc("wg pubkey", private).strip(), "allowed_ips": ["10.3.2.10/32"]}
    assert site.reaches(INSIDE)
    steady = subprocess.Popen(
        ["nsenter", f"--target={site.computer}", "--net", "ping", "-c", "30", "-i", "0.1", "-W", "1", INSIDE],
        stdout=subprocess.PIPE,
        text=True,
    )
    site.flint.run(**{**site.state, "peers": [*site.state["peers"], phone]})
    assert ", 0% packet loss" in steady.communicate()[0]
    conf = f"[Interface]\nPrivateKey={private}\n[Peer]\nPublicKey={site.key}\nEndpoint=192.168.8.1:51821\n"
    try:
        site.at_pc(
            f"wireguard-go {PHONE}; wg setconf {PHONE} /dev/stdin", f"{conf}AllowedIPs=10.3.2.0/24,10.0.10.0/24\n"
        )
        site.at_pc(f"ip address add 10.3.2.10/32 dev {PHONE}; ip link set {PHONE} up")
        site.at_pc(f"ip route add 10.0.10.0/24 dev {PHONE} src 10.3.2.10; ip route add 10.3.2.5 dev {PHONE}")
        assert site.reaches(INSIDE), "from spoke to spoke"
        assert site.flint.run(**site.state)["changed"]
        assert not site.reaches(INSIDE, patience=0)
    finally:
        site.at_pc(f"ip link del {PHONE}")
    assert site.reaches(INSIDE)
