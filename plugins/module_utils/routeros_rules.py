# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Firewall and NAT rules on RouterOS: which ones a tunnel needs, where they take effect, what brings them there.

Pure: rows in, sentences out. A rule of ours is known by its comment; rules of others are only looked at.
"""

from __future__ import annotations

import ipaddress
from typing import Callable, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.routeros_rows import Row, Sentence
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError

FILTER = {4: "/ip/firewall/filter", 6: "/ipv6/firewall/filter"}
NAT = "/ip/firewall/nat"
RULE_MENUS = (FILTER[4], FILTER[6], NAT)
SERVED = ("forward_to", "masquerade", "open_port")

# Every matcher that a rule can have (routeros-arguments.txt, what `unset` takes): one more on a rule of ours, and it
# does not let through what it should.
MATCHERS = {
    *("connection-bytes", "connection-limit", "connection-mark", "connection-nat-state", "connection-rate"),
    *("connection-state", "connection-type", "content", "dscp", "dst-address", "dst-address-list"),
    *("dst-address-type", "dst-limit", "dst-port", "fragment", "headers", "hop-limit", "hotspot"),
    *("icmp-options", "in-bridge-port", "in-bridge-port-list", "in-interface", "in-interface-list"),
    *("ingress-priority", "ipsec-policy", "ipv4-options", "layer7-protocol", "limit", "nth"),
    *("out-bridge-port", "out-bridge-port-list", "out-interface", "out-interface-list", "p2p"),
    *("packet-mark", "packet-size", "per-connection-classifier", "port", "priority", "protocol", "psd"),
    *("random", "realm", "routing-mark", "src-address", "src-address-list", "src-address-type"),
    *("src-mac-address", "src-port", "tcp-flags", "tcp-mss", "time", "tls-host", "tos", "ttl"),
}
_STOPPING = frozenset(("drop", "reject", "tarpit", "jump"))


class Rule(NamedTuple):
    """A rule that a tunnel needs. `serves`: a field of the tunnel and an item there; `key`: where the rule names it."""

    menu: str
    comment: str
    fields: Mapping[str, str]
    serves: tuple[str, str]
    key: str


def comments(name: str) -> dict[str, tuple[str, str]]:
    """The comments of our rules for this interface → the tunnel's field they serve, the rule's field that says what."""
    return {
        f"fw-{name}-fwd": ("forward_to", ""),
        f"fw-{name}-in": ("open_port", "dst-port"),
        f"fw-{name}-nat": ("masquerade", "src-address"),
    }


def needed_rules(tunnel: Tunnel, port: int) -> list[Rule]:
    """The rules of a tunnel that listens on `port`. Raises TunnelError for what RouterOS cannot do."""
    rules = [rule for item in tunnel.forward_to for rule in _forward_rules(tunnel, item)]
    if tunnel.open_port:
        fields = {"chain": "input", "action": "accept", "protocol": "udp", "dst-port": str(port)}
        # Others may dial by either family, whatever the addresses inside the tunnel are.
        rules += [Rule(FILTER[v], f"fw-{tunnel.name}-in", fields, ("open_port", str(port)), "dst-port") for v in (4, 6)]
    return rules + [_masquerade_rule(tunnel, prefix) for prefix in tunnel.masquerade]


def _forward_rules(tunnel: Tunnel, item: str) -> list[Rule]:
    if "/" in item:
        versions, key = [ipaddress.ip_network(item).version], "dst-address"
    else:
        versions, key = [4, 6] if any(":" in address for address in tunnel.addresses) else [4], "out-interface"
    fields = {"chain": "forward", "action": "accept", "in-interface": tunnel.name, key: item}
    return [Rule(FILTER[v], f"fw-{tunnel.name}-fwd", fields, ("forward_to", item), key) for v in versions]


def _masquerade_rule(tunnel: Tunnel, prefix: str) -> Rule:
    if ":" in prefix:
        raise TunnelError("masquerade", f"{prefix} is IPv6", "give IPv4 prefixes, and IPv6 addresses a route back")
    # Whatever interface it leaves by, the tunnel included; but neighbours inside the prefix keep their addresses.
    fields = {"chain": "srcnat", "action": "masquerade", "src-address": prefix, "dst-address": f"!{prefix}"}
    return Rule(NAT, f"fw-{tunnel.name}-nat", fields, ("masquerade", prefix), "src-address")


class PlannedRule(NamedTuple):
    """A rule, the row that becomes it (if there is one), and what is still to be said; nothing: it is in effect."""

    rule: Rule
    row: Row | None
    sentences: list[Sentence]


class RulePlan(NamedTuple):
    """What brings the rules of one menu to what is needed, and the rows of ours that serve nothing any more."""

    rules: list[PlannedRule]
    leftover: list[Row]


def plan_rules(menu: str, rows: Sequence[Row], rules: Iterable[Rule], name: str) -> RulePlan:
    """`rows` are the menu's in its order: those of the chains needed, and ours."""
    ours = [row for row in rows if row.get("comment") in comments(name) and row.get("dynamic") != "true"]
    wanted = [rule for rule in rules if rule.menu == menu]
    paired = _pair(wanted, ours)
    planned = [
        PlannedRule(rule, row, _bring_about(rule, row, rows)) for rule in wanted for row in [paired.get(id(rule))]
    ]
    used = {row[".id"] for row in paired.values()}
    return RulePlan(planned, [row for row in ours if row[".id"] not in used])


