"""glinet_wireguard as a hub, on the firmware's own server: what a user sees, and what the router then has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.filter.wireguard import wireguard_tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError
from openwrt_double.router import Router

Owner = Any  # of conftest.py: the fixture `flint`
Result = dict[str, Any]
Key = Callable[[int], str]
every_firmware = pytest.mark.parametrize("flint", ["gl-4.7", "gl-4.8", "gl-4.8-op24"], indirect=True)
UP = "ubus -S call network.interface.wgserver status"


@pytest.fixture
def hub(flint: Owner) -> Owner:
    flint.name = "wgserver"
    return flint


@pytest.fixture
def sofia(key: Key) -> Result:
    """The hub of reference network B, were it a Flint 2: two spokes and a phone."""
    spokes = [
        {"name": "valchedrym", "public_key": key(3), "allowed_ips": ["10.3.2.5/32", "192.168.0.0/24"]},
        {"name": "london", "public_key": key(4), "allowed_ips": ["10.3.2.6/32", "192.168.9.0/24", "10.9.0.0/16"]},
        {"name": "phone", "public_key": key(5), "allowed_ips": ["10.3.2.10/32"], "preshared_key": key(105)},
    ]
    return {
        "addresses": ["10.3.2.1/24"],
        "listen_port": 51821,
        "mtu": 1380,
        "peers": spokes,
        "forward_to": ["lan"],
        "open_port": True,
    }


def files(router: Router) -> Result:
    """All that outlives a reboot."""
    return {path.name: path.read_text() for path in (router.root / "etc/config").glob("*")}


@every_firmware
def test_a_blank_router_becomes_a_hub_and_is_then_left_alone(hub: Owner, sofia: Result, key: Key) -> None:
    router = hub.router
    blank = files(router), router.sh("find /tmp /etc | sort")
    foreseen = hub.run(check=True, **sofia)
    assert (foreseen["changed"], foreseen["public_key"], len(hub.scripts)) == (True, "(known after apply)", 1)
    assert (files(router), router.sh("find /tmp /etc | sort")) == blank
    done = hub.run(**sofia)
    assert (done["commands"], len(hub.scripts)) == (foreseen["commands"], 3)
    private = router.sh("uci get wireguard_server.main_server.private_key")
    assert router.sh("wg pubkey", text=private).strip() == done["public_key"]
    assert router.sh("uci get wireguard_server.main_server.public_key").strip() == done["public_key"]
    dump = [line.split("\t") for line in router.sh("wg show wgserver dump | tail -n +2").splitlines()]
    live = {line[0]: (line[1], set(line[3].split(",")), line[7]) for line in dump}
    assert live == {
        key(3): ("(none)", {"10.3.2.5/32", "192.168.0.0/24"}, "off"),
        key(4): ("(none)", {"10.3.2.6/32", "192.168.9.0/24", "10.9.0.0/16"}, "off"),
        key(5): (key(105), {"10.3.2.10/32"}, "off"),
    }
    assert router.sh("wg show wgserver listen-port; uci get network.wgserver.disabled") == "51821\n0\n"
    assert "mtu 1380" in router.sh("ip link show wgserver")
    assert "udp dport 51821 accept" in router.sh("nft list chain inet fw3 input_wan; nft list chain inet fw4 input_wan")
    routes = router.sh("ip route show dev wgserver")
    assert all(prefix in routes for prefix in ("192.168.0.0/24 via 10.3.2.5", "10.9.0.0/16 via 10.3.2.6"))
    before = files(router)
    again = hub.run(**sofia)
    assert (again["changed"], again["commands"], len(hub.scripts)) == (False, [], 4)
    assert again["diff"]["before"] == again["diff"]["after"]
    assert files(router) == before
    assert private.strip() not in str(hub.answers)
    router.reboot()
    assert "192.168.9.0/24" in router.wait("ip route show dev wgserver", "192.168.9.0/24")
    assert not hub.run(**sofia)["changed"]


@every_firmware
def test_absent_leaves_the_router_as_it_was(hub: Owner, sofia: Result) -> None:
    router = hub.router
    router.sh("for p in network firewall; do uci set $p.mine=mine; done; uci commit")
    blank = files(router)
    hub.run(**sofia, masquerade=["10.3.2.0/24"])
    hub.run(check=True, state="absent")
    assert hub.run(state="absent")["changed"]
    after = {name: text for name, text in files(router).items() if text.strip()}
    assert after == {name: text for name, text in blank.items() if text}
    assert "wgserver" not in router.sh("ip link; nft list ruleset")
    assert not hub.run(state="absent")["changed"]


def edited(sofia: Result, key: Key) -> Result:
    """A new key and networks for one, another one gone, a new one."""
    valchedrym, _london, phone = sofia["peers"]
    peers = [
        {**valchedrym, "public_key": key(13), "allowed_ips": ["10.3.2.5/32", "192.168.0.0/25"]},
        {**phone, "preshared_key": key(106)},
        {"name": "varna", "public_key": key(6), "allowed_ips": ["10.3.2.7/32", "192.168.7.0/24"]},
    ]
    return {**sofia, "peers": peers}


@every_firmware
def test_an_edited_peer_is_taken_up_while_the_link_stays(hub: Owner, sofia: Result, key: Key) -> None:
    """A reload does not see peers, and `ifup` drops everybody's session."""
    router = hub.router
    hub.run(**sofia)
    index = router.sh("cat /sys/class/net/wgserver/ifindex")
    changed = edited(sofia, key)
    done = hub.run(**changed)
    assert not any(line.startswith(("ifup", "ubus")) for line in done["commands"])
    told = "wg show wgserver allowed-ips | sort; wg show wgserver preshared-keys | sort;"
    told += "ip route show dev wgserver | cut -d ' ' -f 1 | sort"
    live = router.sh(told)
    assert all(text in live for text in (f"{key(13)}\t", "192.168.0.0/25", "192.168.7.0/24", key(106)))
    assert not any(text in live for text in (f"{key(3)}\t", key(4), "192.168.9.0/24", "192.168.0.0/24"))
    assert router.sh("cat /sys/class/net/wgserver/ifindex") == index
    assert not hub.run(**changed)["changed"]
    # The next set-up by the firmware finds the same.
    router.sh("ifup wgserver")
    router.wait(UP, '"up":true')
    router.wait("ip route show dev wgserver", "192.168.7.0/24")
    assert router.sh(told) == live
    assert not hub.run(**changed)["changed"]


