"""A hub that is dialled by name moves: the script that the timer runs finds it again, and touches nobody else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.integration.linux.hosts import LinuxHost, wait_for

UNIT = "/etc/systemd/system/wireguard-endpoints-wg0"
FOUND, MOVED = "192.0.2.1", "192.0.2.9"
LATER = "#!/bin/sh\necho $(($(/bin/date +%s) + 140))\n"


class Pair:
    """A spoke that dials hub.example.org, on one wire with the hub; its names come from a hosts file of its own."""

    def __init__(self, hub: LinuxHost, spoke: LinuxHost) -> None:
        self.hub, self.spoke = hub, spoke
        hub.wire(spoke, f"{FOUND}/24", "192.0.2.2/24")
        spoke.run("sh", "-c", "cp /etc/hosts /run/hosts; mount --bind /run/hosts /etc/hosts")
        self.lead_to(FOUND)
        hub.apply(name="wg0", addresses=["10.100.0.1/24"], listen_port=51820)
        self.hub_key = hub.run("wg", "show", "wg0", "public-key").strip()
        self.peers = [
            self.peer("hub", self.hub_key, "hub.example.org:51820", "10.100.0.1/32"),
            # Never answers, but has an address of its own.
            self.peer("fixed", "b0LAbL6M9bZlSlRNy0KvPX0r+QmXyZ0yTtSpVJHhxXM=", "192.0.2.77:1", "10.100.0.9/32"),
        ]
        spoke.run("sh", "-c", f"mkdir /run/later; echo '{LATER}' >/run/later/date; chmod +x /run/later/date")

    @staticmethod
    def peer(name: str, key: str, endpoint: str, prefix: str) -> dict[str, Any]:
        more = {"endpoint": endpoint, "persistent_keepalive": "1"}
        return {"name": name, "public_key": key, "allowed_ips": [prefix], **more}

    def dial(self, *peers: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self.spoke.apply(name="wg0", addresses=["10.100.0.2/24"], peers=[*(peers or self.peers)], **more)

    def lead_to(self, address: str) -> None:
        self.spoke.run("sh", "-c", f"echo '{address} hub.example.org' >/run/hosts")

    def minute(self, path: str = "") -> None:
        """What systemd does every minute; a `path` with another clock may come first."""
        service = self.spoke.read(f"{UNIT}.service")
        start = re.search(r"^ExecStart=(.*)$", service, re.MULTILINE)
        assert start
        self.spoke.run("sh", "-c", f"PATH={path}:$PATH {start[1]}")

    def endpoints(self) -> dict[str, str]:
        return dict(line.split("\t") for line in self.spoke.run("wg", "show", "wg0", "endpoints").splitlines())

    def answers(self) -> bool:
        return " 1 received" in self.spoke.run("ping", "-c", "1", "-W", "1", "10.100.0.1", check=False)


@pytest.fixture
def pair(hosts: list[LinuxHost]) -> Pair:
    pair = Pair(*hosts[:2])
    pair.dial()
    key = pair.spoke.run("wg", "show", "wg0", "public-key").strip()
    peer = {"name": "spoke", "public_key": key, "allowed_ips": ["10.100.0.2/32"]}
    pair.hub.apply(name="wg0", addresses=["10.100.0.1/24"], listen_port=51820, peers=[peer])
    wait_for(pair.answers)
    return pair


def test_a_hub_that_moved_is_found_by_its_name(pair: Pair) -> None:
    before = pair.endpoints()
    pair.hub.run("ip", "address", "del", f"{FOUND}/24", "dev", "eth0")
    pair.hub.run("ip", "address", "add", f"{MOVED}/24", "dev", "eth0")
    assert not pair.answers()
    pair.minute("/run/later")
    assert pair.endpoints() == before, "the name leads to the old address still"
    pair.lead_to(MOVED)
    pair.minute()
    assert pair.endpoints() == before, "it may answer still"
    pair.minute("/run/later")
    assert pair.endpoints() == {**before, pair.hub_key: f"{MOVED}:51820"}
    wait_for(pair.answers)
    assert not pair.dial()["changed"], "where it is now is no difference"
    pair.spoke.run("sh", "-c", ": >/run/hosts")
    pair.minute("/run/later")
    assert pair.answers(), "a name that cannot be looked up leaves all as it is"


def test_a_run_at_work_is_not_disturbed(pair: Pair) -> None:
    pair.lead_to(MOVED)
    pair.spoke.run("flock", "/etc/wireguard", "sh", "-c", "PATH=/run/later:$PATH sh /etc/wireguard/wg0.endpoints")
    assert pair.endpoints()[pair.hub_key] == f"{FOUND}:51820"


def test_it_is_there_while_a_peer_has_a_name(pair: Pair) -> None:
    files = "ls /etc/wireguard /etc/systemd/system"
    hub, fixed = pair.peers
    pair.spoke.run("systemctl", "disable", "--now", "wireguard-endpoints-wg0.timer")
    assert pair.dial()["commands"] == [
        "systemctl enable wireguard-endpoints-wg0.timer",
        "systemctl restart wireguard-endpoints-wg0.timer",
    ]
    moved = pair.dial({**hub, "endpoint": "hub.example.org:51999"}, fixed)
    assert "install -m 600 /dev/stdin /etc/wireguard/wg0.endpoints" in moved["commands"]
    assert not any(command.startswith("systemctl") for command in moved["commands"])
    pair.dial(fixed)
    assert "endpoints" not in pair.spoke.run("sh", "-c", files)
    pair.dial()
    assert "endpoints" in pair.spoke.run("sh", "-c", files)
    pair.spoke.apply(name="wg0", state="absent")
    assert "endpoints" not in pair.spoke.run("sh", "-c", files)
