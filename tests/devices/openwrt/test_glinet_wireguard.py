"""glinet_wireguard against the strict double: what a user sees, and what the router then has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError
from openwrt_double.router import Router

Owner = Any  # of conftest.py: the fixture `flint`
Result = dict[str, Any]
Key = Callable[[int], str]
every_firmware = pytest.mark.parametrize("flint", ["gl-4.7", "gl-4.8", "gl-4.8-op24"], indirect=True)
both_firewalls = pytest.mark.parametrize("flint", ["gl-4.8", "gl-4.8-op24"], indirect=True)
RTP2 = "/etc/init.d/vpn-client restart"


def files(router: Router) -> Result:
    """All that outlives a reboot, but for what rtp2.sh writes of itself."""
    folder = router.root / "etc"
    kept = [*folder.glob("config/*"), *folder.glob("domain_mac_list/*"), *folder.glob("nftables.d/*")]
    kept += [path for path in [folder / "firewall.user"] if path.exists() and path.read_text()]
    return {str(path): path.read_text() for path in kept if path.is_file()}


def own_marks(router: Router) -> str:
    """The live rules for the router's own packets."""
    return router.sh("iptables -t mangle -S LOCAL_POLICY 2>/dev/null; nft list chain inet fw4 fabric_wgclient1 2>&1")


def hub_of(arguments: Result, **changes: Any) -> Result:
    """The arguments with changes in their one peer."""
    return {**arguments, "peers": [{**arguments["peers"][0], **changes}]}


@every_firmware
def test_a_blank_router_is_brought_to_the_state_and_then_left_alone(flint: Owner, london: Result, key: Key) -> None:
    router = flint.router
    blank = files(router), router.sh("find /tmp /etc | sort")
    foreseen = flint.run(check=True, **london)
    assert (foreseen["changed"], foreseen["public_key"], len(flint.scripts)) == (True, "(known after apply)", 1)
    assert (files(router), router.sh("find /tmp /etc | sort")) == blank
    done = flint.run(**london)
    assert (done["commands"], len(flint.scripts)) == (foreseen["commands"], 3)
    private = router.sh("uci get wireguard.peer_1001.private_key")
    assert router.sh("wg pubkey", text=private).strip() == done["public_key"]
    assert (router.root / "etc/config/wireguard").stat().st_mode & 0o077 == 0, "it holds the key"
    live = router.sh(f"wg show {flint.name} dump").splitlines()[1].split("\t")
    assert live[:4] == [key(1), key(101), "198.51.100.7:51821", "10.0.0.0/8,10.3.2.0/24,192.168.1.0/24"]
    assert live[7] == "25"
    assert "mtu 1380" in router.sh(f"ip link show {flint.name}")
    again = flint.run(**london)
    assert (again["changed"], again["commands"], len(flint.scripts)) == (False, [], 4)
    assert again["diff"]["before"] == again["diff"]["after"]
    assert "sofia has not answered yet" in flint.warnings[0]
    assert private.strip() not in str(flint.answers)


@every_firmware
def test_absent_leaves_the_router_as_it_was(flint: Owner, london: Result) -> None:
    router = flint.router
    router.sh("for p in network firewall wireguard; do uci set $p.mine=mine; done; uci commit")
    blank = files(router)
    flint.run(**london, open_port=True)
    assert flint.run(state="absent")["changed"]
    after = files(router)
    # The firmware says here whether any tunnel is on.
    policy = str(router.root / "etc/config/route_policy")
    assert {**after, policy: ""} == {**blank, policy: ""}
    assert "fabric" not in after.get(policy, "")
    assert flint.name not in router.sh("ip link; nft list ruleset")
    assert not flint.run(state="absent")["changed"]


@pytest.mark.parametrize("flint", ["gl-4.7", "gl-4.8"], indirect=True)
def test_a_spoke_makes_its_key_before_it_knows_the_hub(flint: Owner, london: Result, key: Key) -> None:
    router = flint.router
    unknown = {name: value for name, value in london["peers"][0].items() if name != "public_key"}
    announced = flint.run(check=True, **london, waited_for=["sofia"])["commands"]
    first = flint.run(**{**london, "peers": [unknown]})
    assert (first["waiting_for_key"], first["peers"]) == (["sofia"], [])
    assert flint.name not in router.sh("ip link; uci show network; uci show route_policy")
    assert not flint.run(**{**london, "peers": [unknown]})["changed"]
    done = flint.run(**london)
    assert (done["public_key"], done["waiting_for_key"]) == (first["public_key"], [])
    assert done["commands"] == announced
    # What this run does not know stays as the router has it; what is not wanted any more goes, but for the key pair.
    assert not flint.run(**{**london, "peers": [unknown]})["changed"]
    assert flint.run(**{**london, "peers": []})["public_key"] == first["public_key"]
    assert flint.name not in router.sh("ip link; uci show network; uci show route_policy; uci show firewall")
    assert not flint.run(**{**london, "peers": []})["changed"]
    assert flint.run(**london)["public_key"] == first["public_key"]


