"""What OpenWrt takes for the same, what it shows, and what must not get into `uci batch`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_live import (
    Route,
    best_way,
    carries_itself,
    check_elsewhere,
    check_routes,
    parse_live,
    parse_networks,
    parse_routes,
)
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_network import prefixes
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import (
    Section,
    delete,
    edits,
    parse,
    quote,
    staged,
)
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import Endpoint, TunnelError


@pytest.mark.parametrize(
    ("option", "there", "wanted"),
    [
        ("allowed_ips", ("10.0.0.5/8 fd00::/64",), ("10.0.0.0/8", "fd00::/64")),
        ("allowed_ips", ("FD00:0::/64",), ("fd00::/64",)),
        ("addresses", ("10.3.2.7",), ("10.3.2.7/32",)),
        ("endpoint_host", ("Hub.Example.ORG",), "hub.example.org"),
        ("endpoint_port", (), "51820"),
        ("persistent_keepalive", ("0",), None),
        ("route_allowed_ips", ("yes",), "1"),
        ("route_allowed_ips", ("0",), None),
        ("enabled", ("1",), None),
    ],
)
def test_other_spellings_are_no_change(option: str, there: tuple[str, ...], wanted: str | tuple[str, ...]) -> None:
    section = Section("peer", "wireguard_wg0", {option: there} if there else {})
    assert edits("network", section, "peer", "wireguard_wg0", {option: wanted}) == []


@pytest.mark.parametrize(
    ("option", "there", "wanted", "lines"),
    [
        # Glued prefixes are no prefixes, whatever they hold.
        (
            "allowed_ips",
            ("10.0.0.0/8,10.9.0.0/16",),
            ("10.0.0.0/8",),
            ["delete n.p.allowed_ips", "add_list n.p.allowed_ips='10.0.0.0/8'"],
        ),
        (
            "addresses",
            ("10.3.2.7/24",),
            ("10.3.2.8/24",),
            ["delete n.p.addresses", "add_list n.p.addresses='10.3.2.8/24'"],
        ),
        ("disabled", ("1",), None, []),
        ("mtu", ("1400",), "1420", ["set n.p.mtu='1420'"]),
        ("preshared_key", (), "geheim", ["set n.p.preshared_key='geheim'"]),
    ],
)
def test_a_difference_is_written(
    option: str, there: tuple[str, ...], wanted: str | tuple[str, ...] | None, lines: list[str]
) -> None:
    section = Section("p", "t", {option: there} if there else {})
    made = edits("n", section, "p", "t", {option: wanted})
    assert [line.text for line in made] == (lines or [f"delete n.p.{option}"])
    assert not any("geheim" in line.shown for line in made)


def test_new_sections_are_imported_and_the_rest_is_told_line_by_line() -> None:
    there = Section("old", "t", {"l": ("a", "b")})
    lines = edits("n", there, "old", "t", {"l": ("b",), "o": "1"})
    lines += edits("n", None, "new", "t", {"l": ("a", "b c"), "o": "it is"}) + edits("f", None, "new", "u", {"o": "1"})
    assert staged([*lines, delete("n", Section("new2", "t")), *edits("n", there, "old", "t", {"o": "2"})]) == (
        "delete n.old.l\nadd_list n.old.l='b'\nset n.old.o='1'\ndelete n.new2\nset n.old.o='2'",
        {
            "n": "config t 'new'\n\tlist l 'a'\n\tlist l 'b c'\n\toption o 'it is'\n",
            "f": "config u 'new'\n\toption o '1'\n",
        },
    )


def test_uci_show_is_read_with_quotes_lists_and_lines() -> None:
    text = "n.a=t\nn.a.q='it'\\''s'\nn.a.l='x' 'y z'\nn.a.m='one\ntwo'\nn.b=u\nn.b.cut='one"
    sections = parse(text, "n")
    assert sections["a"].options == {"q": ("it's",), "l": ("x", "y z"), "m": ("one\ntwo",)}
    assert (sections["b"].type, sections["b"].get("cut"), sections["b"].get("none", "-")) == ("u", "one", "-")


@pytest.mark.parametrize("value", ["it's", "a\nset network.lan.proto=none", "back\\slash", "\x00"])
def test_nothing_gets_out_of_its_quotes(value: str) -> None:
    with pytest.raises(DeviceError, match="leave quotes and backslashes out"):
        quote(value)


def test_prefixes_of_others_are_understood_where_they_can_be() -> None:
    section = Section("p", "t", {"allowed_ips": ("10.0.0.5/8,fd00::/64", "nonsense", "192.168.1.1")})
    assert prefixes(section, "allowed_ips") == ("10.0.0.0/8", "192.168.1.1/32", "fd00::/64")


def test_routes_as_both_kinds_of_ip_show_them() -> None:
    text = "4\ndefault via 1.2.3.4 dev eth0 \n10.0.0.0/8 dev wg0 scope link \nblackhole 10.9.0.0/16\n"
    text += "6\nmulticast ff00::/8 dev x\ndefault dev wg0"
    assert parse_routes(text) == [
        Route("0.0.0.0/0", "eth0", True),
        Route("10.0.0.0/8", "wg0", False),
        Route("::/0", "wg0", False),
    ]
    assert [route.prefix for route in parse_routes("4\n10.0.0.1 scope link\n", "wg0")] == ["10.0.0.1/32"]
    assert best_way(parse_routes(text), "10.1.2.3") == Route("10.0.0.0/8", "wg0", False)


@pytest.mark.parametrize(
    ("host", "routes", "answer"),
    [
        ("203.0.113.9", ("10.0.0.0/8",), False),
        ("203.0.113.9", ("203.0.113.0/24",), True),
        ("hub.example.org", ("10.0.0.0/8",), False),
        ("hub.example.org", ("0.0.0.0/0",), True),
        (None, ("0.0.0.0/0",), False),
    ],
)
def test_whether_a_tunnel_would_carry_itself(host: str | None, routes: tuple[str, ...], answer: bool) -> None:
    endpoint = Endpoint(host, 51820) if host else None
    tunnel = Tunnel("wg0", peers=(Peer("hub", endpoint=endpoint),), routes=routes)
    assert carries_itself(tunnel) is answer


ELSEWHERE = (
    "4\ndefault via 198.51.100.1 dev eth0\n192.168.0.0/24 dev br-lan scope link\n"
    "10.0.20.0/24 via 192.168.0.2 dev br-lan\n10.99.0.0/16 dev wg1 scope link\n6\nfd00::/64 dev br-lan\n"
)
DEVICES = """1: lo: <LOOPBACK,UP> mtu 65536
    inet 127.0.0.1/8 scope host lo
