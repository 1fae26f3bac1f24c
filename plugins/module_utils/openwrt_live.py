# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an OpenWrt router has live, and the commands that bring it to a committed configuration. Pure.

netifd does not look at peers when it reloads, and setting the interface up again drops every session. So peers and
routes are changed by hand (`wg addconf`, `wg set … remove`, `ip route`), in a way that the next set-up by netifd finds
right; only what is the interface's own (addresses, port, MTU, key) is left to netifd.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
from typing import Any, Iterable, Iterator, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_network import (
    installed_routes,
    parse_network,
    peer_of,
    peer_sections,
)
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import Sections
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    Secret,
    TunnelError,
    covers,
    prefix_order,
    sorted_prefixes,
)
from ansible_collections.homelab.fabric.plugins.module_utils.wg import LivePeer, live_peer, peer_text


class Route(NamedTuple):
    """A route of the router's main table. `gateway`: whether it leads to another router."""

    prefix: str
    device: str
    gateway: bool


class Live(NamedTuple):
    """The interface as it runs. `known`: netifd has it; `up`: and says that it is up; `exists`: the kernel has it.

    `routes` are those into the tunnel, `told` those that netifd made itself.
    """

    known: bool
    up: bool
    exists: bool
    public_key: str
    listen_port: int
    peers: dict[str, LivePeer]
    mtu: int
    addresses: tuple[str, ...]
    routes: tuple[str, ...]
    told: tuple[str, ...]


class Step(NamedTuple):
    """A command, whom it is about, and its standard input, which may hold preshared keys."""

    command: list[str]
    about: str = ""
    stdin: str = ""

    @property
    def text(self) -> str:
        return shlex.join(self.command) + (f"  # {self.about}" if self.about else "")


# Reading


def parse_live(parts: Mapping[str, str]) -> Live:
    """`parts`: what the read script shows under status, wg, link and own."""
    status = parse_status(parts["status"])
    lines = [line.split("\t") for line in parts["wg"].splitlines()]
    interface = lines[0] if lines else ["", "", "0", ""]
    mtu = re.search(r"\bmtu (\d+)", parts["link"])
    found = re.findall(r"\binet6? (\S+)(?=.* scope (\S+))", parts["link"])
    return Live(
        known=bool(status),
        up=bool(status.get("up")),
        exists=bool(mtu),
        public_key=interface[1],
        listen_port=int(interface[2]),
        peers=dict(live_peer(line) for line in lines[1:]),
        mtu=int(mtu.group(1)) if mtu else 0,
        # Link-local addresses come with the interface.
        addresses=sorted_prefixes(str(ipaddress.ip_interface(text)) for text, scope in found if scope != "link"),
        routes=sorted_prefixes(route.prefix for route in parse_routes(parts["own"], "own")),
        told=sorted_prefixes(f"{route['target']}/{route['mask']}" for route in status.get("route", ())),
    )


def parse_status(text: str) -> dict[str, Any]:
    """The answer of `ubus call network.interface.NAME status`; empty where netifd has no such interface."""
    try:
        status = json.loads(text)
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}


def parse_routes(text: str, device: str = "") -> list[Route]:
    """The lines of `ip -4 route show` and `ip -6 route show`, each family under a line with its number.

    `device`: the one that was asked for, which only busybox's `ip` then repeats.
    """
    routes, version = [], "4"
    for line in text.splitlines():
        words = line.split()
        if line in ("4", "6"):
            version = line
        elif words and ("dev" in words or device):
            network = parse_network(words[0].replace("default", "0.0.0.0/0" if version == "4" else "::/0"))
            if network:
                way = device or words[words.index("dev") + 1]
                routes.append(Route(network, way, "via" in words))
    return routes


def parse_networks(text: str, name: str) -> dict[str, str]:
    """The networks of all addresses in the output of `ip addr show`, with their devices; not those of `name`."""
    networks, device = {}, ""
    for line in text.splitlines():
        header = re.match(r"\d+: ([^:@]+)", line)
        device = header.group(1) if header else device
        address = re.match(r"\s+inet6? (\S+).* scope (?!link)", line)
        if address and device != name:
            networks[str(ipaddress.ip_interface(address.group(1)).network)] = device
    return networks


