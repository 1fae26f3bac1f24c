# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pfSense needs around a tunnel: the interface that it is assigned to, gateways and static routes.

Pure: what was read in, edits out. Rules and outbound NAT are in pfsense_rules.py.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_config import AUTO, Firewall, Item
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_plan import DEFAULT_MTU, Edit, change, setting
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    TunnelError,
    covers,
    parse_host,
    prefix_order,
    sorted_prefixes,
)

GATEWAYS, ROUTES = "gateways/gateway_item", "staticroutes/route"
_FAMILY = {4: "inet", 6: "inet6"}
# What an interface has instead of an address where its provider hands one out, and with it a gateway that pfSense names
# after the interface and this.
_HANDED = {4: ("dhcp", "pppoe", "l2tp", "pptp", "ppp"), 6: ("dhcp6", "slaac", "6rd", "6to4")}
# What names of pf itself an interface may not have; those of its own kind end with a number.
_RESERVED = re.compile(
    r"all|any|anchor|antispoof|block|drop|icmp6?|in|inet6?|interface|label|lan|log|match|nat|no|on|out|pass|port|proto"
    r"|quick|rdr|reply|route|self|set|state|table|tag|tcp|to|udp|wan|wireguard"
)


class Options(NamedTuple):
    """The arguments that only pfSense has; see the module's documentation."""

    interface_name: str = ""
    wan_interfaces: tuple[str, ...] = ("wan",)
    nat_interfaces: tuple[str, ...] = ()
    gateways: Mapping[str, Sequence[str]] = {}


class Routing(NamedTuple):
    """Edits of gateways and routes, what of the target is in effect, and prefixes to take out of the routing table.

    `gateways`: names of those that the edits remove.
    """

    edits: list[Edit]
    served: tuple[str, ...]
    gone: list[str]
    gateways: list[str]


def interface_key(firewall: Firewall) -> str:
    """The interface that the tunnel is assigned to, or will be: the first free number."""
    taken = firewall.interfaces
    free = next(f"opt{number}" for number in range(1, 4096) if f"opt{number}" not in taken)
    return firewall.assigned or free


def leads_out(item: Item) -> bool:
    """Whether an interface has an upstream gateway, given by hand or handed out: pfSense takes it for a WAN."""
    given = item.get("gateway") or item.get("gatewayv6")
    return bool(given) or item.get("ipaddr") in _HANDED[4] or item.get("ipaddrv6") in _HANDED[6]


def plan_interface(firewall: Firewall, target: Tunnel, options: Options) -> list[Edit]:
    """The assignment. The MTU is always written: without it pfSense sets 1500 on the tunnel."""
    key = interface_key(firewall)
    item = firewall.interfaces.get(key)
    mtu = str(target.mtu or DEFAULT_MTU)
    wanted: dict[str, Any] = {
        "descr": _interface_name(firewall, options, item),
        "if": firewall.name,
        "enable": "",
        "mtu": mtu,
        # pfSense takes off the headers itself. Another value is somebody's choice.
        "mss": mtu if item is None or item.get("mss") in (None, "", item.get("mtu")) else item["mss"],
        **dict.fromkeys(("ipaddr", "subnet", "ipaddrv6", "subnetv6")),
    }
    for address in target.addresses:
        host, bits = address.split("/")
        first, second = ("ipaddrv6", "subnetv6") if ":" in host else ("ipaddr", "subnet")
        if wanted[first]:
            raise TunnelError(
                "addresses", "pfSense holds one IPv4 and one IPv6 address on an interface", f"leave {address} out"
            )
        wanted.update({first: host, second: bits})
    if item is None:
        wanted["spoofmac"] = ""
    _check_addresses(firewall, target)
    return change(f"interfaces/{key}", None, item, wanted, f"interface {key}", **{"if": firewall.name})


def _interface_name(firewall: Firewall, options: Options, item: Item | None) -> str:
    name = options.interface_name or str((item or {}).get("descr") or "") or firewall.name.replace("tun_", "").upper()
    remedy = "choose another one with up to 22 letters, digits and '_'"
    low = name.lower()
    if (
        not re.fullmatch(r"[A-Za-z0-9_]{1,22}", name)
        or name.isdigit()
        or low.startswith("pkg_")
        or _RESERVED.fullmatch(low)
    ):
        raise TunnelError("interface_name", f"{name!r} cannot be the name of an interface on pfSense", remedy)
    taken = {str(i.get("descr") or key).lower(): f"interface {key}" for key, i in firewall.interfaces.items()}
    if item is not None:
        taken.pop(str(item.get("descr") or firewall.assigned).lower(), None)
    taken.update({str(group.get("ifname")).lower(): "an interface group" for group in firewall.dump["groups"]})
    taken.update({str(alias).lower(): "an alias" for alias in firewall.dump["aliases"]})
    if low in taken:
        raise TunnelError("interface_name", f"{name} is the name of {taken[low]} already", remedy)
    return name


