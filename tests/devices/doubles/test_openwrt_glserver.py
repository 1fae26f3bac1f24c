"""The traps of GL.iNet's server, each of which the double must have (facts 2.5, and the firmware's own scripts)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openwrt_double.router import Router, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

NEWER, OLD = "gl-4.8", "gl-4.7"
UP, DOWN = '"up":true', '"up":false,"pending":true'
STATUS = "ubus -S call network.interface.wgserver status"
SWITCH_ON = """
uci set network.wgserver=interface; uci set network.wgserver.proto=wgserver
uci set network.wgserver.config=main_server; uci commit; ubus call network reload
"""


def key(number: int) -> str:
    return base64.b64encode(number.to_bytes(32, "big")).decode()


SERVER = f"""
config servers 'main_server'
\toption address_v4 '10.3.2.1/24'
\toption address_v6 'fd00:3:2::1/64'
\toption port '51821'
\toption private_key '{key(1)}'
\toption access 'ACCEPT'
\toption masq '1'

config peers 'peer_1'
\toption public_key '{key(2)}'
\toption client_ip '10.3.2.5/24,fd00:3:2::5/64'
\toption persistent_keepalive '25'
\toption presharedkey_enable '0'
\toption presharedkey '{key(102)}'

config peers 'peer_2'
\toption public_key '{key(3)}'
\toption client_ip '10.3.2.6/24'
\toption deprecated '1'

config route_rules
\toption route_flag '4'
\toption dest '192.168.0.0'
\toption mask '24'
\toption gateway '10.3.2.5'
"""
Boot = Callable[..., Router]


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    """`boot("gl-4.8")`: a router whose server has been switched on."""
    routers: list[Router] = []

    def start(release: str = NEWER, text: str = SERVER, until: str = UP) -> Router:
        router = Router(tmp_path, release, retry=0.3)
        routers.append(router)
        router.boot()
        router.sh(f"cat >/etc/config/wireguard_server; {SWITCH_ON}", text=text)
        assert until in router.wait(STATUS, until)
        return router

    yield start
    for router in routers:
        router.power_off()


def allowed(router: Router) -> dict[str, set[str]]:
    lines = router.sh("wg show wgserver allowed-ips").splitlines()
    return {line.split("\t")[0]: set(line.split("\t")[1].split()) for line in lines}


def test_who_is_let_in_by_the_newer_one(boot: Boot) -> None:
    router = boot()
    assert allowed(router) == {key(2): {"10.3.2.5/32", "fd00:3:2::5/128", "192.168.0.0/24"}}
    told = "wg show wgserver persistent-keepalive; wg show wgserver preshared-keys; wg show wgserver fwmark"
    assert router.sh(told).split() == [key(2), "off", key(2), key(102), "off"]
    assert "fd00" not in router.sh("ip addr show wgserver"), "IPv6 is off"


def test_who_is_let_in_by_the_older_one(boot: Boot) -> None:
    router = boot(OLD)
    assert allowed(router) == {key(2): {"10.3.2.5/32", "192.168.0.0/24"}, key(3): {"10.3.2.6/32"}}
    assert router.sh("wg show wgserver persistent-keepalive | grep -c 25; wg show wgserver fwmark") == "1\n0x8000\n"
    assert "fd00:3:2::1" in router.sh("ip addr show wgserver")
    assert "wgserver" not in router.sh("uci show firewall")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("gateway '10.3.2.5'", "gateway '10.3.2.5/24'"), ("flag '4'", "flag 'ipv4'"), ("dest '192", "target '192")],
)
def test_a_route_rule_that_is_spelled_otherwise_routes_nothing(boot: Boot, right: str, wrong: str) -> None:
    router = boot(text=SERVER.replace(right, wrong), until="pending")
    assert "192.168.0.0/24" not in router.sh("sleep 0.3; ip route")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("mask '24'", "mask '255.255.255.0x'"), ("24,fd00", "24, fd00"), (key(2), "none"), ("port '51821'", "port 'x'")],
)
def test_one_bad_value_takes_the_whole_server_down(boot: Boot, right: str, wrong: str) -> None:
    router = boot(text=SERVER.replace(right, wrong), until=DOWN)
    assert "setup failed" in router.wait("logread", "setup failed")
    router.sh("cat >/etc/config/wireguard_server", text=SERVER)
    assert UP in router.wait(STATUS, UP)


def test_an_edited_peer_is_not_seen_before_the_next_setup(boot: Boot) -> None:
    router = boot()
    router.sh("uci set wireguard_server.peer_2.deprecated=0; uci commit; ubus call network reload; sleep 0.3")
    assert key(3) not in allowed(router)
    router.sh("ifup wgserver")
    assert key(3) in router.wait("wg show wgserver peers", key(3))


def test_the_newer_one_writes_its_firewall_and_switches_it_off(boot: Boot) -> None:
    router = boot()
    said = router.sh(
        "for o in zone:.input zone:.masq zone:2lan.target zone:2zone.target zone:_allow.dest_port; do "
        "uci get firewall.$(echo $o | sed 's/zone:2zone/wgserver2wgserver/; s/zone:/wgserver/'); done"
    )
    assert said.split() == ["ACCEPT", "1", "ACCEPT", "REJECT", "51821"]
    router.sh("ifdown wgserver")
    assert router.sh("uci show firewall | grep wgserver | grep -c \"enabled='0'\"") == "7\n"
    assert router.wait("nft list ruleset | grep -q wgserver || echo gone", "gone") == "gone\n"


def test_what_is_copied_for_clients_lacks_the_servers_routes(boot: Boot) -> None:
    router = boot()
    router.sh("uci set route_policy.global.enabled=1; uci commit; ip link set wgserver down; ifup wgserver")
    assert "192.168.0.0/24" in router.wait("ip route show dev wgserver", "192.168.0.0/24")
    assert router.sh("ip route show table 9910 dev wgserver | cut -d ' ' -f 1") == "10.3.2.0/24\n"
