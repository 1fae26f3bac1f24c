"""pfsense_wireguard against the strict double: what a user sees, what config.xml and the firewall then have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pfsense_double import PfSense

Answer = dict[str, Any]
Run = Callable[..., Answer]
Key = Callable[[int], str]

PACKAGE = "installedpackages/wireguard"
# What the package itself keeps in order whenever it writes, and what every write changes.
ITS_OWN = ("revision", "system", "ifgroups", "unbound", f"{PACKAGE}/config", "installedpackages/shellcmdsettings")
# Empty, they mean the same as if they were not there.
CONTAINERS = (f"{PACKAGE}/tunnels", f"{PACKAGE}/peers", PACKAGE, "staticroutes", "nat/outbound", "nat")


def texts(node: ElementTree.Element) -> Any:
    """An element as nested lists, without times."""
    return [
        node.tag,
        (node.text or "").strip(),
        [texts(child) for child in node if child.tag not in ("time", "updated")],
    ]


def configuration(firewall: PfSense) -> Any:
    """config.xml without what the package does by itself, and without containers that are empty."""
    root = ElementTree.fromstring(firewall.xml)
    for path in ITS_OWN:
        parent = root.find(path.rpartition("/")[0] or ".")
        for child in parent.findall(path.rpartition("/")[2]) if parent is not None else ():
            parent.remove(child)  # type: ignore[union-attr]
    for path in CONTAINERS:
        parent = root.find(path.rpartition("/")[0] or ".")
        for child in parent.findall(path.rpartition("/")[2]) if parent is not None else ():
            if not len(child):
                parent.remove(child)  # type: ignore[union-attr]
    return [texts(child) for child in sorted(root, key=lambda child: child.tag)]


def items(firewall: PfSense, path: str) -> list[dict[str, str]]:
    found = ElementTree.fromstring(firewall.xml).findall(path)
    return [{child.tag: (child.text or "").strip() for child in item} for item in found]


def item(firewall: PfSense, path: str, **wanted: str) -> dict[str, str]:
    """The only item of a list with these fields."""
    (found,) = [item for item in items(firewall, path) if wanted.items() <= item.items()]
    return found


def writes(firewall: PfSense) -> list[str]:
    return [entry["description"] for entry in firewall.entries("write")]


def runs(firewall: PfSense) -> int:
    """How many PHP processes the module has opened."""
    return len((firewall.root / "php.log").read_text().splitlines())


def without_endpoints(interface: dict[str, Any]) -> dict[str, Any]:
    """The daemon resolves them when it gets to it."""
    peers = {key: {**peer, "endpoint": None} for key, peer in interface["peers"].items()}
    return {**interface, "peers": peers}


def test_a_blank_firewall_is_brought_to_the_state_and_then_left_alone(
    run: Run, relay: Answer, firewall: PfSense, key: Key
) -> None:
    blank = firewall.xml
    foreseen = run(firewall, check=True, **relay)
    assert (firewall.xml, foreseen["changed"], foreseen["public_key"]) == (blank, True, "(known after apply)")
    assert (runs(firewall), writes(firewall)) == (2, [])
    done = run(firewall, **relay)
    assert done["commands"] == foreseen["commands"]
    assert runs(firewall) == 4
    ours = [text for text in writes(firewall) if text.startswith("homelab.fabric: tun_wg0: ")]
    assert len(ours) == 2
    assert "peer vps-relay added" in ours[0]
    assert "interface opt1 added" in ours[1]
    assert all(text in ours or "[pfSense-pkg-WireGuard]" in text for text in writes(firewall))
    number = len(writes(firewall))
    again = run(firewall, **relay)
    assert (again["changed"], again["commands"], runs(firewall), len(writes(firewall))) == (False, [], 5, number)
    assert again["diff"]["before"] == again["diff"]["after"]
    assert done["public_key"] == again["public_key"] == item(firewall, f"{PACKAGE}/tunnels/item")["publickey"]
    assert again["ansible_facts"] == {"wireguard_public_key_tun_wg0": done["public_key"]}
    assert [peer["name"] for peer in again["peers"]] == ["london", "vps-relay"]
    live = firewall.system["interfaces"]["tun_wg0"]
    assert live == {
        "up": True,
        "mtu": 1420,
        "addresses": ["172.26.5.1/24", "fd00:26::1/64"],
        "groups": ["wg", "WireGuard"],
        "listen_port": 51820,
        "public_key": done["public_key"],
        "peers": {
            key(1): {
                "preshared_key": False,
                "allowed_ips": ["10.200.0.0/24", "172.26.5.155/32", "fd00:26::155/128", "fd00:200::/64"],
                "persistent_keepalive": 25,
                "endpoint": "203.0.113.10:51820",
            },
            key(2): {
                "preshared_key": True,
                "allowed_ips": ["172.26.5.6/32", "192.168.8.0/24"],
                "persistent_keepalive": 0,
                "endpoint": None,
            },
        },
    }
    assert firewall.system["routes"] == {
        "default": "198.51.100.1",
        "10.200.0.0/24": "172.26.5.155",
        "192.168.8.0/24": "172.26.5.6",
        "fd00:200::/64": "fd00:26::155",
    }
    assert firewall.entries("filter")[-1]["skipped"] == []


def test_the_edits_are_shown_in_pfsenses_own_terms(run: Run, relay: Answer, firewall: PfSense, key: Key) -> None:
    shown = run(firewall, check=True, **relay)["commands"]
    mine = "homelab.fabric: tun_wg0: "
    shown = [re.sub(r" tracker=1[0-9]{9}$", " tracker=N", line) for line in shown]
    rule = 'add filter/rule type=pass statetype="keep state" source=any descr="' + mine
    prefixes = "10.200.0.0/24,172.26.5.155/32,fd00:26::155/128,fd00:200::/64"
    assert shown == [
        "set installedpackages/wireguard/config/0/enable on",
        (
            'add installedpackages/wireguard/tunnels/item addresses="" name=tun_wg0 enabled=yes '
            'descr="homelab.fabric: tun_wg0" listenport=51820 mtu=1420 privatekey=(redacted) publickey=@own'
        ),
        (
            "add installedpackages/wireguard/peers/item allowedips=172.26.5.6/32,192.168.8.0/24 enabled=yes "
            'tun=tun_wg0 descr="homelab.fabric: london" persistentkeepalive="" '
            f"publickey={key(2)} presharedkey=(redacted)"
        ),
        (
            f"add installedpackages/wireguard/peers/item allowedips={prefixes} enabled=yes "
            'tun=tun_wg0 descr="homelab.fabric: vps-relay" endpoint=203.0.113.10 port=51820 persistentkeepalive=25 '
            f'publickey={key(1)} presharedkey=""'
        ),
        f'write_config("{mine}WireGuard enabled; tunnel tun_wg0 added; peer london added; peer vps-relay added")',
        "wg_toggle_wireguard()",
        "wg_tunnel_sync(tun_wg0)",
        (
            'set interfaces/opt1 descr=WG0 if=tun_wg0 enable="" mtu=1420 mss=1420 ipaddr=172.26.5.1 subnet=24 '
            'ipaddrv6=fd00:26::1 subnetv6=64 spoofmac=""'
        ),
        "set gateways/defaultgw4 WANGW",
        "set gateways/defaultgw6 -",
        *(
            f"add gateways/gateway_item interface=opt1 gateway={address} name={name} weight=1 ipprotocol={family} "
            f'descr="{mine}{peer}"'
            for address, name, family, peer in (
                ("172.26.5.155", "WG_vps_relay", "inet", "vps-relay"),
                ("172.26.5.6", "WG_london", "inet", "london"),
                ("fd00:26::155", "WG_vps_relay_6", "inet6", "vps-relay"),
            )
        ),
        *(
            f'add staticroutes/route network={network} gateway={gateway} descr="{mine}route"'
            for network, gateway in (
                ("10.200.0.0/24", "WG_vps_relay"),
                ("192.168.8.0/24", "WG_london"),
                ("fd00:200::/64", "WG_vps_relay_6"),
            )
        ),
        (
            f'{rule}port on wan" interface=wan ipprotocol=inet protocol=udp destination=network=wanip:port=51820 '
            "tracker=N"
        ),
        *(
            f'{rule}to {to}" interface=opt1 ipprotocol={family} destination={kind} tracker=N'
            for to, family, kind in (
                ("10.0.10.0/24", "inet", "address=10.0.10.0/24"),
                ("fd00:10::/64", "inet6", "address=fd00:10::/64"),
                ("lan", "inet46", "network=lan"),
            )
        ),
        *(
            f'add nat/outbound/rule source=network=172.26.5.0/24 sourceport="" descr="{mine}from 172.26.5.0/24 by '
            f'{key}" target={key}ip target_subnet="" interface={key} poolopts="" source_hash_key="" ipprotocol=inet '
            "destination=any"
            for key in ("wan", "lan")
        ),
        "set nat/outbound/mode hybrid",
        (
            f'write_config("{mine}interface opt1 added; default gateway IPv4 pinned; default gateway IPv6 pinned; '
            'gateway WG_vps_relay added; gateway WG_london added; and 10 more")'
        ),
        "interface_configure(opt1)",
        "setup_gateways_monitor()",
        "system_routing_configure()",
        "filter_configure()",
    ]


def test_absent_takes_back_what_was_made_and_nothing_else(run: Run, relay: Answer, firewall: PfSense) -> None:
    # Chosen by name beforehand, as the only thing that stays afterwards is the choice.
    firewall.xml = firewall.xml.replace("<defaultgw4></", "<defaultgw4>WANGW</").replace(
        "<defaultgw6></", "<defaultgw6>-</"
    )
    blank, routes = configuration(firewall), firewall.system["routes"]
    run(firewall, **relay)
    foreseen = run(firewall, check=True, state="absent")
    gone = run(firewall, state="absent")
    assert gone["commands"] == foreseen["commands"]
    assert configuration(firewall) == blank
    assert "tun_wg0" not in firewall.system["interfaces"]
    assert firewall.system["routes"] == routes
    assert not list((firewall.root / "usr/local/etc/wireguard").glob("*"))
    number = len(writes(firewall))
    assert not run(firewall, state="absent")["changed"]
    assert len(writes(firewall)) == number


def test_one_peer_costs_no_other_a_packet(run: Run, relay: Answer, firewall: PfSense, key: Key) -> None:
    run(firewall, **relay)
    before = len(firewall.commands)
    vps, london = relay["peers"]
    changed = {**relay, "peers": [vps, {**london, "public_key": key(3), "preshared_key": ""}]}
    shown = run(firewall, **changed)["commands"]
    assert shown == [
        (
            f"set installedpackages/wireguard/peers/item[tun=tun_wg0 publickey={key(2)}] publickey={key(3)} "
            'presharedkey=""'
        ),
        'write_config("homelab.fabric: tun_wg0: peer london changed")',
        "wg_resync()",
        "wg syncconf tun_wg0",
        "wg_resolve_endpoints()",
    ]
    # Nothing is done to the interface, its addresses or the routes.
    assert {line.split(" ")[0] for line in firewall.commands[before:]} == {"wg"}
    assert set(firewall.system["interfaces"]["tun_wg0"]["peers"]) == {key(1), key(3)}
    assert not run(firewall, **changed)["changed"]
    # A key that moves from one name to another is never on two peers.
    swapped = {**relay, "peers": [{**vps, "public_key": key(3)}, {**london, "public_key": key(1)}]}
    assert not run(firewall, **swapped).get("failed")
    assert set(firewall.system["interfaces"]["tun_wg0"]["peers"]) == {key(1), key(3)}
    assert not run(firewall, **swapped)["changed"]


def test_each_part_follows_its_argument(run: Run, relay: Answer, firewall: PfSense) -> None:
    run(firewall, **relay)
    vps, london = relay["peers"]
    other = {
        "addresses": ["172.26.5.2/24"],
        "listen_port": 51999,
        "mtu": 1280,
        "peers": [
            {**vps, "allowed_ips": ["172.26.5.155/32", "192.168.8.0/24"]},
            {**london, "allowed_ips": ["172.26.5.6/32"]},
        ],
        "forward_to": ["LAN"],
        "masquerade": ["192.168.20.0/24"],
        "open_port": True,
        "interface_name": "VPS",
    }
    assert not run(firewall, **other).get("failed")
    interface = firewall.system["interfaces"]["tun_wg0"]
    assert (interface["mtu"], interface["addresses"], interface["listen_port"]) == (1280, ["172.26.5.2/24"], 51999)
    assert firewall.system["routes"] == {"default": "198.51.100.1", "192.168.8.0/24": "172.26.5.155"}
    assert item(firewall, "interfaces/opt1/..//opt1")["descr"] == "VPS"
    rules = [rule["descr"].rpartition(": ")[2] for rule in items(firewall, "filter/rule")]
    assert rules == ["port on wan", "Default allow LAN to any rule", "to LAN"]
    assert "<port>51999</port>" in firewall.xml
    (nat,) = items(firewall, "nat/outbound/rule")
    assert (nat["interface"], nat["target"]) == ("opt1", "opt1ip")
    assert not run(firewall, **other)["changed"]
    without = {**other, "masquerade": [], "open_port": False, "forward_to": []}
    run(firewall, **without)
    assert [rule["descr"] for rule in items(firewall, "filter/rule")] == ["Default allow LAN to any rule"]
    assert "<mode>automatic</mode>" in firewall.xml


@pytest.mark.parametrize("version", ["2.7.2", "2.8.0"])
def test_a_full_site_of_somebody_else_stays_as_it_is(
    tmp_path: Path, run: Run, relay: Answer, fixture: Callable[[str], str], version: str
) -> None:
    firewall = PfSense(tmp_path / "fw", version, fixture("good-full-site.xml"))
    firewall.boot()
    before, system = configuration(firewall), firewall.system
    refused = run(firewall, state="absent")
    assert refused["msg"].startswith(
        "name: tun_wg0 (site A <-> site B) was made by somebody else: choose a free number"
    )
    wanted = {**relay, "name": "tun_wg", "description": "home", "listen_port": None, "masquerade": []}
    done = run(firewall, **{name: value for name, value in wanted.items() if value is not None})
    assert not done.get("failed"), done
    assert "wireguard_public_key_tun_wg" in done["ansible_facts"]
    tunnel = item(firewall, f"{PACKAGE}/tunnels/item", name="tun_wg2")
    assert (tunnel["descr"], tunnel["listenport"]) == ("homelab.fabric: home", "51822")
    now = firewall.system
    for name in ("tun_wg0", "tun_wg1"):
        assert without_endpoints(now["interfaces"][name]) == without_endpoints(system["interfaces"][name])
    assert system["routes"].items() <= now["routes"].items()
    again = run(firewall, **{name: value for name, value in wanted.items() if value is not None})
    assert not again["changed"]
    assert not run(firewall, name="tun_wg", description="home", state="absent").get("failed")
    # What stays is that the default gateway is chosen by name.
    firewall.xml = firewall.xml.replace("<defaultgw6>-</", "<defaultgw6></")
    assert configuration(firewall) == before


def test_peers_and_rules_of_others_on_our_tunnel(run: Run, relay: Answer, firewall: PfSense, key: Key) -> None:
    run(firewall, **relay)
    add = (
        "$list = config_get_path('{0}', []); $list[] = {1}; config_set_path('{0}', $list); write_config('by hand'); "
        "wg_tunnel_sync(['tun_wg0'], true, true);"
    )
    peer = (
        "['allowedips' => ['row' => [['address' => '172.26.5.50', 'mask' => '32', 'descr' => '']]], "
        f"'enabled' => 'yes', 'tun' => 'tun_wg0', 'descr' => 'R&D <é>', 'persistentkeepalive' => '', "
        f"'publickey' => '{key(50)}', 'presharedkey' => '']"
    )
    rule = (
        "['tracker' => '1700000009', 'type' => 'block', 'interface' => 'opt1', 'descr' => 'mine', "
        "'source' => ['any' => ''], 'destination' => ['any' => '']]"
    )
    begin = "require_once('wireguard/includes/wg.inc');"
    assert firewall.php(begin + add.format(f"{PACKAGE}/peers/item", peer)).status == 0
    assert firewall.php(begin + add.format("filter/rule", rule)).status == 0
    idle = run(firewall, **relay)
    assert not idle["changed"]
    assert [peer["name"] for peer in idle["peers"]] == ["london", "vps-relay", "R&D <é>"]
    # Placed where it takes effect: before the rule that refuses everything.
    run(firewall, **{**relay, "forward_to": ["lan", "10.9.0.0/24"]})
    order = [
        rule["descr"].rpartition(": ")[2] for rule in items(firewall, "filter/rule") if rule["interface"] == "opt1"
    ]
    assert order == ["to lan", "to 10.9.0.0/24", "mine"]
    stuck = run(firewall, state="absent")
    assert stuck["msg"] == (
        "state: rule 'mine' is not of our making and needs opt1, WG_london, WG_vps_relay, WG_vps_relay_6, "
        "which would go: remove or change it first"
    )
    assert not run(firewall, **{**relay, "purge": True, "forward_to": ["lan", "10.9.0.0/24"]}).get("failed")
    assert set(firewall.system["interfaces"]["tun_wg0"]["peers"]) == {key(1), key(2)}


def test_a_peer_without_a_key_waits_and_keeps_what_is_there(
    run: Run, relay: Answer, firewall: PfSense, key: Key
) -> None:
    vps, london = relay["peers"]
    unknown = {name: value for name, value in vps.items() if name != "public_key"}
    first = run(firewall, **{**relay, "peers": [unknown, london], "routes": []})
    assert first["waiting_for_key"] == ["vps-relay"]
    run(firewall, **relay)
    assert run(firewall, **{**relay, "peers": [unknown, london]})["changed"] is False
    assert key(1) in firewall.system["interfaces"]["tun_wg0"]["peers"]


@pytest.mark.parametrize("spoiled", ["down", "peer", "port", "service"])
def test_what_does_not_run_is_mended_though_it_is_written(
    run: Run, relay: Answer, firewall: PfSense, key: Key, spoiled: str
) -> None:
    run(firewall, **relay)
    spoil = {
        "down": "mwexec('ifconfig tun_wg0 destroy');",
        "peer": f"kernel()->remove_peer('tun_wg0', '{key(2)}');",
        "port": (
            "$conf = double_path('/usr/local/etc/wireguard/tun_wg0.conf');"
            "file_put_contents($conf, str_replace('51820', '51999', file_get_contents($conf)));"
            "kernel()->sync('tun_wg0', $conf);"
        ),
        "service": "require_once('wireguard/includes/wg.inc'); mwexec('service wireguardd stop');",
    }
    good = firewall.system["interfaces"]["tun_wg0"]
    assert firewall.php("require_once('config.inc');" + spoil[spoiled]).status == 0
    firewall.settle()
    done = run(firewall, **relay)
    assert done.get("changed"), done
    mended = firewall.system["interfaces"]["tun_wg0"]
    assert {**mended, "groups": 0} == {**good, "groups": 0}
    assert not run(firewall, **relay)["changed"]


@pytest.mark.parametrize("command", ["ifconfig wg create", "wg syncconf", "ifconfig tun_wg0 up"])
def test_a_failed_apply_restores_what_was(run: Run, relay: Answer, firewall: PfSense, command: str) -> None:
    before, system = configuration(firewall), firewall.system
    firewall.fault(f"run {command} 1", f"run {command} 2")
    failed = run(firewall, **relay)
    assert failed["failed"]
    assert failed["msg"].endswith(". The previous configuration was restored")
    assert configuration(firewall) == before
    assert set(firewall.system["interfaces"]) == set(system["interfaces"])
    (firewall.root / "var/double/fault").unlink(missing_ok=True)
    assert not run(firewall, **relay).get("failed")
    assert not run(firewall, **relay)["changed"]


def test_a_change_that_fails_leaves_the_tunnel_as_it_was(run: Run, relay: Answer, firewall: PfSense, key: Key) -> None:
    run(firewall, **relay)
    before, system = configuration(firewall), firewall.system
    firewall.fault("run wg syncconf 1")
    vps, london = relay["peers"]
    failed = run(firewall, **{**relay, "peers": [vps, {**london, "public_key": key(9)}], "forward_to": []})
    assert failed["msg"] == "wg syncconf tun_wg0 ended with status 1. The previous configuration was restored"
    assert (configuration(firewall), firewall.system) == (before, system)
    assert "homelab.fabric: tun_wg0: taken back, as it did not work" in writes(firewall)


def test_two_hundred_peers_in_one_call(run: Run, firewall: PfSense, key: Key) -> None:
    peers = [
        {"name": f"site-{n}", "public_key": key(n), "allowed_ips": [f"10.99.{n // 250}.{n % 250 + 1}/32"]}
        for n in range(1, 201)
    ]
    wanted = {"addresses": ["10.99.100.1/16"], "peers": peers}
    assert not run(firewall, **wanted).get("failed")
    assert runs(firewall) == 2
    assert len(firewall.system["interfaces"]["tun_wg0"]["peers"]) == 200
    assert not run(firewall, **wanted)["changed"]