@pytest.mark.parametrize("flint", ["gl-4.7", "gl-4.8"], indirect=True)
def test_what_is_the_interfaces_own_sets_it_up_again(hub: Owner, sofia: Result, key: Key) -> None:
    router = hub.router
    hub.run(**sofia)
    for change, told, shown in (
        ({"listen_port": 51900}, "wg show wgserver listen-port", "51900\n"),
        ({"mtu": 1400}, "ip link show wgserver | grep -o 'mtu 1400'", "mtu 1400\n"),
        (
            {"addresses": ["10.3.2.2/24"]},
            "ip addr show wgserver | grep -o 'inet 10.3.2.[0-9]*/24'",
            "inet 10.3.2.2/24\n",
        ),
    ):
        state = {**sofia, **change}
        done = hub.run(**state)
        assert "ifup wgserver" in done["commands"], change
        assert router.sh(told) == shown
        assert not hub.run(**state)["changed"]
        sofia = state
    # What a hand did to the live interface is found as well, and who was taken off in the web interface.
    router.sh(f"wg set wgserver peer {key(3)} remove; ip route del 192.168.9.0/24")
    router.sh("uci set wireguard_server.peer_1001.deprecated=1; uci commit")
    again = hub.run(**sofia)
    assert [line.split()[0] for line in again["commands"]] == ["uci", "uci", "wg", "ip"]
    router.sh("ifup wgserver")
    router.wait(UP, '"up":true')
    assert key(4) in router.wait("wg show wgserver peers", key(4))
    router.wait("ip route show dev wgserver", "192.168.0.0/24")
    assert not hub.run(**sofia)["changed"]