@both_firewalls
def test_what_the_firmware_makes_is_left_to_it(flint: Owner, london: Result) -> None:
    done = flint.run(**london)
    written = [line.split()[2] for line in done["commands"] if line.startswith("uci set")]
    assert {name.partition(".")[0] for name in written} == {"wireguard", "route_policy"}
    assert not any(name.endswith((".via", ".mark", ".options_in_used")) for name in written)
    router = flint.router
    before = files(router)
    router.sh(f"{RTP2}; sleep 0.3")
    assert files(router) == before
    assert not flint.run(**london)["changed"]


def test_a_change_costs_no_more_than_it_needs(flint: Owner, london: Result) -> None:
    flint.run(**london)
    state = dict(london)
    for change, commands in (
        ({"mtu": 1400}, [RTP2, "ifup wgclient1"]),
        ({"addresses": ["10.3.2.7/24"]}, ["ifup wgclient1"]),
        ({"forward_to": [], "masquerade": ["192.168.8.0/24"], "kill_switch": True}, [RTP2]),
        ({"open_port": True}, []),
    ):
        state |= change
        done = flint.run(**state)
        steps = [line for line in done["commands"] if not line.startswith("uci ")]
        assert steps == [*commands, "/etc/init.d/firewall reload"], change
    assert not flint.run(**state)["changed"]


def test_an_edited_peer_is_taken_up_and_outlives_a_reboot(flint: Owner, london: Result, key: Key) -> None:
    """rtp2.sh and a reload both leave an interface alone whose peer was edited."""
    flint.run(**london)
    changed = hub_of(london, public_key=key(7), endpoint="198.51.100.8:1", allowed_ips=["10.0.10.0/24"])
    done = flint.run(**changed)
    assert [line for line in done["commands"] if not line.startswith("uci ")][-3:] == [
        RTP2,
        "ifup wgclient1",
        "/etc/init.d/firewall reload",
    ]
    live = flint.router.sh("wg show wgclient1 dump").splitlines()[1:]
    assert [line.split("\t")[:4] for line in live] == [[key(7), key(101), "198.51.100.8:1", "10.0.10.0/24"]]
    assert flint.router.sh("cat /etc/domain_mac_list/dst_net1") == "10.0.10.0/24\n"
    assert flint.router.sh("uci show wireguard | grep -c =peers") == "1\n"
    flint.router.reboot()
    assert key(7) in flint.router.wait("wg show wgclient1 peers", key(7))
    assert "10.0.10.0/24" in flint.router.wait("iptables -t mangle -S LOCAL_POLICY", "10.0.10.0/24")
    assert not flint.run(**changed)["changed"]


# The lessons of reference network B


def test_prefixes_that_a_list_would_glue_together_are_one_value(flint: Owner, london: Result, key: Key) -> None:
    """Made by hand as on OpenWrt: the interface has no peer, and the firmware tries again for ever."""
    router = flint.router
    flint.run(**london)
    router.sh("uci delete wireguard.peer_1001.allowed_ips; uci delete wireguard.peer_1001.description")
    router.sh(
        "for p in 10.3.2.0/24 10.0.0.0/8 192.168.1.0/24; do uci add_list wireguard.peer_1001.allowed_ips=$p; done"
    )
    router.sh("uci commit; ifup wgclient1")
    router.wait("wg show wgclient1 peers", "\n", patience=0.1)
    assert "not in the correct format" in router.wait("logread", "not in the correct format")
    done = flint.run(**london)
    assert "uci set wireguard.peer_1001.allowed_ips='10.0.0.0/8,10.3.2.0/24,192.168.1.0/24'" in done["commands"]
    assert key(1) in router.sh("wg show wgclient1 peers")
    assert not flint.run(**london)["changed"]


