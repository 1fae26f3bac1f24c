"""Where a rule of ours takes effect, and when a rule is the one that is meant. Pure: rows in, sentences out."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_rules import (
    FILTER,
    NAT,
    Rule,
    could_stop,
    needed_rules,
    plan_rules,
    same,
)
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel

Row = dict[str, str]

TUNNEL = Tunnel("wg-vps", addresses=("10.100.0.2/30",), forward_to=("vlan30",), open_port=True)
FORWARD, DIALLED = needed_rules(TUNNEL, 51820)[:2]
(PREFIX,) = needed_rules(Tunnel("wg-vps", forward_to=("10.30.0.0/24",)), 1)
DROP = {"chain": "forward", "action": "drop"}
INPUT = {"chain": "input", "action": "drop"}

# A rule that stands first, the rule of ours, and whether that one has to come before it.
STOPPING: list[tuple[Row, Rule, bool]] = [
    (DROP, FORWARD, True),
    ({**DROP, "action": "reject"}, FORWARD, True),
    ({**DROP, "action": "tarpit"}, FORWARD, True),
    ({**DROP, "action": "jump", "jump-target": "mine"}, FORWARD, True),
    ({**DROP, "action": "accept"}, FORWARD, False),
    ({**DROP, "action": "fasttrack-connection"}, FORWARD, False),
    ({**DROP, "action": "passthrough", "dynamic": "true"}, FORWARD, False),
    ({**DROP, "dynamic": "true"}, FORWARD, False),
    ({**DROP, "disabled": "true"}, FORWARD, False),
    ({**DROP, "chain": "input"}, FORWARD, False),
    ({**DROP, "connection-state": "invalid"}, FORWARD, False),
    ({**DROP, "connection-state": "invalid,new"}, FORWARD, True),
    ({**DROP, "connection-state": "!established,related"}, FORWARD, True),
    ({**DROP, "connection-state": "new", "connection-nat-state": "!dstnat", "in-interface-list": "WAN"}, FORWARD, True),
    ({**DROP, "in-interface": "ether1"}, FORWARD, False),
    ({**DROP, "in-interface": "wg-vps"}, FORWARD, True),
    ({**DROP, "in-interface": "!ether1"}, FORWARD, True),
    ({**DROP, "in-interface": "!wg-vps"}, FORWARD, False),
    ({**DROP, "in-interface": "all-vlan"}, FORWARD, True),
    ({**DROP, "in-interface-list": "!LAN"}, FORWARD, True),
    ({**DROP, "out-interface": "vlan20"}, FORWARD, False),
    ({**DROP, "out-interface": "!vlan30"}, FORWARD, False),
    ({**DROP, "out-interface": "!vlan20"}, FORWARD, True),
    ({**DROP, "out-interface": "all-vlan"}, FORWARD, True),
    ({**DROP, "out-interface": "vlan20"}, PREFIX, True),
    ({**DROP, "dst-address": "10.20.0.0/24"}, PREFIX, False),
    ({**DROP, "dst-address": "10.30.0.7"}, PREFIX, True),
    ({**DROP, "dst-address": "!10.30.0.0/24"}, PREFIX, True),
    ({**DROP, "dst-address": "10.20.0.1-10.20.0.9"}, PREFIX, True),
    ({**DROP, "dst-address": "10.20.0.0/24"}, FORWARD, True),
    (INPUT, DIALLED, True),
    ({**INPUT, "in-interface-list": "!LAN"}, DIALLED, True),
    ({**INPUT, "in-interface": "ether1"}, DIALLED, True),
    ({**INPUT, "protocol": "tcp"}, DIALLED, False),
    ({**INPUT, "protocol": "!udp"}, DIALLED, False),
    ({**INPUT, "protocol": "udp"}, DIALLED, True),
]


@pytest.mark.parametrize(("row", "rule", "stops"), STOPPING)
def test_a_rule_stands_before_what_could_stop_it(row: Row, rule: Rule, stops: bool) -> None:
    assert could_stop(row, rule) is stops
    first = {**row, ".id": "*1"}
    (added,) = plan_rules(rule.menu, [first], [rule], "wg-vps").rules[0].sentences
    assert added.attributes.get("place-before") == ("*1" if stops else None)
    ours = {**rule.fields, "comment": rule.comment, ".id": "*2"}
    moves = plan_rules(rule.menu, [first, ours], [rule], "wg-vps").rules[0].sentences
    assert [sentence.words() for sentence in moves] == (
        [[f"{rule.menu}/move", "=numbers=*2", "=destination=*1"]] if stops else []
    )
    assert plan_rules(rule.menu, [ours, first], [rule], "wg-vps").rules[0].sentences == []


def test_address_translation_has_no_place() -> None:
    (rule,) = needed_rules(Tunnel("wg-vps", masquerade=("10.100.0.0/24",)), 1)
    row = {"chain": "srcnat", "action": "jump", ".id": "*1"}
    (added,) = plan_rules(NAT, [row], [rule], "wg-vps").rules[0].sentences
    assert "place-before" not in added.attributes


def test_ipv6_rules_are_for_tunnels_that_have_ipv6() -> None:
    def menus(tunnel: Tunnel) -> list[str]:
        return [rule.menu for rule in needed_rules(tunnel, 1)]

    assert menus(Tunnel("wg", addresses=("10.0.0.1/24",), forward_to=("lan",))) == [FILTER[4]]
    assert menus(Tunnel("wg", addresses=("10.0.0.1/24", "fd00::1/64"), forward_to=("lan",))) == [FILTER[4], FILTER[6]]
    assert menus(Tunnel("wg", forward_to=("fd00::/64",))) == [FILTER[6]]
    assert menus(Tunnel("wg", open_port=True)) == [FILTER[4], FILTER[6]]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("10.30.0.200", "10.30.0.200/32", True),
        ("!10.30.0.200", "!10.30.0.200/32", True),
        ("!10.30.0.0/24", "10.30.0.0/24", False),
        ("fd00::1", "fd00:0::1/128", True),
        ("ether1", "ether2", False),
        ("", "10.0.0.0/8", False),
    ],
)
def test_spellings(one: str, other: str, alike: bool) -> None:
    assert same(one, other) is alike
