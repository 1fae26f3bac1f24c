"""GL.iNet: what an owner's hand and the owner's own tunnels leave, and what of it a run mends, leaves or refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.devices.openwrt.test_glinet_wireguard import RTP2, both_firewalls, files, hub_of

Owner = Any  # of conftest.py: the fixture `flint`
Result = dict[str, Any]
Key = Callable[[int], str]
PROVIDER = """
uci set wireguard.peer_855=peers; uci set wireguard.peer_855.name=provider; uci set wireguard.peer_855.group_id=1957
uci set wireguard.peer_855.peer_id=855; uci set wireguard.peer_855.private_key=OWN
uci set wireguard.peer_855.public_key=OTHER; uci set wireguard.peer_855.address_v4=10.66.0.2/32
uci set wireguard.peer_855.allowed_ips=0.0.0.0/0; uci set wireguard.peer_855.end_point=203.0.113.9:51820
uci set route_policy.theirs=rule; uci set route_policy.theirs.name=vpn; uci set route_policy.theirs.tunnel_id=1
uci set route_policy.theirs.enabled=1; uci set route_policy.theirs.killswitch=1
uci set route_policy.theirs.via_type=wireguard; uci set route_policy.theirs.group_id=1957
uci set route_policy.theirs.peer_id=855; uci commit
"""


def test_a_rule_for_everything_does_not_take_the_sites_packets(flint: Owner, london: Result, key: Key) -> None:
    """Rules are tried in their order, and the owner's VPN on wgclient1 leaves nothing for those behind it."""
    router = flint.router
    router.sh(PROVIDER.replace("OWN", key(77)).replace("OTHER", key(78)) + RTP2)
    state = {**london, "name": "wgclient2"}
    foreseen = flint.run(check=True, **state)["commands"]
    assert flint.run(**state)["commands"] == foreseen
    assert not flint.run(**state)["changed"]
    jumps = "iptables -t mangle -S ROUTE_POLICY | grep -o 'TUNNEL[0-9]*'"
    assert router.sh(jumps) == "TUNNEL2\nTUNNEL1\n"
    router.sh(f"uci reorder route_policy.theirs=0; uci commit; {RTP2}")
    assert router.sh(jumps) == "TUNNEL1\nTUNNEL2\n"
    again = flint.run(**state)["commands"]
    assert again == [
        "uci reorder route_policy.fabric_rule_wgclient2=0",
        "uci commit route_policy",
        RTP2,
        "/etc/init.d/firewall reload",
    ]
    assert router.sh(jumps) == "TUNNEL2\nTUNNEL1\n"
    assert not flint.run(**state)["changed"]


def test_an_openvpn_rule_with_the_same_number_is_somebody_elses(flint: Owner, london: Result) -> None:
    router = flint.router
    router.sh("uci set route_policy.office=rule; uci set route_policy.office.tunnel_id=7; uci commit")
    router.sh("uci set route_policy.office.enabled=0; uci set route_policy.office.via_type=openvpn; uci commit")
    router.sh("uci set route_policy.office.client_id=1001; uci commit")
    before = router.sh("uci show route_policy.office")
    flint.run(**london)
    assert router.sh("uci show route_policy.office") == before
    assert router.sh("uci get route_policy.fabric_rule_wgclient1.peer_id") == "1001\n"
    assert not flint.run(**london)["changed"]
    flint.run(state="absent")
    assert router.sh("uci show route_policy.office") == before


@pytest.mark.parametrize("flint", ["gl-4.7"], indirect=True)
def test_the_routers_one_kill_switch_is_left_alone_unless_it_is_asked_for(flint: Owner, london: Result) -> None:
    router, told = flint.router, "uci get vpnpolicy.global.kill_switch"
    router.sh("uci set vpnpolicy.global.kill_switch=1; uci commit")
    flint.run(**london)
    assert router.sh(told) == "1\n"
    for wanted, written in ((False, "0\n"), (True, "1\n")):
        assert flint.run(**london, kill_switch=wanted)["commands"] == [
            f"uci set vpnpolicy.global.kill_switch='{int(wanted)}'",
            "uci commit vpnpolicy",
        ]
        assert router.sh(told) == written
        assert not flint.run(**london, kill_switch=wanted)["changed"]
    flint.run(state="absent")
    assert router.sh(told) == "1\n"


def test_a_peer_that_is_gone_does_not_cost_the_key(flint: Owner, london: Result) -> None:
    """The interface names a section that somebody deleted: ours is the one with our description."""
    router = flint.router
    first = flint.run(**london)["public_key"]
    router.sh("uci set network.wgclient1.config=peer_4711; uci commit network")
    assert flint.run(**london)["public_key"] == first
    assert router.sh("uci get wireguard.peer_1001.private_key | wg pubkey") == f"{first}\n"
    assert router.sh("uci get network.wgclient1.config") == "peer_1001\n"
    assert not flint.run(**london)["changed"]


