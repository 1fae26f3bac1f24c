"""The configuration a router has before anybody configured it: the home router of reference network A."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .engine import Engine
from .menus import LISTS
from .tree import Tree
from .values import POLICIES

Factory = Mapping[str, Sequence[Mapping[str, str]]]

USER, PASSWORD = "ansible", "a password of the lab"

DEFAULT: Factory = {
    "/interface": [
        {"name": "ether1", "type": "ether"},
        {"name": "ether2", "type": "ether"},
        {"name": "lo", "type": "loopback"},
        {"name": "bridge-lan", "type": "bridge"},
    ],
    "/interface/vlan": [
        {"name": "vlan10-lan", "vlan-id": "10", "interface": "bridge-lan"},
        {"name": "vlan20-iot", "vlan-id": "20", "interface": "bridge-lan"},
        {"name": "vlan30-kubernetes", "vlan-id": "30", "interface": "bridge-lan"},
    ],
    LISTS: [{"name": "WAN"}, {"name": "LAN"}],
    "/interface/list/member": [
        {"list": "WAN", "interface": "ether1"},
        {"list": "LAN", "interface": "vlan10-lan"},
    ],
    "/ip/address": [
        {"address": "100.64.0.2/10", "interface": "ether1"},
        {"address": "10.10.0.1/24", "interface": "vlan10-lan"},
        {"address": "10.20.0.1/24", "interface": "vlan20-iot"},
        {"address": "10.30.0.1/24", "interface": "vlan30-kubernetes"},
    ],
    "/ip/route": [{"dst-address": "0.0.0.0/0", "gateway": "100.64.0.1"}],
    "/ip/firewall/filter": [
        {"chain": "input", "action": "accept", "connection-state": "established,related,untracked"},
        {"chain": "forward", "action": "accept", "connection-state": "established,related,untracked"},
        {"chain": "input", "action": "drop", "connection-state": "invalid"},
        {"chain": "forward", "action": "drop", "connection-state": "invalid"},
        {"chain": "input", "action": "accept", "protocol": "icmp"},
        {"chain": "input", "action": "drop", "in-interface-list": "!LAN", "comment": "drop all not from LAN"},
        {"chain": "forward", "action": "accept", "in-interface-list": "LAN", "comment": "LAN anywhere"},
        {"chain": "forward", "action": "drop", "comment": "drop everything else"},
    ],
    "/ip/firewall/nat": [{"chain": "srcnat", "action": "masquerade", "out-interface-list": "WAN"}],
    "/ip/service": [
        {"name": "api", "port": "8728"},
        {"name": "api-ssl", "port": "8729"},
        {"name": "ssh", "port": "22"},
    ],
    "/system/identity": [{"name": "mikrotik-gw"}],
    "/user": [{"name": USER, "password": PASSWORD, "group": "full"}],
}

#: Menus whose rows nothing but the factory makes: they are stored as they stand.
_GIVEN = frozenset(["/interface", "/ip/service", "/system/identity"])
_BUILT_IN_LISTS = ("all", "none", "dynamic", "static")


def _rank(path: str) -> int:
    """Interfaces before their lists, before what stands on them, before rules and routes."""
    order = ("/interface", "/interface/vlan", "/interface/wireguard", LISTS, "/user/group", "/ip/address")
    return order.index(path) if path in order else len(order)


def apply(factory: Factory, tree: Tree, engine: Engine) -> None:
    """Fill an empty tree. A menu that the factory names replaces the default one; what others refer to comes first."""
    for name in _BUILT_IN_LISTS:
        tree.table(LISTS).insert({"name": name, "builtin": ""})
    for name, missing in (("full", ()), ("write", ("ftp", "policy")), ("read", ("ftp", "policy", "write"))):
        granted = ",".join(policy for policy in POLICIES if policy not in missing)
        tree.table("/user/group").insert({"name": name, "policy": granted, "builtin": ""})
    tree.table("/ipv6/nd").insert({"interface": "all", "default": ""})
    for path in sorted({*DEFAULT, *factory}, key=lambda path: (_rank(path), path)):
        for values in factory.get(path, DEFAULT.get(path, ())):
            if path in _GIVEN:
                tree.table(path).insert(dict(values))
            else:
                engine.insert(path, dict(values))