def client_of(parts: Mapping[str, str]) -> str | None:
    """The address from which this run is connected."""
    words = parts["client"].split()
    return words[0].partition("%")[0] if words else None


# Deciding


def is_set_up(live: Live, target: Tunnel, public_key: str | None) -> bool:
    """Whether the interface itself runs as it is configured, whatever its peers."""
    return (
        live.up
        and live.exists
        and live.public_key == public_key
        and live.listen_port == (target.listen_port or live.listen_port)
        and live.mtu == (target.mtu or live.mtu)
        and set(live.addresses).issuperset(target.addresses)
    )


def carries_itself(target: Tunnel) -> bool:
    """Whether the tunnel's own packets would be routed into it, but for the host routes that netifd makes at set-up."""
    routes = target.routes or ()
    dialled = [peer.endpoint for peer in target.peers if peer.endpoint]
    return any(route.endswith("/0") for route in routes if dialled) or any(
        not endpoint.is_name and covers(route, endpoint.host) for endpoint in dialled for route in routes
    )


class Changes(NamedTuple):
    """The live steps, and notes of what a run that is cut short leaves to the next one."""

    steps: list[Step]
    notes: list[str]


def live_changes(
    before: Sections, after: Iterable[str], target: Tunnel, live: Live, notes: Sequence[str], tables: Mapping[str, str]
) -> Changes:
    """For an interface that runs. `before`: the configuration until now; `after`: the routes that netifd would make of
    the new one; `notes`: those of an earlier run; `tables`: IP version → routing table, where it is not the main one.
    """
    name = target.name
    sections = {peer.public_key: peer for peer in map(peer_of, peer_sections(before, name)) if peer}
    changed, dialled = _changed_peers(sections, target, live, noted(notes, "peer"))
    there = {peer.public_key for peer in target.peers}
    gone = [key for key in live.peers if key not in there]
    steps = []
    if changed:
        text = "\n".join(peer_text(peer, peer.public_key in dialled) for peer in changed)
        about = ", ".join(peer.name for peer in changed)
        steps.append(Step(["wg", "addconf", name, "/dev/stdin"], about, text))
    if gone:
        words = [word for key in gone for word in ("peer", key, "remove")]
        about = ", ".join(sections[key].name if key in sections else key for key in gone)
        steps.append(Step(["wg", "set", name, *words], about))
    leaving = _leaving_routes(before, after, target, live, notes)
    coming = [prefix for prefix in target.routes or () if prefix not in live.routes]
    # As netifd does, which may have been quicker.
    steps += [_route("replace", prefix, name, tables) for prefix in coming]
    steps += [_route("del", prefix, name, tables) for prefix in leaving]
    touched = sorted({*gone, *dialled, *(str(peer.public_key) for peer in changed)})
    return Changes(steps, [f"peer {key}" for key in touched] + [f"route {prefix}" for prefix in leaving])


def noted(notes: Iterable[str], kind: str) -> set[str]:
    """The keys (kind `peer`) or prefixes (`route`) that a run which was cut short may have left behind."""
    return {note.partition(" ")[2] for note in notes if note.startswith(f"{kind} ")}


def _changed_peers(
    sections: Mapping[str | None, Peer], target: Tunnel, live: Live, unfinished: set[str]
) -> tuple[list[Peer], set[str]]:
    """Peers of ours that are not live as they shall be, and the keys of those whose endpoint must be set.

    A live endpoint that differs from the configuration is a peer that roamed, or a name's address. It is set only if
    the configuration's own changes.
    """
    changed, dialled = [], set()
    for peer in target.peers:
        key = str(peer.public_key)
        if not peer.ours:
            continue
        there, configured = live.peers.get(key), sections.get(key)
        dial = peer.endpoint and (
            there is None
            or there.endpoint is None
            or key in unfinished
            or (configured is not None and configured.endpoint != peer.endpoint)
        )
        if dial:
            dialled.add(key)
        wanted = (peer.preshared_key or Secret(""), peer.allowed_ips, peer.keepalive)
        if dial or there is None or wanted != (there.preshared_key, there.allowed_ips, there.keepalive):
            changed.append(peer)
    return changed, dialled