def test_what_a_hand_wrote_wrong_is_written_anew(flint: Owner, london: Result) -> None:
    flint.run(**london)
    flint.router.sh("uci set wireguard.peer_1001.persistent_keepalive=25s; uci commit")
    done = flint.run(**london)["commands"]
    assert [line for line in done if line.startswith("uci ")] == [
        "uci set wireguard.peer_1001.persistent_keepalive='25'",
        "uci commit wireguard",
    ]
    assert not flint.run(**london)["changed"]


def test_what_would_win_over_the_peer_as_it_is_wanted_goes(flint: Owner, london: Result, key: Key) -> None:
    """An address of the app's choice, which outlives the name's; a switch that takes the preshared key away."""
    router = flint.router
    flint.run(**london)
    router.sh("uci set wireguard.peer_1001.end_point_ip=203.0.113.99; uci commit; ifup wgclient1")
    assert "203.0.113.99" in router.wait("wg show wgclient1 endpoints", "203.0.113.99")
    assert "uci delete wireguard.peer_1001.end_point_ip" in flint.run(**london)["commands"]
    assert "198.51.100.7:51821" in router.sh("wg show wgclient1 endpoints")
    router.sh("uci set wireguard.peer_1001.presharedkey_enable=0; uci commit; ifup wgclient1")
    router.wait("wg show wgclient1 preshared-keys", "(none)")
    assert "uci set wireguard.peer_1001.presharedkey_enable='1'" in flint.run(**london)["commands"]
    assert key(101) in router.sh("wg show wgclient1 preshared-keys")
    without = hub_of(london, preshared_key="")
    flint.run(**without)
    assert "(none)" in router.sh("wg show wgclient1 preshared-keys")
    assert "preshared" not in router.sh("uci show wireguard.peer_1001")
    assert not flint.run(**without)["changed"]


@pytest.mark.parametrize("flint", ["gl-4.7", "gl-4.8"], indirect=True)
def test_ipv6_is_written_and_read_back(flint: Owner, london: Result) -> None:
    router, told = flint.router, "uci get wireguard.peer_1001.address_v6"
    state = {
        **hub_of(london, allowed_ips=["10.3.2.0/24", "fd00:3:2::/64"]),
        "addresses": ["10.3.2.6/24", "fd00:3:2::6/64"],
    }
    flint.run(**state)
    assert router.sh(told) == "fd00:3:2::6/128\n"
    assert any("IPv6 is off on this router" in warning for warning in flint.warnings)
    # In two steps: right after `ifup` alone, the interface that is shown may still be the old one.
    router.sh(f"uci set glipv6.globals.enabled=1; uci commit; ifdown {flint.name}")
    router.wait(f"[ -e /sys/class/net/{flint.name} ] || echo gone", "gone")
    router.sh(f"ifup {flint.name}")
    router.wait(f"wg show {flint.name} endpoints", "198.51.100.7")
    assert not flint.run(**state)["changed"]
    assert not any("IPv6" in warning for warning in flint.warnings)
    if flint.name == "wgclient":  # newer firmware waits for the hub's answer
        assert "fd00:3:2::6" in router.wait("ip -6 addr show wgclient", "fd00:3:2::6")
    flint.run(**{**state, "addresses": ["10.3.2.6/24", "fd00:3:2::7/64"]})
    assert router.sh(told) == "fd00:3:2::7/128\n"
    flint.run(**{**state, "addresses": ["10.3.2.6/24"]})
    assert "address_v6" not in router.sh("uci show wireguard.peer_1001")


@both_firewalls
def test_what_the_firmware_is_about_to_commit_is_waited_for(flint: Owner, london: Result) -> None:
    router = flint.router
    router.sh("uci set network.lan.mtu=1400; (sleep 0.5; uci commit network) >/dev/null 2>&1 </dev/null &")
    flint.run(**london)
    assert router.sh("uci get network.lan.mtu; uci changes") == "1400\n"
    assert not flint.run(**london)["changed"]


def test_changes_in_any_package_count_where_rtp2_commits_them_all(flint: Owner, london: Result) -> None:
    flint.router.sh("uci set glipv6.globals.mine=1")
    if flint.router.sh("[ -x /sbin/fw4 ] || echo fw3"):
        assert flint.run(**london)["changed"]
        return
    with pytest.raises(DeviceError, match=r"changes that nobody committed \(glipv6.globals.mine\)"):
        flint.run(**london)


def test_the_way_to_this_run_is_not_routed_away(flint: Owner, london: Result) -> None:
    before, execute = files(flint.router), flint.execute
    flint.execute = lambda script: execute("export SSH_CONNECTION='203.0.113.9 4242 198.51.100.60 22'\n" + script)
    with pytest.raises(TunnelError, match=r"203.0.113.0/24 holds 203.0.113.9, from which this run is connected"):
        flint.run(**hub_of(london, allowed_ips=["203.0.113.0/24"]))
    assert files(flint.router) == before
