"""What a menu refuses or fills in beyond single arguments: names, duplicates, derived keys and networks.

Each rule gets the row as it would become and may complete it; it traps before anything is stored. `written` are the
arguments of this command. A rule marked "choice" stands on no fact: the device may be kinder, so nobody may rely on it.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from . import keys
from .tree import Row, Tree
from .versions import Version
from .words import Trap


@dataclass
class Change:
    """A row about to be added (`row` is None) or changed."""

    tree: Tree
    running: Version
    table: str
    row: Row | None
    values: dict[str, str]
    written: set[str] = field(default_factory=set)

    def others(self) -> list[Row]:
        return [row for row in self.tree.table(self.table) if row is not self.row]

    def free_name(self, stem: str) -> str:
        taken = {row.values.get("name") for row in self.others()}
        number = 1
        while f"{stem}{number}" in taken:
            number += 1
        return f"{stem}{number}"

    def unique(self, names: tuple[str, ...], message: str) -> None:
        mine = [self.values.get(name) for name in names]
        if any([row.values.get(name) for name in names] == mine for row in self.others()):
            raise Trap(message)


def _interface(change: Change) -> None:
    change.unique(("name",), "failure: already have interface with such name")


def _wireguard(change: Change) -> None:
    values = change.values
    values["type"] = "wg"
    values.setdefault("name", change.free_name("wireguard"))
    _interface(change)
    values.setdefault("private-key", keys.private())
    # Choice: an omitted port becomes a random one, so that nobody counts on 13231.
    values.setdefault("listen-port", str(20000 + secrets.randbelow(40000)))
    if change.row is None or "private-key" in change.written:
        values["public-key"] = keys.public(values["private-key"])


def _vlan(change: Change) -> None:
    change.values["type"] = "vlan"
    _interface(change)


def _peer(change: Change) -> None:
    values = change.values
    owner = change.tree.table("/interface").get(values["interface"])
    if "interface" in change.written and (owner is None or owner.values["type"] != "wg"):
        raise Trap("input does not match any value of interface", 1)
    # Choice: the same public key twice on one interface, or a name twice anywhere, is refused.
    change.unique(("interface", "public-key"), "failure: peer with such public key already exists")
    if change.running >= (7, 15):
        values.setdefault("name", change.free_name("peer"))
        change.unique(("name",), "failure: already have peer with such name")


def _ip_address(change: Change) -> None:
    values = change.values
    if "netmask" in values:
        try:
            mask = ipaddress.ip_network(f"0.0.0.0/{values.pop('netmask')}").prefixlen
        except ValueError:
            raise Trap("invalid value for argument netmask") from None
        values["address"] = f"{values['address'].partition('/')[0]}/{mask}"
    # Choice: the address may stand on no other interface either.
    change.unique(("address",), "failure: already have such address")
    # Derived at add only. After a set it stays what it was unless it is sent (choice).
    values.setdefault("network", str(ipaddress.ip_interface(values["address"]).network.network_address))


def _route(change: Change) -> None:
    if "gateway" not in change.values and "blackhole" not in change.values:
        raise Trap("missing =gateway=")
    change.values.setdefault("dst-address", "0.0.0.0/0" if change.table == "/ip/route" else "::/0")


def _rule(change: Change) -> None:
    """Choices, all of them: the device refuses these combinations too, but its words are not in the facts."""
    values = change.values
    values.setdefault("action", "accept")
    if values["action"] == "jump" and "jump-target" not in values:
        raise Trap("missing =jump-target=")
    ports = {"port", "src-port", "dst-port"} & set(values)
    if ports and values.get("protocol") not in ("tcp", "udp", "udp-lite", "dccp", "sctp", "6", "17"):
        raise Trap("failure: ports can be specified if proto is udp,tcp,udp-lite,dccp,sctp")
    inside = {"in-interface", "in-interface-list"} & set(values)
    outside = {"out-interface", "out-interface-list"} & set(values)
    if inside and values["chain"] in ("output", "srcnat"):
        raise Trap("failure: incoming interface matching not possible in output and postrouting chains")
    if outside and values["chain"] in ("input", "dstnat"):
        raise Trap("failure: outgoing interface matching not possible in input and prerouting chains")


def _member(change: Change) -> None:
    change.unique(("interface", "list"), "failure: already have such entry")


def _list(change: Change) -> None:
    change.unique(("name",), "failure: already have interface list with such name")


def _ipv6_address(change: Change) -> None:
    change.values.setdefault("address", "::/64")
    change.unique(("address", "interface", "from-pool"), "failure: already have such address")


def _nd(change: Change) -> None:
    change.unique(("interface",), "failure: already have such interface")


def _named(change: Change) -> None:
    change.unique(("name",), "failure: already have such entry")


def _user(change: Change) -> None:
    change.unique(("name",), "failure: user with the same name already exists")


def _group(change: Change) -> None:
    """`add` grants what it names; `set` adds to what is granted and withdraws only what stands with `!` (facts 4)."""
    change.unique(("name",), "failure: group with the same name already exists")
    if "policy" not in change.written:
        return
    granted = change.row.values.get("policy", "").split(",") if change.row else []
    for policy in change.values["policy"].split(","):
        if policy.startswith("!"):
            granted = [one for one in granted if one != policy[1:]]
        elif policy not in granted:
            granted.append(policy)
    change.values["policy"] = ",".join(filter(None, granted))


RULES: dict[str, Callable[[Change], None]] = {
    "/interface": _interface,
    "/interface/wireguard": _wireguard,
    "/interface/vlan": _vlan,
    "/interface/wireguard/peers": _peer,
    "/interface/list": _list,
    "/interface/list/member": _member,
    "/ip/address": _ip_address,
    "/ip/route": _route,
    "/ip/firewall/filter": _rule,
    "/ip/firewall/nat": _rule,
    "/ipv6/firewall/filter": _rule,
    "/ipv6/route": _route,
    "/ipv6/address": _ipv6_address,
    "/ipv6/pool": _named,
    "/ipv6/nd": _nd,
    "/user": _user,
    "/user/group": _group,
}


def _complete_peer(values: dict[str, str]) -> None:
    """A peer's public key follows from its private key when only that one is given."""
    if values.get("private-key") and "public-key" not in values:
        values["public-key"] = keys.public(values["private-key"])


#: Run before mandatory arguments are looked for.
COMPLETE: dict[str, Callable[[dict[str, str]], None]] = {"/interface/wireguard/peers": _complete_peer}