4: eth0@if3: <UP> mtu 1500
    inet 198.51.100.50/24 brd 198.51.100.255 scope global eth0
5: br-lan: <UP> mtu 1500
    inet 192.168.0.1/24 brd 192.168.0.255 scope global br-lan
    inet6 fd00::1/64 scope global
    inet6 fe80::1/64 scope link
6: pppoe-wan: <UP> mtu 1492
    inet 100.64.0.5 peer 100.64.0.1/32 scope global pppoe-wan
7: wg0: <UP> mtu 1420
    inet 10.3.2.5/24 scope global wg0
"""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"routes": ("192.168.0.0/24",)}, "routes: 192.168.0.0/24 is on br-lan of this router already, which"),
        (
            {"routes": ("192.168.0.0/26",)},
            "routes: 192.168.0.0/26 is on br-lan of this router already, in 192.168.0.0/24",
        ),
        ({"addresses": ("192.168.0.129/25",)}, "addresses: 192.168.0.128/25 is on br-lan of this router already"),
        ({"routes": ("fd00::8:0:0/80",)}, "routes: fd00::8:0:0/80 is on br-lan of this router already"),
        ({"routes": ("10.0.20.0/24",)}, "routes: 10.0.20.0/24 goes by another router on br-lan already"),
        ({"routes": ("192.168.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "10.0.10.0/24", "10.99.1.0/24")}, ""),
        ({"addresses": ("10.3.2.5/24", "fe80::5/64")}, ""),
    ],
)
def test_what_goes_elsewhere_is_not_taken_into_the_tunnel(given: dict[str, Any], told: str) -> None:
    networks = parse_networks(DEVICES, "wg0")
    assert set(networks.values()) == {"lo", "eth0", "br-lan", "pppoe-wan"}
    parts = dict.fromkeys(("status", "wg", "link", "own"), "")
    with pytest.raises(TunnelError, match=f"^{told}") if told else nullcontext():
        check_elsewhere(Tunnel("wg0", **given), parse_live(parts), parse_routes(ELSEWHERE), networks)


@pytest.mark.parametrize(
    ("routes", "given", "told"),
    [
        ("default dev pppoe-wan", {"routes": ("0.0.0.0/0",)}, ""),
        ("192.168.0.0/24 dev br-lan", {"addresses": ("192.168.0.129/25",)}, "192.168.0.128/25 holds 192.168.0.200"),
        ("default dev pppoe-wan", {"routes": ("192.168.0.0/16",)}, "192.168.0.0/16 holds 192.168.0.200"),
    ],
)
def test_the_way_home_stays(routes: str, given: dict[str, Any], told: str) -> None:
    client = "192.168.0.200" if told else None
    live = parse_live(dict.fromkeys(("status", "wg", "link", "own"), ""))
    with pytest.raises(TunnelError, match=f"^routes: {told}") if told else nullcontext():
        check_routes(Tunnel("wg0", **given), live, parse_routes(f"4\n{routes}\n"), client)
