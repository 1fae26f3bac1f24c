"""A run of wireguard_client is killed in place of each of its writes in turn; the next run finishes its work."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.integration.linux.hosts import LinuxHost
from tests.integration.linux.test_clients import COMMON, FOLDER, TUNNEL, clients, consistent, live

BEFORE: list[dict[str, Any]] = [
    {"name": "stays"},
    {"name": "leaves", "expires": "1h"},
    {"name": "rotates"},
    {"name": "moves"},
]
AFTER: list[dict[str, Any]] = [
    {"name": "leaves", "state": "absent"},
    {"name": "rotates"},
    {"name": "moves", "addresses": ["10.100.0.40"], "limits": [{"network": "10.30.0.0/24"}]},
    {"name": "comes", "expires": "2026-12-31T18:00:00Z", "access": ["full"]},
    {"name": "guest", "isolated": True},
]


def blank(host: LinuxHost) -> None:
    host.apply(name="wg0", state="absent")
    host.run("sh", "-c", f"rm -rf {FOLDER}; nft flush ruleset")
    assert host.run("ls", "-A", "/etc/wireguard", "/etc/systemd/system").split() == [
        "/etc/systemd/system:",
        "/etc/wireguard:",
    ]


def check_halfway(host: LinuxHost, stays: tuple[str, tuple[str, str]]) -> None:
    """Who is not concerned is there with the same keys; wg-quick could start the interface."""
    key, peer = stays
    assert live(host)[key] == peer
    assert key in host.run("wg-quick", "strip", "wg0")


@pytest.mark.parametrize(("rotate", "between"), [(True, "nothing"), (False, "linux_wireguard")])
def test_killed_at_every_write(host: LinuxHost, rotate: bool, between: str) -> None:
    goal = [item | {"rotate": rotate and item["name"] == "rotates"} for item in AFTER]
    for turn in itertools.count():
        blank(host)
        host.apply(**TUNNEL)
        done = clients(host, *BEFORE)
        key: str = next(client["public_key"] for client in done["clients"] if client["name"] == "stays")
        stays = (key, live(host)[key])
        died = host.module("--module=wireguard_client", "--die-at", str(turn), **COMMON, clients=goal).get("died")
        check_halfway(host, stays)
        if between == "linux_wireguard":
            host.apply(**TUNNEL)
            check_halfway(host, stays)
            assert not host.apply(**TUNNEL)["changed"]
        clients(host, *AFTER)
        consistent(host, "stays", "rotates", "moves", "comes", "guest")
        check_halfway(host, stays)
        assert not clients(host, *AFTER)["changed"]
        assert not host.apply(**TUNNEL)["changed"]
        register = clients(host)["clients"]
        assert {client["name"]: client["addresses"][0] for client in register if client["name"] != "rotates"} == {
            "stays": "10.100.0.3",
            "moves": "10.100.0.40",
            "comes": "10.100.0.7",
            "guest": "10.100.0.8",
        }, "an address of a run that died is not lost"
        if not died:
            assert turn > 15
            break


def test_killed_and_revoked_instead(host: LinuxHost) -> None:
    """Who was half-way in is out again, files and all, and nobody else is touched."""
    for turn in itertools.count():
        blank(host)
        host.apply(**TUNNEL)
        clients(host, {"name": "stays"})
        died = host.module(
            "--module=wireguard_client", "--die-at", str(turn), **COMMON, clients=[{"name": "comes", "expires": "1h"}]
        ).get("died")
        clients(host, {"name": "comes", "state": "absent"})
        consistent(host, "stays")
        assert host.run("ls", "-A", "/etc/systemd/system") == ""
        assert not clients(host, {"name": "stays"})["changed"]
        if not died:
            break