@both_firewalls
def test_the_routers_own_packets_are_marked_whatever_the_firmware_does(flint: Owner, london: Result) -> None:
    router = flint.router
    router.sh("echo 'echo mine' >/etc/firewall.user")
    flint.run(**london)
    assert all(prefix in own_marks(router) for prefix in ("10.0.0.0/8", "10.3.2.0/24", "192.168.1.0/24"))
    for damage in (RTP2, "/etc/init.d/firewall restart", "ifdown wgclient1; ifup wgclient1"):
        router.sh(damage)
        assert "10.0.0.0/8" in router.wait("iptables -t mangle -S LOCAL_POLICY; nft list table inet fw4", "10.0.0.0/8")
    assert not flint.run(**london)["changed"]
    router.sh("iptables -t mangle -F LOCAL_POLICY; nft delete chain inet fw4 fabric_wgclient1; true")
    assert flint.run(**london)["commands"] == ["/etc/init.d/firewall reload"]
    assert "10.0.0.0/8" in own_marks(router)
    flint.run(state="absent")
    assert "10.0.0.0/8" not in own_marks(router)
    assert "wgclient1" not in router.sh("iptables -t nat -S; ls /etc/nftables.d 2>&1")
    assert router.sh("cat /etc/firewall.user") == "echo mine\n"


def test_the_own_lan_is_not_routed_away(flint: Owner, london: Result) -> None:
    before = files(flint.router)
    with pytest.raises(TunnelError, match=r"192.168.8.0/24 is on br-lan of this router already"):
        flint.run(**hub_of(london, allowed_ips=["192.168.8.0/24"]))
    assert files(flint.router) == before


def test_a_keepalive_that_was_forgotten_is_25(flint: Owner, london: Result) -> None:
    forgotten = hub_of(london, persistent_keepalive="0")
    flint.run(**forgotten)
    assert flint.router.sh("wg show wgclient1 persistent-keepalive | cut -f 2") == "25\n"
    assert not flint.run(**forgotten)["changed"]


def test_1_1_1_1_is_advised_against(flint: Owner, london: Result) -> None:
    router = flint.router
    flint.run(**london)
    assert not any("1.1.1.1" in warning for warning in flint.warnings)
    listed = "config service 'general'\n\tlist track_ip '1.1.1.1'\n\tlist track_ip '8.8.8.8'\n"
    router.sh("cat >/etc/config/glconfig", text=listed)
    router.sh("uci add_list network.wan.dns=1.1.1.1; uci commit; mkdir -p /etc/AdGuardHome")
    router.sh("echo 'upstream_dns: [1.1.1.1, 9.9.9.9]' >/etc/AdGuardHome/config.yaml")
    assert not flint.run(**london)["changed"]
    warned = [warning for warning in flint.warnings if "1.1.1.1" in warning]
    assert [warning.split()[0] for warning in warned] == [
        "glconfig.general.track_ip",
        "network.wan.dns",
        "/etc/AdGuardHome/config.yaml",
    ]
    # The fix is one to paste.
    router.sh(warned[0].split("`")[1])
    assert router.sh("uci get glconfig.general.track_ip") == "8.8.8.8 1.0.0.1\n"


@both_firewalls
def test_a_hub_that_does_not_answer_takes_nobodys_internet(flint: Owner, london: Result) -> None:
    """With the kill switch what belongs into the tunnel is dropped, and no more; without it there is no blackhole."""
    router = flint.router
    chains = "iptables -t mangle -S 2>/dev/null; nft list table inet vpn_table 2>/dev/null"
    flint.run(**london)
    assert "blackhole" not in router.sh("ip route show table 1001")
    flint.run(**london, kill_switch=True)
    assert "blackhole" in router.sh("ip route show table 1001")
    marking = [line for line in router.sh(chains).splitlines() if "1000" in line and "0x8000" not in line]
    listed = ("10.0.0.0/8", "10.3.2.0/24", "192.168.1.0/24", "gid")
    assert marking
    assert all("gid" in line or any(prefix in line for prefix in listed) for line in marking)
    flint.run(**hub_of(london, allowed_ips=["0.0.0.0/0"]), kill_switch=True)
    assert any("its LAN may have no Internet" in warning for warning in flint.warnings)
    assert "0.0.0.0/0" not in own_marks(router)


