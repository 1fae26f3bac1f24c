"""The role against the lab's router with OpenWrt, over ssh, and packets from its LAN to a hub and back."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.integration.relay.lab import STATE, attempt, lab, on

HOSTS = ("controller", "visitor", "openwrt", "openwrt-pc")
SECRET = STATE / "secrets/openwrt-preshared-key"
INVENTORY = "tests/integration/openwrt/inventory.yml"


@dataclass
class Hub:
    """wireguard-go on the lab's visitor, configured by hand."""

    public_key: str

    def greets(self, spoke: str, prefixes: str = "10.3.2.5/32,192.168.0.0/24") -> None:
        """Take a spoke in."""
        words = f"peer {spoke} preshared-key {SECRET} allowed-ips {prefixes}"
        on("visitor", "wg", "set", "hub0", *words.split())

    def play(self, *words: str, playbook: str = "site.yml") -> str:
        """What a playbook of this folder prints, which must succeed."""
        given = ["-e", f"hub_public_key={self.public_key}", "-e", f"hub_preshared_key={SECRET}"]
        command = ["ansible-playbook", "-i", INVENTORY, "-vvv", "--diff", *given, *words]
        done = attempt("controller", *command, f"tests/integration/openwrt/{playbook}", timeout=180)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    if os.geteuid():
        pytest.skip("the lab needs root")
    lab("up", "--only", *HOSTS)
    SECRET.write_text(on("controller", "wg", "genpsk"))
    SECRET.chmod(0o600)
    script = """set -e
        wireguard-go hub0 >/dev/null 2>&1
        wg genkey >/run/hub.key
        wg set hub0 listen-port 51821 private-key /run/hub.key
        ip address add 10.3.2.1/24 dev hub0
        ip address add 10.0.10.1/24 dev hub0
        ip link set up dev hub0
        ip route add 192.168.0.0/24 dev hub0
        ip route add 192.168.8.0/24 dev hub0
        wg show hub0 public-key"""
    yield Hub(on("visitor", "bash", "-c", script).strip())
    attempt("visitor", "ip", "link", "del", "hub0")


def calls(output: str) -> int:
    """How often a shell on the router was asked for something."""
    return len(re.findall(r"SSH: EXEC ssh ", output))


def test_lan_to_hub_and_back_with_one_read_and_one_write(hub: Hub) -> None:
    first = hub.play()
    key = re.search(r'wireguard_public_key_wg0"?: "?([A-Za-z0-9+/]{43}=)', first)
    assert key
    assert "changed=1" in first
    assert calls(first) == 2
    hub.greets(key[1])
    on("openwrt-pc", "ping", "-c", "2", "-W", "5", "10.0.10.1")
    on("visitor", "ping", "-c", "1", "-W", "5", "-I", "10.0.10.1", "192.168.0.10")
    again = hub.play()
    assert "changed=0" in again
    assert calls(again) == 1
    assert re.search(r'handshake_age"?: \d', again)
    private = on("openwrt", "uci", "get", "network.wg0.private_key").strip()
    left = on("controller", "sh", "-c", "cat ~/.ansible/tmp/*/* 2>/dev/null; true")
    for output in (first, again, left):
        assert private not in output
        assert SECRET.read_text().strip() not in output


def test_a_new_peer_costs_the_others_no_packet(hub: Hub) -> None:
    """With its route; both go as they came. The preshared key is not given, so it stays."""
    before = on("openwrt", "cat", "/sys/class/net/wg0/ifindex")
    known = {
        "name": "visitor",
        "public_key": hub.public_key,
        "endpoint": "198.51.100.20:51821",
        "allowed_ips": ["10.3.2.0/24", "10.0.10.0/24"],
        "persistent_keepalive": "25",
    }
    friend = {"name": "friend", "public_key": on("controller", "wg", "genkey").strip(), "allowed_ips": ["10.0.99.0/24"]}
    arguments = {"name": "wg0", "addresses": ["10.3.2.5/24"], "listen_port": 51820, "mtu": 1420}
    arguments["forward_to"] = ["192.168.0.0/24"]
    command = ["ansible", "-i", INVENTORY, "openwrt", "-m", "homelab.fabric.openwrt_wireguard", "-a"]
    ping = "stdbuf -oL ping -i 0.01 -W 1 10.0.10.1 >/run/pings 2>&1 & echo $! >/run/ping.pid"
    on("openwrt-pc", "bash", "-c", ping)
    count = ["awk", "/bytes from/ { n++ } END { print n + 0 }", "/run/pings"]
    answered = [int(on("openwrt-pc", *count))]
    for peers in ([known, friend], [known]):
        on("controller", *command, json.dumps({**arguments, "peers": peers}))
        answered.append(int(on("openwrt-pc", *count)))
    counted = on("openwrt-pc", "bash", "-c", "kill -INT $(cat /run/ping.pid); sleep 0.5; tail -n 2 /run/pings")
    assert " 0% packet loss" in counted
    # Some came while the peer did, and some while it went: a tenth of a second's each, however fast a run is.
    assert answered[1] - answered[0] >= 10, answered
    assert answered[2] - answered[1] >= 10, answered
    assert on("openwrt", "cat", "/sys/class/net/wg0/ifindex") == before
