# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GL.iNet's firmware leaves to its owner: a rule's list of prefixes and its place, the router's own packets. Pure.

The firmware marks LAN clients' packets for a tunnel, never the router's own to the same prefixes, its answers through
the tunnel included. With fw3 (iptables) a rule in LOCAL_POLICY marks them, which rtp2.sh deletes and
/etc/firewall.user makes again; with fw4 (nftables) a chain of our own. What is so marked has the address of WAN still,
so it is given the tunnel's.

A mark wins over a longer prefix of the main table. So the networks that the router is in are left out of every mark,
and its answers from WAN's own address are never marked, whatever network WAN gets later: who asked there is there.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.glinet_shell import LISTS, TABLE_FOLDER, USER_FILE
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_live import parse_routes
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_shell import fed
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import Line, Section
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER
from ansible_collections.homelab.fabric.plugins.module_utils.values import sorted_prefixes

MASK = "0xf000"


class Near(NamedTuple):
    """The IPv4 networks in which the router has an address, and those of them that do not lead to the Internet."""

    networks: tuple[str, ...]
    lans: tuple[str, ...]


def parse_near(text: str) -> Near:
    """`text`: what the read script shows under routes. The kernel's own routes to such networks name that address."""
    outside = {route.device for route in parse_routes(text) if route.prefix == "0.0.0.0/0"}
    lines = [line for line in text.splitlines() if line in ("4", "6") or "src" in line.split()]
    routes = [
        route
        for route in parse_routes("\n".join(lines))
        if not (route.gateway or ":" in route.prefix or route.prefix.endswith("/0") or "wgclient" in route.device)
    ]
    return Near(
        sorted_prefixes(route.prefix for route in routes),
        sorted_prefixes(route.prefix for route in routes if route.device not in outside),
    )


def marked(prefixes: Iterable[str], near: Near) -> tuple[str, ...]:
    """The IPv4 prefixes less the router's own networks in them. One that is such a network stays, and a default route.

    Never empty where there was a prefix: a rule without one takes everything.
    """
    whole = [ipaddress.IPv4Network(prefix) for prefix in prefixes if ":" not in prefix]
    left = [network for network in whole if network.prefixlen]
    for hole in map(ipaddress.IPv4Network, near.networks):
        inside = [network for network in left if hole not in whole and hole.subnet_of(network)]
        left = [network for network in left if network not in inside]
        left += [part for network in inside for part in network.address_exclude(hole)]
    left += [network for network in whole if not network.prefixlen]
    return sorted_prefixes(map(str, left or whole))


class Own(NamedTuple):
    """How the router's own packets get into the tunnel: a file's text, and what shows that it has been loaded."""

    text: str
    loaded: list[str]


def mark(name: str) -> str:
    """The firmware's mark for packets into a client interface."""
    return f"0x{name[-1]}000"


def own_packets(name: str, prefixes: Iterable[str], lans: Sequence[str], newer_firewall: bool) -> Own:
    """For these prefixes of IPv4; none: no file. A default route is left out, for DNS has to work without it.

    `lans`: networks whose addresses stay as they are, for the hub knows them, or it shows that it does not.
    """
    targets = [prefix for prefix in prefixes if not prefix.endswith("/0")]
    if not targets:
        return Own("", [])
    return _nft(name, targets, lans) if newer_firewall else _iptables(name, targets, lans)


def _iptables(name: str, targets: Sequence[str], lans: Sequence[str]) -> Own:
    loaded = [
        f"-A LOCAL_POLICY -d {t} -m mark --mark 0x0/{MASK} -j MARK --set-xmark {mark(name)}/{MASK}" for t in targets
    ]
    # Before it is marked, an answer from WAN's address would leave through the interface that has this address. What
    # has to be first is put there (-I): meanwhile rtp2.sh may make LOCAL_POLICY anew, and fw3 run this a second time.
    answers = "-I LOCAL_POLICY -m conntrack --ctdir REPLY -m addrtype --src-type LOCAL --limit-iface-out -j RETURN"
    chain = _source_chain(name)
    commands = [
        *(_once(f"-t mangle {rule}") for rule in (answers, *loaded)),
        f"iptables -t nat -N {chain} 2>/dev/null || iptables -t nat -F {chain}",
        f"iptables -t nat -A {chain} -j MASQUERADE",
        *(f"iptables -t nat -I {chain} -s {lan} -j RETURN" for lan in lans),
        _once(f"-t nat {_source(name)}"),
    ]
    return Own("\n".join(f"{command} # {MARKER}{name}" for command in commands), loaded)


