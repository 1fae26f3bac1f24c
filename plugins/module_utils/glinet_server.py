# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server of GL.iNet's firmware: its sections in `wireguard_server` as a Tunnel, and towards a target. Pure.

A peer is known by the addresses that it has inside the tunnel; the networks behind it are route rules, whose gateway is
such an address. Ours carry our mark as their description; phones that the web interface made are left alone.
"""

from __future__ import annotations

import contextlib
import ipaddress
from typing import Iterable, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.glinet_client import free_number
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_network import own_id
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
    Secret,
    TunnelError,
    covers,
    parse_key,
    sorted_prefixes,
)

NAME = "wgserver"
MARK = MARKER + NAME
SERVER = "main_server"
PACKAGE = "wireguard_server"


class Config(NamedTuple):
    """What of /etc/config concerns the server. `newer`: firmware 4.8 and later; `ipv6`: whether it is on."""

    newer: bool
    ipv6: bool
    network: Sections
    server: Sections


# What is there


def server_section(config: Config) -> Section | None:
    """The section of the server itself, which may be there without ever having been used."""
    interface = config.network.get(NAME)
    section = config.server.get((interface.get("config") if interface else "") or SERVER)
    return section if section and section.type == "servers" else None


def is_ours(section: Section) -> bool:
    return section.get("description") == MARK


def peer_sections(config: Config) -> list[Section]:
    return [section for section in config.server.values() if section.type == "peers"]


def rule_sections(config: Config) -> list[Section]:
    return [section for section in config.server.values() if section.type == "route_rules"]


def others(config: Config) -> list[str]:
    """Names of those that somebody else made, and did not take off in the web interface."""
    there = [s for s in peer_sections(config) if not is_ours(s) and s.get("deprecated", "0") == "0"]
    return [section.get("name") or section.get("public_key") for section in there]


def addresses(config: Config, section: Section) -> tuple[str, ...]:
    """Those that the handler gives the interface: up to 4.7 it does not ask whether IPv6 is on."""
    found = []
    for option in ("address_v4", "address_v6") if config.ipv6 or not config.newer else ("address_v4",):
        with contextlib.suppress(ValueError):
            found.append(str(ipaddress.ip_interface(section.get(option))))
    return sorted_prefixes(found)


def hosts(section: Section) -> tuple[str, ...]:
    """A peer's addresses inside the tunnel, as they are written."""
    return tuple(filter(None, (word.strip().partition("/")[0] for word in section.get("client_ip").split(","))))


def target_of(rule: Section) -> str | None:
    """The prefix that a route rule leads to."""
    try:
        return str(ipaddress.ip_network(f"{rule.get('dest')}/{rule.get('mask')}", strict=False))
    except ValueError:
        return None


def peer_of(config: Config, section: Section) -> Peer | None:
    """None for one without a key. What the handler leaves out has no allowed IPs, unless it is ours."""
    try:
        key = parse_key(section.get("public_key"), "public_key")
    except TunnelError:
        return None
    ours, own = is_ours(section), hosts(section)
    active = ours or not config.newer or (section.get("deprecated", "0") == "0" and section.get("enabled", "1") == "1")
    allowed = [whole for whole in map(_whole, own if config.newer else own[:1]) if whole]
    allowed += [prefix for prefix in map(target_of, _rules_of(config, own)) if prefix]
    secret = section.get("presharedkey")
    return Peer(
        name=section.get("name") or key,
        public_key=key,
        preshared_key=Secret(secret) if secret else None,
        allowed_ips=sorted_prefixes(allowed) if active else (),
        ours=ours,
    )


def _rules_of(config: Config, own: Iterable[str]) -> list[Section]:
    return [rule for rule in rule_sections(config) if rule.get("gateway") in tuple(own)]


def _whole(address: str) -> str | None:
    try:
        return str(ipaddress.ip_network(address))
    except ValueError:
        return None


