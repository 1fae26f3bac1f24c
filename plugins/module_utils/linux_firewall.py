# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Linux host forwards for a tunnel: texts for nft, iptables and wg-quick's hooks. Pure.

An nftables table of the tunnel's own decides. What comes out of the tunnel may go to `forward_to`, answers may
return, and if `forward_to` is given the rest of it is dropped; sources in `masquerade` leave under the host's
address, also when they go back into the tunnel, but not to each other. Road warriors have rights of their own
(client_access.py). Other traffic is not touched.

That table cannot overrule a drop in another one (an nft verdict ends its own chain only), and UFW and Docker set
iptables' FORWARD policy to DROP. So the same traffic is accepted at the head of that chain as well. UFW appends its
chains behind it and leaves it alone on reload (/usr/lib/ufw/ufw-init-functions, MANAGE_BUILTINS=no); Docker
puts its chains before it, and they return what is not for a container (docs.docker.com, firewall-iptables).
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import dataclass
from typing import Iterable, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.client_access import (
    ClientAccess,
    forward_rules,
    input_rules,
    masquerade_rules,
    nft_set,
    rights_chains,
)
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError, prefix_order, sorted_prefixes

FAMILIES = {4: ("ip", "iptables"), 6: ("ip6", "ip6tables")}
"""IP version → its word in nft, its tool."""
FORWARDING = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
"""IP version → the switch below /proc/sys/net."""


class Rule(NamedTuple):
    """An accept rule for iptables or ip6tables. The comment, which names its purpose, is its identity."""

    tool: str
    chain: str
    match: tuple[str, ...]
    comment: str

    def command(self, action: str) -> list[str]:
        """`action` is -C, -I or -D."""
        comment = ("-m", "comment", "--comment", self.comment)
        return [self.tool, "-w", action, self.chain, *self.match, *comment, "-j", "ACCEPT"]


@dataclass(frozen=True)
class Firewall:
    """The part of a tunnel that concerns the host's packet filter."""

    name: str
    forward_to: tuple[str, ...] = ()
    masquerade: tuple[str, ...] = ()
    open_port: int | None = None
    versions: frozenset[int] = frozenset()
    """IP versions of what is forwarded."""
    clients: ClientAccess | None = None

    @property
    def forwards(self) -> bool:
        return bool(self.forward_to or self.masquerade or self.clients)

    @property
    def table(self) -> str:
        return f"homelab_{self.name}"

    @property
    def interfaces(self) -> tuple[str, ...]:
        return tuple(item for item in self.forward_to if not is_prefix(item))


def firewall_of(tunnel: Tunnel, clients: ClientAccess | None = None) -> Firewall:
    """Raises TunnelError for what Linux's packet filter cannot hold."""
    for item in tunnel.forward_to:
        if not is_prefix(item) and not re.fullmatch(r"[A-Za-z0-9_.@=-][A-Za-z0-9_.@=+-]{0,14}", item):
            raise TunnelError(
                "forward_to", f"{item!r} is not the name of an interface on Linux", "`ip link` lists the names"
            )
    if tunnel.open_port and not tunnel.listen_port:
        raise TunnelError("open_port", "the port is not known", "set listen_port, usually 51820")
    return Firewall(
        tunnel.name,
        tunnel.forward_to,
        tunnel.masquerade,
        tunnel.listen_port if tunnel.open_port else None,
        _versions(tunnel) | (clients.versions if clients else frozenset()),
        clients,
    )


def _versions(tunnel: Tunnel) -> frozenset[int]:
    spoken = _of_prefixes((*tunnel.addresses, *(prefix for peer in tunnel.peers for prefix in peer.allowed_ips)))
    if not tunnel.forward_to:
        return spoken & _of_prefixes(tunnel.masquerade)
    if any(not is_prefix(item) for item in tunnel.forward_to):
        return spoken
    return spoken & _of_prefixes(tunnel.forward_to)


def _of_prefixes(prefixes: Iterable[str]) -> frozenset[int]:
    return frozenset(prefix_order(prefix)[0] for prefix in prefixes)


def is_prefix(item: str) -> bool:
    """Whether an item of `forward_to` is a prefix, not an interface (whose name never holds a slash)."""
    return "/" in item