def _once(rule: str) -> str:
    present = re.sub(" -[AI] ", " -C ", rule, count=1)
    return f"iptables {present} 2>/dev/null || iptables {rule} 2>/dev/null"


def _source(name: str) -> str:
    # Forwarded packets have no socket.
    return f"-A POSTROUTING -o {name} -m owner --socket-exists -j {_source_chain(name)}"


def _source_chain(name: str) -> str:
    return f"fabric_{name}"


def _nft(name: str, targets: Sequence[str], lans: Sequence[str]) -> Own:
    # A rule each: within one set, prefixes must not overlap.
    act = f"meta mark & {MASK} == 0 meta mark set meta mark & 0xffff0fff | {mark(name)}"
    rules = "".join(f"    ip daddr {target} {act}\n" for target in targets)
    kept = "".join(f"    ip saddr {lan} return\n" for lan in lans)
    text = f"""# {MARKER}{name}: the router's own packets into the tunnel
chain fabric_{name} {{
    type route hook output priority mangle; policy accept;
    ct direction reply fib saddr . oif type local return
{rules}}}
chain fabric_{name}_source {{
    type nat hook postrouting priority srcnat; policy accept;
{kept}    oifname "{name}" fib saddr type local masquerade
}}"""
    shown = [target[: -len("/32")] if target.endswith("/32") else target for target in targets]
    return Own(text, [f"ip daddr {target} meta mark" for target in shown])


def table_file(name: str) -> str:
    return f"{TABLE_FOLDER}/90-fabric-{name}.nft"


def write_own(name: str, own: Own, newer_firewall: bool) -> Line:
    """The command that writes it, or takes it away."""
    if newer_firewall:
        path = table_file(name)
        if not own.text:
            return Line(f"rm -f {path}", f"rm {path}")
        return write(path, own.text, f"the router's own packets into {name}")
    path = USER_FILE
    shown = f"write {path}  # the router's own packets into {name}"
    keep = f"{{ grep -sv {shlex.quote(f'# {MARKER}{name}$')} {path}; cat; }} >/etc/.fabric.new 2>$d/$n.err"
    if own.text:
        return Line(f"{fed(keep, 'fail files', own.text)}\nmv /etc/.fabric.new {path} || fail files", shown)
    chain = _source_chain(name)
    gone = [_source(name).replace("-A", "-D", 1), f"-F {chain}", f"-X {chain}"]
    off = "\n".join(f"iptables -t nat {rule} 2>/dev/null" for rule in gone)
    return Line(f"{off}\n{keep} </dev/null || fail files\nmv /etc/.fabric.new {path} || fail files", shown)


def write_list(name: str, prefixes: Sequence[str]) -> Line:
    """The command for a rule's list of prefixes."""
    return write(f"{LISTS}/{name}", "\n".join(prefixes), ", ".join(prefixes))


def remove_list(name: str) -> Line:
    return Line(f"rm -f {LISTS}/{name}", f"rm {LISTS}/{name}")


def place_of(policy: Mapping[str, Section], rule: Section | None) -> int | None:
    """Where a rule has to go that stands behind one without prefixes, which takes every packet; None: it may stay.

    One that is switched off counts: its owner may switch it on.
    """
    first = next(
        (
            place
            for place, section in enumerate(policy.values())
            if section.type == "rule" and section is not rule and section.get("to", "!").startswith("!")
        ),
        None,
    )
    behind = rule is None or (first is not None and first < list(policy).index(rule.id))
    return first if behind else None


def moved(policy: Mapping[str, Section], move: tuple[str, int]) -> dict[str, Section]:
    """The sections after `uci reorder`."""
    identity, place = move
    ids = [each for each in policy if each != identity]
    return {each: policy[each] for each in (*ids[:place], identity, *ids[place:])}


def move_rule(identity: str, place: int) -> Line:
    """`uci reorder` of a rule, after a new one has been imported, which `uci batch` would not know yet."""
    shown = f"reorder route_policy.{identity}={place}"
    return Line(f"uci -t $d/stage {shown} 2>$d/$n.err || fail uci", f"uci {shown}")


def write(path: str, text: str, about: str) -> Line:
    """The command that writes a file all at once: killed half-way, the old text stands.

    Who else reads the folder passes names with a dot over.
    """
    folder, _slash, name = path.rpartition("/")
    new = f"{folder}/.{name}.new"
    command = fed(f"mkdir -p {folder} && cat >{new} 2>$d/$n.err", "fail files", text)
    return Line(f"{command}\nmv {new} {path} || fail files", f"write {path}  # {about}")