PHONES = """
config servers 'main_server'
\toption address_v4 '10.3.2.1/24'
\toption port '51821'
\toption access 'DROP'
\toption client_to_client '0'
\toption masq '1'
\toption private_key '{private}'

config peers 'peer_3087'
\toption name 'nokia'
\toption peer_id '3087'
\toption public_key '{phone}'
\toption presharedkey_enable '0'
\toption allowed_ips '0.0.0.0/0, ::/0'
\toption persistent_keepalive '25'
\toption private_key '{secret}'
\toption client_ip '10.3.2.20/24,fd00:3:2::20/64'
\toption deprecated '0'

config peers 'peer_9999'
\toption name 'lost'
\toption public_key '{lost}'
\toption client_ip '10.3.2.5/24'
\toption deprecated '1'
"""


@pytest.fixture
def with_phones(hub: Owner, key: Key) -> Owner:
    """A server that the web interface made and runs."""
    router = hub.router
    private = router.sh("wg genkey").strip()
    text = PHONES.format(private=private, secret=router.sh("wg genkey").strip(), phone=key(20), lost=key(21))
    router.sh("cat >/etc/config/wireguard_server", text=text)
    section = "network.wgserver=interface network.wgserver.proto=wgserver network.wgserver.config=main_server"
    router.sh(
        f"for s in {section} network.wgserver.disabled=0; do uci set $s; done; uci commit; ubus call network reload"
    )
    router.wait(UP, '"up":true')
    return hub


def test_phones_of_the_web_interface_stay(with_phones: Owner, sofia: Result, key: Key) -> None:
    hub, router = with_phones, with_phones.router
    mine = "uci show wireguard_server | grep -E 'peer_(3087|9999)|private_key'"
    before, index = router.sh(mine), router.sh("cat /sys/class/net/wgserver/ifindex")
    state = {**sofia, "mtu": None}
    done = hub.run(**state)
    assert [line for line in done["commands"] if line.startswith(("ifup", "ubus"))] == []
    assert router.sh(mine) == before
    assert router.sh("cat /sys/class/net/wgserver/ifindex") == index
    assert done["public_key"] == router.sh("uci get wireguard_server.main_server.private_key | wg pubkey").strip()
    assert {peer["name"] for peer in done["peers"]} == {"valchedrym", "london", "phone", "nokia", "lost"}
    assert router.sh("wg show wgserver allowed-ips | wc -l") == "4\n"
    assert not hub.run(**state)["changed"]
    assert "ACCEPT" in router.sh("uci get wireguard_server.main_server.access")
    hub.run(state="absent")
    assert router.sh(mine) == before
    assert router.sh("wg show wgserver peers; ip route show dev wgserver | grep -c 192") == f"{key(20)}\n0\nstatus 1\n"
    assert "fabric" not in router.sh("uci show wireguard_server; uci show firewall")
    assert not hub.run(state="absent")["changed"]
    hub.run(**state)
    hub.run(**state, purge=True)
    assert "nokia" not in router.sh("uci show wireguard_server; wg show wgserver")
    hub.run(state="absent")
    assert router.sh("uci get network.wgserver.disabled; ip link show wgserver 2>&-").startswith("1\n")
    assert "wgserver" not in router.sh("nft list ruleset")
    assert not hub.run(state="absent")["changed"]


def test_what_phones_know_is_not_changed_behind_them(with_phones: Owner, sofia: Result) -> None:
    hub, router = with_phones, with_phones.router
    for given, told in (
        (
            {"listen_port": 51820},
            "listens on 51821, where nokia dials it, not on 51820: ask for what is there, or remove",
        ),
        ({"addresses": ["10.3.3.1/24"]}, "wgserver has 10.3.2.1/24, by which nokia knows it, not 10.3.3.1/24"),
    ):
        before = files(router)
        with pytest.raises(TunnelError, match=told):
            hub.run(**{**sofia, "peers": [], **given})
        assert files(router) == before
        assert hub.run(check=True, **{**sofia, "peers": [], **given}, purge=True)["changed"]


