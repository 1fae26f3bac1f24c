# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pfSense's firewall rules and outbound NAT for a tunnel.

Pure: what was read in, edits out. The rules stand on the tunnel's own interface, not in the group WireGuard, whose
rules other tunnels share.
"""

from __future__ import annotations

from typing import Any, Iterable, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_config import (
    Firewall,
    Item,
    addresses_of,
    tracker,
)
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_plan import Edit, change, setting
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_site import Options, interface_key, leads_out
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError, covers

RULES, NAT, NAT_MODE = "filter/rule", "nat/outbound/rule", "nat/outbound/mode"
# What a rule's description says after the marker, before the item that it serves.
_PREFIX = {"open_port": "port on ", "forward_to": "to ", "masquerade": "from "}


class Rule(NamedTuple):
    """A rule to be there: what of the tunnel it serves, as (field, item), and its fields."""

    serves: tuple[str, str]
    fields: dict[str, Any]


class RulePlan(NamedTuple):
    """Edits, and what is served at present, as (field, item)."""

    edits: list[Edit]
    served: set[tuple[str, str]]


def plan_rules(firewall: Firewall, target: Tunnel | None, options: Options, port: int) -> RulePlan:
    """Pass rules: the port from outside, and what may come in from the tunnel."""
    rules = [*_open(firewall, target, options, port), *_forward(firewall, target)] if target else []
    everything: list[Item] = firewall.dump["rules"]
    own = firewall.owned_rules(everything)
    trackers = [item.get("tracker") for item in everything]
    edits: list[Edit] = []
    unmet: set[tuple[str, str]] = set()
    for rule in rules:
        descr, where = rule.fields["descr"], rule.fields["interface"]
        before = next((item for item in own if item["descr"] == descr), None)
        number = str(before["tracker"]) if before else tracker(descr, trackers)
        trackers.append(number)
        wanted = {**rule.fields, "tracker": number, "disabled": None}
        more = {"interface": where, "ahead_of": _obstacle(firewall, rule)}
        steps = change(RULES, {"tracker": number}, before, wanted, f"rule {_purpose(rule)}", **more)
        unmet |= {rule.serves} if steps else set()
        edits += steps
    wanted_descr = {rule.fields["descr"] for rule in rules}
    left = [item for item in own if item["descr"] not in wanted_descr]
    for item in left:
        find = {"tracker": str(item["tracker"])}
        about = f"rule {firewall.purpose(item)}"
        edits += change(RULES, find, item, None, about, interface=str(item.get("interface")))
    return RulePlan(edits, _served(firewall, rules, unmet, left))


def _purpose(rule: Rule) -> str:
    return _PREFIX[rule.serves[0]] + rule.serves[1]


def _served(
    firewall: Firewall, rules: Sequence[Rule], unmet: set[tuple[str, str]], left: Sequence[Item]
) -> set[tuple[str, str]]:
    served = {rule.serves for rule in rules} - unmet
    for item in left:
        purpose = firewall.purpose(item).partition(" by ")[0]
        served |= {(kind, purpose[len(prefix) :]) for kind, prefix in _PREFIX.items() if purpose.startswith(prefix)}
    return served


def _rule(firewall: Firewall, serves: tuple[str, str], fields: dict[str, Any]) -> Rule:
    descr = firewall.marker + _PREFIX[serves[0]] + serves[1]
    common = {"type": "pass", "statetype": "keep state", "source": {"any": ""}, "descr": descr}
    return Rule(serves, {**common, **fields})


def _open(firewall: Firewall, target: Tunnel, options: Options, port: int) -> Iterable[Rule]:
    names = options.wan_interfaces if target.open_port else ()
    for key in dict.fromkeys(firewall.interface(name, "wan_interfaces") for name in names):
        item = firewall.interfaces[key]
        yield _rule(
            firewall,
            ("open_port", key),
            {
                "interface": key,
                "ipprotocol": _families(bool(item.get("ipaddr")), bool(item.get("ipaddrv6"))),
                "protocol": "udp",
                "destination": {"network": f"{key}ip", "port": str(port)},
            },
        )


def _families(ipv4: bool, ipv6: bool) -> str:
    return "inet46" if ipv4 == ipv6 else "inet" if ipv4 else "inet6"


def _forward(firewall: Firewall, target: Tunnel) -> Iterable[Rule]:
    here = interface_key(firewall)
    for item in target.forward_to:
        if "/" in item:
            destination, family = {"address": item}, "inet6" if ":" in item else "inet"
        else:
            key = firewall.interface(item, "forward_to")
            if leads_out(firewall.interfaces[key]):
                raise TunnelError(
                    "forward_to",
                    f"{item} leads out, and pfSense means its own network by it",
                    "give the prefixes behind it, 0.0.0.0/0 or ::/0 for the Internet",
                )
            destination = {"network": key}
            versions = {":" in address for address in target.addresses}
            family = _families(False in versions, True in versions)
        # Any protocol: the field is absent.
        fields = {"interface": here, "ipprotocol": family, "protocol": None, "destination": destination}
        yield _rule(firewall, ("forward_to", item), fields)


def _obstacle(firewall: Firewall, rule: Rule) -> str:
    """The tracker of the first rule that refuses everything on this interface; a rule behind it has no effect."""
    for item in firewall.dump["rules"]:
        if item.get("interface") != rule.fields["interface"] or "floating" in item or "disabled" in item:
            continue
        anywhere = "any" in (item.get("destination") or {}) or (
            (item.get("destination") or {}).get("network") == f"{rule.fields['interface']}ip"
            and "port" not in item["destination"]
        )
        any_source = set(item.get("source") or {}) == {"any"}
        if (
            item.get("type") in ("block", "reject")
            and any_source
            and anywhere
            and item.get("protocol") in (None, "udp")
        ):
            return str(item.get("tracker", ""))
    return ""


def plan_nat(firewall: Firewall, target: Tunnel | None, options: Options) -> RulePlan:
    """Outbound NAT in the format of config version 23.0 and later, and the mode in which its rules count."""
    rules = list(_nat_rules(firewall, target, options)) if target else []
    present: list[Item] = firewall.dump["nat_rules"]
    mode = str(firewall.dump["nat_mode"] or "automatic")
    if rules and mode == "disabled":
        raise TunnelError(
            "masquerade",
            "outbound NAT is switched off on this firewall",
            "choose hybrid in Firewall > NAT > Outbound, or leave masquerade out",
        )
    own = firewall.owned(present)
    edits: list[Edit] = []
    unmet: set[tuple[str, str]] = set()
    for rule in rules:
        descr = rule.fields["descr"]
        before = next((item for item in own if item["descr"] == descr), None)
        steps = change(NAT, {"descr": descr}, before, {**rule.fields, "disabled": None}, f"NAT {_purpose(rule)}")
        unmet |= {rule.serves} if steps or mode == "automatic" else set()
        edits += steps
    wanted_descr = {rule.fields["descr"] for rule in rules}
    left = [item for item in own if item["descr"] not in wanted_descr]
    for item in left:
        edits += change(NAT, {"descr": str(item["descr"])}, item, None, f"NAT {firewall.purpose(item)}")
    if rules and mode == "automatic":
        edits += setting(NAT_MODE, mode, "hybrid", "outbound NAT hybrid")
    elif left and mode == "hybrid" and not rules and len(left) == len(present):
        edits += setting(NAT_MODE, mode, "automatic", "outbound NAT automatic")  # the same, without rules
    return RulePlan(edits, _served(firewall, rules, unmet, left))


def _nat_rules(firewall: Firewall, target: Tunnel, options: Options) -> Iterable[Rule]:
    here = interface_key(firewall)
    beyond = [*target.addresses, *(prefix for peer in target.peers for prefix in peer.allowed_ips)]
    for source in target.masquerade:
        version = "inet6" if ":" in source else "inet"
        if options.nat_interfaces:
            exits = [firewall.interface(name, "nat_interfaces") for name in options.nat_interfaces]
        elif any(covers(source, prefix) or covers(prefix, source) for prefix in beyond):
            exits = _exits(firewall, target, options, source)
        else:
            exits = [here]
        for key in dict.fromkeys(exits):
            fields = {
                "source": {"network": source},
                "sourceport": "",
                "descr": f"{firewall.marker}{_PREFIX['masquerade']}{source} by {key}",
                "target": f"{key}ip",
                "target_subnet": "",
                "interface": key,
                "poolopts": "",
                "source_hash_key": "",
                "ipprotocol": version,
                "destination": {"any": ""},
            }
            yield Rule(("masquerade", source), fields)


def _exits(firewall: Firewall, target: Tunnel, options: Options, source: str) -> list[str]:
    """Where what comes out of the tunnel leaves the firewall: to the networks it may go to, and to the Internet."""
    exits = [firewall.interface(name, "wan_interfaces") for name in options.wan_interfaces]
    for item in target.forward_to:
        if "/" not in item:
            exits.append(firewall.interface(item, "forward_to"))
            continue
        for key, interface in firewall.interfaces.items():
            if interface.get("if") != firewall.name and any(covers(a, item) for a in addresses_of(interface)):
                exits.append(key)
    return [key for key in exits if firewall.interfaces[key].get("ipaddrv6" if ":" in source else "ipaddr")]
