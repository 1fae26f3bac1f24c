# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client interface of GL.iNet's firmware, which dials one peer: its sections as a Tunnel, and towards a target. Pure.

Ours is the section `peers` whose description holds our mark and the interface; its name is the peer's. From 4.8 on a
rule of `route_policy` names it, of which the firmware makes the interface, its zone and its routing; up to 4.7 the
interface itself is written.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import replace
from typing import Iterable, Mapping, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.glinet_own import Near, marked, place_of
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_firewall import Wanted, open_port
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_network import own_id, prefixes
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import (
    Line,
    Options,
    Section,
    Sections,
    delete,
    edits,
)
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER, Peer, Tunnel, needed_routes
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    Endpoint,
    Secret,
    TunnelError,
    parse_endpoint,
    parse_key,
    sorted_prefixes,
)

KEEPALIVE = 25  # seconds; what the firmware takes for none
MANUAL_GROUP = "1957"  # of what the web interface and the app add by hand


class Config(NamedTuple):
    """What of /etc/config concerns a client. `policy`: sections of route_policy, or of vpnpolicy up to 4.7.

    `lists`: prefixes by the name of their file in /etc/domain_mac_list. `near`: where the router is itself.
    """

    newer: bool
    network: Sections
    wireguard: Sections
    policy: Sections
    lists: Mapping[str, tuple[str, ...]]
    near: Near


# What is there


def peer_section(config: Config, name: str) -> Section | None:
    """The section of the peer that the interface dials, or shall dial once its key is known."""
    interface = config.network.get(name)
    running = config.wireguard.get(interface.get("config")) if interface else None
    made = next((s for s in config.wireguard.values() if s.get("description") == MARKER + name), None)
    return running or made


def is_ours(section: Section, name: str) -> bool:
    return section.get("description") == MARKER + name


def rule_section(config: Config, peer: Section | None) -> Section | None:
    """The rule by which the firmware runs a peer. OpenVPN's clients have numbers of their own."""
    number = peer_number(peer) if peer else ""
    rules = (s for s in config.policy.values() if s.type == "rule" and s.get("via_type") == "wireguard")
    return next((rule for rule in rules if number and number in (rule.get("peer_id"), rule.get("client_id"))), None)


def peer_number(peer: Section) -> str:
    return peer.get("peer_id") or peer.id[len("peer_") :]


def allowed_ips(section: Section) -> tuple[str, ...]:
    """Empty where `wg` refuses what is written: it drops the blanks between two prefixes."""
    text = section.get("allowed_ips")
    return () if " " in re.sub(r", *", ",", text.strip()) else prefixes(section, "allowed_ips")


def addresses(section: Section, goal: Iterable[str]) -> tuple[str, ...]:
    """In the goal's spelling: its length is of no account here, because every route comes from allowed_ips."""
    spelled = {_host(address): address for address in goal}
    found = []
    for option in ("address_v4", "address_v6"):
        with contextlib.suppress(ValueError):
            address = str(ipaddress.ip_interface(section.get(option)))
            found.append(spelled.get(_host(address), address))
    return sorted_prefixes(found)


def peer_of(section: Section, name: str) -> Peer | None:
    """None as long as its key is not known."""
    try:
        key = parse_key(section.get("public_key"), "public_key")
    except TunnelError:
        return None
    secret = section.get("preshared_key") if section.get("presharedkey_enable", "1") != "0" else ""
    return Peer(
        name=section.get("name") or key,
        public_key=key,
        preshared_key=Secret(secret) if secret else None,
        endpoint=_endpoint(section),
        allowed_ips=allowed_ips(section),
        keepalive=_keepalive(section.get("persistent_keepalive")),
        ours=is_ours(section, name),
    )