def test_a_phone_that_is_named_is_taken_over(with_phones: Owner, sofia: Result, key: Key) -> None:
    hub, router = with_phones, with_phones.router
    peer = {"name": "handy", "public_key": key(20), "allowed_ips": ["10.3.2.20/32", "192.168.20.0/24"]}
    state = {**sofia, "peers": [peer]}
    hub.run(**state)
    assert router.sh("uci get wireguard_server.peer_3087.name") == "handy\n"
    assert router.sh("wg show wgserver allowed-ips").split()[1:] == ["10.3.2.20/32", "192.168.20.0/24"]
    assert not hub.run(**state)["changed"]


def test_what_the_firmware_writes_again_is_what_is_there(hub: Owner, sofia: Result) -> None:
    """Its handler makes the firewall of main_server's options at each set-up, and switches it off before."""
    router = hub.router
    hub.run(**sofia)
    before = files(router)["firewall"]
    router.sh("ifdown wgserver; ifup wgserver")
    router.wait(UP, '"up":true')
    assert files(router)["firewall"] == before
    assert "\tenabled '0'" not in before
    assert before.count("51821") == before.count("config zone 'wgserver'") == 1, "nothing twice"
    assert not hub.run(**sofia)["changed"]
    # LuCI's way into the LAN, where the firmware has its rule.
    router.sh("uci delete firewall.wgserver2lan; uci set firewall.wgserver2lan=forwarding; uci commit")
    assert hub.run(**sofia)["changed"]
    assert router.sh("uci get firewall.wgserver2lan") == "rule\n"
    narrow = {**sofia, "forward_to": []}
    assert hub.run(**narrow)["changed"]
    router.sh("ifup wgserver")
    router.wait(UP, '"up":true')
    assert router.sh("uci get firewall.wgserver2lan.enabled; uci get firewall.wgserver.input") == "0\nREJECT\n"
    assert not hub.run(**narrow)["changed"]


@pytest.mark.parametrize("flint", ["gl-4.7", "gl-4.8"], indirect=True)
def test_a_hub_makes_its_key_before_it_knows_its_spokes(hub: Owner, sofia: Result) -> None:
    """And the second task of a play announces what is left to do, no matter what was done by the first."""
    unknown = [{name: value for name, value in peer.items() if name != "public_key"} for peer in sofia["peers"]]
    first = {**sofia, "peers": [unknown[0], unknown[1], sofia["peers"][2]]}
    announced = hub.run(check=True, **sofia, waited_for=["valchedrym", "london"])["commands"]
    done = hub.run(**first)
    assert (done["waiting_for_key"], [peer["name"] for peer in done["peers"]]) == (["valchedrym", "london"], ["phone"])
    assert not hub.run(**first)["changed"]
    second = hub.run(**sofia)
    assert (second["public_key"], second["waiting_for_key"]) == (done["public_key"], [])
    assert second["commands"] == announced
    # What this run does not know stays as the router has it.
    assert not hub.run(**first)["changed"]


def test_ipv6_where_the_router_has_it(hub: Owner, sofia: Result, key: Key) -> None:
    router = hub.router
    router.sh("uci set glipv6.globals.enabled=1; uci commit")
    allowed = ["10.3.2.5/32", "fd00:3:2::5/128", "192.168.0.0/24", "fd00:5::/64"]
    peer = {"name": "valchedrym", "public_key": key(3), "allowed_ips": allowed}
    state = {**sofia, "addresses": ["10.3.2.1/24", "fd00:3:2::1/64"], "peers": [peer]}
    hub.run(**{**state, "peers": []})
    hub.run(**state)
    assert router.sh("uci get wireguard_server.peer_1001.client_ip") == "10.3.2.5/24,fd00:3:2::5/64\n"
    told = "wg show wgserver allowed-ips | cut -f 2"
    live = router.sh(told)
    assert set(live.split()) == set(allowed)
    assert not hub.run(**state)["changed"]
    router.sh("ifup wgserver")
    assert "via fd00:3:2::5" in router.wait("ip -6 route show dev wgserver", "fd00:5::/64 via")
    assert sorted(router.sh(told).split()) == sorted(allowed)
    assert not hub.run(**state)["changed"]
    with pytest.raises(TunnelError, match=r"has no IPv6 address of 10.3.2.0/24, fd00:3:2::/64"):
        hub.run(**{**state, "peers": [{**peer, "allowed_ips": ["10.3.2.5/32", "fd00:5::/64"]}]})