def _by_version(items: Iterable[str]) -> dict[int, str]:
    """The prefixes among the items as nft sets."""
    prefixes = [item for item in items if is_prefix(item)]
    sets = {version: nft_set(prefixes, version) for version in FAMILIES}
    return {version: text for version, text in sets.items() if text}


def nft_rules(firewall: Firewall) -> dict[str, list[str]]:
    """Chain head → rules, without comments."""
    chains: dict[str, list[str]] = {}
    clients = firewall.clients
    from_tunnel = [f'iifname != "{firewall.name}" accept', "ct state established,related accept"]
    if firewall.forward_to or clients:
        rules = from_tunnel + (forward_rules(clients) if clients else [])
        if firewall.interfaces:
            names = ", ".join(f'"{name}"' for name in firewall.interfaces)
            rules.append(f"oifname {{ {names} }} accept")
        targets = _by_version(firewall.forward_to)
        rules += [f"{FAMILIES[version][0]} daddr {nets} accept" for version, nets in targets.items()]
        chains[_base_chain("forward", "filter", -10)] = rules + (["drop"] if firewall.forward_to else [])
    to_host = input_rules(clients) if clients else []
    if to_host:
        chains[_base_chain("input", "filter", -10)] = from_tunnel + to_host
    sources = _by_version(firewall.masquerade)
    leaving = [
        f"{family} saddr {nets} {family} daddr != {nets} masquerade"
        for family, nets in ((FAMILIES[version][0], nets) for version, nets in sources.items())
    ]
    leaving += masquerade_rules(clients, firewall.name) if clients else []
    if leaving:
        chains[_base_chain("postrouting", "nat", 100)] = leaving
    chains.update((f"{name} {{", rules) for name, rules in (rights_chains(clients) if clients else {}).items())
    return chains


def _base_chain(hook: str, kind: str, priority: int) -> str:
    return f"{hook} {{ type {kind} hook {hook} priority {priority}; policy accept;"


def nft_script(firewall: Firewall) -> str:
    """The file that `nft -f` loads: replaces the whole table in one transaction."""
    chains, comment = nft_rules(firewall), nft_comment(firewall)
    header = json.dumps({"forward_to": firewall.forward_to, "masquerade": firewall.masquerade})
    lines = [f"# homelab.fabric {header}", f"table inet {firewall.table}", f"delete table inet {firewall.table}"]
    lines.append(f"table inet {firewall.table} {{")
    for head, rules in chains.items():
        lines += [f"\tchain {head}", *(f'\t\t{rule} comment "{comment}"' for rule in rules), "\t}"]
    return "\n".join([*lines, "}"]) + "\n"


