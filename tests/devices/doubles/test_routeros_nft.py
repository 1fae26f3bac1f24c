"""Firewall rules as nftables (what packets will meet). The text is checked here, packets in the data plane's test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from routeros_double import RouterOS
from routeros_double.nft import Ruleset, ruleset
from routeros_double.tree import Tree

KERNEL = {"ether1": "ether1", "vlan10-lan": "vlan10-lan", "vlan30-kubernetes": "vlan30-k8s"}


def compiled(router: RouterOS) -> Ruleset:
    tree: Tree = router._tree
    return ruleset(tree, lambda item: KERNEL.get(tree.name_of("/interface", item)))


def chain(script: str, name: str) -> list[str]:
    lines = script.split(f" chain {name} {{\n")[1].split(" }\n")[0].splitlines() if f" chain {name} " in script else []
    return [line.strip() for line in lines if "hook" not in line]


@pytest.fixture
def bare() -> Iterator[RouterOS]:
    with RouterOS(factory={"/ip/firewall/filter": [], "/ip/firewall/nat": []}) as router:
        yield router


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, ["accept"]),
        ({"action": "drop"}, ["drop"]),
        ({"disabled": "yes"}, []),
        ({"in-interface": "vlan30-kubernetes"}, ['iifname { "vlan30-k8s" } accept']),
        ({"out-interface": "!ether1"}, ['oifname != { "ether1" } accept']),
        ({"in-interface": "ether2"}, []),  # it has no device, so nothing comes in there
        ({"in-interface": "!ether2"}, ["accept"]),
        ({"in-interface": "all-vlan"}, ['iifname { "vlan10-lan", "vlan30-k8s" } accept']),
        ({"in-interface-list": "LAN"}, ['iifname { "vlan10-lan" } accept']),
        ({"in-interface-list": "!LAN"}, ['iifname != { "vlan10-lan" } accept']),
        ({"in-interface-list": "all"}, ["accept"]),
        ({"in-interface-list": "!all"}, []),
        ({"in-interface-list": "none"}, []),
        ({"in-interface-list": "!none"}, ["accept"]),
        (
            {"src-address": "10.0.0.0/8", "dst-address": "!10.1.1.1"},
            ["ip saddr 10.0.0.0/8 ip daddr != 10.1.1.1 accept"],
        ),
        ({"src-address": "10.0.0.1-10.0.0.9"}, ["ip saddr 10.0.0.1-10.0.0.9 accept"]),
        ({"protocol": "tcp", "dst-port": "80,443-445"}, ["meta l4proto 6 th dport { 80,443-445 } accept"]),
        ({"protocol": "udp", "src-port": "!53"}, ["meta l4proto 17 th sport != { 53 } accept"]),
        ({"protocol": "udp", "port": "53"}, [f"meta l4proto 17 th {side}port {{ 53 }} accept" for side in "sd"]),
        ({"protocol": "!gre"}, ["meta l4proto != 47 accept"]),
        ({"connection-state": "established,related"}, ["ct state { established,related } accept"]),
        ({"connection-state": "!new"}, ["ct state != { new } accept"]),
        ({"connection-nat-state": "!dstnat"}, ["ct status ! dnat accept"]),
        ({"protocol": "tcp", "tcp-flags": "syn,!ack"}, ["meta l4proto 6 tcp flags & (syn | ack) == syn accept"]),
        ({"protocol": "icmp", "icmp-options": "8:0"}, ["meta l4proto 1 icmp type 8 icmp code 0-0 accept"]),
        ({"dst-address-type": "local"}, ["fib daddr type local accept"]),
        ({"action": "reject"}, ["reject with icmp type net-unreachable"]),
        ({"action": "reject", "reject-with": "tcp-reset"}, ["meta l4proto tcp reject with tcp reset"]),
        ({"action": "fasttrack-connection"}, []),
        ({"action": "log"}, []),
        ({"action": "tarpit"}, ["drop"]),
    ],
)
def test_filter_rule(bare: RouterOS, rule: dict[str, str], expected: list[str]) -> None:
    bare.add("/ip/firewall/filter", chain="forward", **rule)
    result = compiled(bare)
    assert chain(result.script, "filter_forward") == expected
    assert not result.complaints


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"chain": "srcnat", "action": "masquerade", "out-interface": "ether1"}, ['oifname { "ether1" } masquerade']),
        ({"chain": "srcnat", "action": "src-nat", "to-addresses": "192.0.2.1"}, ["snat to 192.0.2.1"]),
        (
            {"chain": "dstnat", "action": "dst-nat", "protocol": "tcp", "dst-port": "443"}
            | {"to-addresses": "10.30.0.200", "to-ports": "8443"},
            ["meta l4proto 6 th dport { 443 } dnat to 10.30.0.200:8443"],
        ),
        (
            {"chain": "dstnat", "action": "redirect", "protocol": "udp", "dst-port": "53", "to-ports": "5353"},
            ["meta l4proto 17 th dport { 53 } redirect to :5353"],
        ),
    ],
)
def test_nat_rule(bare: RouterOS, rule: dict[str, str], expected: list[str]) -> None:
    bare.add("/ip/firewall/nat", **rule)
    assert chain(compiled(bare).script, f"nat_{rule['chain']}") == expected


@pytest.mark.parametrize(
    "matcher", [{"limit": "5,5:packet"}, {"src-address-list": "bad"}, {"content": "x"}, {"dscp": "1"}]
)
def test_what_is_not_acted_out_is_said(bare: RouterOS, matcher: dict[str, str]) -> None:
    bare.add("/ip/firewall/filter", chain="forward", **matcher)
    result = compiled(bare)
    assert chain(result.script, "filter_forward") == []
    assert len(result.complaints) == 1
    assert next(iter(matcher)) in result.complaints[0]


def test_jumps_order_and_both_families(bare: RouterOS) -> None:
    bare.add("/ip/firewall/filter", chain="forward", action="jump", jump_target="to home; drop")
    bare.add("/ip/firewall/filter", chain="to home; drop", dst_address="10.30.0.0/24")
    bare.add("/ip/firewall/filter", chain="forward", action="drop")
    bare.add("/ip/firewall/filter", chain="input", action="jump", jump_target="empty")
    bare.add("/ipv6/firewall/filter", chain="forward", dst_address="2001:db8::/32", protocol="icmpv6")
    script = compiled(bare).script
    assert chain(script, "filter_forward") == ["jump filter_user0", "drop"]
    assert chain(script, "filter_user0") == ["ip daddr 10.30.0.0/24 accept"]
    assert " chain filter_user1 {\n }" in script
    assert "meta l4proto 58 ip6 daddr 2001:db8::/32 accept" in script.split("table ip6 routeros {")[1]