def test_no_key_is_seen_by_anybody(hub: Owner, sofia: Result, key: Key) -> None:
    router = hub.router
    hub.run(**sofia)
    secret = router.sh("uci get wireguard_server.main_server.private_key").strip()
    done = hub.run(**{**sofia, "peers": [{**sofia["peers"][2], "preshared_key": key(107)}]})
    shown = f"{done} {hub.run(check=True, **sofia)}"
    assert all(each not in shown for each in (secret, key(105), key(107)))
    assert secret not in str(hub.scripts) + str(hub.answers)
    assert "uci set wireguard_server.peer_1002.presharedkey=(redacted)" in done["commands"]
    assert oct((router.root / "etc/config/wireguard_server").stat().st_mode)[-3:] == "600"
    (router.root / "etc/config/wireguard_server").chmod(0o644)
    assert "chmod 600 /etc/config/wireguard_server" in hub.run(**sofia)["commands"]
    assert not hub.run(**sofia)["changed"]


def test_the_hub_of_a_networks_document(hub: Owner, key: Key) -> None:
    nodes = {
        "flint": {
            "device": "glinet",
            "address": "10.3.2.1",
            "endpoint": "h.example.org",
            "networks": ["192.168.8.0/24"],
        },
        "varna": {"address": "10.3.2.2", "networks": ["10.0.10.0/24", "10.0.20.0/24"], "public_key": key(3)},
        "pleven": {"device": "openwrt", "address": "10.3.2.3", "endpoint": "p.example.org", "public_key": key(4)},
    }
    networks = {"sites": {"prefix": "10.3.2.0/24", "hub": "flint", "nodes": nodes}}
    tunnel = wireguard_tunnel(networks, "flint", {})
    # What the role hands on.
    names = ("name", "addresses", "listen_port", "mtu", "peers", "forward_to", "masquerade", "open_port")
    state = {name: tunnel[name] for name in names}
    hub.run(**state)
    assert not hub.warnings
    assert "10.0.20.0/24 via 10.3.2.2" in hub.router.wait("ip route", "10.0.20.0/24 via 10.3.2.2")
    assert hub.router.sh("uci get wireguard_server.main_server.client_to_client") == "1\n"
    assert not hub.run(**state)["changed"]


# What a client beside the server would take away


@pytest.mark.parametrize("flint", ["gl-4.8", "gl-4.8-op24"], indirect=True)
def test_networks_of_spokes_stay_reachable_while_a_client_takes_everything(
    hub: Owner, sofia: Result, london: Result, own: Any, key: Key
) -> None:
    """The firmware looks into a copy of the main table first, in which only what it copied itself is."""
    router = hub.router
    everything = {"name": "far", "public_key": key(1), "endpoint": "198.51.100.7:51820", "allowed_ips": ["0.0.0.0/0"]}
    own(router, glinet=True).run(**{**london, "peers": [everything], "listen_port": None, "kill_switch": True})
    hub.run(**sofia)

    def ways() -> str:
        lines = (f"ip route get {a} from 192.168.8.10 iif br-lan mark 0x1000" for a in ("192.168.9.5", "10.9.0.1"))
        return str(router.sh("; ".join([*lines, "ip route get 192.168.0.5 from 10.3.2.6 iif wgserver"])))

    assert [line.split(" dev ")[1].split()[0] for line in ways().splitlines() if " dev " in line] == ["wgserver"] * 3
    changed = edited(sofia, key)
    hub.run(**changed)
    assert "dev wgserver" in router.sh("ip route get 192.168.7.5 from 192.168.8.10 iif br-lan mark 0x1000")
    assert "192.168.9.0" not in router.sh("ip route show table 9910")
    assert not hub.run(**changed)["changed"]
    router.sh("ip route flush table 9910")
    assert all("table 9910" in line for line in hub.run(**changed)["commands"])
    assert "dev wgserver" in router.sh("ip route get 192.168.7.5 from 192.168.8.10 iif br-lan mark 0x1000")