def remove_rule(menu: str, row: Row) -> Sentence:
    return Sentence(menu, "remove", {}, row[".id"], _finder(row))


def served_by(row: Row, name: str) -> tuple[str, str]:
    """What a rule of ours was made for: the tunnel's field and its item."""
    field, key = comments(name)[row["comment"]]
    key = key or ("dst-address" if "dst-address" in row else "out-interface")
    return field, row.get(key, "(anything)")


def _pair(rules: Sequence[Rule], ours: Sequence[Row]) -> dict[int, Row]:
    """By rule's id: the row that is it, or the one that is nearest to it."""
    paired: dict[int, Row] = {}
    free = list(ours)
    nearness: list[Callable[[Rule, Row], bool]] = [
        lambda rule, row: not _wrong(rule, row),
        lambda rule, row: same(row.get(rule.key, ""), rule.fields[rule.key]),
        lambda rule, row: True,
    ]
    for near in nearness:
        for rule in rules:
            if id(rule) in paired:
                continue
            found = next((row for row in free if row["comment"] == rule.comment and near(rule, row)), None)
            if found is not None:
                paired[id(rule)] = found
                free.remove(found)
    return paired


def _bring_about(rule: Rule, row: Row | None, rows: Sequence[Row]) -> list[Sentence]:
    stop = next((place for place, other in enumerate(rows) if could_stop(other, rule)), None)
    before = rows[stop][".id"] if stop is not None else None
    if row is None:
        place = {"place-before": before} if before else {}
        return [Sentence(rule.menu, "add", {**rule.fields, "comment": rule.comment, **place})]
    sentences = []
    wrong = _wrong(rule, row)
    if wrong:
        sentences.append(Sentence(rule.menu, "set", wrong, row[".id"], _finder(row)))
    if before is not None and stop is not None and stop < rows.index(row):
        found_by = {"comment": rule.comment, rule.key: rule.fields[rule.key]}
        sentences.append(Sentence(rule.menu, "move", {"destination": before}, row[".id"], found_by))
    return sentences


def _wrong(rule: Rule, row: Row) -> dict[str, str]:
    """The fields to set so that the row becomes the rule."""
    wrong = {field: value for field, value in rule.fields.items() if not same(row.get(field, ""), value)}
    wrong.update({f"!{field}": "" for field in sorted(MATCHERS.intersection(row).difference(rule.fields))})
    if row.get("disabled") == "true":
        wrong["disabled"] = "no"
    return wrong


def _finder(row: Row) -> dict[str, str]:
    keys = ("comment", "out-interface", "dst-address", "src-address", "dst-port")
    return {key: row[key] for key in keys if key in row}


def could_stop(row: Row, rule: Rule) -> bool:
    """Whether this row, if it comes first, may drop what the rule is to let through. In doubt yes: it does no harm."""
    if rule.menu == NAT or row.get("chain") != rule.fields["chain"] or row.get("action") not in _STOPPING:
        return False
    # Nothing can be placed before a dynamic rule.
    if row.get("disabled") == "true" or row.get("dynamic") == "true":
        return False
    if row.get("connection-state") == "invalid":
        return False
    if any(_excludes(row[field], rule.fields[field]) for field in _PLAIN if field in row and field in rule.fields):
        return False
    return not _elsewhere(row.get("dst-address", ""), rule.fields.get("dst-address", ""))


_PLAIN = ("in-interface", "out-interface", "protocol")


def _excludes(theirs: str, ours: str) -> bool:
    if theirs.startswith("!"):
        return theirs[1:] == ours
    return theirs != ours and not theirs.startswith("all-")


def _elsewhere(theirs: str, ours: str) -> bool:
    """Whether two destinations have nothing in common; ranges are not judged."""
    try:
        return not ipaddress.ip_network(theirs, strict=False).overlaps(ipaddress.ip_network(ours, strict=False))
    except (ValueError, TypeError):
        return False


def same(one: str, other: str) -> bool:
    """Whether two values of a matcher mean the same, however addresses are spelled."""
    return one == other or _spelled(one) == _spelled(other)


def _spelled(value: str) -> str:
    negation = "!" if value.startswith("!") else ""
    try:
        return negation + str(ipaddress.ip_network(value[len(negation) :], strict=False))
    except ValueError:
        return value