def _check_addresses(firewall: Firewall, target: Tunnel) -> None:
    networks = firewall.networks()
    for argument, prefixes in (("addresses", target.addresses), ("routes", target.routes or ())):
        for prefix in prefixes:
            own = str(ipaddress.ip_interface(prefix).network)
            for network, key in networks.items():
                # A wider route is none of the connected network's business, whose own route is narrower.
                if covers(network, own) or (argument == "addresses" and covers(own, network)):
                    raise TunnelError(
                        argument,
                        f"{prefix} overlaps {network} on {key} of this firewall",
                        "renumber one of the two, or leave it out",
                    )


def plan_routing(firewall: Firewall, target: Tunnel | None, options: Options) -> Routing:
    """Gateways and static routes; one to the same place that somebody else made is used and left alone."""
    dump, key = firewall.dump, interface_key(firewall)
    mine = firewall.owned(dump["gateways"])
    ways = _ways(firewall, target, options) if target else _Ways({}, {})
    names: dict[tuple[str, int], str] = {}
    edits: list[Edit] = []
    moved: set[str] = set()
    versions: set[int] = set()
    used = set()
    find_gateway = _gateways(firewall)
    for (peer, version), address in ways.addresses.items():
        name, found = find_gateway(peer, version, address)
        names[peer, version] = name
        used.add(name)
        wanted = {
            "interface": key,
            "gateway": address,
            "name": name,
            "weight": "1",
            "ipprotocol": _FAMILY[version],
            "descr": firewall.marker + peer,
        }
        if found is not None and not firewall.owns(found):
            continue
        versions.add(version)
        new = change(GATEWAYS, {"name": name}, found, wanted, f"gateway {name}")
        moved |= {name} if new else set()
        edits += new
    edits = _pins(firewall, versions) + edits
    served, gone = [], []
    own_routes, foreign = _present_routes(firewall)
    for route, way in ways.carriers.items():
        gateway = names[way]
        before = own_routes.get(route)
        steps = [] if route in foreign else _plan_route(firewall, route, gateway, before)
        gone += [route] if before is not None and (steps or gateway in moved) else []
        served += [] if steps or gateway in moved else [route]
        edits += steps
    for network, item in own_routes.items():
        if network not in ways.carriers:
            gone.append(network)
            served.append(network)
            find = {"network": network, "descr": str(item["descr"])}
            edits += change(ROUTES, find, item, None, f"route {network}")
    idle = {str(item.get("name")): item for item in mine if item.get("name") not in used}
    for name, item in idle.items():
        edits += change(GATEWAYS, {"name": name}, item, None, f"gateway {name}")
    return Routing(edits, sorted_prefixes(prefix for prefix in served if "/" in prefix), gone, list(idle))


class _Ways(NamedTuple):
    """By peer's name and IP version its tunnel address; by route the peer that it leads to, in the same words."""

    addresses: dict[tuple[str, int], str]
    carriers: dict[str, tuple[str, int]]


def _ways(firewall: Firewall, target: Tunnel, options: Options) -> _Ways:
    known: dict[tuple[str, int], str] = {}
    owners: dict[str, str] = {}
    for peer in target.peers:
        owners.update(dict.fromkeys(peer.allowed_ips, peer.name))
        for address in _peer_addresses(peer, target, options):
            known.setdefault((peer.name, 6 if ":" in address else 4), address)
    carriers: dict[str, tuple[str, int]] = {}
    for route in target.routes or ():
        version = 6 if ":" in route else 4
        exact = (owners.get(route, ""), version)
        carriers[route] = exact if exact in known else _carrier(target, route, known, version)
    ways = {way: known[way] for way in carriers.values()}
    for (name, _version), address in ways.items():
        if not any(covers(network, address) for network in target.addresses):
            raise TunnelError(
                "gateways",
                f"{address}, the tunnel address of {name}, lies in no network of {firewall.name}",
                "give `addresses` the length of the tunnel's network, such as 10.100.0.2/24",
            )
    return _Ways(ways, carriers)


def _peer_addresses(peer: Peer, target: Tunnel, options: Options) -> Iterable[str]:
    given = options.gateways.get(peer.name) or ()
    if given:
        return [parse_host(str(address), "gateways") for address in given]
    own = {address.partition("/")[0] for address in target.addresses}
    hosts = [prefix.partition("/")[0] for prefix in peer.allowed_ips if prefix.endswith(("/32", "/128"))]
    return [host for host in hosts if host not in own and any(covers(network, host) for network in target.addresses)]


