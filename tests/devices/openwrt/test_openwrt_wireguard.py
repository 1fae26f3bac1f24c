"""openwrt_wireguard against the strict double: what a user sees, and what the router then has."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError
from openwrt_double.router import Router

Owner = Any  # of conftest.py: the fixture `owner`
Result = dict[str, Any]
Key = Callable[[int], str]
every_release = pytest.mark.parametrize("router", ["21.02", "23.05", "25.12"], indirect=True)
both_handlers = pytest.mark.parametrize("router", ["23.05", "25.12"], indirect=True)


def configuration(router: Router) -> dict[str, str]:
    return {name: (router.root / "etc/config" / name).read_text() for name in ("network", "firewall")}


def uci(router: Router, *lines: str, commit: bool = True) -> None:
    """What another person types."""
    script = "\n".join(f"uci {line}" for line in (*lines, *(["commit"] if commit else [])))
    assert router.sh(script).replace("cfg", "").strip(" \n0123456789abcdef") == ""


def index(router: Router) -> str:
    """The number of the device, which a new one does not get again."""
    return router.sh("cat /sys/class/net/wg0/ifindex")


def allowed(router: Router) -> dict[str, str]:
    return dict(line.split("\t") for line in router.sh("wg show wg0 allowed-ips").splitlines())


@every_release
def test_a_blank_router_is_brought_to_the_state_and_then_left_alone(owner: Owner, spoke: Result, key: Key) -> None:
    router = owner.router
    blank = configuration(router), router.sh("find /tmp /etc | sort")
    foreseen = owner.run(check=True, **spoke)
    assert (foreseen["changed"], foreseen["public_key"], len(owner.scripts)) == (True, "(known after apply)", 1)
    assert (configuration(router), router.sh("find /tmp /etc | sort")) == blank
    done = owner.run(**spoke)
    assert (done["commands"], len(owner.scripts)) == (foreseen["commands"], 3)
    assert done["public_key"] == router.sh("uci get network.wg0.private_key | wg pubkey").strip()
    assert allowed(router)[key(1)] == "10.0.10.0/24 10.3.2.1/32 fd00:10::/64"
    assert f"{key(2)}\t{key(102)}" in router.sh("wg show wg0 preshared-keys")
    assert "10.0.10.0/24 dev wg0" in router.sh("ip route")
    loaded = router.sh("nft list ruleset")
    assert 'iifname "wg0" jump forward_wg0' in loaded
    written = configuration(router), router.sh("find /tmp /etc | sort")
    again = owner.run(**spoke)
    assert (again["changed"], again["commands"], len(owner.scripts)) == (False, [], 4)
    assert again["diff"]["before"] == again["diff"]["after"]
    assert (configuration(router), router.sh("find /tmp /etc | sort")) == written
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
    uci(router, "set network.lan.mtu=1500", "set firewall.mine=rule", "set firewall.mine.src=lan")
    blank = configuration(router)
    owner.run(**spoke)
    gone = owner.run(state="absent")
    assert gone["commands"][-2:] == ["ubus call network reload", "/etc/init.d/firewall reload"]
    assert (configuration(router), router.sh("ls /sys/class/net | grep wg")) == (blank, "status 1\n")
    assert "wg0" not in router.sh("nft list ruleset")
    assert not owner.run(state="absent")["changed"]


def test_what_others_made_is_theirs(owner: Owner, spoke: Result, key: Key) -> None:
    router = owner.router
    owner.run(**spoke)
    peer = "network.@wireguard_wg0[-1]"
    uci(
        router,
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
    before = configuration(router)
    same = owner.run(**spoke)
    assert (same["changed"], configuration(router)) == (False, before)
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
    uci(
        router,
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
    # The firewall was loaded before the interface was up.
    assert '"wg0"' not in owner.router.sh("nft list ruleset")
    assert owner.run(**spoke)["commands"] == ["/etc/init.d/firewall reload"]
    assert 'iifname "wg0" jump forward_wg0' in owner.router.sh("nft list ruleset")
    assert not owner.run(**spoke)["changed"]


def test_a_firewall_that_lost_the_tunnels_zone_is_loaded_again(owner: Owner, spoke: Result) -> None:
    owner.run(**spoke)
    owner.router.sh("nft flush ruleset")
    assert owner.run(check=True, **spoke)["commands"] == ["/etc/init.d/firewall reload"]
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


# Refused


def test_changes_that_nobody_committed_are_not_taken_along(owner: Owner, spoke: Result) -> None:
    uci(owner.router, "set network.wan.password=geheim", commit=False)
    before = configuration(owner.router)
    with pytest.raises(DeviceError, match=r"changes that nobody committed \(network.wan.password\)"):
        owner.run(**spoke)
    assert (configuration(owner.router), "geheim" in str(owner.answers)) == (before, False)


def test_one_bad_peer_is_found_before_it_is_committed(owner: Owner, spoke: Result) -> None:
    owner.run(**spoke)
    owner.router.sh(
        "echo nameserver 127.0.0.1 >/tmp/resolv.conf.d/resolv.conf.auto"
    )  # which says at once that it is not
    before = configuration(owner.router), index(owner.router)
    hub, phone = spoke["peers"]
    for peers in ([{**hub, "endpoint": "nowhere.invalid:51821"}, phone], [{**hub, "endpoint": "a.invalid:1"}]):
        with pytest.raises(DeviceError, match=r"nothing was committed.*it must resolve on the router"):
            owner.run(**{**spoke, "peers": peers})
    assert (configuration(owner.router), index(owner.router)) == before
    assert "fabric_probe" not in owner.router.sh("ls /sys/class/net")
    assert not owner.run(**spoke)["changed"]


def test_a_firewall_that_cannot_be_loaded_is_put_back(owner: Owner, spoke: Result) -> None:
    router = owner.router
    before = configuration(router)["firewall"]
    router.sh("mkdir -p /etc/nftables.d; echo 'chain broken { nonsense; }' >/etc/nftables.d/mine.nft")
    with pytest.raises(DeviceError, match="`fw4 check` refuses the firewall, so the firewall's configuration was put"):
        owner.run(**spoke)
    assert configuration(router)["firewall"] == before
    router.sh("rm /etc/nftables.d/mine.nft")
    assert "/etc/init.d/firewall reload" in owner.run(**spoke)["commands"]
    assert not owner.run(**spoke)["changed"]


def test_the_routers_own_network_is_not_routed_away(owner: Owner, spoke: Result) -> None:
    hub = {**spoke["peers"][0], "allowed_ips": ["192.168.0.0/24"]}
    with pytest.raises(TunnelError, match=r"routes: 192.168.0.0/24 is on br-lan of this router already"):
        owner.run(**{**spoke, "peers": [hub], "forward_to": []})


def test_what_another_router_leads_to_is_refused_before_anything_is_written(owner: Owner, spoke: Result) -> None:
    owner.run(**{**spoke, "peers": []})
    before = configuration(owner.router)
    owner.router.sh("ip route add 10.0.10.0/24 via 192.168.0.2 dev br-lan metric 5")
    for check in (True, False):
        with pytest.raises(TunnelError, match=r"routes: 10.0.10.0/24 goes by another router on br-lan already: remove"):
            owner.run(check=check, **spoke)
    assert configuration(owner.router) == before
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


def test_this_runs_own_connection_is_not_routed_away(owner: Owner, spoke: Result, key: Key) -> None:
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
    router, execute = owner.router, owner.execute
    owner.run(**spoke)
    router.sh("mkdir /var/run/homelab.fabric/lock; echo 1 >/var/run/homelab.fabric/lock/pid")
    with pytest.raises(DeviceError, match="Another run is at work"):
        owner.run(**{**spoke, "peers": []})
    # The lock of one that was killed is nobody's.
    router.sh("echo 99999 >/var/run/homelab.fabric/lock/pid")
    assert owner.run(**{**spoke, "peers": []})["changed"]

    def late(script: str) -> Any:
        if "stage commit" in script:
            uci(router, "set network.lan.mtu=1492")
        return execute(script)

    owner.execute = late
    with pytest.raises(DeviceError, match="Somebody changed /etc/config/network"):
        owner.run(**spoke)
    owner.execute = execute
    assert owner.run(**spoke)["changed"]


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