def tunnel_of(config: Config, public_key: str | None) -> Tunnel | None:
    """The server as it is configured, without the firewall; None where there is none yet."""
    section = server_section(config)
    if section is None:
        return None
    peers = [peer for peer in (peer_of(config, each) for each in peer_sections(config)) if peer]
    own = addresses(config, section)
    port, mtu = section.get("port"), section.get("mtu")
    return Tunnel(
        name=NAME,
        addresses=own,
        listen_port=int(port) if port.isdecimal() else None,
        mtu=int(mtu) if mtu.isdecimal() else None,
        peers=tuple(sorted(peers, key=lambda peer: (not peer.ours, peer.name))),
        routes=needed_routes(own, (prefix for peer in peers if peer.ours for prefix in peer.allowed_ips)),
        open_port=True,
        public_key=public_key,
    )


def as_openwrt(config: Config) -> dict[str, Section]:
    """Peers and routes as OpenWrt's `network` would have them, for openwrt_live.py."""
    view = {}
    for section in peer_sections(config):
        peer = peer_of(config, section)
        if peer:
            options = {"public_key": (str(peer.public_key),), "allowed_ips": peer.allowed_ips}
            options["description"] = ((MARKER if peer.ours else "") + peer.name,)
            view[section.id] = Section(section.id, f"wireguard_{NAME}", options)
    for index, prefix in enumerate(routed(config)):
        identity = own_id(f"route{index}", NAME)
        view[identity] = Section(identity, "route", {"interface": (NAME,), "target": (prefix,)})
    return view


def routed(config: Config) -> tuple[str, ...]:
    """All that the handler routes into the tunnel."""
    return sorted_prefixes(prefix for prefix in map(target_of, rule_sections(config)) if prefix)


# What is refused


def check(config: Config, target: Tunnel, purge: bool) -> None:
    """Raises TunnelError for what the server cannot be, and for what would leave phones of others behind."""
    section = server_section(config)
    v4 = [address for address in target.addresses if ":" not in address]
    v6 = [address for address in target.addresses if ":" in address]
    if len(v4) != 1 or len(v6) > 1:
        raise TunnelError("addresses", "GL.iNet's server has one address of IPv4", "give it one, such as 10.3.2.1/24")
    if not target.listen_port:
        raise TunnelError("listen_port", "the port is not known", "set it, usually 51820")
    asked6 = [*v6, *(p for peer in target.peers if peer.ours for p in peer.allowed_ips if ":" in p)]
    if asked6 and not (config.newer and config.ipv6):
        remedy = "switch it on under NETWORK > IPv6" if config.newer else "update to 4.8"
        raise TunnelError(
            "addresses", f"this firmware's server has no IPv6 for {asked6[0]}", f"{remedy}, or leave it out"
        )
    if section and section.get("type", "0") == "1":
        raise TunnelError("name", "this server speaks AmneziaWG", "choose WireGuard for it in the web interface")
    there = [] if purge else others(config)
    if section and there:
        _check_phones(config, section, target, there)
    ours = [peer for peer in target.peers if peer.ours]
    for peer in ours:
        _check_peer(target, peer)
    served = [prefix for peer in ours for prefix in peer.allowed_ips]
    if set(target.routes or ()) != set(needed_routes(target.addresses, served)):
        raise TunnelError("routes", "GL.iNet's server routes what is in allowed_ips", "leave routes out")


def _check_phones(config: Config, section: Section, target: Tunnel, there: list[str]) -> None:
    remedy = f"ask for what is there, or remove {' and '.join(there[:2])} in the web interface (`purge` does it)"
    own, wanted = addresses(config, section), target.addresses
    if own != wanted:
        text = f"{NAME} has {', '.join(own) or 'none'}, by which {there[0]} knows it, not {', '.join(wanted)}"
        raise TunnelError("addresses", text, remedy)
    port = section.get("port") or "51820"
    if port != str(target.listen_port):
        text = f"{NAME} listens on {port}, where {there[0]} dials it, not on {target.listen_port}"
        raise TunnelError("listen_port", text, remedy)