def _carrier(target: Tunnel, route: str, known: Mapping[tuple[str, int], str], version: int) -> tuple[str, int]:
    """The peer that a route leads to. WireGuard itself goes by allowed IPs, pfSense wants a next hop."""
    prefixes = [(prefix, peer.name) for peer in target.peers for prefix in peer.allowed_ips]
    around = sorted((prefix_order(p)[2], name) for p, name in prefixes if covers(p, route))[::-1]
    within = [name for prefix, name in prefixes if covers(route, prefix)]
    leading = list(dict.fromkeys([name for _length, name in around] + within))
    for name in leading:
        if (name, version) in known:
            return name, version
    who = ", ".join(leading) or "the peer that it leads to"
    raise TunnelError(
        "routes",
        f"{route} needs a gateway, and no IPv{version} tunnel address of {who} is known",
        "put it into the peer's allowed_ips as a /32 or /128, or into `gateways`",
    )


def _gateways(firewall: Firewall) -> Callable[[str, int, str], tuple[str, Item | None]]:
    """For a peer, IP version and address: our gateway, somebody else's to the same place, or the name of a new one."""
    gateways: list[Item] = firewall.dump["gateways"]
    mine = {(firewall.purpose(item), item.get("ipprotocol")): item for item in firewall.owned(gateways)}
    others = {item.get("gateway"): item for item in gateways if not firewall.owns(item)}
    taken = {str(item.get("name")).lower() for item in gateways}

    def find(peer: str, version: int, address: str) -> tuple[str, Item | None]:
        own, other = mine.get((peer, _FAMILY[version])), others.get(address)
        if own is not None:
            return str(own["name"]), own
        if other is not None and firewall.assigned and other.get("interface") == firewall.assigned:
            return str(other.get("name")), other
        if other is not None:
            raise TunnelError(
                "gateways", f"{address} is the address of the gateway {other.get('name')} already", "remove that one"
            )
        base = "WG_" + re.sub(r"[^A-Za-z0-9]", "_", peer)[:22] + ("_6" if version == 6 else "")
        names = (base + (f"_{number}" if number else "") for number in range(1000))
        name = next(name for name in names if name.lower() not in taken)
        taken.add(name.lower())
        return name, None

    return find


def _pins(firewall: Firewall, versions: Iterable[int]) -> list[Edit]:
    """With an automatic default gateway, one into a tunnel would be a candidate: the present one is named."""
    edits: list[Edit] = []
    for version in sorted(versions):
        if firewall.dump["default_gateways"][_FAMILY[version]] == "":
            at = f"gateways/defaultgw{version}"
            edits += setting(at, "", _default_gateway(firewall, version), f"default gateway IPv{version} pinned")
    return edits


def _default_gateway(firewall: Firewall, version: int) -> str:
    """The name of the gateway that automatic means now; ``-`` is none."""
    address, chosen = ("ipaddrv6", "gatewayv6") if version == 6 else ("ipaddr", "gateway")
    family = [item for item in firewall.dump["gateways"] if item.get("ipprotocol") == _FAMILY[version]]
    others = [str(item.get("name")) for item in family if not firewall.owns(item)]
    interfaces = {key: item for key, item in firewall.interfaces.items() if not str(item.get("if")).startswith(AUTO)}
    given = [str(item.get(chosen)) for item in interfaces.values() if item.get(chosen) in others]
    handed = [
        str(item.get("descr") or key).upper() + "_" + str(item.get(address)).upper()
        for key, item in interfaces.items()
        if item.get(address) in _HANDED[version] and "enable" in item
    ]
    found = list(dict.fromkeys(given + handed))
    if len(found) == 1:
        return found[0]
    # A tunnel interface without an address of its own gets a gateway, too.
    tunnels = [
        key
        for key, item in interfaces.items()
        if re.match("gif|gre|ovpn|ipsec", str(item.get("if"))) and "enable" in item and not item.get(address)
    ]
    if not found and not tunnels and not others and version == 6:
        return "-"
    raise TunnelError(
        "routes",
        f"the default gateway IPv{version} of this firewall is automatic: one into the tunnel could become it",
        "choose one in System > Routing > Gateways > Default gateway",
    )


def _present_routes(firewall: Firewall) -> tuple[dict[str, Item], dict[str, Item]]:
    """Static routes by prefix: our own, and those of others that lead into the tunnel already."""
    into = {item.get("name") for item in firewall.dump["gateways"] if item.get("interface") == firewall.assigned}
    own, foreign = {}, {}
    for item in firewall.dump["routes"]:
        if item.get("descr") == firewall.marker + "route":
            own[str(item.get("network"))] = item
        elif "disabled" not in item and firewall.assigned and item.get("gateway") in into:
            foreign[str(item.get("network"))] = item
    return own, foreign


def _plan_route(firewall: Firewall, route: str, gateway: str, before: Item | None) -> list[Edit]:
    for item in firewall.dump["routes"] if before is None else ():
        if item.get("network") == route and "disabled" not in item:
            raise TunnelError(
                "routes",
                f"{route} has a static route through {item.get('gateway')} already",
                "remove that one in System > Routing > Static Routes, or leave the prefix out",
            )
    descr = firewall.marker + "route"
    wanted = {"network": route, "gateway": gateway, "descr": descr, "disabled": None}
    return change(ROUTES, {"network": route, "descr": descr}, before, wanted, f"route {route}")
