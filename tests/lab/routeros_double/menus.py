"""Which menus, commands and arguments a version has (menus.json), and the field behind each argument."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from . import values as v
from .versions import Version, known

LISTS = "/interface/list"
#: Menus that show a part of another menu's table, and the interface type of that part.
PARTS = {"/interface/wireguard": "wg", "/interface/vlan": "vlan"}
#: Menus whose rows have a name that serves as `.id` too.
NAMED = frozenset(
    ["/interface", *PARTS, "/interface/wireguard/peers", LISTS, "/ipv6/pool", "/user", "/user/group", "/ip/service"]
)
#: Menus with a single row without an id.
SINGLE = frozenset(["/system/resource", "/system/identity"])

_LINK_WORDS = ("all-ethernet", "all-ppp", "all-vlan", "all-wireless")
_MATCH_LINK = v.interface(*_LINK_WORDS, negated=True)
_MATCH_LIST = v.Reference(LISTS, "interface-list", negated=True)
_KEEPALIVE = v.Duration(0, 65535)
_PORT = v.Integer(0, 65535)

_COMMON: dict[str, v.Field] = {
    "interface": v.interface(),
    "name": v.Text(255, least=1),
    "log-prefix": v.Text(31),
    "mtu": v.Integer(68, 65535, ("auto",)),
    "distance": v.Integer(1, 255),
    "scope": v.Integer(0, 255),
    "target-scope": v.Integer(0, 255),
    "vrf-interface": v.interface(),
    "blackhole": v.Flag(),
    "in-interface": _MATCH_LINK,
    "out-interface": _MATCH_LINK,
    "in-bridge-port": _MATCH_LINK,
    "out-bridge-port": _MATCH_LINK,
    "in-interface-list": _MATCH_LIST,
    "out-interface-list": _MATCH_LIST,
    "in-bridge-port-list": _MATCH_LIST,
    "out-bridge-port-list": _MATCH_LIST,
    "port": v.Ports(),
    "src-port": v.Ports(),
    "dst-port": v.Ports(),
    "to-ports": v.Ports(negated=False),
    "chain": v.Text(255, least=1),
    "jump-target": v.Text(255, least=1),
}

_OWN: dict[str, dict[str, v.Field]] = {
    "/interface/wireguard": {"private-key": v.Key(), "listen-port": _PORT},
    "/interface/wireguard/peers": {
        "allowed-address": v.Prefixes(),
        "client-allowed-address": v.Prefixes(),
        "client-address": v.Prefixes(),
        "client-endpoint": v.Endpoint(),
        "client-keepalive": _KEEPALIVE,
        "client-listen-port": _PORT,
        "endpoint-address": v.Endpoint(),
        "endpoint-port": _PORT,
        "is-responder": v.Bool(),
        "persistent-keepalive": _KEEPALIVE,
        "preshared-key": v.Key(("", "auto", "none")),
        "private-key": v.Key(("", "auto", "none")),
        "public-key": v.Key(),
    },
    "/interface/vlan": {"vlan-id": v.Integer(1, 4094), "arp-timeout": v.Field()},
    LISTS: {
        "include": v.Reference(LISTS, "interface-list", many=True),
        "exclude": v.Reference(LISTS, "interface-list", many=True),
    },
    "/interface/list/member": {"list": v.Reference(LISTS, "list")},
    "/ip/address": {
        "address": v.InterfaceAddress(4),
        "network": v.Address(4),
        "netmask": v.Address(4),
        "broadcast": v.Address(4),
    },
    "/ip/route": {"dst-address": v.Prefix(4), "gateway": v.Gateway(4), "pref-src": v.Address(4)},
    "/ipv6/route": {"dst-address": v.Prefix(6), "gateway": v.Gateway(6), "pref-src": v.Address(6)},
    "/ip/firewall/filter": {"src-address": v.AddressMatch(4), "dst-address": v.AddressMatch(4)},
    "/ip/firewall/nat": {
        "src-address": v.AddressMatch(4),
        "dst-address": v.AddressMatch(4),
        "to-addresses": v.AddressMatch(4, negated=False),
    },
    "/ipv6/firewall/filter": {"src-address": v.AddressMatch(6), "dst-address": v.AddressMatch(6)},
    "/ipv6/address": {
        "address": v.InterfaceAddress(6),
        "from-pool": v.Field(),
        "from-pool-policy": v.Field(),
    },
    "/ipv6/pool": {"prefix": v.Prefix(6), "prefix-length": v.Integer(1, 128)},
    "/ipv6/dhcp-client": {
        "request": v.Words(("info", "address", "prefix"), many=True),
        "default-route-distance": v.Integer(1, 255),
        "pool-prefix-length": v.Integer(0, 128),
        "prefix-hint": v.Prefix(6),
    },
    "/ipv6/nd": {
        "interface": v.interface("all"),
        "hop-limit": v.Integer(0, 255, ("unspecified",)),
        "mtu": v.Integer(0, 4294967295, ("unspecified",)),
        "ra-lifetime": v.Duration(0, 9000, ("none",)),
        "reachable-time": v.Duration(0, 3600, ("unspecified",)),
        "retransmit-interval": v.Duration(0, 4294967, ("unspecified",)),
    },
    "/user": {"group": v.Reference("/user/group", "group"), "address": v.Field()},
    "/user/group": {"policy": v.Policy()},
    "/ip/service": {"port": v.Integer(1, 65535)},
}

#: Vocabularies that take a comma list, and those that a leading `!` negates.
_MANY = frozenset(["connection-state", "connection-nat-state", "tcp-flags", "ipv4-options", "headers"])
_NEGATED = _MANY | {"protocol", "connection-type", "src-address-type", "dst-address-type", "hotspot", "p2p"}

REQUIRED: dict[str, tuple[str, ...]] = {
    "/interface/wireguard/peers": ("interface", "public-key"),
    "/interface/vlan": ("name", "interface"),
    LISTS: ("name",),
    "/interface/list/member": ("interface", "list"),
    "/ip/address": ("address", "interface"),
    "/ip/route": (),
    "/ip/firewall/filter": ("chain",),
    "/ip/firewall/nat": ("chain",),
    "/ipv6/firewall/filter": ("chain",),
    "/ipv6/address": ("interface",),
    "/ipv6/pool": ("name", "prefix-length"),
    "/ipv6/dhcp-client": ("interface", "request"),
    "/ipv6/nd": ("interface",),
    "/user": ("name", "group"),
    "/user/group": ("name",),
}


@dataclass(frozen=True)
class Menu:
    """One menu of one version. `table` holds its rows; `part` is the interface type that it shows of them."""

    path: str
    commands: frozenset[str]
    fields: dict[str, v.Field]
    unset: frozenset[str]
    ordered: bool

    @property
    def table(self) -> str:
        return "/interface" if self.path in PARTS else self.path

    @property
    def part(self) -> str | None:
        return PARTS.get(self.path)

    @property
    def required(self) -> tuple[str, ...]:
        return REQUIRED.get(self.path, ())


@functools.cache
def _table() -> dict[str, dict[str, object]]:
    table: dict[str, dict[str, object]] = json.loads(Path(__file__).with_name("menus.json").read_text())
    del table["_"]
    return table


@functools.cache
def menus(running: Version) -> dict[str, Menu]:
    """All menus of a version, by path."""
    return {path: _menu(path, entry, running) for path, entry in _table().items()}


def _menu(path: str, entry: dict[str, object], running: Version) -> Menu:
    def names(key: str) -> list[str]:
        found = (known(part, running) for part in str(entry.get(key, "")).split())
        return [name for name in found if name is not None]

    words = entry.get("words", {})
    assert isinstance(words, dict)
    commands = frozenset(names("commands")) | {"getall"}
    fields = {name: _field(path, name, tuple(str(words.get(name, "")).split())) for name in names("arguments")}
    return Menu(path, commands, fields, frozenset(names("unset")), "move" in commands)


def _field(path: str, name: str, words: tuple[str, ...]) -> v.Field:
    own = _OWN.get(path, {}).get(name) or _COMMON.get(name)
    if own is not None:
        return own
    if set(words) == {"no", "yes"}:
        return v.Bool()
    if not words or name == "address-list-timeout" or name == "per-connection-classifier":
        return v.Field()
    if name == "tcp-flags":
        words += tuple(f"!{flag}" for flag in words)  # here each flag may be negated
    return v.Words(words, name in _MANY, name in _NEGATED, 255 if name == "protocol" else -1)