def test_as_a_hub_it_is_a_router_with_openwrt(flint: Owner, own: Any, key: Key) -> None:
    """On an interface of its own, beside the firmware's, which the web interface does not show."""
    hub = own(flint.router)
    peer = {"name": "valchedrym", "public_key": key(3), "allowed_ips": ["10.3.2.5/32", "192.168.0.0/24"]}
    state = {"addresses": ["10.3.2.1/24"], "listen_port": 51821, "open_port": True, "forward_to": ["lan"]}
    hub.run(**state, peers=[peer])
    assert "192.168.0.0/24 dev wg0" in flint.router.sh("ip route")
    before = files(flint.router)
    flint.router.sh(f"{RTP2}; sleep 0.3")
    assert {**files(flint.router), "route_policy": ""} == {**before, "route_policy": ""}
    assert not hub.run(**state, peers=[peer])["changed"]


# Refused

ANOTHER = """
uci set wireguard.peer_855=peers; uci set wireguard.peer_855.name=work
uci set network.wgclient1=interface; uci set network.wgclient1.config=peer_855; uci commit
"""
HANDLER = "/lib/netifd/proto/wgclient.sh"


@pytest.mark.parametrize("flint", ["gl-4.8"], indirect=True)
def test_one_clear_error(flint: Owner, london: Result, key: Key) -> None:
    router = flint.router
    second = {"name": "b", "public_key": key(2), "allowed_ips": ["10.9.0.0/24"]}
    for prepare, given, told, repair in (
        (f"mv {HANDLER} /tmp", {}, "this host has no firmware of GL.iNet", f"mv /tmp/wgclient.sh {HANDLER}"),
        ("mv /usr/bin/wg /tmp", {}, "`wg` is not on this router", "mv /tmp/wg /usr/bin"),
        (
            "mv /etc/config/wireguard /tmp",
            {},
            "has no /etc/config/wireguard.*`touch /",
            "mv /tmp/wireguard /etc/config",
        ),
        ("", {"name": "wg0"}, "GL.iNet's firmware names its interfaces itself", ""),
        ("", {"name": "wgclient"}, "this firmware has no wgclient: name wgclient1 to wgclient5", ""),
        ("", {"name": "wgclient2"}, "the firmware makes wgclient1 next, not wgclient2: name wgclient1", ""),
        ("", {"addresses": ["10.3.2.6/24", "10.3.3.6/24"]}, "more than one of IPv4", ""),
        ("", {"routes": ["10.9.0.0/16"]}, "routes what is in allowed_ips: leave routes out", ""),
        ("", {"peers": [*london["peers"], second]}, "dials one peer, not b and sofia: make one of them the", ""),
        ("", hub_of(london, endpoint=None), "has no endpoint, and a client of GL.iNet's firmware has to dial", ""),
        ("", hub_of(london, allowed_ips=["fd00:10::/64"]), "no IPv4 prefix in allowed_ips, and a rule", ""),
        ("uci set network.lan.mtu=1", {}, r"changes that nobody committed \(network.lan.mtu\)", "uci revert network"),
        (
            "uci set route_policy.default.enabled=0; uci commit",
            {},
            "may not fail over to WAN",
            "uci set route_policy.default.enabled=1; uci commit",
        ),
        (
            ANOTHER,
            {},
            "wgclient1 is the tunnel to work, which somebody else made",
            "uci delete wireguard.peer_855; uci delete network.wgclient1; uci commit",
        ),
    ):
        router.sh(prepare)
        before = files(router)
        with pytest.raises((TunnelError, DeviceError), match=told):
            flint.run(**{**london, **given})
        assert files(router) == before, told
        router.sh(repair)
    router.sh(ANOTHER)
    assert "uci set wireguard.peer_855.name='sofia'" in flint.run(check=True, **london, purge=True)["commands"]
    router.sh(repair)
    router.sh("rm /tmp/run/vpn-client-booted")
    with pytest.raises(DeviceError, match="the firmware made no wgclient1 of its rule"):
        flint.run(**london)
    router.sh("touch /tmp/run/vpn-client-booted")
    assert RTP2 in flint.run(**london)["commands"]
    assert not flint.run(**london)["changed"]


def test_one_bad_peer_is_found_before_it_is_committed(flint: Owner, london: Result) -> None:
    flint.run(**london)
    flint.router.sh("echo nameserver 127.0.0.1 >/tmp/resolv.conf.d/resolv.conf.auto")
    before = files(flint.router)
    with pytest.raises(DeviceError, match=r"nothing was committed.*it must resolve on the router"):
        flint.run(**hub_of(london, endpoint="nowhere.invalid:51821"))
    assert files(flint.router) == before
    assert not flint.run(**london)["changed"]
