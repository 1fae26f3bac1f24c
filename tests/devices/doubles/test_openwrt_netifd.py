"""The traps of OpenWrt's netifd and WireGuard handler, each of which the double must have (facts 1.1 to 1.4)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openwrt_double import netifd
from openwrt_double.factory import DEFAULTS
from openwrt_double.router import Router, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

RELOAD = "ubus -S call network reload '{}'; "
UP = '"up":true'
STATUS = "ubus -S call network.interface.wg0 status"
FAILED = '"up":false,"pending":true'
OLD, NEW = "23.05", "25.12"
EITHER = pytest.mark.parametrize("release", [OLD, NEW])


def key(number: int) -> str:
    return base64.b64encode(number.to_bytes(32, "big")).decode()


PRIVATE, HUB, PHONE = key(8), key(21), key(22)
TUNNEL = f"""
config interface 'wg0'
\toption proto 'wireguard'
\toption private_key '{PRIVATE}'
\toption listen_port '51820'
\tlist addresses '10.3.2.5/32'

config wireguard_wg0 'hub'
\toption public_key '{HUB}'
\tlist allowed_ips '10.3.2.0/24'
\tlist allowed_ips '192.168.8.0/24'
\toption route_allowed_ips '1'
\toption endpoint_host '203.0.113.7'
\toption endpoint_port '51821'
\toption persistent_keepalive '25'
"""
Boot = Callable[..., Router]


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    """`boot("23.05", TUNNEL)`: a router with more in its network file; it is up, its tunnel maybe not yet."""
    routers: list[Router] = []

    def start(release: str = NEW, more: str = TUNNEL, wait: bool = True) -> Router:
        folder = tmp_path / f"router{len(routers)}"
        router = Router(folder, release, DEFAULTS | {"network": DEFAULTS["network"] + more}, retry=0.3)
        routers.append(router)
        router.boot()
        if wait and "'wg0'" in more:
            assert UP in router.wait(STATUS, UP)
        return router

    yield start
    for router in routers:
        router.power_off()


def status(router: Router) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(router.sh(STATUS))
    return found


def index(router: Router) -> str:
    """Changes when the link was made anew, which ends every session."""
    return router.sh("cat /sys/class/net/wg0/ifindex")


def allowed(router: Router) -> str:
    return router.sh("wg show wg0 allowed-ips").partition("\t")[2].strip()


@EITHER
def test_a_tunnel_comes_up_with_addresses_routes_and_a_host_route(boot: Boot, release: str) -> None:
    router = boot(release)
    found = status(router)
    assert (found["up"], found["pending"], found["autostart"], found["l3_device"]) == (True, False, True, "wg0")
    assert found["ipv4-address"] == [{"address": "10.3.2.5", "mask": 32}]
    assert [route["target"] for route in found["route"]] == ["10.3.2.0", "192.168.8.0"]
    routes = router.sh("ip route")
    assert "10.3.2.0/24 dev wg0" in routes
    assert "203.0.113.7 via 198.51.100.1 dev eth0" in routes
    assert router.sh("wg show wg0 listen-port") == "51820\n"


@EITHER
@pytest.mark.parametrize(
    "edit",
    [
        "add_list network.hub.allowed_ips='10.9.0.0/16'",
        "set network.hub.endpoint_host='203.0.113.8'",
        f"set network.hub.public_key='{PHONE}'",
        "delete network.hub",
        "add_list network.wg0.addresses='10.3.2.6/32'",
    ],
)
def test_reload_does_not_notice_peers_and_addresses_but_ifup_does(boot: Boot, release: str, edit: str) -> None:
    router = boot(release)
    look = "wg show wg0 dump | tail -n +2; ip -4 -o addr show wg0 | cut -d' ' -f2-"
    before, link = router.sh(look), index(router)
    assert router.sh(f"uci {edit}; uci commit network; {RELOAD}sleep 0.3; {look}") == before
    assert router.sh("ifup wg0") == ""
    assert UP in router.wait(STATUS, UP)
    assert router.sh(look) != before
    assert index(router) != link


@pytest.mark.parametrize(
    "edit", ["mtu=1380", "listen_port=51999", f"private_key={key(9)}", "fwmark=0x10"], ids=lambda edit: edit[:6]
)
def test_reload_makes_the_link_anew_for_four_options_and_takes_peer_edits_along(boot: Boot, edit: str) -> None:
    router = boot()
    link = index(router)
    router.sh(f"uci set network.wg0.{edit}; uci set network.hub.allowed_ips=10.9.0.0/16; uci commit; {RELOAD}")
    assert UP in router.wait(STATUS, UP)
    assert index(router) != link
    assert allowed(router) == "10.9.0.0/16"


def test_reload_does_not_notice_an_unknown_option(boot: Boot) -> None:
    router = boot()
    link = index(router)
    router.sh(f"uci set network.wg0.colour=blue; uci commit; {RELOAD}")
    assert index(router) == link


def test_reload_applies_what_is_not_committed(boot: Boot) -> None:
    router = boot()
    router.sh(f"uci set network.wg0.listen_port=51999; {RELOAD}")
    assert UP in router.wait(STATUS, UP)
    assert router.sh("wg show wg0 listen-port") == "51999\n"


def test_only_1_disables(boot: Boot) -> None:
    router = boot()
    router.sh(f"uci set network.wg0.disabled=true; uci commit; {RELOAD}")
    assert status(router)["up"]
    router.sh(f"uci set network.wg0.disabled=1; uci commit; {RELOAD}")
    assert router.sh(STATUS) == "status 4\n"
    assert "wg0" not in router.sh("ip link")
    assert router.sh("ifup wg0") == "Interface wg0 not found\n"
    router.sh(f"uci set network.wg0.disabled=0; uci commit; {RELOAD}")
    assert UP in router.wait(STATUS, UP)


def test_a_new_interface_comes_with_reload_and_a_deleted_one_goes(boot: Boot) -> None:
    router = boot(more="")
    router.sh(f"cat >>/etc/config/network; {RELOAD}", text=TUNNEL)
    assert UP in router.wait(STATUS, UP)
    router.sh(f"uci delete network.wg0; uci commit; {RELOAD}")
    assert "wg0" not in router.sh("ip link; ip route; ubus list")


def test_down_stays_down(boot: Boot) -> None:
    router = boot()
    assert router.sh("ifdown wg0") == ""
    found = status(router)
    assert (found["up"], found["pending"], found["autostart"]) == (False, False, False)
    assert "l3_device" not in found
    assert "10.3.2.0/24" not in router.sh("ip route")
    assert router.sh("wg show wg0") == "Unable to access interface: No such device\nstatus 1\n"
    router.sh(RELOAD)
    assert not status(router)["up"]


BAD = {
    "key": "set network.hub.public_key='AAAA'",
    "prefix": "add_list network.hub.allowed_ips='10.300.0.0/16'",
    "name": "set network.hub.endpoint_host='no such host'",
}


@EITHER
@pytest.mark.parametrize("bad", BAD)
def test_one_bad_peer_takes_the_interface_down_until_it_is_repaired(boot: Boot, release: str, bad: str) -> None:
    router = boot(release, f"{TUNNEL}\nconfig wireguard_wg0\n\toption public_key '{PHONE}'\n")
    router.sh("echo hosts: files >/etc/nsswitch.conf")  # no name server is asked: there is none
    assert router.sh(f"uci {BAD[bad]}; uci commit network; ifup wg0") == ""
    assert FAILED in router.wait(STATUS, '"errors"')
    found = status(router)
    assert not found["up"]
    assert found["pending"]
    assert "l3_device" not in found
    assert router.sh("wg show wg0 peers; ip -4 addr show wg0").count(PHONE) == 0
    assert "10.3.2.0/24" not in router.sh("ip route")
    router.sh(
        f"uci set network.hub.public_key='{HUB}'; uci set network.hub.allowed_ips=10.3.2.0/24; "
        "uci set network.hub.endpoint_host=203.0.113.7; uci commit network"
    )
    assert UP in router.wait(STATUS, UP, patience=9)


def test_an_interface_whose_setup_fails_is_tried_again_for_ever(boot: Boot) -> None:
    assert netifd.RETRY == 5
    router = boot(more=TUNNEL.replace(HUB, "AAAA"), wait=False)
    router.wait("logread -e 'setup failed' | wc -l", "2", patience=9)
    assert FAILED in router.sh(STATUS)
    assert router.sh("wg show wg0 peers") == ""


@pytest.mark.parametrize("private", ["", "AAAA", "generate"])
def test_the_older_handler_fails_without_a_good_key(boot: Boot, private: str) -> None:
    router = boot(OLD, TUNNEL.replace(PRIVATE, private), wait=False)
    assert FAILED in router.wait(STATUS, '"errors"')


@pytest.mark.parametrize("private", ["", "generate"])
def test_the_newer_handler_makes_a_key_and_commits_everything_that_is_pending(boot: Boot, private: str) -> None:
    router = boot(NEW, more="")
    router.sh("cat >>/etc/config/network; uci set network.lan.mine=1", text=TUNNEL.replace(PRIVATE, private))
    router.sh(RELOAD)
    assert UP in router.wait(STATUS, UP)
    written = router.sh("uci get network.wg0.private_key").strip()
    assert len(base64.b64decode(written)) == 32
    assert router.sh("uci changes; grep mine /etc/config/network") == "\toption mine '1'\n"


def test_renew_keeps_the_link_and_follows_peers_routes_and_addresses(boot: Boot) -> None:
    router = boot(NEW)
    link = index(router)
    router.sh(
        "uci add_list network.hub.allowed_ips=10.9.0.0/16; uci del_list network.hub.allowed_ips=192.168.8.0/24; "
        "uci add_list network.wg0.addresses=10.3.2.6/32; uci commit; ubus call network.interface.wg0 renew"
    )
    assert "10.9.0.0/16" in router.wait("ip route", "10.9.0.0/16")
    assert "192.168.8.0/24" not in router.sh("ip route")
    assert allowed(router) == "10.3.2.0/24 10.9.0.0/16"
    assert "10.3.2.6/32" in router.sh("ip addr show wg0")
    assert index(router) == link


def test_renew_does_nothing_for_the_older_handler_and_says_so_to_nobody(boot: Boot) -> None:
    router = boot(OLD)
    assert router.sh("grep -c renew_handler /lib/netifd/proto/wireguard.sh") == "0\nstatus 1\n"
    router.sh("uci add_list network.hub.allowed_ips=10.9.0.0/16; uci commit")
    assert router.sh("ubus -S call network.interface.wg0 renew; sleep 0.3; ip route | grep 10.9") == "status 1\n"


def test_syncconf_by_hand_leaves_the_routes_of_netifd_stale(boot: Boot) -> None:
    router = boot()
    config = f"[Interface]\nPrivateKey={PRIVATE}\n[Peer]\nPublicKey={HUB}\nAllowedIPs=10.9.0.0/16\n"
    assert router.sh("wg syncconf wg0 /dev/stdin", text=config) == ""
    assert allowed(router) == "10.9.0.0/16"
    assert "10.9.0.0/16" not in router.sh("ip route")
    assert "192.168.8.0/24" in router.sh("ip route")


@pytest.mark.parametrize(
    ("written", "routes"),
    [
        ("option allowed_ips '10.9.0.0/16 10.8.0.0/16'", ["10.8.0.0/16", "10.9.0.0/16"]),
        ("list allowed_ips '10.9.0.0/16,192.168.1.0/24'", ["10.9.0.0/24"]),  # wrong, and nobody says so
        ("list allowed_ips '10.9.0.1'", ["10.9.0.1"]),
    ],
)
def test_blanks_part_allowed_ips_and_a_comma_routes_wrongly(boot: Boot, written: str, routes: list[str]) -> None:
    more = TUNNEL.replace("list allowed_ips '10.3.2.0/24'", written).replace(
        "\tlist allowed_ips '192.168.8.0/24'\n", ""
    )
    router = boot(more=more)
    found = [line.split()[0] for line in router.sh("ip route show dev wg0").splitlines()]
    assert sorted(found) == routes
    assert "fail" not in router.sh("logread")


def test_a_prefix_given_to_two_peers_belongs_to_the_last(boot: Boot) -> None:
    other = f"\nconfig wireguard_wg0\n\toption public_key '{PHONE}'\n\tlist allowed_ips '10.3.2.0/24'\n"
    router = boot(more=TUNNEL.replace("\tlist allowed_ips '192.168.8.0/24'\n", "") + other)
    assert f"{HUB}\t(none)\n" in router.sh("wg show wg0 allowed-ips")


def test_peers_without_a_key_are_skipped_and_the_port_has_a_default(boot: Boot) -> None:
    more = (
        TUNNEL.replace("\toption endpoint_port '51821'\n", "")
        + "\nconfig wireguard_wg0\n\toption endpoint_host 'x y'\n"
    )
    router = boot(more=more)
    assert router.sh("wg show wg0 endpoints") == f"{HUB}\t203.0.113.7:51820\n"


def test_a_full_tunnel_replaces_the_default_route_and_keeps_the_way_to_its_endpoint(boot: Boot) -> None:
    router = boot(more=TUNNEL.replace("10.3.2.0/24", "0.0.0.0/0"))
    routes = router.sh("ip route")
    assert "default dev wg0" in routes
    assert "default via" not in routes
    assert "203.0.113.7 via 198.51.100.1 dev eth0" in routes


def test_a_full_tunnel_without_host_route_when_told_so(boot: Boot) -> None:
    more = TUNNEL.replace("10.3.2.0/24", "0.0.0.0/0").replace("51820'\n", "51820'\n\toption nohostroute '1'\n", 1)
    assert "203.0.113.7" not in boot(more=more).sh("ip route")


def test_beside_a_metric_both_default_routes_stay(boot: Boot, tmp_path: Path) -> None:
    network = DEFAULTS["network"].replace("option device 'eth0'", "option device 'eth0'\n\toption metric '1024'")
    config = {"network": network + TUNNEL.replace("10.3.2.0/24", "0.0.0.0/0")}
    with Router(tmp_path / "other", config=DEFAULTS | config) as router:
        assert UP in router.wait(STATUS, UP)
        assert {"default dev wg0", "default via 198.51.100.1"} <= {
            " ".join(line.split()[:3]) for line in router.sh("ip route").splitlines()
        }


def test_a_tunnel_that_routes_the_own_lan_cuts_it_off(boot: Boot) -> None:
    router = boot(more=TUNNEL.replace("192.168.8.0/24", "192.168.0.0/24"))
    assert "192.168.0.0/24 dev wg0" in router.sh("ip route get 192.168.0.10; ip route")
    assert "dev wg0" in router.sh("ip route get 192.168.0.10")


def test_a_table_of_its_own_comes_with_rules(boot: Boot) -> None:
    router = boot(more=TUNNEL.replace("51820'\n", "51820'\n\toption ip4table '100'\n", 1))
    assert "10.3.2.0/24 dev wg0" in router.sh("ip route show table 100")
    assert "10.3.2.0/24" not in router.sh("ip route")
    rules = router.sh("ip rule")
    assert "10000:\tfrom 10.3.2.5 lookup 100" in rules
    assert "20000:\tfrom all to 10.3.2.5 lookup 100" in rules
    assert "90000:\tfrom all iif lo lookup 100" in rules
    router.sh("ifdown wg0")
    assert "lookup 100" not in router.sh("ip rule")


def test_a_route_section_goes_through_its_interface_while_it_is_up(boot: Boot) -> None:
    route = (
        "\nconfig route 'far'\n\toption interface 'wg0'\n\toption target '10.77.0.0'\n\toption netmask '255.255.0.0'\n"
    )
    router = boot(more=TUNNEL + route)
    assert "10.77.0.0/16 dev wg0" in router.sh("ip route")
    router.sh("ifdown wg0")
    assert "10.77" not in router.sh("ip route")
    router.sh("ifup wg0")
    assert "10.77.0.0/16 dev wg0" in router.wait("ip route", "10.77")


def test_handlers_are_looked_for_at_the_start_of_netifd_only(boot: Boot) -> None:
    router = boot(more="")
    handler = "/lib/netifd/proto/wireguard.sh"
    router.sh(f"mv {handler} /root; /etc/init.d/network restart")
    router.sh(f"mv /root/wireguard.sh {handler}; cat >>/etc/config/network; {RELOAD}", text=TUNNEL)
    assert status(router)["errors"] == [{"subsystem": "wireguard", "code": "NO_PROTO_HANDLER"}]
    assert "wg0" not in router.sh("ifup wg0; sleep 0.3; ip link")
    router.sh("/etc/init.d/network restart")
    assert UP in router.wait(STATUS, UP)


def test_a_reboot_forgets_deltas_and_keeps_the_flash(boot: Boot) -> None:
    router = boot()
    router.sh("uci set network.lan.a=1; uci commit; uci set network.lan.b=1")
    router.reboot()
    assert router.sh("uci changes; uci get network.lan.a; uci -q get network.lan.b") == "1\nstatus 1\n"
    assert UP in router.wait(STATUS, UP)


@pytest.mark.parametrize("name", ["wg-0", "wg.0"])
def test_names_of_interfaces_are_those_of_shell_variables(boot: Boot, name: str) -> None:
    assert "uci: " in boot(more="").sh(f"uci set network.{name}=interface")


def test_a_name_longer_than_15_bytes_is_no_device(boot: Boot) -> None:
    long = "wg0123456789abcd"
    router = boot(more=TUNNEL.replace("'wg0'", f"'{long}'").replace("wireguard_wg0", f"wireguard_{long}"))
    said = router.wait(f"ubus -S call network.interface.{long} status", '"errors"')
    assert FAILED in said