def _leaving_routes(
    before: Sections, after: Iterable[str], target: Tunnel, live: Live, notes: Sequence[str]
) -> list[str]:
    """Live routes of ours that nobody wants any more: of the old configuration, of netifd, or noted. Others stay."""
    ours = installed_routes(before, target.name) | set(live.told) | noted(notes, "route")
    stay = set(after) | set(target.routes or ()) | set(target.networks)
    return [prefix for prefix in live.routes if prefix in ours - stay]


def _route(verb: str, prefix: str, name: str, tables: Mapping[str, str]) -> Step:
    version = "6" if ":" in prefix else "4"
    table = ["table", tables[version]] if tables.get(version) else []
    return Step(["ip", f"-{version}", "route", verb, prefix, "dev", name, *table])


def best_way(routes: Iterable[Route], host: str) -> Route | None:
    """The route that packets to an address take."""
    holding = [route for route in routes if covers(route.prefix, host)]
    return max(holding, key=lambda route: prefix_order(route.prefix)[2], default=None)


# Refusing


def check_routes(target: Tunnel, live: Live, routes: Sequence[Route], client: str | None) -> None:
    """No new route may take the router's own network into the tunnel, or this run's own connection (TunnelError)."""
    others = [route for route in routes if route.device != target.name]
    for argument, prefix in _coming(target, live):
        near = next((way for way in others if way.prefix == prefix and not way.gateway), None)
        if near and not prefix.endswith("/0"):
            raise _on_device(argument, prefix, near.device)
        if client and covers(prefix, client):
            _check_way_home(prefix, target.name, best_way(routes, client), client)


def check_elsewhere(target: Tunnel, live: Live, routes: Sequence[Route], networks: Mapping[str, str]) -> None:
    """Nor may it take hosts of another device's network, or what goes by another router until now (TunnelError).

    `networks`: as of parse_networks. A wider prefix takes none of them: their own routes are longer.
    """
    for argument, prefix in _coming(target, live):
        for network, device in networks.items():
            if covers(network, prefix):
                raise _on_device(argument, prefix, device, network)
        # A default route is meant to change, and netifd sees to the packets of the tunnel itself.
        same = [way for way in routes if way.prefix == prefix and way.gateway and way.device != target.name]
        if same and not prefix.endswith("/0"):
            raise TunnelError(
                argument,
                f"{prefix} goes by another router on {same[0].device} already",
                f"remove that route (`ip route del {prefix}`, and its section `route` in /etc/config/network), or "
                "leave the prefix out of allowed_ips",
            )


def _coming(target: Tunnel, live: Live) -> Iterator[tuple[str, str]]:
    """Prefixes that will lead into the tunnel and do not yet, each with the argument that it is of."""
    several = [("routes", prefix) for prefix in target.routes or ()]
    several += [("addresses", network) for network in target.networks if not network.startswith("fe80:")]
    return ((argument, prefix) for argument, prefix in several if prefix not in live.routes)


def _on_device(argument: str, prefix: str, device: str, network: str | None = None) -> TunnelError:
    within = "" if network in (None, prefix) else f", in {network}"
    return TunnelError(
        argument,
        f"{prefix} is on {device} of this router already{within}, which would lose it",
        "one of two networks with the same addresses has to be renumbered, or left out of allowed_ips",
    )


def _check_way_home(prefix: str, name: str, present: Route | None, client: str) -> None:
    if present is None or present.device == name:
        return
    if prefix_order(present.prefix)[2] <= prefix_order(prefix)[2]:
        raise TunnelError(
            "routes",
            f"{prefix} holds {client}, from which this run is connected: it would cut itself off",
            "leave that prefix out, or run the playbook from within the tunnel",
        )