def tunnel_of(config: Config, firewall: Sections, goal: Tunnel, public_key: str | None) -> Tunnel | None:
    """The interface as it is configured, with the goal's words where they mean the same."""
    section = peer_section(config, goal.name)
    if section is None:
        return None
    rule = rule_section(config, section)
    peer = peer_of(section, goal.name)
    own = addresses(section, goal.addresses)
    port = int(section.get("listen_port")) if section.get("listen_port").isdecimal() else None
    if peer is None:  # a key pair, and the rest is for when there is somebody to dial
        return replace(goal, addresses=own, listen_port=port, peers=(), routes=(), public_key=public_key)
    mtu = (rule if config.newer else section) or section
    hidden = rule.get("masq", "1") == "1" if rule else False
    reached = rule is not None and rule.get("local_access") == "1"
    return Tunnel(
        name=goal.name,
        addresses=own,
        listen_port=port,
        mtu=int(mtu.get("mtu")) if mtu.get("mtu").isdecimal() else None,
        peers=(peer,),
        routes=needed_routes(own, peer.allowed_ips),
        forward_to=goal.forward_to if reached else (),
        masquerade=(goal.masquerade or ("0.0.0.0/0",)) if hidden else (),
        open_port=own_id("port", goal.name) in firewall,
        public_key=public_key,
    )


def _keepalive(text: str) -> int:
    """What `wg` refuses is nobody's goal, so it is written anew."""
    return (int(text or 0) if (text or "0").isdecimal() else -1) or KEEPALIVE


def _endpoint(section: Section) -> Endpoint | None:
    text = section.get("end_point")
    with contextlib.suppress(TunnelError):
        return parse_endpoint(text, "end_point")
    return Endpoint(text, 0) if text else None


def _host(address: str) -> str:
    return address.partition("/")[0]


# What is refused


def check(config: Config, target: Tunnel, purge: bool) -> None:
    """Raises TunnelError for what a client of this firmware cannot be. `purge`: others' tunnels may be taken over."""
    if (target.name == "wgclient") == config.newer:
        few = "wgclient1 to wgclient5" if config.newer else "wgclient"
        raise TunnelError("name", f"this firmware has no {target.name}", f"name {few}")
    ours = [peer for peer in target.peers if peer.ours]
    section = peer_section(config, target.name)
    adopted = purge or (section and section.get("public_key") in [peer.public_key for peer in ours])
    if section and not is_ours(section, target.name) and not adopted:
        raise TunnelError(
            "name",
            f"{target.name} is the tunnel to {section.get('name')}, which somebody else made",
            "name another one, or remove that tunnel in the router's web interface",
        )
    if len(ours) > 1:
        names = " and ".join(peer.name for peer in ours[:2])
        raise TunnelError(
            "peers",
            f"a client of GL.iNet's firmware dials one peer, not {names}",
            "make one of them the network's hub, or give each a tunnel of its own",
        )
    if ours and not ours[0].endpoint:
        raise TunnelError(
            "peers",
            f"{ours[0].name} has no endpoint, and a client of GL.iNet's firmware has to dial",
            "give that node an endpoint",
        )
    if config.newer and ours and all(":" in prefix for prefix in ours[0].allowed_ips):
        raise TunnelError(
            "peers",
            f"{ours[0].name} has no IPv4 prefix in allowed_ips, and a rule without one takes everything",
            "add what of IPv4 is behind it, its address in the tunnel at least",
        )
    _check_free(config, target.name)
    _check_others(config, target)
    for version in (4, 6):
        if len([a for a in target.addresses if ipaddress.ip_interface(a).version == version]) > 1:
            raise TunnelError("addresses", f"more than one of IPv{version}", "GL.iNet's firmware takes one of each")
    if ours and set(target.routes or ()) != set(needed_routes(target.addresses, ours[0].allowed_ips)):
        raise TunnelError("routes", "GL.iNet's firmware routes what is in allowed_ips", "leave routes out")


def _check_free(config: Config, name: str) -> None:
    """The firmware gives a new tunnel the lowest free number, whatever one would like."""
    if not config.newer or name in config.network:
        return
    free = next((f"wgclient{number}" for number in range(1, 6) if f"wgclient{number}" not in config.network), "")
    if name != free:
        remedy = f"name {free}" if free else "remove one of its tunnels in the web interface"
        raise TunnelError("name", f"the firmware makes {free or 'no sixth tunnel'} next, not {name}", remedy)


def _check_others(config: Config, target: Tunnel) -> None:
    """Once one rule is enabled, the firmware drops what no rule sends anywhere, unless it may fail over to WAN."""
    rules = [section for section in config.policy.values() if section.type == "rule" and section.get("enabled") == "1"]
    default = next((section for section in config.policy.values() if section.type == "default"), None)
    if config.newer and target.peers and not rules and (default is None or default.get("enabled") != "1"):
        raise TunnelError(
            "peers",
            "this router may not fail over to WAN, so with a tunnel its LAN would lose the rest of the Internet",
            "`uci set route_policy.default=default; uci set route_policy.default.enabled=1; uci commit route_policy`",
        )


