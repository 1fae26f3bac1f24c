"""openwrt_wireguard against the strict double: what a user sees, and what the router then has."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from openwrt_double.router import Router

Owner = Any  # of conftest.py: the fixture `owner`
Result = dict[str, Any]
Key = Callable[[int], str]
every_release = pytest.mark.parametrize("router", ["21.02", "23.05", "25.12"], indirect=True)
both_handlers = pytest.mark.parametrize("router", ["23.05", "25.12"], indirect=True)


def index(router: Router) -> str:
    """The number of the device, which a new one does not get again."""
    return router.sh("cat /sys/class/net/wg0/ifindex")


def allowed(router: Router) -> dict[str, str]:
    return dict(line.split("\t") for line in router.sh("wg show wg0 allowed-ips").splitlines())


@every_release
def test_a_blank_router_is_brought_to_the_state_and_then_left_alone(owner: Owner, spoke: Result, key: Key) -> None:
    router = owner.router
    blank = owner.configuration(), router.sh("find /tmp /etc | sort")
    foreseen = owner.run(check=True, **spoke)
    assert (foreseen["changed"], foreseen["public_key"], len(owner.scripts)) == (True, "(known after apply)", 1)
    assert (owner.configuration(), router.sh("find /tmp /etc | sort")) == blank
    done = owner.run(**spoke)
    assert (done["commands"], len(owner.scripts)) == (foreseen["commands"], 3)
    assert done["public_key"] == router.sh("uci get network.wg0.private_key | wg pubkey").strip()
    assert allowed(router)[key(1)] == "10.0.10.0/24 10.3.2.1/32 fd00:10::/64"
    assert f"{key(2)}\t{key(102)}" in router.sh("wg show wg0 preshared-keys")
    assert "10.0.10.0/24 dev wg0" in router.sh("ip route")
    loaded = router.sh("nft list ruleset")
    assert 'iifname "wg0" jump forward_wg0' in loaded
    written = owner.configuration(), router.sh("find /tmp /etc | sort")
    again = owner.run(**spoke)
    assert (again["changed"], again["commands"], len(owner.scripts)) == (False, [], 4)
    assert again["diff"]["before"] == again["diff"]["after"]
    assert (owner.configuration(), router.sh("find /tmp /etc | sort")) == written
    assert [(peer["name"], peer["endpoint"]) for peer in again["peers"]] == [
        ("phone", None),
        ("sofia", "198.51.100.7:51821"),
    ]


@both_handlers
def test_peers_change_live_without_a_new_interface(owner: Owner, spoke: Result, key: Key) -> None:
    router = owner.router
    owner.run(**spoke)
    device = index(router)
    hub, phone = spoke["peers"]
    hub = {**hub, "allowed_ips": ["10.3.2.1/32", "10.0.20.0/24"], "endpoint": "198.51.100.8:51821"}
    third = {"name": "london", "public_key": key(3), "allowed_ips": ["192.168.8.0/24"]}
    edited = owner.run(**{**spoke, "peers": [hub, {**phone, "preshared_key": ""}, third]})
    assert [command for command in edited["commands"] if not command.startswith("uci ")] == [
        "wg addconf wg0 /dev/stdin  # london, phone, sofia",
        "ip -4 route replace 10.0.20.0/24 dev wg0",
        "ip -4 route replace 192.168.8.0/24 dev wg0",
        "ip -4 route del 10.0.10.0/24 dev wg0",
        "ip -6 route del fd00:10::/64 dev wg0",
    ]
    assert allowed(router) == {key(1): "10.0.20.0/24 10.3.2.1/32", key(2): "10.3.2.10/32", key(3): "192.168.8.0/24"}
    assert "10.0.10.0" not in router.sh("ip route")
    moved = {**third, "public_key": key(4)}
    owner.run(**{**spoke, "peers": [hub, moved]})
    assert set(allowed(router)) == {key(1), key(4)}
    assert "192.168.8.0/24 dev wg0" in router.sh("ip route")
    assert not owner.run(**{**spoke, "peers": [hub, moved]})["changed"]
    assert index(router) == device
    # What was done by hand is what netifd makes of the configuration.
    live = allowed(router), sorted(set(router.sh("ip route").splitlines()))
    router.sh("ifup wg0")
    router.wait("ifstatus wg0", '"up": true')
    ways = {line for line in router.sh("ip route").splitlines() if "10.3.2.1 dev" not in line and " via " not in line}
    assert allowed(router) == live[0]
    assert ways <= set(live[1])


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"listen_port": 51821}, "ifup wg0"),
        ({"mtu": 1400}, "ifup wg0"),
        ({"addresses": ["10.3.2.6/24"]}, "ifup wg0"),
    ],
)
@both_handlers
def test_what_is_the_interfaces_own_is_set_up_again(owner: Owner, spoke: Result, change: Result, step: str) -> None:
    router = owner.router
    public_key = owner.run(**spoke)["public_key"]
    done = owner.run(**{**spoke, **change})
    assert next(line for line in done["commands"] if not line.startswith("uci ")) == step
    assert done["public_key"] == public_key
    link = router.sh("ip addr show dev wg0; wg show wg0 listen-port")
    assert all(str(value[0] if isinstance(value, list) else value) in link for value in change.values())
    assert not owner.run(**{**spoke, **change})["changed"]


def test_absent_leaves_the_configuration_as_it_was(owner: Owner, spoke: Result) -> None:
    router = owner.router
    owner.uci("set network.lan.mtu=1500", "set firewall.mine=rule", "set firewall.mine.src=lan")
    blank = owner.configuration()
    owner.run(**spoke)
    gone = owner.run(state="absent")
    assert gone["commands"][-2:] == ["ubus call network reload", "/etc/init.d/firewall reload"]
    assert (owner.configuration(), router.sh("ls /sys/class/net | grep wg")) == (blank, "status 1\n")
    assert "wg0" not in router.sh("nft list ruleset")
    assert not owner.run(state="absent")["changed"]


def test_what_others_made_is_theirs(owner: Owner, spoke: Result, key: Key) -> None:
    router = owner.router
    owner.run(**spoke)
    peer = "network.@wireguard_wg0[-1]"
    owner.uci(
        "add network wireguard_wg0",
        f"set {peer}.public_key={key(50)}",
        f"add_list {peer}.allowed_ips=10.3.2.50/32",
        "add network wireguard_wg0",
        f"set {peer}.public_key={key(51)}",
        f"set {peer}.disabled=1",
        f"add_list {peer}.allowed_ips=10.3.2.10/32",
        "set network.wg1=interface",
        "set network.wg1.proto=wireguard",
        "set network.wg0.fwmark=0x55",
        "set firewall.fabric_zone_wg0_2=zone",
    )
    router.sh("ifup wg0")
    router.wait("ifstatus wg0", '"up": true')
    before = owner.configuration()
    same = owner.run(**spoke)
    assert (same["changed"], owner.configuration()) == (False, before)
    assert key(50) in {entry["public_key"] for entry in same["peers"]}
    purged = owner.run(**spoke, purge=True)
    assert [line for line in purged["commands"] if "delete" in line and "network" in line] == [
        line for line in purged["commands"] if line.startswith("uci delete network.cfg")
    ]
    assert set(allowed(router)) == {key(1), key(2)}
    assert "network.wg0.fwmark='0x55'" in router.sh("uci show network.wg0")
    assert "network.wg1=interface" in router.sh("uci show network.wg1")


def test_a_peer_that_only_runs_stays_until_a_purge(owner: Owner, spoke: Result, key: Key) -> None:
    owner.run(**spoke)
    owner.router.sh(f"wg set wg0 peer {key(60)} allowed-ips 10.3.2.60/32")
    same = owner.run(**spoke)
    assert (same["changed"], allowed(owner.router)[key(60)]) == (False, "10.3.2.60/32")
    assert key(60) in {peer["public_key"] for peer in same["peers"]}
    purged = owner.run(**spoke, purge=True)
    assert purged["commands"] == [f"wg set wg0 peer {key(60)} remove  # {key(60)}"]
    assert set(allowed(owner.router)) == {key(1), key(2)}
    assert not owner.run(**spoke, purge=True)["changed"]


def test_a_peer_made_by_hand_is_adopted_and_mended(owner: Owner, spoke: Result, key: Key) -> None:
    """Prefixes glued by a comma: wg takes them, and OpenWrt routes something else without a word."""
    router = owner.router
    owner.run(**{**spoke, "peers": []})
    peer = "network.@wireguard_wg0[-1]"
    glued = "10.3.2.1/32,10.0.10.0/24,fd00:10::/64"
    owner.uci(
        "add network wireguard_wg0",
        f"set {peer}.public_key={key(1)}",
        f"add_list {peer}.allowed_ips={glued}",
        f"set {peer}.route_allowed_ips=1",
        f"set {peer}.disabled=1",
        f"set {peer}.endpoint_host=198.51.100.7",
        f"set {peer}.endpoint_port=51821",
    )
    done = owner.run(**{**spoke, "peers": spoke["peers"][:1]})
    assert "add network wireguard_wg0" not in " ".join(done["commands"])
    assert router.sh("uci get network.@wireguard_wg0[0].allowed_ips").split() == [
        "10.0.10.0/24",
        "10.3.2.1/32",
        "fd00:10::/64",
    ]
    assert router.sh("uci show network | grep -c =wireguard_wg0") == "1\n"
    assert not owner.run(**{**spoke, "peers": spoke["peers"][:1]})["changed"]


def test_keys_that_are_not_known_stay_or_wait(owner: Owner, spoke: Result, key: Key) -> None:
    owner.run(**spoke)
    hub, phone = spoke["peers"]
    unknown = [{**hub, "public_key": None}, phone, {"name": "new", "allowed_ips": ["10.3.2.77/32"]}]
    unknown = [{name: value for name, value in peer.items() if value is not None} for peer in unknown]
    answer = owner.run(**{**spoke, "peers": unknown})
    assert (answer["changed"], answer["waiting_for_key"]) == (False, ["new"])
    coming = owner.run(check=True, **{**spoke, "peers": [{**hub, "public_key": "(known after apply)"}]})
    assert any("(known after apply)" in line for line in coming["commands"])


def test_routes_go_to_the_table_of_the_interface(owner: Owner, spoke: Result) -> None:
    router = owner.router
    owner.run(**{**spoke, "peers": []})
    owner.uci("set network.wg0.ip4table=100")
    router.sh("ifup wg0")
    router.wait("ifstatus wg0", '"up": true')
    done = owner.run(**spoke)
    assert "ip -4 route replace 10.0.10.0/24 dev wg0 table 100" in done["commands"]
    assert "ip -6 route replace fd00:10::/64 dev wg0" in done["commands"]
    assert "10.0.10.0/24 dev wg0" in router.sh("ip route show table 100")
    assert "10.0.10.0/24" not in router.sh("ip route")
    assert not owner.run(**spoke)["changed"]
    done = owner.run(**{**spoke, "peers": spoke["peers"][1:]})
    assert "ip -4 route del 10.0.10.0/24 dev wg0 table 100" in done["commands"]
    assert "10.0.10.0/24" not in router.sh("ip route show table 100")


def test_hidden_prefixes_and_routes_that_no_peer_brings(owner: Owner, spoke: Result) -> None:
    router = owner.router
    more = {"masquerade": ["192.168.0.0/24"], "routes": ["10.0.10.0/24", "10.99.0.0/16", "fd00:99::/64"]}
    done = owner.run(**{**spoke, **more})
    assert "uci set network.fabric_route1_wg0=route" in done["commands"]
    hidden = "ip saddr 192.168.0.0/24 ip daddr != 192.168.0.0/24 masquerade"
    assert hidden in router.sh("nft list chain inet fw4 srcnat")
    assert not owner.run(**{**spoke, **more})["changed"]
    for _setup in ("live", "netifd's"):
        ways = router.sh("ip route; ip -6 route")
        assert all(f"{prefix} dev wg0" in ways for prefix in more["routes"])
        router.sh("ifup wg0")
        router.wait("ifstatus wg0", '"up": true')
    owner.run(**spoke)
    assert hidden not in router.sh("nft list chain inet fw4 srcnat")
    assert "99" not in router.sh("ip route; ip -6 route; uci show network | grep fabric_route")
    assert not owner.run(**spoke)["changed"]


def test_what_went_astray_is_mended(owner: Owner, spoke: Result, key: Key) -> None:
    router = owner.router
    owner.run(**spoke)
    for damage, told in (
        (f"wg set wg0 peer {key(1)} remove", "wg addconf wg0 /dev/stdin  # sofia"),
        ("ip route del 10.0.10.0/24 dev wg0", "ip -4 route replace 10.0.10.0/24 dev wg0"),
        ("ifdown wg0", "ifup wg0"),
        ("ip addr del 10.3.2.5/24 dev wg0", "ifup wg0"),
        ("chmod 644 /etc/config/network", "chmod 600 /etc/config/network"),
    ):
        router.sh(damage)
        done = owner.run(**spoke)
        assert told in done["commands"], damage
        assert not any(line.startswith("uci ") for line in done["commands"])
        assert not owner.run(**spoke)["changed"], damage


def test_the_tunnel_comes_back_after_a_reboot(owner: Owner, spoke: Result, key: Key) -> None:
    owner.run(**spoke)
    owner.router.reboot()
    owner.router.wait("ifstatus wg0", '"up": true')
    assert set(allowed(owner.router)) == {key(1), key(2)}
    owner.run(**spoke)  # for the firewall may have been loaded before the interface was up
    assert 'iifname "wg0" jump forward_wg0' in owner.router.sh("nft list ruleset")
    assert not owner.run(**spoke)["changed"]


def test_a_firewall_that_runs_without_the_tunnels_zone_is_loaded_again(owner: Owner, spoke: Result) -> None:
    owner.run(**spoke)
    for damage in ("nft flush ruleset", "ifdown wg0; /etc/init.d/firewall reload 2>/dev/null; ifup wg0"):
        owner.router.sh(damage)
        owner.router.wait("ifstatus wg0", '"up": true')
        assert owner.run(check=True, **spoke)["commands"] == ["/etc/init.d/firewall reload"], damage
        owner.run(**spoke)
        assert 'iifname "wg0" jump forward_wg0' in owner.router.sh("nft list ruleset")
        assert not owner.run(**spoke)["changed"]


WATCH = "* * * * * /usr/bin/wireguard_watchdog # homelab.fabric\n"


def test_names_are_looked_up_again_as_long_as_one_is_dialled(owner: Owner, spoke: Result, key: Key) -> None:
    router = owner.router
    router.sh("echo nameserver 127.0.0.1 >/tmp/resolv.conf.d/resolv.conf.auto; echo '# mine' >/etc/crontabs/root")
    hub, phone = spoke["peers"]
    named = {**spoke, "peers": [{**hub, "endpoint": "localhost:51821"}, phone]}
    owner.run(**named)
    assert router.sh("cat /etc/crontabs/root; pidof crond | wc -w") == f"# mine\n{WATCH}1\n"
    router.sh("/etc/init.d/cron stop; /etc/init.d/cron disable")
    assert owner.run(**named)["commands"] == ["/etc/init.d/cron enable", "/etc/init.d/cron restart"]
    # One line serves both interfaces, whichever goes first.
    second = {"name": "wg1", "addresses": ["10.4.0.1/24"], "peers": [{**named["peers"][0], "allowed_ips": []}]}
    assert not any("cron" in line for line in owner.run(**second)["commands"])
    owner.run(**spoke)
    assert router.sh("cat /etc/crontabs/root") == f"# mine\n{WATCH}"
    owner.run(name="wg1", state="absent")
    assert router.sh("cat /etc/crontabs/root") == "# mine\n"
    # Somebody's own line does.
    router.sh("echo '*/5 * * * * wireguard_watchdog' >>/etc/crontabs/root")
    assert not any("echo" in line for line in owner.run(**named)["commands"])
    owner.run(state="absent")
    assert router.sh("cat /etc/crontabs/root") == "# mine\n*/5 * * * * wireguard_watchdog\n"


def test_what_works_today_and_not_for_long_is_told_of(owner: Owner, spoke: Result) -> None:
    assert "warnings" not in owner.run(check=True, **spoke)
    owner.router.sh("rm /usr/bin/wireguard_watchdog")
    hub = {**spoke["peers"][0], "endpoint": "hub.example.org:51821", "persistent_keepalive": "0"}
    warnings = owner.run(check=True, **{**spoke, "peers": [hub], "open_port": False})["warnings"]
    for told, warning in zip(
        ("NAT on the way: give persistent_keepalive 25", "no wireguard_watchdog", "looks up names of peers with"),
        warnings,
        strict=True,
    ):
        assert told in warning


# Secrets


def test_no_key_is_in_the_list_of_processes_nor_in_an_answer(owner: Owner, spoke: Result, key: Key) -> None:
    router = owner.router
    listing = "while [ ! -e /tmp/enough ]; do cat /proc/[0-9]*/cmdline; echo; done 2>/dev/null"
    seen: list[str] = []
    watch = threading.Thread(target=lambda: seen.append(router.sh(listing)))
    watch.start()
    try:
        owner.run(**spoke)
        owner.run(**{**spoke, "peers": [{**spoke["peers"][1], "preshared_key": key(103)}]})
    finally:
        router.sh("touch /tmp/enough")
        watch.join()
    private = router.sh("uci get network.wg0.private_key").strip()
    assert "/bin/sh" in seen[0]
    assert not any(secret in seen[0] for secret in (private, key(102), key(103)))
    assert private not in str(owner.answers)
    assert router.sh(f"grep -rlsF {private} /etc /tmp; true") == "/etc/config/network\n"


@pytest.mark.parametrize("blank", [True, False])
def test_a_check_goes_on_from_what_the_task_before_announced(owner: Owner, spoke: Result, blank: bool) -> None:
    if not blank:
        owner.run(addresses=["10.3.2.5/24"], listen_port=51999)
    keyless = {**spoke, "peers": [{**spoke["peers"][0], "public_key": None}, spoke["peers"][1]]}
    first = owner.run(check=True, **keyless)
    assert first["waiting_for_key"] == ["sofia"]
    later = owner.run(check=True, **spoke, waited_for=["sofia"])
    assert owner.run(**keyless)["commands"] == first["commands"]
    done = owner.run(**spoke)
    assert any(command.startswith("wg addconf") for command in done["commands"])
    assert done["commands"] == later["commands"]
    assert later["diff"]["after"].replace("(known after apply)", done["public_key"]) == done["diff"]["after"]
