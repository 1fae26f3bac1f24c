"""The pfSense double's WireGuard package: its messages, what a resync writes and destroys, the service, applying."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pfsense_double import PfSense

FIXTURES = Path(__file__).parents[1] / "pfsense/fixtures"
GOLDEN = (FIXTURES / "golden-package-written.xml").read_text()
FULL = (FIXTURES / "good-full-site.xml").read_text()
WG = "wireguard/includes/wg.inc"
CONF = "usr/local/etc/wireguard"
KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
TAKEN = "bbb50E5Qgg7rsnvLzKNdpYxkiOCW0iozFB6tEhLAXQA="  # by the peer of tun_wg0
PIPE = KEY[:42] + "|="  # wg(8) refuses what the package takes

#: tun_wg0 is assigned to opt1 (WG_S2S), tun_wg1 is not.
Make = Callable[..., PfSense]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def firewall(config: str = FULL, version: str = "2.7.2", delay: float = 0.0) -> PfSense:
        return PfSense(tmp_path / "fw", version, config, delay=delay)

    return firewall


@pytest.fixture
def running(make: Make) -> PfSense:
    firewall = make()
    firewall.boot()
    return firewall


def php(value: object) -> str:
    """A PHP expression of the value."""
    return f"json_decode('{json.dumps(value)}', true)"


def tunnel(**changes: Any) -> dict[str, Any]:
    return {"name": "tun_wg1", "enabled": "yes", "listenport": "51821", "privatekey": KEY, **changes}


def rows(address: str, mask: str) -> dict[str, Any]:
    return {"row": [{"address": address, "mask": mask}]}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (tunnel(), None),
        (tunnel(listenport=""), None),
        (tunnel(listenport="0"), "Invalid interface listen port (0)."),
        (tunnel(listenport="65536"), "Invalid interface listen port (65536)."),
        (tunnel(privatekey=""), "A private key must be specified."),
        (tunnel(privatekey="short"), "The private key specified is not a valid WireGuard private key."),
        (tunnel(privatekey=PIPE), None),
        (tunnel(addresses=rows("10.1.1.1", "33")), "Address 10.1.1.1/33 is not a valid CIDR address."),
        (
            tunnel(addresses=rows("10.1.1.1", "255.255.255.0")),
            "Address 10.1.1.1/255.255.255.0 is not a valid CIDR address.",
        ),
        (
            tunnel(addresses=rows("192.168.1.77", "32")),
            "Address 192.168.1.77 is already configured on this firewall. [ LAN (192.168.1.0/24) ]",
        ),
        (tunnel(name="tun_wg0", enabled="no"), "Cannot disable tun_wg0 while it is assigned to opt1 (opt1)."),
        (tunnel(name="tun_wg0", addresses=rows("10.1.1.1", "99")), None),  # an assigned one's are not looked at
    ],
)
def test_a_tunnel_is_checked(make: Make, item: dict[str, Any], message: str | None) -> None:
    errors = make().value(f"wg_validate_tunnel_post({php(item)}, 1)", WG)
    assert errors == ([message] if message else [])


def peer(**changes: Any) -> dict[str, Any]:
    return {"tun": "tun_wg0", "publickey": KEY, **changes}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (peer(), None),
        (peer(endpoint="vpn.example.org", port="51820"), None),
        (peer(endpoint="2001:db8::1"), None),
        (
            peer(endpoint="[2001:db8::1]"),
            "Endpoint [2001:db8::1] must be a valid IPv4 or IPv6 address or hostname.",
        ),
        (peer(port="70000"), "Invalid peer remote port (70000)."),
        (peer(persistentkeepalive="25s"), "Invalid keep alive interval (25s)."),
        (peer(persistentkeepalive="65536"), "Keep alive interval must be in range 0-65535 (65536)."),
        (peer(publickey=""), "A public key must be specified."),
        (peer(publickey="x"), "The public key (x) is not a valid WireGuard public key."),
        (
            peer(publickey=TAKEN),
            f"The public key ({TAKEN}) is already assigned to a peer on this tunnel (tun_wg0).",
        ),
        (peer(tun="tun_wg1", publickey=TAKEN), None),
        (peer(tun="unassigned"), None),
        (peer(presharedkey=""), None),
        (peer(presharedkey="x"), "The pre-shared key (x) is not a valid WireGuard pre-shared key."),
        (peer(allowedips=rows("0.0.0.0", "0")), None),
        (peer(allowedips=rows("10.1.1.0", "x")), "Address 10.1.1.0/x is not a valid IPv4 or IPv6 CIDR subnet address."),
    ],
)
def test_a_peer_is_checked(make: Make, item: dict[str, Any], message: str | None) -> None:
    assert make().value(f"wg_validate_peer_post({php(item)}, 9)", WG) == ([message] if message else [])


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("wg_delete_tunnel('tun_wg0')['input_errors']", "Cannot delete tun_wg0 while it is assigned to WG_S2S (opt1)"),
        (
            "wg_toggle_tunnel('tun_wg0')['input_errors']",
            "Cannot disable tun_wg0 while it is assigned to WG_S2S (opt1).",
        ),
        (
            "wg_do_settings_post(['enable' => ''])['input_errors']",
            "Cannot disable WireGuard when one or more tunnels is assigned to a pfSense interface.",
        ),
        (
            "wg_do_settings_post(['enable' => 'yes', 'resolve_interval' => 'x'])['input_errors']",
            "Invalid endpoint hostname resolve interval (x).",
        ),
    ],
)
def test_the_rest_is_checked(make: Make, expression: str, message: str) -> None:
    firewall = make()
    assert firewall.value(expression, WG) == [message]
    assert firewall.entries("write") == []


def test_a_resync_writes_six_revisions_and_changes_nothing_that_it_wrote(make: Make) -> None:
    firewall = make(GOLDEN)
    firewall.value("wg_resync()", WG)
    written = firewall.entries("write")
    assert len(written) == 6
    assert {entry["description"].split("]")[0] for entry in written} == {"[pfSense-pkg-WireGuard"}
    assert not any(entry["remote_backup"] for entry in written)
    assert firewall.xml.splitlines()[33:] == GOLDEN.splitlines()[33:]


def test_a_resync_adds_what_the_package_keeps(make: Make) -> None:
    firewall = make(FULL.replace("<earlyshellcmd>service wireguardd start", "<earlyshellcmd>other"))
    firewall.value("wg_resync()", WG)
    assert firewall.value("config_get_path('system/earlyshellcmd')") == ["service wireguardd start", "other"]
    assert firewall.value("config_get_path('unbound/acls/0/row')") == [
        {"acl_network": "10.100.90.0", "mask": "30", "description": "tun_wg0"},
        {"acl_network": "10.100.91.0", "mask": "24", "description": "tun_wg1"},
        {"acl_network": "fd00:91::", "mask": "64", "description": "tun_wg1"},
    ]


def test_without_an_interface_group_there_is_none(make: Make) -> None:
    firewall = make(FULL.replace("<interface_group>unassigned", "<interface_group>none"))
    firewall.value("wg_resync()", WG)
    assert firewall.value("config_get_path('ifgroups')") == ""


def test_conf_files_are_rewritten_also_those_of_disabled_tunnels(make: Make) -> None:
    firewall = make(
        FULL.replace(
            "<enabled>yes</enabled>\n\t\t\t\t\t<descr><![CDATA[road",
            "<enabled>no</enabled>\n\t\t\t\t\t<descr><![CDATA[road",
        )
    )
    (firewall.root / CONF / "stranger.conf").touch()
    firewall.value("wg_resync()", WG)
    files = sorted((firewall.root / CONF).iterdir())
    assert [(file.name, file.stat().st_mode & 0o777) for file in files] == [
        ("tun_wg0.conf", 0o600),
        ("tun_wg1.conf", 0o600),
    ]
    assert (firewall.root / CONF).stat().st_mode & 0o777 == 0o700
    text = files[0].read_text()
    assert text.startswith("# Description: site A <-> site B\n")
    assert "AllowedIPs = 10.100.90.2/32,10.20.0.0/16\nPersistentKeepalive = 25\n" in text
    assert "phone" not in files[1].read_text()  # a disabled peer
    assert not any(word in text for word in ("Address", "MTU", "Endpoint"))


def test_reading_the_configuration_again_discards_what_was_not_written(make: Make) -> None:
    path = "installedpackages/wireguard/tunnels/item/0/descr"
    change = f"config_set_path('{path}', 'new'); next_wg_if();"
    done = make().php(f"require_once('{WG}'); {change} echo config_get_path('{path}');")
    assert done.out == "site A <-> site B"


def test_names_and_ports_fill_gaps(make: Make) -> None:
    firewall = make(
        FULL.replace("<name>tun_wg0<", "<name>tun_wg2<").replace("<listenport>51820<", "<listenport>51822<")
    )
    assert firewall.value("[next_wg_if(), next_wg_port()]", WG) == ["tun_wg0", "51820"]


def test_a_deleted_tunnel_leaves_its_peers_unassigned(make: Make) -> None:
    firewall = make()
    answer = firewall.value("wg_delete_tunnel('tun_wg1')", WG)
    assert answer == {"input_errors": [], "changes": True, "tuns_to_sync": ["tun_wg1"]}
    peers = firewall.value("config_get_path('installedpackages/wireguard/peers/item')")
    assert [each["tun"] for each in peers] == ["tun_wg0", "unassigned", "unassigned"]


def test_a_form_becomes_a_tunnel_and_a_peer(make: Make) -> None:
    firewall = make()
    private = firewall.value("wg_gen_keypair()", WG)
    post = {
        "index": "",
        "enabled": "yes",
        "descr": "third",
        "listenport": "",
        "mtu": "",
        "privatekey": private["privkey"],
    }
    post |= {"address0": "10.3.2.1", "address_subnet0": "24", "address_descr0": ""}
    made = firewall.value(f"wg_do_tunnel_post({php(post)})", WG)
    assert (made["input_errors"], made["changes"], made["tuns_to_sync"]) == ([], True, ["tun_wg2"])
    assert list(made["pconfig"])[:2] == ["addresses", "name"]
    assert [made["pconfig"][name] for name in ("listenport", "mtu", "publickey")] == [
        "51822",
        "1420",
        private["pubkey"],
    ]
    post = {"index": "", "enabled": "yes", "tun": "tun_wg2", "descr": "p", "endpoint": "192.0.2.1", "publickey": KEY}
    post |= {"address0": "10.3.2.77", "address_subnet0": "24", "address_descr0": ""}
    made = firewall.value(f"wg_do_peer_post({php(post)})", WG)
    item = made["pconfig"]
    assert (item["port"], item["persistentkeepalive"], item["presharedkey"]) == ("51820", "", "")
    assert item["allowedips"]["row"] == [{"address": "10.3.2.0", "mask": "24", "descr": ""}]
    made = firewall.value(f"wg_do_peer_post({php(post | {'index': '3', 'dynamic': 'yes'})})", WG)
    assert not {"endpoint", "port"} & set(made["pconfig"])


def test_the_script_takes_arguments_for_the_daemons(make: Make) -> None:
    firewall = make()
    script = firewall.root / "x.php"
    script.write_text(f"<?php require_once('{WG}'); echo 'alive';")
    assert firewall.php("", str(script)).out == "alive"
    assert firewall.php("", str(script), "an-argument").out == (
        "FATAL: This script can only be executed by /usr/local/bin/php_wg.\n"
    )


# -- the service, and applying


def test_booting_brings_tunnels_up(running: PfSense) -> None:
    assigned, other = (running.system["interfaces"][name] for name in ("tun_wg0", "tun_wg1"))
    assert (assigned["up"], assigned["addresses"], assigned["groups"]) == (True, ["10.100.90.1/30"], ["wg"])
    assert (other["addresses"], other["groups"]) == (["10.100.91.1/24", "fd00:91::1/64"], ["wg", "WireGuard"])
    site = assigned["peers"][TAKEN]
    assert site == {
        "preshared_key": True,
        "allowed_ips": ["10.100.90.2/32", "10.20.0.0/16"],
        "persistent_keepalive": 25,
        "endpoint": "198.51.100.9:51820",
    }
    assert running.system["routes"] == {"default": "203.0.113.1", "10.20.0.0/16": "10.100.90.2"}


def test_the_daemon_writes_after_the_start_has_returned(make: Make) -> None:
    firewall = make(FULL.replace("<gw_down_kill_states></gw_down_kill_states>", "<disabled></disabled>"), delay=0.5)
    done = firewall.php(
        f"require_once('{WG}'); wg_toggle_wireguard(); echo json_encode([wg_is_service_running(),"
        "isset(config_get_path('gateways/gateway_item/1')['disabled'])]);"
    )
    assert json.loads(done.out) == [True, True]
    assert "<disabled></disabled>" in firewall.xml
    firewall.settle()
    assert "<disabled></disabled>" not in firewall.xml
    assert firewall.entries("write")[-1]["description"] == "[pfSense-pkg-WireGuard] Enabled all WireGuard gateways."


def test_stopping_destroys_tunnels_and_disables_gateways(running: PfSense) -> None:
    answer = running.value("wg_service_fpm_stop()", WG)
    assert answer["ret_code"] == 0
    assert set(running.system["interfaces"]) == {"vtnet0", "vtnet1"}
    assert "10.20.0.0/16" not in running.system["routes"]
    assert running.xml.count("<disabled></disabled>") == 1


def test_an_assigned_tunnel_keeps_the_service_on(make: Make) -> None:
    firewall = make(FULL.replace("<enable>on</enable>", "<enable>off</enable>"))
    assert firewall.value("wg_is_service_enabled()", WG) is True
    firewall.value("wg_resync()", WG)
    assert "<enable>on</enable>" in firewall.xml


def test_the_service_does_not_start_while_it_is_switched_off(make: Make) -> None:
    off = GOLDEN.replace("<enable>on</enable>", "<enable>off</enable>")
    assert make(off).value("[wg_service_fpm_start()['ret_code'] != 0, wg_is_service_running()]", WG) == [True, False]


def test_a_resync_with_the_service_down_destroys_running_tunnels(running: PfSense) -> None:
    (running.root / "var/run/wireguardd.pid").unlink()
    running.value("wg_resync()", WG)
    assert set(running.system["interfaces"]) == {"vtnet0", "vtnet1"}


def test_applying_with_the_service_down_writes_and_says_that_all_is_well(make: Make) -> None:
    firewall = make()
    assert firewall.value("wg_tunnel_sync(['tun_wg0'], true, true)", WG) == {"ret_code": 0, "tunnels": []}
    assert (len(firewall.entries("write")), firewall.commands) == (6, [])


@pytest.mark.parametrize("names", ["null", "[]"])
def test_applying_none_is_not_all(running: PfSense, names: str) -> None:
    assert running.value(f"wg_tunnel_sync({names}, true, true)['tunnels']", WG) == []


def test_applying_costs_a_resync_more_than_tunnels(running: PfSense) -> None:
    before = len(running.entries("write"))
    done = running.value("wg_tunnel_sync(['tun_wg0', 'tun_wg1'], true, true)", WG)
    assert (done["ret_code"], [each["name"] for each in done["tunnels"]]) == (0, ["tun_wg0", "tun_wg1"])
    assert len(running.entries("write")) - before == 3 * 6


def test_applying_removes_what_is_gone(running: PfSense) -> None:
    running.value("wg_toggle_peer(0)", WG)
    running.value("wg_delete_tunnel('tun_wg1')", WG)
    assert running.value("wg_tunnel_sync(['tun_wg0', 'tun_wg1'], true, true)['ret_code']", WG) == 0
    interfaces = running.system["interfaces"]
    assert "tun_wg1" not in interfaces
    assert not interfaces["tun_wg0"]["peers"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("run ifconfig wg create 1", 2),
        ("run ifconfig tun_wg1 group 1", 4),
        ("run ifconfig tun_wg1 inet 1", 8),
        ("run ifconfig tun_wg1 up 1", 32),
        ("run wg syncconf tun_wg1 1", 128),
    ],
)
def test_what_fails_is_a_bit_of_the_answer(running: PfSense, fault: str, code: int) -> None:
    running.value("double_wg_destroy('tun_wg1')", WG)
    running.fault(fault)
    assert running.value("wg_tunnel_sync(['tun_wg1'], true, true)['ret_code']", WG) & code


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            "config_set_path('installedpackages/wireguard/peers/item/1/descr', \"a\\nEndpoint = x\");",
            "Line unrecognized",
        ),
        (f"config_set_path('installedpackages/wireguard/peers/item/1/publickey', '{PIPE}');", "Key is not the correct"),
    ],
)
def test_wg_refuses_what_the_package_takes(running: PfSense, change: str, complaint: str) -> None:
    done = running.php(
        f"require_once('{WG}'); {change} write_config('x'); echo wg_tunnel_sync(['tun_wg1'], true, true)['ret_code'];"
    )
    assert done.out == "128"
    assert [complaint in entry["output"] for entry in running.entries("run") if entry["status"]][-1]
    assert PIPE not in running.system["interfaces"]["tun_wg1"]["peers"]


def test_an_allowed_ip_moves_to_the_last_peer_that_names_it(running: PfSense) -> None:
    item = {"allowedips": rows("10.100.91.2", "32"), "enabled": "yes", "tun": "tun_wg1", "descr": "x", "publickey": KEY}
    change = f"config_set_path('installedpackages/wireguard/peers/item/3', {php(item)}); write_config('x');"
    running.php(f"require_once('{WG}'); {change} wg_tunnel_sync(['tun_wg1'], true, true);")
    peers = running.system["interfaces"]["tun_wg1"]["peers"]
    assert [peers[each]["allowed_ips"] for each in peers] == [["fd00:91::2/128"], ["10.100.91.2/32"]]


def test_no_secret_is_in_the_journal(running: PfSense) -> None:
    text = json.dumps(running.journal)
    for secret in ("sBSGZjfwk9OcZM9BUDwJ46OYCop", "ppEHlEbkZTntmn2QkjhFzXrJtZ8EiroKQcF"):
        assert secret in running.xml
        assert secret not in text
        assert secret not in json.dumps(running.system)
