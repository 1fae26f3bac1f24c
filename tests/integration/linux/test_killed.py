"""A run is killed in place of each of its writes in turn; what is there must make sense, and the next run finishes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.integration.linux.hosts import LinuxHost

KEYS: dict[str, str] = {}


def peer(host: LinuxHost, name: str, key: str, *allowed: str, **more: Any) -> dict[str, Any]:
    if key not in KEYS:
        KEYS[key] = host.run("wg", "pubkey", stdin=host.run("wg", "genkey")).strip()
    return {"name": name, "public_key": KEYS[key], "allowed_ips": list(allowed), **more}


def before(host: LinuxHost) -> dict[str, Any]:
    return {
        "name": "wg0",
        "addresses": ["10.100.0.1/24"],
        "listen_port": 51820,
        "peers": [
            peer(host, "stays", "stays", "10.31.0.0/24", endpoint="203.0.113.1:1"),
            peer(host, "leaves", "leaves", "10.32.0.0/24"),
            peer(host, "rotates", "old", "10.33.0.0/24"),
            peer(host, "moves", "moves", "10.34.0.0/24", endpoint="203.0.113.1:51820"),
        ],
    }


def after(host: LinuxHost) -> dict[str, Any]:
    return {
        "name": "wg0",
        "addresses": ["10.100.0.1/24", "fd00:100::1/64"],
        "listen_port": 51821,
        "mtu": 1380,
        "open_port": True,
        "forward_to": ["10.31.0.0/24"],
        "masquerade": ["10.100.0.0/24"],
        "peers": [
            peer(host, "stays", "stays", "10.31.0.0/24", endpoint="203.0.113.1:1"),
            peer(host, "rotates", "new", "10.35.0.0/24"),
            peer(host, "moves", "moves", "10.34.0.0/24", endpoint="203.0.113.2:51820"),
            peer(host, "comes", "comes", "10.36.0.0/24", "fd00:36::/64"),
        ],
    }


def state(host: LinuxHost) -> dict[str, str]:
    """What both a reboot and the running interface are made of; lines sorted, for order means nothing."""
    words = {
        "files": "tail -n +1 /etc/wireguard/wg0.conf /etc/wireguard/wg0.nft",
        "folder": "ls -A /etc/wireguard",
        "peers": "wg show wg0 dump",
        "addresses": "ip -br address show dev wg0 scope global",
        "routes": "ip route show dev wg0",
        "routes6": "ip -6 route show dev wg0",
        "nft": "nft list ruleset",
        "iptables": "iptables -S",
        "ip6tables": "ip6tables -S",
        "unit": "systemctl show wg-quick@wg0",
    }
    shown = {key: host.run(*command.split(), check=False) for key, command in words.items()}
    return {key: "\n".join(sorted(filter(_lasting, text.splitlines()))) for key, text in shown.items()}


def _lasting(line: str) -> bool:
    """Not what differs from run to run: keys made anew, addresses that Linux makes up, an empty chain."""
    made_up = ("PrivateKey", "fe80", "chain", "table ip", "type filter hook", "}")
    return bool(line.strip()) and not line.strip().startswith(made_up) and "51820\toff" not in line


def live_peers(host: LinuxHost) -> dict[str, tuple[str, str]]:
    lines = host.run("wg", "show", "wg0", "dump", check=False).splitlines()[1:]
    return {fields[0]: (fields[2], fields[3]) for fields in (line.split("\t") for line in lines)}


def wanted_peers(arguments: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        peer["public_key"]: (peer.get("endpoint", "(none)"), ",".join(peer["allowed_ips"]))
        for peer in arguments["peers"]
    }


CHANGES = {
    "blank to running": (None, after),
    "running to other": (before, after),
    "and back": (after, before),
    "running to absent": (after, lambda _: {"name": "wg0", "state": "absent"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_every_write(hosts: list[LinuxHost], change: str) -> None:
    start, end = CHANGES[change]
    straight, host, _spare = hosts
    old, new = start(host) if start else None, end(host)
    if old:
        straight.apply(**old)
    straight.apply(**new)
    goal = state(straight)
    for turn in itertools.count():
        host.apply(name="wg0", state="absent")
        host.run("sh", "-c", "nft flush ruleset; echo 0 > /proc/sys/net/ipv4/ip_forward")
        if old:
            host.apply(**old)
        died = host.module("--die-at", str(turn), **new).get("died")
        if old and new.get("state") != "absent":
            check_halfway(host, old, new)
        foretold = host.apply("--check", **new)["commands"]
        assert host.apply(**new)["commands"] == foretold
        finished = state(host)
        assert {k: v for k, v in finished.items() if k != "peers"} == {k: v for k, v in goal.items() if k != "peers"}
        assert live_peers(host) == live_peers(straight)
        assert not host.apply(**new)["changed"]
        if not died:
            assert turn >= 3
            break


def check_halfway(host: LinuxHost, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Each live peer is as it was or as it shall be, nobody else is there, who stays was never away."""
    was, shall = wanted_peers(old), wanted_peers(new)
    live = live_peers(host)
    assert set(was) & set(shall) <= set(live)
    for key, value in live.items():
        assert value in (was.get(key), shall.get(key)), key
    assert KEYS["stays"] in host.read("/etc/wireguard/wg0.conf")
    assert "PrivateKey" in host.run("wg-quick", "strip", "wg0")


def test_killed_and_then_wanted_otherwise(hosts: list[LinuxHost]) -> None:
    """A second change of mind after a crash finds nothing left of the first."""
    straight, host, _spare = hosts
    old, new = before(host), after(host)
    straight.apply(**old)
    for turn in itertools.count():
        host.apply(name="wg0", state="absent")
        host.apply(**old)
        died = host.module("--die-at", str(turn), **new).get("died")
        host.apply(**old)
        assert set(live_peers(host)) == set(live_peers(straight))
        goal, finished = state(straight), state(host)
        assert finished["routes"] == goal["routes"]
        assert finished["folder"] == goal["folder"]
        assert finished["iptables"] == goal["iptables"]
        assert "wg0" not in finished["nft"]
        assert not host.apply(**old)["changed"]
        if not died:
            break