# What shall be there


class ClientPlan(NamedTuple):
    """Lines for `uci batch` by package, the option for the private key, and the list of prefixes by its file's name.

    `old_list`: a list that goes. `stops`: the firmware shall not run the client any more. `move`: the rule that has to
    go to another place among the sections, and this place.
    """

    lines: dict[str, list[Line]]
    key: str
    list_name: str = ""
    prefixes: tuple[str, ...] = ()
    old_list: str = ""
    stops: bool = False
    move: tuple[str, int] | None = None


def plan(config: Config, target: Tunnel, kill_switch: bool | None) -> ClientPlan:
    """Peer, group, and what makes the firmware run it. Without a known peer there is only the key pair.

    `kill_switch`: None is off for a rule, and leaves the whole router's switch alone.
    """
    section = peer_section(config, target.name)
    peer = target.peers[0] if target.peers else None
    number = peer_number(section) if section else free_number(config.wireguard, "peer_")
    identity = section.id if section else f"peer_{number}"
    group = section.get("group_id") if section else _group(config.wireguard)
    lines: dict[str, list[Line]] = {"wireguard": [], "network": [], "route_policy": [], "vpnpolicy": []}
    if not section and not _has_group(config.wireguard, group):
        options: Options = {"group_id": group, "group_name": "homelab.fabric"}
        lines["wireguard"] += edits("wireguard", None, f"group_{group}", "groups", options)
    given: Options = {} if section else {"group_id": group, "peer_id": number}
    wanted: Options = {**given, **_peer_options(config, target, peer, section)}
    lines["wireguard"] += edits("wireguard", section, identity, "peers", wanted)
    key = f"wireguard.{identity}.private_key"
    rule = rule_section(config, section)
    if not peer:
        stopping = _stop(config, target.name, rule)
        return ClientPlan({**lines, **stopping}, key, old_list=_own_list(rule, target.name), stops=bool(stopping))
    if not config.newer:
        options = {"proto": "wgclient", "config": identity, "disabled": None}
        lines["network"] += edits("network", config.network.get(target.name), target.name, "interface", options)
        lines["vpnpolicy"] += _kill_switch(config, kill_switch)
        return ClientPlan(lines, key)
    everything = any(prefix.endswith("/0") for prefix in peer.allowed_ips)
    listed = () if everything else marked(peer.allowed_ips, config.near)
    name = _list_name(config, rule, listed) if listed else ""
    options = {
        **({} if rule else _new_rule(config, target.name, group, number)),
        "enabled": "1",
        "killswitch": "1" if kill_switch else "0",
        "to_type": "ipset" if name else None,
        "to": name or None,
        "to_list_external": f"/etc/domain_mac_list/{name}" if name else None,
        "local_access": "1" if target.forward_to else "0",
        "masq": "1" if target.masquerade else "0",
        "mtu": str(target.mtu) if target.mtu else None,
    }
    identity = rule.id if rule else own_id("rule", target.name)
    lines["route_policy"] += edits("route_policy", rule, identity, "rule", options)
    place = place_of(config.policy, rule) if name else None
    return ClientPlan(lines, key, name, listed, move=None if place is None else (identity, place))


def plan_gone(config: Config, name: str) -> tuple[dict[str, list[Line]], str]:
    """The lines that remove our client, and the name of its list; the firmware removes what it made itself.

    The peer goes last: it is what tells that there is something of ours.
    """
    section = peer_section(config, name)
    if section is None or not is_ours(section, name):
        return {}, ""
    rule = rule_section(config, section)
    return {**_stop(config, name, rule), "wireguard": [delete("wireguard", section)]}, _own_list(rule, name)


def _stop(config: Config, name: str, rule: Section | None) -> dict[str, list[Line]]:
    """The lines after which the firmware runs the client no more."""
    interface = config.network.get(name)
    if config.newer:
        return {"route_policy": [delete("route_policy", rule)]} if rule else {}
    return {"network": [delete("network", interface)]} if interface else {}


