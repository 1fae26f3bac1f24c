"""What openwrt_wireguard refuses, and that it writes nothing then; against the strict double."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError

Owner = Any  # of conftest.py: the fixture `owner`
Result = dict[str, Any]


def test_changes_that_nobody_committed_are_not_taken_along(owner: Owner, spoke: Result) -> None:
    owner.uci("set network.wan.password=geheim", commit=False)
    before = owner.configuration()
    with pytest.raises(DeviceError, match=r"changes that nobody committed \(network.wan.password\)"):
        owner.run(**spoke)
    assert (owner.configuration(), "geheim" in str(owner.answers)) == (before, False)


def test_one_bad_peer_is_found_before_it_is_committed(owner: Owner, spoke: Result) -> None:
    owner.run(**spoke)
    owner.router.sh(
        "echo nameserver 127.0.0.1 >/tmp/resolv.conf.d/resolv.conf.auto"
    )  # which says at once that it is not
    before = owner.configuration(), owner.router.sh("cat /sys/class/net/wg0/ifindex")
    hub, phone = spoke["peers"]
    for peers in ([{**hub, "endpoint": "nowhere.invalid:51821"}, phone], [{**hub, "endpoint": "a.invalid:1"}]):
        with pytest.raises(DeviceError, match=r"nothing was committed.*it must resolve on the router"):
            owner.run(**{**spoke, "peers": peers})
    assert (owner.configuration(), owner.router.sh("cat /sys/class/net/wg0/ifindex")) == before
    assert "fabric_probe" not in owner.router.sh("ls /sys/class/net")
    assert not owner.run(**spoke)["changed"]


def test_a_firewall_that_cannot_be_loaded_is_put_back(owner: Owner, spoke: Result) -> None:
    router = owner.router
    before = owner.configuration()["firewall"]
    router.sh("mkdir -p /etc/nftables.d; echo 'chain broken { nonsense; }' >/etc/nftables.d/mine.nft")
    with pytest.raises(DeviceError, match="`fw4 check` refuses the firewall, so the firewall's configuration was put"):
        owner.run(**spoke)
    assert owner.configuration()["firewall"] == before
    router.sh("rm /etc/nftables.d/mine.nft")
    assert "/etc/init.d/firewall reload" in owner.run(**spoke)["commands"]
    assert not owner.run(**spoke)["changed"]


def test_the_routers_own_network_is_not_routed_away(owner: Owner, spoke: Result) -> None:
    hub = {**spoke["peers"][0], "allowed_ips": ["192.168.0.0/24"]}
    with pytest.raises(TunnelError, match=r"routes: 192.168.0.0/24 is on br-lan of this router already"):
        owner.run(**{**spoke, "peers": [hub], "forward_to": []})


def test_what_another_router_leads_to_is_refused_before_anything_is_written(owner: Owner, spoke: Result) -> None:
    owner.run(**{**spoke, "peers": []})
    before = owner.configuration()
    owner.router.sh("ip route add 10.0.10.0/24 via 192.168.0.2 dev br-lan metric 5")
    for check in (True, False):
        with pytest.raises(TunnelError, match=r"routes: 10.0.10.0/24 goes by another router on br-lan already: remove"):
            owner.run(check=check, **spoke)
    assert owner.configuration() == before
    owner.router.sh("ip route del 10.0.10.0/24")
    assert owner.run(**spoke)["changed"]


def test_a_part_of_the_routers_own_network_is_not_taken_either(owner: Owner, spoke: Result) -> None:
    with pytest.raises(TunnelError, match=r"addresses: 192.168.0.128/25 is on br-lan of this router already, in 192"):
        owner.run(**{**spoke, "addresses": ["192.168.0.129/25"]})
    assert owner.router.sh("ls /sys/class/net | grep wg; uci -q get network.wg0") == "status 1\n"


def test_a_full_tunnel_keeps_its_own_way(owner: Owner, spoke: Result) -> None:
    """The default route of the WAN gives way, and comes back with its next lease."""
    router = owner.router
    full = {**spoke, "peers": [{**spoke["peers"][0], "allowed_ips": ["0.0.0.0/0"]}]}
    owner.run(**full)
    assert not owner.run(**full)["changed"]
    router.sh("ip route replace default via 198.51.100.1 dev eth0")
    assert owner.run(**full)["commands"] == ["ifup wg0"]
    assert "default dev wg0" in router.sh("ip route")
    assert "via 198.51.100.1 dev eth0" in router.sh("ip route get 198.51.100.7")
    assert not owner.run(**full)["changed"]


def test_this_runs_own_connection_is_not_routed_away(owner: Owner, spoke: Result) -> None:
    hub = {**spoke["peers"][0], "allowed_ips": ["203.0.113.0/24"]}
    execute = owner.execute
    owner.execute = lambda script: execute("export SSH_CONNECTION='203.0.113.9 4242 198.51.100.50 22'\n" + script)
    with pytest.raises(TunnelError, match=r"203.0.113.0/24 holds 203.0.113.9, from which this run is connected"):
        owner.run(**{**spoke, "peers": [hub]})


@pytest.mark.parametrize(
    ("prepare", "given", "told"),
    [
        ("rm /usr/bin/wg", {}, "`wg` is not on this router. Install what is missing with"),
        ("rm /sbin/uci", {}, "this host is no OpenWrt"),
        (
            "cd /lib/netifd/proto; mv wireguard.sh /tmp; ubus call network restart; mv /tmp/wireguard.sh .",
            {},
            "netifd of this router does not know WireGuard yet.* Run `service network restart` there once",
        ),
        ("", {"name": "lan"}, "name: network.lan is a section static: choose another name"),
        ("", {"name": "lan", "state": "absent"}, "name: network.lan is a section static: choose another name"),
        ("", {"name": "wg-home"}, "use up to 15 letters, digits and '_'"),
        ("", {"forward_to": ["dmz"]}, r"forward_to: this router has no interface or firewall zone dmz: name one of"),
        ("", {"listen_port": None}, "open_port: the port is not known"),
        ("", {"masquerade": ["fd00::/64"]}, "masquerade: fd00::/64 is an IPv6 prefix"),
        ("rm /etc/config/firewall", {"masquerade": ["10.0.0.0/8"]}, "masquerade: this router has no firewall"),
        (
            "uci set network.wg0=interface; uci set network.wg0.private_key=geheim; uci commit",
            {},
            "network.wg0.private_key is no WireGuard key",
        ),
        ("ip link add wg0 type wireguard", {}, "wg0 exists, but is not in /etc/config/network"),
    ],
)
def test_one_clear_error(owner: Owner, spoke: Result, prepare: str, given: Result, told: str) -> None:
    owner.router.sh(prepare)
    with pytest.raises((TunnelError, DeviceError), match=told):
        owner.run(**{**spoke, **given})
    assert "geheim" not in str(owner.answers)


def test_two_runs_at_once_do_not_mix(owner: Owner, spoke: Result) -> None:
    router = owner.router
    owner.run(**spoke)
    router.sh("mkdir /var/run/homelab.fabric/lock; echo 1 >/var/run/homelab.fabric/lock/pid")
    with pytest.raises(DeviceError, match="Another run is at work"):
        owner.run(**{**spoke, "peers": []})
    # The lock of one that was killed is nobody's.
    router.sh("echo 99999 >/var/run/homelab.fabric/lock/pid")
    assert owner.run(**{**spoke, "peers": []})["changed"]


@pytest.mark.parametrize(
    ("commit", "times", "told"),
    [
        (True, 1, ""),
        (True, 2, "Somebody changed /etc/config/network"),
        (False, 1, "this router has changes that nobody committed (network.lan.mtu)"),
    ],
)
def test_somebody_changes_the_router_after_it_was_read(
    owner: Owner, spoke: Result, commit: bool, times: int, told: str
) -> None:
    """Once is a reason to read again; it is one run for the user, with what the other one wrote."""
    execute, left = owner.execute, [f"set network.lan.mtu=149{number}" for number in range(times)]

    def late(script: str) -> Any:
        if "stage commit" in script and left:
            owner.uci(left.pop(), commit=commit)
        return execute(script)

    owner.execute = late
    if told:
        with pytest.raises(DeviceError, match=re.escape(told)):
            owner.run(**spoke)
        assert "wg0" not in owner.router.sh("uci show network")
    else:
        assert owner.run(**spoke)["changed"]
    assert not left
    owner.execute = execute
    owner.uci("revert network")
    assert owner.run(**spoke)["changed"] == bool(told)
    assert owner.router.sh("uci get network.lan.mtu") == "1490\n" or not commit


def test_a_full_tunnel_without_a_way_for_its_own_packets(owner: Owner, spoke: Result) -> None:
    owner.run(**spoke)
    owner.uci("set network.wg0.nohostroute=1")
    before = owner.configuration()
    hub = {**spoke["peers"][0], "allowed_ips": ["0.0.0.0/0"]}
    with pytest.raises(TunnelError, match=r"routes: .*`uci delete network.wg0.nohostroute`"):
        owner.run(**{**spoke, "peers": [hub]})
    assert owner.configuration() == before
    assert not owner.run(**spoke)["changed"]
