"""The router's firewall and what packets do: fw4's traps (facts 1.5), and two routers that reach each other's LAN."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from openwrt_double.factory import DEFAULTS
from openwrt_double.gl_factory import USER_RULES
from openwrt_double.router import Router, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

UP = '"up":true'
STATUS = "ubus -S call network.interface.wg0 status"
VPN = """
config zone
\toption name 'vpn'
\tlist network 'wg0'
\toption input 'ACCEPT'
\toption output 'ACCEPT'
\toption forward 'REJECT'
\toption mtu_fix '1'

config forwarding
\toption src 'lan'
\toption dest 'vpn'

config forwarding
\toption src 'vpn'
\toption dest 'lan'
"""


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def public(private: str) -> str:
    return subprocess.run(["wg", "pubkey"], input=private, capture_output=True, text=True, check=True).stdout.strip()


def tunnel(private: str, address: str, peer: str, networks: str, more: str = "") -> str:
    return (
        f"\nconfig interface 'wg0'\n\toption proto 'wireguard'\n\toption private_key '{private}'\n"
        f"\toption listen_port '51820'\n\tlist addresses '{address}'\n\n"
        f"config wireguard_wg0 'peer'\n\toption public_key '{peer}'\n\toption allowed_ips '{networks}'\n"
        f"\toption route_allowed_ips '1'\n{more}"
    )


@pytest.fixture(params=["25.12", "21.02"])
def router(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Router]:
    with Router(tmp_path, release=request.param) as running:
        yield running


def table(router: Router) -> str:
    return router.sh("nft list ruleset")


def with_a_tunnel(router: Router) -> None:
    router.sh("cat >>/etc/config/firewall", text=VPN)
    router.sh("cat >>/etc/config/network", text=tunnel(key(), "10.3.2.5/32", public(key()), "10.3.2.0/24"))


def test_a_zone_whose_interface_is_not_up_has_no_rules_until_a_later_reload(router: Router) -> None:
    with_a_tunnel(router)
    warned = router.sh("/etc/init.d/firewall reload")
    assert "(vpn) cannot resolve device of network 'wg0'" in warned
    assert "wg0" not in table(router)
    router.sh("ubus call network reload")
    assert UP in router.wait(STATUS, UP)
    assert "wg0" not in table(router)
    assert router.sh("/etc/init.d/firewall reload") == ""
    rules = table(router)
    assert 'iifname "wg0" jump forward_vpn' in rules
    assert 'oifname "wg0" accept' in rules
    assert 'oifname "wg0" tcp flags syn / fin,syn,rst tcp option maxseg size set rt mtu' in rules


def test_uncommitted_deltas_count(router: Router) -> None:
    router.sh("uci set firewall.@zone[0].input=DROP; /etc/init.d/firewall reload")
    assert "chain input_lan {\n\t\tdrop" in table(router)


@pytest.mark.parametrize(("name", "taken"), [("vpn_eleven_", True), ("vpn_twelve__", False)])
def test_a_zone_with_a_long_name_is_skipped_with_a_warning(router: Router, name: str, taken: bool) -> None:
    with_a_tunnel(router)
    router.sh(f"uci set firewall.@zone[2].name={name}; uci commit; ubus call network reload")
    assert UP in router.wait(STATUS, UP)
    said = router.sh("/etc/init.d/firewall reload")
    assert (f"({name}) must have a name of 1 to 11 characters, skipped" in said) != taken
    assert (f"jump input_{name}" in table(router)) == taken


def test_fw4_check_and_a_broken_rule_that_leaves_the_old_rules(tmp_path: Path) -> None:
    with Router(tmp_path) as router:
        assert router.sh("fw4 check") == "Ruleset passes nftables check.\n"
        before = table(router)
        router.sh("uci add firewall rule; uci set firewall.@rule[-1].src=wan; uci set firewall.@rule[-1].target=ACCEPT")
        router.sh("uci set firewall.@rule[-1].src_ip=10.300.0.0; uci commit")
        said = router.sh("fw4 check")
        assert "Ruleset fails nftables check." in said
        assert said.endswith("status 1\n")
        assert "status 1" in router.sh("/etc/init.d/firewall reload")
        assert table(router) == before


def test_older_releases_have_fw3_which_runs_firewall_user_and_no_check(tmp_path: Path) -> None:
    with Router(tmp_path, release="21.02") as router:
        router.sh("cat >>/etc/config/firewall", text=USER_RULES)
        router.sh("echo 'echo again >>/tmp/ran' >/etc/firewall.user; /etc/init.d/firewall reload; fw3 reload")
        assert router.sh("cat /tmp/ran") == "again\nagain\n"
        assert "Usage: fw3" in router.sh("fw3 check")
        assert "table inet fw3" in table(router)


def test_fw4_reads_nftables_d_and_not_firewall_user(tmp_path: Path) -> None:
    with Router(tmp_path) as router:
        router.sh("cat >>/etc/config/firewall", text=USER_RULES)
        router.sh("echo 'echo again >>/tmp/ran' >/etc/firewall.user; mkdir -p /etc/nftables.d")
        assert router.sh("cat >/etc/nftables.d/10-mine.nft; fw4 reload", text="chain mine {\n\tcounter\n}\n") == ""
        assert "chain mine" in table(router)
        assert "No such file" in router.sh("cat /tmp/ran")
        router.sh("uci set firewall.@include[0].fw4_compatible=1; fw4 reload")
        assert router.sh("cat /tmp/ran") == "again\n"


def test_a_rule_names_its_protocol_and_ports(router: Router) -> None:
    rules = table(router)
    assert "meta l4proto tcp tcp dport 22 accept" in rules or "tcp dport 22 accept" in rules
    assert "icmp type echo-request accept" in rules


def test_a_nat_section_masquerades_what_it_names(router: Router) -> None:
    router.sh("cat >>/etc/config/firewall", text=NAT)
    assert router.sh("/etc/init.d/firewall reload") == ""
    assert "ip saddr 10.3.2.0/24 ip daddr != 10.3.2.0/24 masquerade" in table(router)


NAT = """
config nat
\toption src '*'
\toption src_ip '10.3.2.0/24'
\toption dest_ip '!10.3.2.0/24'
\toption proto 'all'
\toption target 'MASQUERADE'
"""
LOSS = "ping -c 1 -W 1 -I 192.168.0.1 192.168.9.1 >/dev/null && echo there"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to plug two routers together")
def test_two_routers_reach_each_others_lan_only_as_the_firewall_says(tmp_path: Path) -> None:
    mine, theirs = key(), key()
    endpoint = "\toption endpoint_host '198.51.100.1'\n\toption persistent_keepalive '1'\n"
    spoke = tunnel(mine, "10.3.2.5/24", public(theirs), "10.3.2.1/32 192.168.9.0/24", endpoint)
    hub = tunnel(theirs, "10.3.2.1/24", public(mine), "10.3.2.5/32 192.168.0.0/24")
    hub_network = DEFAULTS["network"].replace("192.168.0.1/24", "192.168.9.1/24").replace("100.50/24", "100.77/25")
    hub_wall = DEFAULTS["firewall"].replace("list network 'wan'", "list network 'wan'\n\tlist device 'uplink'")
    allow = "\nconfig rule\n\toption src 'wan'\n\toption proto 'udp'\n\toption dest_port '51820'\n"
    allow += "\toption target 'ACCEPT'\n"
    config = {"network": hub_network + hub, "firewall": hub_wall}
    with (
        Router(tmp_path / "hub", config=config) as b,
        Router(tmp_path / "spoke", release="23.05", config=DEFAULTS | {"network": DEFAULTS["network"] + spoke}) as a,
    ):
        b.sh("ip link set eth0 down")
        a.uplink(b, "198.51.100.1/24")
        for router in (a, b):
            assert UP in router.wait(STATUS, UP)
        # The port is closed, so nobody shakes hands.
        assert a.sh(LOSS) == "status 1\n"
        b.sh("cat >>/etc/config/firewall; fw4 reload", text=allow)
        handshake = "wg show wg0 latest-handshakes | grep -v '\\t0$' >/dev/null && echo shaken"
        assert "shaken" in a.wait(handshake, "shaken", patience=20)
        # No zone has wg0, so its packets are refused.
        assert a.sh(LOSS) == "status 1\n"
        b.sh("cat >>/etc/config/firewall; fw4 reload", text=VPN)
        assert "there" in a.wait(LOSS, "there", patience=15)