def _check_peer(target: Tunnel, peer: Peer) -> None:
    networks = ", ".join(str(ipaddress.ip_interface(address).network) for address in target.addresses)
    for version in (4, 6):
        some = [p for p in peer.allowed_ips if (":" in p) == (version == 6)]
        if (some or version == 4) and not client_address(target, peer, version):
            raise TunnelError(
                "peers",
                f"{peer.name} has no IPv{version} address of {networks} in its allowed_ips, by which GL.iNet's server "
                "knows a peer",
                f"add its own as a /{32 if version == 4 else 128}",
            )
    everything = next((prefix for prefix in peer.allowed_ips if prefix.endswith("/0")), None)
    if everything:
        raise TunnelError(
            "peers", f"{peer.name} cannot have {everything}: this router has a default route", "name its networks"
        )


def client_address(target: Tunnel, peer: Peer, version: int) -> str | None:
    """The address by which the server knows a peer: the first of its own within the server's network."""
    for prefix in peer.allowed_ips:
        address, _slash, length = prefix.partition("/")
        whole = length == ("32" if version == 4 else "128") and (":" in prefix) == (version == 6)
        if whole and any(covers(own, prefix) for own in target.addresses):
            return address
    return None


# What shall be there


def plan(config: Config, target: Tunnel, purge: bool) -> dict[str, list[Line]]:
    """The lines by package, without the private key."""
    section = server_section(config)
    lines = edits(PACKAGE, section, section.id if section else SERVER, "servers", _server(config, target, section))
    pairs, leaving = _pair(config, target, purge)
    lines += [delete(PACKAGE, each) for each in leaving]
    number = int(free_number(config.server, "peer_"))
    for peer, there in pairs:
        identity = there.id if there else f"peer_{number}"
        given: Options = {} if there else {"peer_id": str(number)}
        number += 0 if there else 1
        lines += edits(PACKAGE, there, identity, "peers", {**given, **_peer(config, target, peer, there)})
    lines += _plan_rules(config, target, [there for _peer, there in pairs if there], leaving)
    return {"network": _interface(config), PACKAGE: lines}


def plan_gone(config: Config, purge: bool) -> dict[str, list[Line]]:
    """The lines that remove what is ours. With phones of others the server stays; one of ours goes with its key."""
    section, interface = server_section(config), config.network.get(NAME)
    ours = [each for each in peer_sections(config) if purge or is_ours(each)]
    known = [host for each in ours for host in hosts(each)]
    rules = [rule for rule in rule_sections(config) if is_ours(rule) or rule.get("gateway") in known]
    lines = [delete(PACKAGE, each) for each in [*rules, *ours]]
    if not purge and others(config):
        return {"network": [], PACKAGE: lines}
    network: list[Line] = []
    if section and is_ours(section):
        network += [delete("network", interface)] if interface else []
        lines.append(delete(PACKAGE, section))
    elif interface:
        network += edits("network", interface, NAME, "interface", {"disabled": "1"})
    return {"network": network, PACKAGE: lines}


def _interface(config: Config) -> list[Line]:
    there = config.network.get(NAME)
    section = server_section(config)
    lines = edits("network", there, NAME, "interface", {"proto": NAME, "config": section.id if section else SERVER})
    if there is None or there.get("disabled") != "0":  # the firmware's scripts ask for 0, not for nothing
        text = f"set network.{NAME}.disabled='0'"
        lines.append(Line(text, text))
    return lines


def _server(config: Config, target: Tunnel, section: Section | None) -> Options:
    """The options of the firewall stand here too: from 4.8 on the firmware writes it by them at each set-up."""
    options: dict[str, str | tuple[str, ...] | None] = {}
    if section is None or not (section.get("private_key") or others(config)):
        options["description"] = MARK
    v6 = next((address for address in target.addresses if ":" in address), None)
    options["address_v4"] = next(address for address in target.addresses if ":" not in address)
    if v6 or config.ipv6 or not config.newer:
        options["address_v6"] = v6
    options["port"] = str(target.listen_port)
    if target.mtu:
        options["mtu"] = str(target.mtu)
    if target.public_key:
        options["public_key"] = target.public_key
    options["masq"] = "0"
    if target.forward_to:
        options.update(access="ACCEPT", client_to_client="1")
    elif not (section and others(config)):
        options.update(access="REJECT", client_to_client="0")
    return options


