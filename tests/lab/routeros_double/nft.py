"""The firewall as one nftables script: chain order, first match, jumps, matchers and NAT that people use.

A rule that cannot be carried over is left out and named in `Ruleset.complaints`; then packets do not show what it does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .menus import LISTS
from .routes import up
from .tree import Tree

KernelName = Callable[[str], str | None]  # interface id → the kernel's name, None when it has no device

_HOOKS = {
    ("filter", "input"): "filter hook input priority 0",
    ("filter", "forward"): "filter hook forward priority 0",
    ("filter", "output"): "filter hook output priority 0",
    ("nat", "dstnat"): "nat hook prerouting priority -100",
    ("nat", "srcnat"): "nat hook postrouting priority 100",
    ("nat", "input"): "nat hook input priority 100",
    ("nat", "output"): "nat hook output priority -100",
}
#: RouterOS's names of IP protocols, with their numbers.
_PROTOCOLS = dict(
    re.findall(
        r"(\S+)=(\d+)",
        """
        icmp=1 igmp=2 ggp=3 ipencap=4 st=5 tcp=6 egp=8 pup=12 udp=17 hmp=20 xns-idp=22 rdp=27 iso-tp4=29 dccp=33 xtp=36
        ddp=37 idpr-cmtp=38 ipv6-encap=41 ipv6-route=43 ipv6-frag=44 rsvp=46 gre=47 ipsec-esp=50 ipsec-ah=51 icmpv6=58
        ipv6-nonxt=59 ipv6-opts=60 rspf=73 vmtp=81 ospf=89 ipip=94 etherip=97 encap=98 pim=103 vrrp=112 l2tp=115
        sctp=132 udp-lite=136
        """,
    )
)
_REJECTS = {
    "icmp-admin-prohibited": "admin-prohibited",
    "icmp-host-prohibited": "host-prohibited",
    "icmp-host-unreachable": "host-unreachable",
    "icmp-net-prohibited": "net-prohibited",
    "icmp-network-unreachable": "net-unreachable",
    "icmp-port-unreachable": "port-unreachable",
    "icmp-protocol-unreachable": "prot-unreachable",
    "icmp-address-unreachable": "addr-unreachable",
    "icmp-no-route": "no-route",
}
_FLAGS = {"ece": "ecn"}
#: Properties that match nothing, or whose effect is seen nowhere but in a log.
_NO_MATCHERS = frozenset(
    {"chain", "action", "comment", "disabled", "log", "log-prefix", "jump-target", "reject-with", "hw-offload"}
    | {"address-list", "address-list-timeout", "to-addresses", "to-ports", "randomise-ports"}
)
#: Actions after which the next rule is looked at. fasttrack-connection needs its accept rule on the device too.
_CONTINUES = frozenset(["passthrough", "log", "fasttrack-connection"])


class _NoMatch(Exception):
    """No packet can match the rule: its interface has no device, or its list is empty."""


class _NotCarried(Exception):
    """The data plane cannot do this."""


@dataclass
class Ruleset:
    script: str = ""
    complaints: list[str] = field(default_factory=list)


def ruleset(tree: Tree, kernel: KernelName) -> Ruleset:
    """The script that replaces the firewall of both families at once."""
    result = Ruleset()
    for family, table in ((4, "ip"), (6, "ip6")):
        prefix = "/ip/firewall" if family == 4 else "/ipv6/firewall"
        result.script += f"table {table} routeros\ndelete table {table} routeros\ntable {table} routeros {{\n"
        for menu in ("filter", "nat") if family == 4 else ("filter",):
            result.script += _Menu(tree, kernel, family, f"{prefix}/{menu}", menu, result.complaints).chains()
        result.script += "}\n"
    return result


@dataclass
class _Menu:
    tree: Tree
    kernel: KernelName
    family: int
    path: str
    kind: str
    complaints: list[str]
    names: dict[str, str] = field(default_factory=dict)

    def chains(self) -> str:
        rules: dict[str, list[str]] = {}
        for row in self.tree.table(self.path):
            if row.values.get("disabled") == "true":
                continue
            chain = self.chain(row.values["chain"])
            try:
                rules.setdefault(chain, []).extend(self.rule(row.values))
            except _NoMatch:
                continue
            except _NotCarried as refusal:
                self.complaints.append(f"{self.path} {row.id}: {refusal} is not acted out; the rule is left out")
        text = ""
        for name in dict.fromkeys([*self.names.values(), *rules]):
            hook = next((hook for (kind, base), hook in _HOOKS.items() if name == f"{kind}_{base}"), "")
            lines = [f"type {hook}; policy accept;"] if hook else []
            text += f" chain {name} {{\n" + "".join(f"  {line}\n" for line in [*lines, *rules.get(name, [])]) + " }\n"
        return text

    def chain(self, name: str) -> str:
        """The nftables name of a chain. Users' names may hold anything, so those are numbered."""
        if (self.kind, name) in _HOOKS:
            return f"{self.kind}_{name}"
        return self.names.setdefault(name, f"{self.kind}_user{len(self.names)}")

    def rule(self, values: dict[str, str]) -> list[str]:
        verdict = self.verdict(values)
        if verdict is None:
            return []
        alternatives = [""]
        # The protocol comes first: nftables looks at ports only once it knows it.
        for name in sorted(values, key=lambda name: name != "protocol"):
            if name in _NO_MATCHERS:
                continue
            text = values[name]
            matches = self.ports(text) if name == "port" else [self.match(name, text)]
            alternatives = [f"{one} {match}" for one in alternatives for match in matches]
        return [f"{one} {verdict}".strip() for one in alternatives]

    def match(self, name: str, text: str) -> str:
        unequal = "!= " if text.startswith("!") else ""
        bare = text.removeprefix("!")
        family = "ip" if self.family == 4 else "ip6"
        if name in ("in-interface", "out-interface", "in-interface-list", "out-interface-list"):
            return self.links("iifname" if name.startswith("in") else "oifname", name.endswith("list"), bare, unequal)
        if name in ("src-address", "dst-address"):
            return f"{family} {name[0]}addr {unequal}{bare}"
        if name == "protocol":
            return f"meta l4proto {unequal}{_PROTOCOLS.get(bare, bare)}"
        if name in ("src-port", "dst-port"):
            return f"th {name[0]}port {unequal}{{ {bare} }}"
        if name == "connection-state":
            return f"ct state {unequal}{{ {bare} }}"
        if name == "connection-nat-state" and not bare.startswith("ein"):
            return f"ct status {'! ' if unequal else ''}{bare.replace('srcnat', 'snat').replace('dstnat', 'dnat')}"
        if name in ("src-address-type", "dst-address-type") and "," not in bare:
            return f"fib {name[0]}addr type {unequal}{bare}"
        if name == "tcp-flags":
            return _flags(text)
        options = re.fullmatch(r"(\d+)(?::(\d+)(?:-(\d+))?)?", bare) if name == "icmp-options" and not unequal else None
        if options:
            protocol = "icmp" if self.family == 4 else "icmpv6"
            kind, low, high = options.groups()
            code = f" {protocol} code {low}-{high or low}" if low and (low, high) != ("0", "255") else ""
            return f"{protocol} type {kind}{code}"
        raise _NotCarried(f"{name}={text}")

    def ports(self, text: str) -> list[str]:
        source, destination = self.match("src-port", text), self.match("dst-port", text)
        return [f"{source} {destination}"] if text.startswith("!") else [source, destination]

    def links(self, keyword: str, is_list: bool, bare: str, unequal: str) -> str:
        found = self.members(bare, set()) if is_list else self.interfaces(bare)
        if found is None or not found:
            # Every interface, or none: the matcher says nothing, or nothing matches.
            if (found is None) == bool(unequal):
                raise _NoMatch
            return ""
        names = ", ".join(f'"{name}"' for name in sorted(found))
        return f"{keyword} {unequal}{{ {names} }}"

    def interfaces(self, name: str) -> set[str]:
        types = {"all-ethernet": "ether", "all-vlan": "vlan", "all-ppp": "ppp", "all-wireless": "wlan"}
        rows = self.tree.table("/interface")
        ids = [row.id for row in rows if row.values["type"] == types[name]] if name in types else [name]
        return {kernel for kernel in map(self.kernel, ids) if kernel is not None}

    def members(self, list_id: str, seen: set[str]) -> set[str] | None:
        """The kernel's names of a list's interfaces; None means every interface."""
        row = self.tree.table(LISTS).get(list_id)
        if row is None or list_id in seen:
            return set()
        if row.values["name"] in ("all", "static") and "builtin" in row.values:
            return None
        found = set()
        for member in self.tree.table("/interface/list/member"):
            link = member.values["interface"]
            if member.values["list"] == list_id and member.values.get("disabled") != "true" and up(self.tree, link):
                found |= self.interfaces(link)
        for other in filter(None, row.values.get("include", "").split(",")):
            included = self.members(other, seen | {list_id})
            if included is None:
                return None
            found |= included
        for other in filter(None, row.values.get("exclude", "").split(",")):
            found -= self.members(other, seen | {list_id}) or set()
        return found

    def verdict(self, values: dict[str, str]) -> str | None:
        action = values["action"]
        if action in _CONTINUES:
            return None
        if action in ("accept", "drop", "return"):
            return action
        if action == "tarpit":
            return "drop"
        if action == "jump":
            return f"jump {self.chain(values['jump-target'])}"
        if action == "reject":
            return self.reject(
                values.get("reject-with", "icmp-network-unreachable" if self.family == 4 else "icmp-no-route")
            )
        address, port = values.get("to-addresses", ""), values.get("to-ports", "").replace(",", "-")
        target = f"{address}:{port}" if address and port else address or (f":{port}" if port else "")
        if action in ("masquerade", "redirect"):
            return action + (f" to :{port}" if port else "")
        if action in ("src-nat", "dst-nat") and target and "/" not in target:
            return f"{action[0]}nat to {target}"
        raise _NotCarried(f"action={action}")

    def reject(self, code: str) -> str:
        if code == "tcp-reset":
            return "meta l4proto tcp reject with tcp reset"
        if code not in _REJECTS:
            raise _NotCarried(f"reject-with={code}")
        return f"reject with {'icmp' if self.family == 4 else 'icmpv6'} type {_REJECTS[code]}"


def _flags(text: str) -> str:
    flags = text.split(",")
    names = [_FLAGS.get(flag.removeprefix("!"), flag.removeprefix("!")) for flag in flags]
    wanted = [name for name, flag in zip(names, flags, strict=True) if not flag.startswith("!")]
    return f"tcp flags & ({' | '.join(names)}) == {' | '.join(wanted) or '0x0'}"