# Refused

PICKY = '#!/bin/sh\ncase $1 in setconf) echo "Key is not the correct length" >&2; exit 1 ;; esac\nexec wg.true "$@"\n'


def test_one_clear_error(hub: Owner, sofia: Result, key: Key) -> None:
    router = hub.router
    handler = "/lib/netifd/proto/wgserver.sh"

    def with_peer(**changes: Any) -> Result:
        return {"peers": [{**sofia["peers"][0], **changes}]}

    for prepare, given, told, repair in (
        (f"mv {handler} /tmp", {}, "this host has no firmware of GL.iNet", f"mv /tmp/wgserver.sh {handler}"),
        ("", {"addresses": ["10.3.2.1/24", "10.3.3.1/24"]}, "has one address of IPv4", ""),
        ("", {"listen_port": None}, "the port is not known: set it", ""),
        ("", {"addresses": ["10.3.2.1/24", "fd00:3:2::1/64"]}, "no IPv6 for fd00:3:2::1/64: switch it on under", ""),
        (
            "",
            with_peer(allowed_ips=["10.4.2.5/32", "192.168.0.0/24"]),
            "valchedrym has no IPv4 address of 10.3.2.0/24 in its",
            "",
        ),
        ("", with_peer(allowed_ips=["10.3.2.5/32", "0.0.0.0/0"]), "valchedrym cannot have 0.0.0.0/0", ""),
        (
            "",
            with_peer(allowed_ips=["10.3.2.5/32", "192.168.8.0/24"]),
            "192.168.8.0/24 is on br-lan of this router",
            "",
        ),
        ("", {"routes": ["10.99.0.0/16"]}, "routes what is in allowed_ips: leave routes out", ""),
        ("uci set network.lan.mtu=1", {}, r"changes that nobody committed \(network.lan.mtu\)", "uci revert network"),
        (
            "echo 'config servers main_server\n\toption type 1' >/etc/config/wireguard_server",
            {},
            "this server speaks AmneziaWG",
            "echo >/etc/config/wireguard_server",
        ),
    ):
        router.sh(prepare)
        before = files(router)
        with pytest.raises((TunnelError, DeviceError), match=told):
            hub.run(**{**sofia, **given})
        assert files(router) == before, told
        router.sh(repair)


def test_wireguard_itself_tries_the_peers_before_they_are_committed(hub: Owner, sofia: Result) -> None:
    """The firmware takes the whole server down for one that it refuses."""
    router = hub.router
    before = files(router)
    router.sh("mv /usr/bin/wg /usr/bin/wg.true; cat >/usr/bin/wg; chmod +x /usr/bin/wg", text=PICKY)
    with pytest.raises(DeviceError, match="refuses these peers, and wgserver would not come up with them; nothing was"):
        hub.run(**sofia)
    assert {name: text for name, text in files(router).items() if text} == {
        n: text for n, text in before.items() if text
    }
    router.sh("mv /usr/bin/wg.true /usr/bin/wg")
    hub.run(**sofia)


def test_a_server_does_not_dial(hub: Owner, sofia: Result, key: Key) -> None:
    dialled = {**sofia["peers"][0], "endpoint": "198.51.100.7:51820", "persistent_keepalive": "25"}
    state = {**sofia, "peers": [dialled]}
    hub.run(**state)
    assert "valchedrym can be dialled, but GL.iNet's server does not dial" in hub.warnings[0]
    assert hub.router.sh("wg show wgserver endpoints; wg show wgserver persistent-keepalive | cut -f 2").split()[
        1:
    ] == [
        "(none)",
        "off",
    ]
    assert not hub.run(**state)["changed"]
