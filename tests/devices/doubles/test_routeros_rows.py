"""The shape of every row as strings: which keys are there, which are not, and how values read (facts 2, 5 to 8)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from routeros_double import Live, RouterOS, keys

KEY, OTHER = (keys.public(keys.private()) for number in range(2))
PRIVATE = "QK9mGzZzZ0Z3YxTqmJrWl6m1p8m2cS1n7Jm0k0aYb3A="

ALWAYS = {".id", "interface", "name", "public-key", "endpoint-address", "endpoint-port", "current-endpoint-address"}
ALWAYS |= {"current-endpoint-port", "allowed-address", "preshared-key", "private-key", "client-endpoint"}
ALWAYS |= {"client-allowed-address", "rx", "tx", "dynamic", "disabled"}


@pytest.fixture
def tunnel(router: RouterOS) -> RouterOS:
    router.add("/interface/wireguard", name="wg0", private_key=PRIVATE, listen_port="51820")
    return router


def test_wireguard(tunnel: RouterOS, wire: Any) -> None:
    assert wire.rows("/interface/wireguard/print") == [
        {
            ".id": "*8",
            "name": "wg0",
            "mtu": "1420",
            "listen-port": "51820",
            "private-key": PRIVATE,
            "public-key": keys.public(PRIVATE),
            "running": "true",
            "disabled": "false",
        }
    ]


def test_a_key_pair_is_made_and_follows_the_private_key(wire: Any) -> None:
    wire.ask("/interface/wireguard/add")
    wire.ask("/interface/wireguard/add")
    one, other = wire.rows("/interface/wireguard/print")
    assert (one["name"], other["name"]) == ("wireguard1", "wireguard2")
    assert one["private-key"] != other["private-key"]
    assert keys.public(one["private-key"]) == one["public-key"]
    wire.ask("/interface/wireguard/set", "=.id=wireguard1", f"=private-key={PRIVATE}")
    assert wire.rows("/interface/wireguard/print")[0]["public-key"] == keys.public(PRIVATE)
    wire.ask("/interface/wireguard/set", "=.id=wireguard1", "=mtu=1280")
    assert wire.rows("/interface/wireguard/print")[0]["public-key"] == keys.public(PRIVATE)


def test_peer_at_its_barest(tunnel: RouterOS, wire: Any) -> None:
    wire.ask("/interface/wireguard/peers/add", "=interface=wg0", f"=public-key={KEY}")
    (row,) = wire.rows("/interface/wireguard/peers/print")
    assert set(row) == ALWAYS
    assert row | {"public-key": ""} == {
        **dict.fromkeys(ALWAYS, ""),
        ".id": "*1",
        "interface": "wg0",
        "name": "peer1",
        "endpoint-port": "0",
        "current-endpoint-port": "0",
        "rx": "0",
        "tx": "0",
        "dynamic": "false",
        "disabled": "false",
    }


def test_peer_with_everything(tunnel: RouterOS, wire: Any) -> None:
    words = {
        "interface": "wg0",
        "public-key": KEY,
        "allowed-address": "10.0.0.1/24,fd00::1/64,10.9.0.1",
        "persistent-keepalive": "60",
        "responder": "yes",
        "comment": "homelab.fabric: vps",
        "name": "vps",
        "endpoint-address": "203.0.113.10",
        "endpoint-port": "51820",
        "client-keepalive": "25s",
    }
    wire.ask("/interface/wireguard/peers/add", *(f"={name}={value}" for name, value in words.items()))
    tunnel.handshake("wg0", KEY, Live(1, 2, time.time() - 93, ("203.0.113.10", 51821)))
    (row,) = wire.rows("/interface/wireguard/peers/print")
    assert set(row) == ALWAYS | {"persistent-keepalive", "responder", "comment", "client-keepalive", "last-handshake"}
    # Bits of the host are cleared, the order is not known, durations have units.
    assert set(row["allowed-address"].split(",")) == {"10.9.0.1/32", "fd00::/64", "10.0.0.0/24"}
    assert (row["persistent-keepalive"], row["responder"], row["client-keepalive"]) == ("1m", "true", "25s")
    assert (row["rx"], row["tx"], row["last-handshake"]) == ("1", "2", "1m33s")
    assert (row["current-endpoint-address"], row["current-endpoint-port"]) == ("203.0.113.10", "51821")


def test_peer_resets(tunnel: RouterOS, wire: Any) -> None:
    add = ["=interface=wg0", f"=public-key={KEY}", "=persistent-keepalive=25", "=preshared-key=auto", "=comment=x"]
    wire.ask("/interface/wireguard/peers/add", *add)
    assert len(keys.raw(wire.rows("/interface/wireguard/peers/print")[0]["preshared-key"])) == 32
    wire.ask("/interface/wireguard/peers/set", "=.id=*1", "=preshared-key=", "=comment=", "=!persistent-keepalive=")
    assert set(wire.rows("/interface/wireguard/peers/print")[0]) == ALWAYS
    wire.ask("/interface/wireguard/peers/set", "=.id=*1", "=persistent-keepalive=0")
    assert wire.rows("/interface/wireguard/peers/print")[0].get("persistent-keepalive", "0s") == "0s"


@pytest.mark.parametrize(
    ("version", "absent"),
    [
        ("7.12.2", {"name", "private-key", "client-allowed-address"}),
        ("7.15", {"client-allowed-address"}),
        ("7.20.8", {"client-allowed-address"}),
        ("7.21", set()),
    ],
)
def test_peer_by_version(version: str, absent: set[str], open_wire: Any) -> None:
    with RouterOS(version) as router:
        router.add("/interface/wireguard", name="wg0")
        router.add("/interface/wireguard/peers", interface="wg0", public_key=KEY)
        assert set(open_wire(router).rows("/interface/wireguard/peers/print")[0]) == ALWAYS - absent


@pytest.mark.parametrize(("version", "said"), [("7.22.3", False), ("7.24", True)])
def test_overlapping_prefixes_are_accepted(version: str, said: bool, open_wire: Any) -> None:
    with RouterOS(version) as router:
        for name in ("wg0", "wg1"):
            router.add("/interface/wireguard", name=name)
        add = router.add
        add("/interface/wireguard/peers", interface="wg0", public_key=KEY, allowed_address="10.0.0.0/8,fd00::/8")
        add("/interface/wireguard/peers", interface="wg0", public_key=OTHER, allowed_address="10.1.0.0/16")
        add("/interface/wireguard/peers", interface="wg1", public_key=OTHER, allowed_address="10.1.0.0/16")
        rows = open_wire(router).rows("/interface/wireguard/peers/print")
        assert [".about" in row for row in rows] == [said, said, False]


def test_ip_address(wire: Any) -> None:
    wire.ask("/ip/address/add", "=address=10.100.0.2/30", "=interface=ether2", "=comment=wg")
    row = wire.rows("/ip/address/print")[-1]
    assert row == {
        ".id": "*5",
        "address": "10.100.0.2/30",
        "network": "10.100.0.0",
        "interface": "ether2",
        "actual-interface": "ether2",
        "vrf": "main",
        "slave": "false",
        "disabled": "false",
        "dynamic": "false",
        "invalid": "false",
        "comment": "wg",
    }
    wire.ask("/ip/address/set", "=.id=*5", "=address=10.100.9.2/24", "=network=10.100.9.0")
    assert wire.rows("/ip/address/print")[-1]["network"] == "10.100.9.0"


def test_routes(tunnel: RouterOS, wire: Any) -> None:
    wire.ask("/ip/address/add", "=address=10.100.0.2/30", "=interface=wg0")
    for words in (
        ["10.3.0.0/24", "=gateway=wg0"],
        ["10.4.0.0/24", "=gateway=10.100.0.1"],
        ["10.5.0.0/24", "=gateway=9.9.9.9"],
    ):
        wire.ask("/ip/route/add", f"=dst-address={words[0]}", words[1])
    wire.ask("/ip/route/add", "=dst-address=10.6.0.0/24", "=blackhole=", "=comment=sink", "=distance=9")
    found = {row["dst-address"]: row for row in wire.rows("/ip/route/print")}
    static = {"distance": "1", "scope": "30", "target-scope": "10", "routing-table": "main"}
    static |= {"dynamic": "false", "static": "true"}
    active = {"active": "true", "inactive": "false"}
    assert found["10.3.0.0/24"] == {
        ".id": "*80000002",
        "dst-address": "10.3.0.0/24",
        "gateway": "wg0",
        "immediate-gw": "wg0",
        **static,
        **active,
    }
    assert found["10.4.0.0/24"]["immediate-gw"] == "10.100.0.1%wg0"
    assert found["10.5.0.0/24"] == {
        ".id": "*80000004",
        "dst-address": "10.5.0.0/24",
        "gateway": "9.9.9.9",
        "inactive": "true",
        **static,
    }
    assert found["10.6.0.0/24"] == {
        ".id": "*80000005",
        "dst-address": "10.6.0.0/24",
        "blackhole": "",
        "comment": "sink",
        **static,
        **active,
        "distance": "9",
    }
    connected = found["10.100.0.0/30"]
    assert connected[".id"].startswith("*2018")
    assert (connected["dynamic"], connected["connect"], connected["gateway"]) == ("true", "true", "wg0")
    assert "static" not in connected


def test_a_disabled_route_shows_almost_nothing(wire: Any) -> None:
    add = ["=dst-address=10.3.0.0/24", "=gateway=ether2", "=distance=5", "=comment=off", "=disabled=yes"]
    wire.ask("/ip/route/add", *add)
    assert wire.rows("/ip/route/print", "?comment=off") == [
        {
            ".id": "*80000002",
            "dst-address": "10.3.0.0/24",
            "gateway": "ether2",
            "disabled": "true",
            "inactive": "true",
            "static": "true",
            "comment": "off",
        }
    ]
    assert not wire.rows("/ip/route/print", "?dynamic=false", "?comment=off")
    wire.ask("/ip/route/enable", "=.id=*80000002")
    (row,) = wire.rows("/ip/route/print", "?comment=off")
    assert row["distance"] == "5"
    assert "disabled" not in row


def test_rule_shows_only_what_was_written(wire: Any) -> None:
    base = {
        "chain": "forward",
        "action": "accept",
        "bytes": "0",
        "packets": "0",
        "dynamic": "false",
        "invalid": "false",
    }
    wire.ask("/ip/firewall/filter/add", "=chain=forward", "=in-interface=ether1", "=comment=")
    assert wire.rows("/ip/firewall/filter/print")[-1] == {**base, ".id": "*8", "in-interface": "ether1"}
    written = ["=.id=*8", "=disabled=no", "=log=no", "=log-prefix=", "=!in-interface="]
    wire.ask("/ip/firewall/filter/set", *written)
    shown = {".id": "*8", "disabled": "false", "log": "false", "log-prefix": ""}
    assert wire.rows("/ip/firewall/filter/print")[-1] == {**base, **shown}


def test_list_and_member(wire: Any) -> None:
    assert [row["name"] for row in wire.rows("/interface/list/print", "?builtin=true")] == [
        "all",
        "none",
        "dynamic",
        "static",
    ]
    assert wire.rows("/interface/list/member/print")[0] == {
        ".id": "*1",
        "list": "WAN",
        "interface": "ether1",
        "disabled": "false",
        "dynamic": "false",
    }


def test_system(wire: Any) -> None:
    (row,) = wire.rows("/system/resource/print")
    assert row["version"] == "7.22.3 (stable)"
    assert {"board-name", "architecture-name", "uptime"} <= set(row)
    wire.ask("/system/identity/set", "=name=another")
    assert wire.rows("/system/identity/print") == [{"name": "another"}]


@pytest.mark.parametrize(
    ("given", "shown"),
    [("60", "1m"), ("25s", "25s"), ("93", "1m33s"), ("3600", "1h"), ("1m0s", "1m"), ("65535", "18h12m15s")],
)
def test_durations(tunnel: RouterOS, wire: Any, given: str, shown: str) -> None:
    wire.ask("/interface/wireguard/peers/add", "=interface=wg0", f"=public-key={KEY}", f"=persistent-keepalive={given}")
    assert wire.rows("/interface/wireguard/peers/print")[0]["persistent-keepalive"] == shown


def test_ipv6_from_a_delegated_prefix(router: RouterOS, wire: Any) -> None:
    client = ["=interface=ether1", "=request=prefix,address", "=pool-name=starlink-pd", "=add-default-route=yes"]
    wire.ask("/ipv6/dhcp-client/add", *client)
    for link in ("vlan10-lan", "vlan20-iot"):
        wire.ask("/ipv6/address/add", "=address=::1/64", "=from-pool=starlink-pd", f"=interface={link}")
    assert wire.rows("/ipv6/dhcp-client/print")[0]["status"] == "searching..."
    router.delegate("2001:db8:a::/56")
    row = wire.rows("/ipv6/dhcp-client/print")[0]
    assert (row["status"], row["prefix"]) == ("bound", "2001:db8:a::/56, 6d16h56m8s")
    assert set(row["request"].split(",")) == {"prefix", "address"}
    shown = wire.rows("/ipv6/address/print")
    assert [row["address"] for row in shown] == ["2001:db8:a::1/64", "2001:db8:a:1::1/64"]
    assert shown[0]["from-pool"] == "starlink-pd"
    assert shown[0]["global"] == "true"
    assert wire.rows("/ipv6/pool/print")[0]["dynamic"] == "true"
    router.delegate("2001:db8:b::/56")
    assert wire.rows("/ipv6/address/print")[1]["address"] == "2001:db8:b:1::1/64"
    assert {row["dst-address"] for row in wire.rows("/ipv6/route/print")} == {"2001:db8:b::/64", "2001:db8:b:1::/64"}


def test_nd_has_one_built_in_row(wire: Any) -> None:
    (row,) = wire.rows("/ipv6/nd/print")
    assert (row["interface"], row["default"]) == ("all", "true")
    assert (row["hop-limit"], row["ra-delay"], row["ra-interval"]) == ("unspecified", "3s", "3m20s-10m")
    wire.ask("/ipv6/nd/set", f"=.id={row['.id']}", "=disabled=yes")
    assert wire.rows("/ipv6/nd/print")[0]["disabled"] == "true"


def test_librouteros_reads_booleans_and_numbers(tunnel: RouterOS, call: Callable[..., Any]) -> None:
    (row,) = call("/interface/wireguard/print")
    assert (row["running"], row["listen-port"]) == (True, 51820)