def nft_header(script: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`forward_to` and `masquerade` that a script of ours was made for; empty if it is none of ours."""
    match = re.match(r"# homelab\.fabric (\{.*\})\n", script)
    try:
        header = json.loads(match.group(1)) if match else {}
        return tuple(header.get("forward_to", ())), tuple(header.get("masquerade", ()))
    except (ValueError, AttributeError):
        return (), ()


def nft_comment(firewall: Firewall) -> str:
    """Stands at every rule, so that a table that was loaded from another file, or lost rules, is found out."""
    digest = hashlib.sha256(json.dumps(nft_rules(firewall)).encode()).hexdigest()
    return f"homelab.fabric {digest[:16]}"


def nft_is_loaded(firewall: Firewall, listing: str) -> bool:
    """Whether `nft -j list table` shows the table that the script makes."""
    items = json.loads(listing)["nftables"] if listing else []
    comments = [item["rule"].get("comment") for item in items if "rule" in item]
    expected = sum(map(len, nft_rules(firewall).values()))
    return comments == [nft_comment(firewall)] * expected


def iptables_rules(firewall: Firewall) -> list[Rule]:
    """What must pass the FORWARD and INPUT chains of a host whose firewall drops by default."""
    name, rules = firewall.name, []
    for version in sorted(firewall.versions) if firewall.forwards else ():
        tool = FAMILIES[version][1]
        back = ("-o", name, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED")
        rules.append(Rule(tool, "FORWARD", back, f"{rule_prefix(name)}back"))
        if firewall.forward_to:
            rules.append(Rule(tool, "FORWARD", ("-i", name), f"{rule_prefix(name)}from"))
            continue
        for source in sorted_prefixes((*firewall.masquerade, *(firewall.clients.sources if firewall.clients else ()))):
            if prefix_order(source)[0] == version:
                match = ("-i", name, "-s", source)
                rules.append(Rule(tool, "FORWARD", match, f"{rule_prefix(name)}from {source}"))
    if firewall.open_port:
        match = ("-p", "udp", "--dport", str(firewall.open_port))
        comment = f"{rule_prefix(name)}port {firewall.open_port}"
        rules += [Rule(tool, "INPUT", match, comment) for word, tool in FAMILIES.values()]
    return rules


def rule_prefix(name: str) -> str:
    """What the comments of all rules for an interface begin with."""
    return f"homelab.fabric {name} "


def listed_rules(name: str, tool: str, listing: str) -> dict[str, list[str]]:
    """Comment → the command that deletes the rule, of an interface's rules in the output of `iptables -S`."""
    found: dict[str, list[str]] = {}
    for line in listing.splitlines():
        if rule_prefix(name) not in line:
            continue
        words = shlex.split(line)
        comment = words[words.index("--comment") + 1]
        if words[0] == "-A" and comment.startswith(rule_prefix(name)):
            found[comment] = [tool, "-w", "-D", *words[1:]]
    return found


def switch_on(version: int) -> str:
    """Shell that turns forwarding on, live. It is never turned off: others may need it.

    With forwarding on, Linux ignores router advertisements unless accept_ra is 2 (ip-sysctl.txt), and drops the
    default route it learned from one: a server that gets its IPv6 route that way would lose it.
    """
    switch = f"/proc/sys/net/{FORWARDING[version]}"
    if version == 4:
        return f"echo 1 > {switch}"
    keep = 'for f in /proc/sys/net/ipv6/conf/*/accept_ra; do [ "$(cat $f)" != 1 ] || echo 2 > $f; done'
    return f'[ "$(cat {switch})" != 0 ] || {{ {keep}; echo 1 > {switch}; }}'


def hooks(firewall: Firewall, nft_file: str) -> list[str]:
    """Lines of ``[Interface]``: the table is there before the interface is; all goes with it, in the same order.

    A filter table that cannot be loaded keeps the interface down. A rule that only opens may fail: it never keeps
    the interface down, nor `wg-quick down` from ending.
    """
    lines = []
    if firewall.forwards:
        lines += [f"PreUp = nft -f {nft_file}"]
        lines += [f"PostUp = {switch_on(version)}" for version in sorted(firewall.versions)]
    rules = iptables_rules(firewall)
    for rule in rules:
        check, insert = shlex.join(rule.command("-C")), shlex.join(rule.command("-I"))
        lines.append(f"PostUp = {check} 2> /dev/null || {insert} || true")
    lines += [f"PostDown = {shlex.join(rule.command('-D'))} 2> /dev/null || true" for rule in rules]
    if firewall.forwards:
        lines.append(f"PostDown = nft delete table inet {firewall.table} 2> /dev/null || true")
    return lines


def identities(rules: Iterable[Rule]) -> set[tuple[str, str]]:
    """Tool and comment of each rule."""
    return {(rule.tool, rule.comment) for rule in rules}


def rules_taken_down(own_lines: Iterable[str]) -> set[tuple[str, str]]:
    """Tool and comment of the rules that `wg-quick down` removes by our lines of a file."""
    words = [shlex.split(line) for line in own_lines if line.startswith("PostDown = ip") and "--comment" in line]
    return {(line[2], line[line.index("--comment") + 1]) for line in words}


def table_taken_down(own_lines: Iterable[str]) -> bool:
    """Whether `wg-quick down` removes the nft table by our lines of a file."""
    return any(line.startswith("PostDown = nft delete table") for line in own_lines)


def hooked(own_lines: Iterable[str]) -> bool:
    """Whether our lines of a file say that a firewall of ours is in use."""
    return any("nft" in line or "tables" in line for line in own_lines)


def opened_port(own_lines: Iterable[str]) -> bool:
    """Whether our lines of a file open the listen port."""
    return any("--dport" in line for line in own_lines)
