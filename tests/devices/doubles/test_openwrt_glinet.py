"""The traps of GL.iNet's firmware, each of which the double must have (facts 1.2, 2.1 to 2.4)."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openwrt_double.factory import DEFAULTS
from openwrt_double.router import Router, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

STATUS = "ubus -S call network.interface.wgclient1 status"
PENDING = '"up":false,"pending":true'
TABLE = "ip route show table 1001"
WITH_FW3, WITH_FW4, OLD = "gl-4.8", "gl-4.8-op24", "gl-4.7"
EITHER = pytest.mark.parametrize("release", [WITH_FW3, WITH_FW4])
RTP2 = "/etc/init.d/vpn-client restart"


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def public(private: str) -> str:
    return subprocess.run(["wg", "pubkey"], input=private, capture_output=True, text=True, check=True).stdout.strip()


PRIVATE, HUB = key(), key()
PEER = f"""
config peers 'peer_855'
\toption group_id '1957'
\toption peer_id '855'
\toption name 'sofia'
\toption address_v4 '10.3.2.6/32'
\toption private_key '{PRIVATE}'
\toption public_key '{public(HUB)}'
\toption end_point '198.51.100.1:51821'
\toption allowed_ips '10.0.0.0/8,192.168.1.0/24'
"""
RULE = """
config rule
\toption tunnel_id '1'
\toption enabled '1'
\toption killswitch '1'
\toption via_type 'wireguard'
\toption group_id '1957'
\toption peer_id '855'
\toption to_type 'ipset'
\toption to 'dst_net1'
"""
Boot = Callable[..., Router]


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    """`boot("gl-4.8")`: a router with a peer, and with a rule for it unless that is empty; rtp2.sh has run."""
    routers: list[Router] = []

    def start(release: str = WITH_FW3, peer: str = PEER, rule: str = RULE) -> Router:
        router = Router(tmp_path, release, retry=0.3)
        routers.append(router)
        router.boot()
        router.sh("cat >>/etc/config/wireguard", text=peer)
        router.sh("printf '10.0.0.0/8\\n192.168.1.0/24\\n' >/etc/domain_mac_list/dst_net1")
        if release == OLD:
            section = "set network.wgclient=interface\nset network.wgclient.proto=wgclient\n"
            router.sh("uci batch; uci commit", text=f"{section}set network.wgclient.config=peer_855\n")
            router.sh("ubus call network reload")
        else:
            router.sh(f"cat >>/etc/config/route_policy; {RTP2}", text=rule)
        return router

    yield start
    for router in routers:
        router.power_off()


def status(router: Router) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(router.sh(STATUS))
    return found


def chains(router: Router) -> str:
    return router.sh("iptables -t mangle -S 2>/dev/null; nft list table inet vpn_table 2>/dev/null")


def index(router: Router) -> str:
    return router.sh("cat /sys/class/net/wgclient1/ifindex")


@EITHER
def test_a_rule_makes_an_instance_which_waits_for_its_hub(boot: Boot, release: str) -> None:
    router = boot(release)
    assert "peer" in router.wait("wg show wgclient1", "peer")
    assert PENDING in router.sh(STATUS)
    assert router.sh("cat /tmp/wireguard/wgclient1_state") == "connecting\n"
    assert "10.3.2.6" not in router.sh("ip addr")
    assert router.sh(TABLE).split() == ["blackhole", "default", "metric", "4096"]
    wanted = "proto='wgclient'|config='peer_855'|disabled='0'|ip4table='1001'"
    assert router.sh(f'uci show network.wgclient1 | grep -cE "{wanted}"') == "4\n"
    assert router.sh("uci get route_policy.@rule[0].via; uci get route_policy.@rule[0].mark") == "wgclient1\n0x1000\n"
    assert router.sh("wg show wgclient1 fwmark; wg show wgclient1 persistent-keepalive | cut -f 2") == "0x8000\n25\n"


@pytest.mark.parametrize(
    ("written", "allowed"),
    [
        ("option allowed_ips '10.0.0.0/8, 192.168.1.0/24'", "10.0.0.0/8 192.168.1.0/24"),
        ("list allowed_ips '10.0.0.0/8'", "10.0.0.0/8"),
        ("list allowed_ips '10.0.0.0/8'\n\tlist allowed_ips '192.168.1.0/24'", ""),
        ("option allowed_ips '10.0.0.0/8 192.168.1.0/24'", ""),
    ],
)
def test_list_entries_are_glued_together_and_leave_no_peer(boot: Boot, written: str, allowed: str) -> None:
    router = boot(peer=PEER.replace("option allowed_ips '10.0.0.0/8,192.168.1.0/24'", written))
    if allowed:
        assert allowed in router.wait("wg show wgclient1 allowed-ips", allowed)
        return
    glued = "AllowedIP is not in the correct format: `10.0.0.0/8192.168.1.0/24'"
    assert glued in router.wait("logread", glued)
    assert router.sh("wg show wgclient1 peers") == ""
    assert PENDING in router.sh(STATUS)


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("option preshared_key 'KEY'", "KEY"),
        ("option preshared_key 'KEY'\n\toption presharedkey_enable '0'", "(none)"),
        ("option persistent_keepalive '0'", "25"),
        ("option persistent_keepalive '7'", "7"),
        ("option end_point_ip '198.51.100.9'", "198.51.100.9:51821"),
    ],
)
def test_what_a_peer_says_counts_as_the_firmware_has_it(boot: Boot, option: str, shown: str) -> None:
    secret = key()
    router = boot(peer=f"{PEER}\t{option}\n".replace("KEY", secret))
    peer = router.wait("wg show wgclient1 dump | tail -n +2", "\t")
    assert shown.replace("KEY", secret) in peer.split()


def test_a_group_supplies_what_its_peers_lack(boot: Boot) -> None:
    peer = PEER.replace(f"\toption private_key '{PRIVATE}'\n", "").replace("\toption address_v4 '10.3.2.6/32'\n", "")
    more = f"\toption private_key '{PRIVATE}'\n\toption address_v4 '10.3.2.6/32'\n"
    router = boot(peer=peer + "\nconfig groups 'group_1957'\n" + more)
    assert public(PRIVATE) in router.wait("wg show wgclient1 public-key", "=")


@EITHER
def test_reload_does_not_notice_an_edited_peer_but_another_peer(boot: Boot, release: str) -> None:
    router = boot(release)
    router.wait("wg show wgclient1 peers", "=")
    link = index(router)
    router.sh("uci set wireguard.peer_855.persistent_keepalive=7; uci commit; ubus call network reload")
    assert router.sh(f"{RTP2}; sleep 0.3; wg show wgclient1 persistent-keepalive | cut -f2") == "25\n"
    assert index(router) == link
    router.sh("ifdown wgclient1; ifup wgclient1")
    assert router.wait("wg show wgclient1 persistent-keepalive | cut -f2", "7") == "7\n"
    router.sh("uci show wireguard.peer_855 | sed 's/peer_855/peer_856/; s/^/set /' | uci batch; uci commit")
    router.sh("uci set network.wgclient1.config=peer_856; uci commit; ubus call network reload")
    assert index(router) != link


@EITHER
def test_an_instance_whose_peer_is_in_no_rule_is_pruned(boot: Boot, release: str) -> None:
    router = boot(release, rule="")
    router.sh("setup_instance generate wgclient1 1957 855; ubus call network reload")
    assert PENDING in router.sh(STATUS)
    router.sh(f"{RTP2}; sleep 0.3")
    assert router.sh("uci -q show network.wgclient1; uci -q show firewall.wgclient1") == "status 1\n"
    assert "wgclient1" not in router.sh("ip link")


def test_an_instance_with_all_rules_disabled_is_stopped_whatever_uci_and_ifup_did(boot: Boot) -> None:
    router = boot()
    router.sh(f"uci set route_policy.@rule[0].enabled=0; uci commit; {RTP2}")
    assert router.sh("uci get network.wgclient1.disabled; uci get route_policy.global.enabled") == "1\n0\n"
    assert "ROUTE_POLICY" not in chains(router)
    assert "gl_vpn_rules" not in router.sh("uci show firewall; uci show network")
    router.sh("uci set network.wgclient1.disabled=0; uci commit; ifup wgclient1")
    assert PENDING in router.sh(STATUS)
    assert "firewall.wgclient1" not in router.sh("uci show firewall")
    router.sh(RTP2)
    assert router.sh("uci get network.wgclient1.disabled") == "1\n"


def test_rtp2_copies_from_the_rule_and_deletes_what_the_rule_does_not_say(boot: Boot) -> None:
    router = boot(rule=RULE + "\toption mtu '1380'\n\toption masq '0'\n\toption local_access '1'\n")
    look = "uci show network.wgclient1 | grep -E 'mtu|modified' | cut -d. -f3"
    assert router.sh(look) == "mtu='1380'\nmodified_masq_value='0'\nmodified_local_access='1'\n"
    zone = router.sh("uci show firewall.wgclient1")
    assert "input='ACCEPT'" in zone
    assert "masq='0'" in zone
    assert router.sh("uci get firewall.wgclient12lan.dest") == "lan\n"
    router.sh("for o in mtu masq local_access; do uci delete route_policy.@rule[0].$o; done")
    router.sh(f"uci set network.wgclient1.mtu=1300; uci commit; {RTP2}")
    assert router.sh(look) == ""
    assert "input='DROP'" in router.sh("uci show firewall.wgclient1")


def test_rtp2_rewrites_what_is_marked_as_its_own_and_commits_what_others_have_pending(boot: Boot) -> None:
    router = boot()
    router.sh("uci set firewall.wgclient1.masq=0; uci set network.lan.mine=1; uci set wireguard.global.mine=1")
    router.sh(RTP2)
    assert router.sh("uci get firewall.wgclient1.masq; uci changes") == "1\nwireguard.global.mine='1'\n"
    assert "mine" in (router.root / "etc/config/network").read_text()


def test_rtp2_does_nothing_before_the_firmware_has_booted(boot: Boot) -> None:
    router = boot(rule="")
    router.sh(f"rm /tmp/run/vpn-client-booted; cat >>/etc/config/route_policy; {RTP2}", text=RULE)
    assert router.sh("uci -q get network.wgclient1") == "status 1\n"


def test_with_fw3_the_own_packets_of_the_router_need_a_rule_that_only_firewall_user_keeps(boot: Boot) -> None:
    router = boot(WITH_FW3)
    assert "-A LOCAL_POLICY -m owner" in chains(router)
    ours = "-A LOCAL_POLICY -d 10.0.0.0/8 -m mark --mark 0x0/0xf000 -j MARK --set-xmark 0x1000/0xf000"
    router.sh(f"iptables -t mangle {ours}")
    assert ours in chains(router)
    router.sh(RTP2)
    assert ours not in chains(router)
    router.sh(f"echo 'iptables -t mangle {ours}' >/etc/firewall.user; {RTP2}")
    assert ours in router.wait("iptables -t mangle -S", ours)


def test_with_fw4_there_are_no_iptables_chains_and_firewall_user_is_skipped(boot: Boot) -> None:
    router = boot(WITH_FW4)
    assert "chain TUNNEL1_ROUTE_POLICY" in router.sh("nft list table inet vpn_table")
    assert "POLICY" not in router.sh("iptables -t mangle -S")
    router.sh("echo 'touch /tmp/ran' >/etc/firewall.user; /etc/init.d/firewall reload; sleep 0.2")
    assert router.sh("ls /tmp/ran 2>/dev/null | wc -l") == "0\n"


@EITHER
def test_the_kill_switch_leaves_a_blackhole_and_failover_leaves_the_tunnel(boot: Boot, release: str) -> None:
    router = boot(release)
    assert router.sh(TABLE).startswith("blackhole default")
    assert "0x1000" in chains(router).replace("0x00001000", "0x1000")
    router.sh(f"uci set route_policy.@rule[0].killswitch=0; uci commit; {RTP2}")
    assert router.sh(TABLE) == ""
    tunnel = [line for line in chains(router).splitlines() if "10.0.0.0/8" in line and "MARK" in line.upper()]
    assert any("8000" in line for line in tunnel)
    assert not any("1000/" in line or "0x00001000" in line for line in tunnel)


@EITHER
def test_the_rules_of_the_kernel(boot: Boot, release: str) -> None:
    rules = boot(release).sh("ip rule")
    for wanted in (
        "800:\tfrom all lookup 9910 suppress_prefixlength 0",
        "6000:\tfrom all fwmark 0x8000/0xf000 lookup main",
        "6000:\tfrom all fwmark 0x1000/0xf000 lookup 1001",
        "9920:\tfrom all iif br-lan",
    ):
        assert wanted in rules


def test_up_to_4_7_there_is_one_client_with_its_address_at_once_and_no_route_policy(boot: Boot) -> None:
    router = boot(OLD)
    assert "10.3.2.6" in router.wait("ip addr show wgclient", "10.3.2.6")
    assert PENDING in router.sh("ubus -S call network.interface.wgclient status")
    assert "10.0.0.0/8" not in router.sh("ip route; ip route show table all")
    assert router.sh("which rtp2.sh setup_instance; ls /etc/config/route_policy 2>/dev/null") == "status 1\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to plug two routers together")
@EITHER
def test_up_means_that_the_hub_has_answered(tmp_path: Path, boot: Boot, release: str) -> None:
    wall = DEFAULTS["firewall"].replace(
        "list network 'lan'", "list network 'lan'\n\tlist network 'wg0'\n\tlist device 'uplink'"
    )
    hub = (
        f"\nconfig interface 'wg0'\n\toption proto 'wireguard'\n\toption private_key '{HUB}'\n"
        "\toption listen_port '51821'\n\tlist addresses '10.3.2.1/24'\n\n"
        f"config wireguard_wg0\n\toption public_key '{public(PRIVATE)}'\n\tlist allowed_ips '10.3.2.6/32'\n"
    )
    router = boot(release)
    with Router(tmp_path / "hub", config={"network": DEFAULTS["network"] + hub, "firewall": wall}) as other:
        other.sh("ip link set eth0 down; fw4 reload")
        router.uplink(other, "198.51.100.1/24")
        assert '"up":true' in router.wait(STATUS, '"up":true', patience=20)
        assert "10.3.2.6" in router.sh("ip addr show wgclient1")
        assert {"10.0.0.0/8 dev wgclient1", "192.168.1.0/24 dev wgclient1"} <= {
            " ".join(line.split()[:3]) for line in router.sh(TABLE).splitlines()
        }
        assert "connected" in router.wait("cat /tmp/wireguard/wgclient1_state", "connected")
        assert router.sh("cat /tmp/resolv.conf.d/resolv.conf.wgclient1") == "nameserver 1.0.0.1\n"
        # Its own packets are not marked, so they leave through WAN, not through the tunnel.
        assert "dev eth0" in router.sh("ip route get 10.3.2.1")
        assert "dev wgclient1" in router.sh("/usr/libexec/ip route get 10.3.2.1 mark 0x1000")
        router.sh("ifdown wgclient1")
        assert router.wait(TABLE, "blackhole").startswith("blackhole default")