def _own_list(rule: Section | None, name: str) -> str:
    return rule.get("to") if rule and rule.id == own_id("rule", name) else ""


def firewall_sections(target: Tunnel, includes: bool) -> list[Wanted]:
    """From 4.8 on the zone is the firmware's. `includes`: whether fw3 needs to be told of /etc/firewall.user."""
    wanted = open_port(target)
    if includes:
        wanted.append(Wanted("include", "include", {"path": "/etc/firewall.user"}))
    return wanted


def _peer_options(config: Config, target: Tunnel, peer: Peer | None, section: Section | None) -> Options:
    options: dict[str, str | tuple[str, ...] | None] = {"description": MARKER + target.name}
    there = addresses(section, target.addresses) if section else ()
    for version, option in ((4, "address_v4"), (6, "address_v6")):
        own = next((a for a in target.addresses if ipaddress.ip_interface(a).version == version), None)
        if own is None or own not in there:
            options[option] = f"{_host(own)}/{32 if version == 4 else 128}" if own else None
    if target.listen_port:
        options["listen_port"] = str(target.listen_port)
    if target.mtu and not config.newer:
        options["mtu"] = str(target.mtu)
    if not peer:
        gone = ("public_key", "preshared_key", "presharedkey_enable", "end_point", "end_point_ip", "allowed_ips")
        return {**options, "name": target.name, **dict.fromkeys(gone)}
    return {
        **options,
        "name": peer.name,
        "public_key": str(peer.public_key),
        "preshared_key": peer.preshared_key.reveal() if peer.preshared_key else None,
        "presharedkey_enable": "1" if peer.preshared_key else None,
        "end_point": str(peer.endpoint),
        "end_point_ip": None,  # would win over a name whose address has changed
        # One value: the entries of a list would be glued together, and the interface come up with no peer.
        "allowed_ips": ",".join(peer.allowed_ips),
        "route_allowed_ips": "1",
        "persistent_keepalive": str(peer.keepalive),
    }


def _new_rule(config: Config, name: str, group: str, number: str) -> dict[str, str | tuple[str, ...] | None]:
    taken = [int(rule.get("tunnel_id")) for rule in config.policy.values() if rule.get("tunnel_id").isdecimal()]
    return {
        "name": f"homelab.fabric {name}",
        "tunnel_id": str(max(taken, default=0) + 1),
        "via_type": "wireguard",
        "group_id": group,
        "peer_id": number,
    }


def _list_name(config: Config, rule: Section | None, listed: tuple[str, ...]) -> str:
    """The file of the rule's own prefixes: the one that it names and no other rule does, or a free one.

    Free is also one with these very prefixes that nobody names: a run that was cut short left it.
    """
    used = [section.get("to").lstrip("!") for section in config.policy.values() if section is not rule]
    own = rule.get("to") if rule else ""
    if re.fullmatch(r"dst_net\d+", own) and own not in used:
        return own
    taken, number = {*used, *(name for name, lines in config.lists.items() if lines != listed)}, 1
    while f"dst_net{number}" in taken:
        number += 1
    return f"dst_net{number}"


def _kill_switch(config: Config, kill_switch: bool | None) -> list[Line]:
    there = config.policy.get("global")
    if kill_switch is None or (there is None and not kill_switch):
        return []
    return edits("vpnpolicy", there, "global", "global", {"kill_switch": "1" if kill_switch else "0"})


def _group(wireguard: Sections) -> str:
    if _has_group(wireguard, MANUAL_GROUP) or not any(s.type == "groups" for s in wireguard.values()):
        return MANUAL_GROUP
    ours = next((s for s in wireguard.values() if s.type == "groups" and s.get("group_name") == "homelab.fabric"), None)
    return ours.get("group_id") if ours else free_number(wireguard, "group_")


def _has_group(wireguard: Sections, group: str) -> bool:
    return any(s.type == "groups" and group in (s.get("group_id"), s.id[len("group_") :]) for s in wireguard.values())


def free_number(wireguard: Sections, prefix: str) -> str:
    """Above all that are in use."""
    option = prefix + "id"
    used = [
        s.get(option) or s.id[len(prefix) :] for s in wireguard.values() if s.id.startswith(prefix) or s.get(option)
    ]
    return str(max((int(text) for text in used if text.isdecimal()), default=1000) + 1)
