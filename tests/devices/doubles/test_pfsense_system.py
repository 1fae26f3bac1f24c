"""The pfSense double's interfaces, gateways, routes, rules and translations."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pfsense_double import PfSense

FIXTURES = Path(__file__).parents[1] / "pfsense/fixtures"
FULL = (FIXTURES / "good-full-site.xml").read_text()


@pytest.fixture
def firewall(tmp_path: Path) -> PfSense:
    booted = PfSense(tmp_path / "fw", "2.7.2", FULL)
    booted.boot()
    return booted


def script(firewall: PfSense, text: str) -> str:
    done = firewall.php(f"require_once('config.inc'); require_once('functions.inc'); {text}")
    assert done.status == 0, done
    firewall.settle()
    return done.out


def rules(firewall: PfSense, change: str = "") -> list[str]:
    """The rules after a change, without indentation."""
    script(firewall, f"{change} write_config('x'); filter_configure();")
    return [line.strip() for line in (firewall.root / "tmp/rules.debug").read_text().splitlines()]


# -- interfaces


@pytest.mark.parametrize(
    ("mtu", "bytes_"),
    [("config_set_path('interfaces/opt1/mtu', '1380');", 1380), ("config_del_path('interfaces/opt1/mtu');", 1500)],
)
def test_the_interface_decides_the_mtu_never_the_tunnel(firewall: PfSense, mtu: str, bytes_: int) -> None:
    script(firewall, f"{mtu} write_config('x'); interface_configure('opt1');")
    assert firewall.system["interfaces"]["tun_wg0"]["mtu"] == bytes_
    assert "<mtu>1420</mtu>" in firewall.xml  # the tunnel's own


def test_only_an_enabled_interface_on_a_device_that_is_there_is_configured(firewall: PfSense) -> None:
    before = firewall.commands
    script(
        firewall,
        "interface_configure('opt9'); config_set_path('interfaces/opt1/if', 'tun_wg7'); interface_configure('opt1');",
    )
    script(firewall, "config_del_path('interfaces/opt1/enable'); interface_configure('opt1');")
    assert firewall.commands == before


def test_an_address_is_replaced_and_brought_down(firewall: PfSense) -> None:
    script(
        firewall,
        "config_set_path('interfaces/opt1/ipaddr', '10.100.90.5'); write_config('x'); interface_reconfigure('opt1');",
    )
    assert firewall.system["interfaces"]["tun_wg0"]["addresses"] == ["10.100.90.5/30"]
    script(firewall, "interface_bring_down('opt1', true);")
    interface = firewall.system["interfaces"]["tun_wg0"]
    assert (interface["addresses"], interface["up"]) == ([], False)


def test_subsystems_are_marked(firewall: PfSense) -> None:
    assert script(firewall, "mark_subsystem_dirty('wireguard'); echo (int) is_subsystem_dirty('wireguard');") == "1"
    assert (firewall.root / "var/run/wireguard.dirty").exists()
    assert script(firewall, "clear_subsystem_dirty('wireguard'); echo (int) is_subsystem_dirty('wireguard');") == "0"


# -- routes


def test_routes_are_added_and_changed_never_deleted(firewall: PfSense) -> None:
    script(
        firewall,
        "config_set_path('staticroutes/route/0/network', '10.21.0.0/16'); write_config('x');"
        "system_routing_configure();",
    )
    routes = firewall.system["routes"]
    assert (routes["10.20.0.0/16"], routes["10.21.0.0/16"]) == ("10.100.90.2", "10.100.90.2")
    script(firewall, "mwexec('/sbin/route delete -inet 10.20.0.0/16');")
    assert "10.20.0.0/16" not in firewall.system["routes"]


@pytest.mark.parametrize(
    "change",
    [
        "config_set_path('staticroutes/route/0/disabled', true);",
        "config_set_path('staticroutes/route/0/gateway', 'NO_SUCH');",
        "config_set_path('gateways/gateway_item/1/disabled', true);",
    ],
)
def test_a_route_needs_a_gateway_that_is_enabled(firewall: PfSense, change: str) -> None:
    script(
        firewall, f"mwexec('/sbin/route delete 10.20.0.0/16'); {change} write_config('x'); system_routing_configure();"
    )
    assert "10.20.0.0/16" not in firewall.system["routes"]


def test_without_a_default_gateway_a_tunnels_may_become_it(firewall: PfSense) -> None:
    change = (
        "config_set_path('gateways/defaultgw4', ''); $all = array_reverse(config_get_path('gateways/gateway_item'));"
    )
    script(
        firewall,
        f"{change} config_set_path('gateways/gateway_item', $all); write_config('x'); system_routing_configure();",
    )
    assert firewall.system["routes"]["default"] == "10.100.90.2"


# -- rules


def test_filter_configure_only_queues(firewall: PfSense) -> None:
    (firewall.root / "var/double/delay").write_text("0.5")
    before = len(firewall.entries("filter"))
    done = firewall.php("require_once('filter.inc'); require_once('config.inc'); var_dump(filter_configure());")
    assert (done.out, len(firewall.entries("filter"))) == ("NULL\n", before)
    firewall.settle()
    assert len(firewall.entries("filter")) == before + 1


def test_rules_of_groups_come_before_those_of_interfaces(firewall: PfSense) -> None:
    found = [re.findall(r'comment "(\d+)"', line)[0] for line in rules(firewall) if re.search(r'comment "\d', line)]
    assert found == ["1700000002", "1700000002", "1700000001", "1700000003"]


def test_rules_are_written_out(firewall: PfSense) -> None:
    found = [line.split(" meta nfproto ipv4 ") for line in rules(firewall)]
    udp, site = (line for line in found if re.search('comment "170000000[13]"', line[-1]))
    assert udp == [
        'iifname { "vtnet0" }',
        'ip daddr { 203.0.113.2 } meta l4proto udp th dport 51820 accept comment "1700000001"',
    ]
    assert site == [
        'iifname { "tun_wg0" }',
        'ip saddr { 10.20.0.0/16 } ip daddr { 192.168.1.0/24 } accept comment "1700000003"',
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("config_set_path('filter/rule/0/interface', 'opt9');", 'array key "opt9" does not exist'),
        ("config_set_path('filter/rule/1/interface', 'wireguard');", 'array key "wireguard" does not exist'),
        ("config_set_path('interfaces/opt1/if', 'tun_wg7');", 'array key "opt1" does not exist'),
        ("config_del_path('filter/rule/0/protocol');", "a port without tcp or udp"),
        ("config_set_path('filter/rule/0/destination/network', 'opt9ip');", "network 'opt9ip'"),
    ],
)
def test_a_rule_that_names_what_is_not_there_is_left_out_in_silence(firewall: PfSense, change: str, why: str) -> None:
    before = len(rules(firewall))
    found = rules(firewall, change)
    assert [line for line in found if line.startswith(f"# {why}")]
    assert len(found) <= before
    assert why in "".join(firewall.entries("filter")[-1]["skipped"])


def test_a_disabled_rule_is_none(firewall: PfSense) -> None:
    assert "1700000003" not in "".join(rules(firewall, "config_set_path('filter/rule/2/disabled', true);"))


def test_rules_are_sorted_by_interface(firewall: PfSense) -> None:
    order = (
        "$r = config_get_path('filter/rule'); config_set_path('filter/rule', array_reverse($r)); filter_rules_sort();"
    )
    out = script(firewall, f"{order} echo implode(' ', array_column(config_get_path('filter/rule'), 'interface'));")
    assert out == "wan opt1 WireGuard"


# -- outbound NAT


def nat(firewall: PfSense, change: str = "") -> list[str]:
    return [line for line in rules(firewall, change) if line.startswith("oifname")]


HAND = 'oifname "vtnet0" ip saddr { 10.100.91.0/24 } meta nfproto ipv4 snat ip to 203.0.113.2'
AUTO = 'oifname "vtnet0" ip saddr { 127.0.0.0/8, 192.168.1.0/24, 10.100.90.0/30, 10.20.0.0/16 } masquerade'


@pytest.mark.parametrize(
    ("mode", "lines"), [("automatic", [AUTO]), ("hybrid", [HAND, AUTO]), ("advanced", [HAND]), ("disabled", [])]
)
def test_modes(firewall: PfSense, mode: str, lines: list[str]) -> None:
    assert nat(firewall, f"config_set_path('nat/outbound/mode', '{mode}');") == lines


def test_an_interface_with_a_gateway_is_a_way_out(firewall: PfSense) -> None:
    found = nat(firewall, "config_set_path('interfaces/opt1/gateway', 'WG_S2S_GW');")
    assert 'oifname "tun_wg0" ip saddr { 127.0.0.0/8, 192.168.1.0/24 } masquerade' in found


@pytest.mark.parametrize(
    ("destination", "match"),
    [("['network' => '10.20.0.0/16']", " ip daddr { 10.20.0.0/16 }"), ("['address' => '10.20.0.0/16']", "")],
)
def test_the_older_format_silently_means_to_any(firewall: PfSense, destination: str, match: str) -> None:
    found = nat(firewall, f"config_set_path('nat/outbound/rule/0/destination', {destination});")
    assert found[0] == f'oifname "vtnet0" ip saddr {{ 10.100.91.0/24 }}{match} meta nfproto ipv4 snat ip to 203.0.113.2'


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nftables")
def test_nftables_takes_the_rules(firewall: PfSense) -> None:
    rules(firewall)
    command = ["unshare", "--net", "nft", "--check", "--file", str(firewall.root / "tmp/rules.debug")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# -- programs of FreeBSD


def run(firewall: PfSense, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=firewall.environment, capture_output=True, text=True, check=False)


def test_programs(firewall: PfSense) -> None:
    assert run(firewall, "ifconfig", "-l").stdout == "vtnet0 vtnet1 tun_wg0 tun_wg1\n"
    dump = [line.split("\t") for line in run(firewall, "wg", "show", "tun_wg0", "dump").stdout.splitlines()]
    assert [len(line) for line in dump] == [4, 8]
    assert dump[1][2:4] == ["198.51.100.9:51820", "10.100.90.2/32,10.20.0.0/16"]
    assert run(firewall, "wg", "show", "tun_wg9", "dump").returncode == 1
    assert run(firewall, "route", "delete", "10.99.0.0/16").returncode == 1
    assert run(firewall, "service", "wireguardd", "stop").returncode == 0
    assert run(firewall, "wg", "show", "interfaces").stdout == "\n"
    assert run(firewall, "service", "wireguardd", "stop").returncode == 1