def _peer(config: Config, target: Tunnel, peer: Peer, there: Section | None) -> Options:
    options: dict[str, str | tuple[str, ...] | None] = {
        "description": MARK,
        "name": peer.name,
        "public_key": str(peer.public_key),
        "presharedkey": peer.preshared_key.reveal() if peer.preshared_key else None,
        "presharedkey_enable": "1" if peer.preshared_key else "0",
        "enabled": "1",
        "deprecated": "0",
    }
    own = [address for address in (client_address(target, peer, version) for version in (4, 6)) if address]
    if not there or there.get("client_ip").split(",") != [_in_network(target, address) for address in own]:
        options["client_ip"] = ",".join(_in_network(target, address) for address in own)
    if not config.newer:  # later on, a text for the peer's own configuration
        options["persistent_keepalive"] = None
    return options


def _in_network(target: Tunnel, address: str) -> str:
    """As the web interface writes it: with the length of the server's network."""
    own = next(each for each in target.addresses if covers(each, address))
    return f"{address}/{own.partition('/')[2]}"


def _pair(config: Config, target: Tunnel, purge: bool) -> tuple[list[tuple[Peer, Section | None]], list[Section]]:
    """Our peers with the sections that they have, by name or else by key, and the sections that have to go."""
    there = peer_sections(config)
    named = {section.get("name"): section for section in reversed(there) if is_ours(section)}
    keyed = {section.get("public_key"): section for section in reversed(there) if not is_ours(section)}
    ours = [peer for peer in target.peers if peer.ours]
    pairs = [(peer, named.get(peer.name) or keyed.get(str(peer.public_key))) for peer in ours]
    taken = {section.id for _peer, section in pairs if section}
    keys = {peer.public_key for peer in ours}  # the same key twice is one peer, and the last one would win
    left = [section for section in there if section.id not in taken]
    return pairs, [each for each in left if purge or is_ours(each) or each.get("public_key") in keys]


def _plan_rules(config: Config, target: Tunnel, paired: list[Section], leaving: list[Section]) -> list[Line]:
    """The lines for the networks behind our peers, and against those rules that are ours or lead to who is ours."""
    wanted = dict(_rules(target))
    gone = {host for section in [*paired, *leaving] for host in hosts(section)} | set(wanted.values())
    rules = [rule for rule in rule_sections(config) if is_ours(rule) or rule.get("gateway") in gone]
    there: dict[str | None, Section] = {}
    for rule in rules:
        there.setdefault(target_of(rule), rule)
    stay = [there[prefix] for prefix in wanted if prefix in there]
    lines = [delete(PACKAGE, rule) for rule in rules if rule not in stay]
    taken, index = {rule.id for rule in rule_sections(config)}, 0
    for prefix, gateway in wanted.items():
        found = there.get(prefix)
        while not found and own_id(f"route{index}", NAME) in taken:
            index += 1
        identity = found.id if found else own_id(f"route{index}", NAME)
        taken.add(identity)
        dest, _slash, mask = prefix.partition("/")
        flag = "6" if ":" in prefix else "4"
        options = {"route_flag": flag, "dest": dest, "mask": mask, "gateway": gateway, "scope": None}
        lines += edits(PACKAGE, found, identity, "route_rules", {"description": MARK, **options})
    return lines


def _rules(target: Tunnel) -> Iterable[tuple[str, str]]:
    """Prefix and gateway: all of a peer's allowed IPs but the addresses by which the server knows it."""
    for peer in target.peers:
        for prefix in peer.allowed_ips if peer.ours else ():
            version, length = (6, 128) if ":" in prefix else (4, 32)
            gateway = client_address(target, peer, version)
            if gateway and prefix != f"{gateway}/{length}":
                yield prefix, gateway
