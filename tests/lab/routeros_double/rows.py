"""What print answers: the rows of a menu exactly as a version shows them (facts 4 to 8)."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from . import routes
from .menus import Menu
from .tree import Row, Tree
from .values import duration
from .versions import Version

Shown = dict[str, str]


@dataclass
class Live:
    """What the running WireGuard knows of one peer. `handshake` is the epoch second of the last one, 0 for never."""

    rx: int = 0
    tx: int = 0
    handshake: float = 0
    endpoint: tuple[str, int] = ("", 0)


LivePeers = Callable[[str], Mapping[str, Live]]  # interface id → public key → Live


@dataclass
class View:
    """Everything that rendering needs besides the row."""

    tree: Tree
    menu: Menu
    running: Version
    live: LivePeers
    facts: Callable[[], Shown]  # the row of /system/resource
    # Looked up once per print.
    peers: dict[str, Mapping[str, Live]] = field(default_factory=dict)
    overlapping: set[str] | None = None

    def show(self, name: str, text: str) -> str:
        shown = self.menu.fields.get(name)
        return text if shown is None else shown.show(text, self.tree)

    def written(self, row: Row, *left_out: str) -> Shown:
        """The properties that were set, in read-back form, without those named and without empty comments."""
        return {
            name: self.show(name, text)
            for name, text in row.values.items()
            if name in self.menu.fields and name not in left_out and not (name == "comment" and not text)
        }

    def exists(self, *links: str) -> bool:
        return all(self.tree.table("/interface").get(link) is not None for link in links if link.startswith("*"))


def _flag(value: object) -> str:
    return "true" if value else "false"


def _disabled(row: Row) -> str:
    return row.values.get("disabled", "false")


def _interface(view: View, row: Row) -> Shown:
    values = row.values
    shown = {"name": values["name"], "type": values["type"], "mtu": values.get("mtu", "1500")}
    if values["type"] == "ether":
        shown["default-name"] = values.get("default-name", values["name"])
    shown["actual-mtu"] = values.get("mtu", "1420" if values["type"] == "wg" else "1500")
    shown.update(running=_flag(_disabled(row) == "false"), disabled=_disabled(row))
    return {**shown, **({"comment": values["comment"]} if values.get("comment") else {})}


def _wireguard(view: View, row: Row) -> Shown:
    values = row.values
    shown = {
        "name": values["name"],
        "mtu": values.get("mtu", "1420"),
        "listen-port": values["listen-port"],
        "private-key": values["private-key"],
        "public-key": values["public-key"],
        "running": _flag(_disabled(row) == "false"),
        "disabled": _disabled(row),
    }
    return {**shown, **({"comment": values["comment"]} if values.get("comment") else {})}


def _vlan(view: View, row: Row) -> Shown:
    defaults = {"mtu": "1500", "arp": "enabled", "vlan-id": "1", "use-service-tag": "false", "disabled": "false"}
    return {**defaults, **view.written(row), "running": _flag(_disabled(row) == "false")}


def _peer(view: View, row: Row) -> Shown:
    values = row.values
    if values["interface"] not in view.peers:
        view.peers[values["interface"]] = view.live(values["interface"])
    live = view.peers[values["interface"]].get(values["public-key"], Live())
    shown = {"interface": view.show("interface", values["interface"])}
    if view.running >= (7, 15):
        shown["name"] = values.get("name", "")
        shown["private-key"] = values.get("private-key", "")
    shown.update(
        {
            "public-key": values["public-key"],
            "endpoint-address": values.get("endpoint-address", ""),
            "endpoint-port": values.get("endpoint-port", "0"),
            "current-endpoint-address": live.endpoint[0],
            "current-endpoint-port": str(live.endpoint[1]),
            "allowed-address": view.show("allowed-address", values.get("allowed-address", "")),
            "preshared-key": values.get("preshared-key", ""),
            "client-endpoint": values.get("client-endpoint", ""),
        }
    )
    if view.running >= (7, 21):
        shown["client-allowed-address"] = ""
    # What is absent when unset is added by being written: keepalive, responder, client-*, comment.
    left_out = ("private-key",) if view.running < (7, 15) else ()
    shown.update(view.written(row, *left_out))
    shown.update({"rx": str(live.rx), "tx": str(live.tx), "dynamic": "false", "disabled": _disabled(row)})
    if live.handshake:
        shown["last-handshake"] = duration(max(0, int(time.time() - live.handshake)))
    if view.running >= (7, 24) and view.overlapping is None:
        view.overlapping = _overlapping(view.tree)
    if row.id in (view.overlapping or ()):
        shown[".about"] = "allowed-address matches other peers"
    return shown


def _overlapping(tree: Tree) -> set[str]:
    """Ids of peers with a prefix that another peer of the same interface has too, wholly or in part."""
    spans = []
    for row in tree.table("/interface/wireguard/peers"):
        for part in filter(None, row.values.get("allowed-address", "").split(",")):
            network = ipaddress.ip_network(part)
            first, last = int(network.network_address), int(network.broadcast_address)
            spans.append((row.values["interface"], network.version, first, last, row.id))
    found = set()
    # Sorted by their start, prefixes that overlap are nested: only those still open can concern the next one.
    open_spans: list[tuple[str, int, int, int, str]] = []
    for span in sorted(spans):
        open_spans = [one for one in open_spans if one[:2] == span[:2] and one[3] >= span[2]]
        for other in open_spans:
            if other[4] != span[4]:
                found |= {other[4], span[4]}
        open_spans.append(span)
    return found


def _ip_address(view: View, row: Row) -> Shown:
    values = row.values
    link = view.show("interface", values["interface"])
    shown = {"address": values["address"], "network": values["network"], "interface": link, "actual-interface": link}
    if view.running >= (7, 20):
        shown.update(vrf="main", slave="false")
    invalid = not view.exists(values["interface"])
    shown.update(disabled=_disabled(row), dynamic="false", invalid=_flag(invalid))
    return {**shown, **view.written(row, "address", "network", "interface", "disabled")}


def _route(view: View, row: Row) -> Shown:
    values = row.values
    if values.get("disabled") == "true":
        # A disabled route shows only this; distance and the rest cannot be compared, `dynamic` is missing (facts 6).
        shown = {"dst-address": values["dst-address"], "inactive": "true", "static": "true", "disabled": "true"}
        return {**shown, **{k: t for k, t in view.written(row).items() if k in ("gateway", "comment", "blackhole")}}
    links = routes.connected(view.tree, 4 if view.menu.path == "/ip/route" else 6)
    usable = routes.immediate(view.tree, row, links)
    shown = {"dst-address": values["dst-address"], "distance": "1", "scope": "30", "target-scope": "10"}
    shown.update({"routing-table": "main", "dynamic": "false", "static": "true"})
    shown.update(view.written(row, "disabled"))
    if usable:
        shown["immediate-gw"] = view.menu.fields["gateway"].show(",".join(usable), view.tree)
    if usable or "blackhole" in values:
        shown.update(active="true", inactive="false")
    else:
        shown["inactive"] = "true"
    if len(usable) > 1:
        shown["ecmp"] = "true"
    return shown


def _connected_routes(view: View) -> Iterator[tuple[str, Shown]]:
    for link in routes.connected(view.tree, 4 if view.menu.path == "/ip/route" else 6):
        name = view.tree.name_of("/interface", link.interface)
        yield (
            f"*2018{link.number + 1:04X}",
            {
                "dst-address": str(link.network),
                "routing-table": "main",
                "gateway": name,
                "immediate-gw": name,
                "distance": "0",
                "scope": "10",
                "target-scope": "5",
                "local-address": f"{link.local}%{name}",
                "dynamic": "true",
                "connect": "true",
                "active": "true",
                "inactive": "false",
            },
        )


def _rule(view: View, row: Row) -> Shown:
    # `disabled`, `log` and `log-prefix` appear only when they were written, so all that was written is the row.
    matched = [row.values.get(name, "").removeprefix("!") for name in ("in-interface", "out-interface")]
    counters = {"bytes": "0", "packets": "0", "dynamic": "false", "invalid": _flag(not view.exists(*matched))}
    return {"chain": "", "action": "", **view.written(row), **counters}


def _list(view: View, row: Row) -> Shown:
    shown = {"include": "", "exclude": "", **view.written(row), "dynamic": "false"}
    return {**shown, "builtin": _flag("builtin" in row.values)}


def _member(view: View, row: Row) -> Shown:
    return {**view.written(row), "disabled": _disabled(row), "dynamic": "false"}


def _ipv6_address(view: View, row: Row) -> Shown:
    values = row.values
    link = view.show("interface", values["interface"])
    # Not what was sent but what came of it: the pool's prefix and the interface's bits (facts 8).
    address = values.get("composed", values["address"])
    base = ipaddress.ip_address(address.partition("/")[0])
    invalid = not view.exists(values["interface"]) or ("from-pool" in values and "composed" not in values)
    shown = {
        "address": address,
        "from-pool": "",
        "actual-interface": link,
        "advertise": "true" if "from-pool" in values else "false",
        "eui-64": "false",
        "no-dad": "false",
        "disabled": "false",
        "invalid": _flag(invalid),
        "dynamic": "false",
        "deprecated": "false",
        "link-local" if base.is_link_local else "global": "true",
    }
    if view.running >= (7, 18):
        shown["auto-link-local"] = "true"
    if view.running >= (7, 20):
        shown.update(vrf="main", slave="false")
    return {**shown, **view.written(row, "address")}


def _dhcp_client(view: View, row: Row) -> Shown:
    values = row.values
    shown = {
        "add-default-route": "false",
        "use-peer-dns": "true",
        "pool-prefix-length": "64",
        "rapid-commit": "true",
        "disabled": "false",
        **view.written(row),
        "request": ",".join(reversed(values["request"].split(","))),  # its order is not known
        "dynamic": "false",
        "invalid": _flag(not view.exists(values["interface"])),
        "duid": "0x00030001020000000001",
        "status": "stopped" if _disabled(row) == "true" else "bound" if "delegated" in values else "searching...",
    }
    if "delegated" in values and _disabled(row) != "true":
        shown["prefix"] = f"{values['delegated']}, 6d16h56m8s"
        shown["dhcp-server-v6"] = "fe80::1"
    return shown


def _pool(view: View, row: Row) -> Shown:
    return {**view.written(row), "dynamic": _flag("dynamic" in row.values)}


def _nd(view: View, row: Row) -> Shown:
    defaults = {
        "hop-limit": "unspecified",
        "mtu": "unspecified",
        "ra-delay": "3s",
        "ra-interval": "3m20s-10m",
        "ra-lifetime": "30m",
        "ra-preference": "medium",
        "reachable-time": "unspecified",
        "retransmit-interval": "unspecified",
        "advertise-dns": "true",
        "advertise-mac-address": "true",
        "managed-address-configuration": "false",
        "other-configuration": "false",
        "disabled": "false",
    }
    built_in = {"default": "true"} if "default" in row.values else {}
    return {**defaults, **view.written(row), "invalid": "false", **built_in}


def _user(view: View, row: Row) -> Shown:
    return {"address": "", "disabled": "false", **view.written(row, "password"), "expired": "false"}


def _group(view: View, row: Row) -> Shown:
    return {"policy": view.show("policy", ""), "skin": "default", **view.written(row)}


def _service(view: View, row: Row) -> Shown:
    return {"address": "", "disabled": "false", "invalid": "false", **view.written(row), "name": row.values["name"]}


_RENDER: dict[str, Callable[[View, Row], Shown]] = {
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
    "/ip/service": _service,
    "/ipv6/address": _ipv6_address,
    "/ipv6/route": _route,
    "/ipv6/firewall/filter": _rule,
    "/ipv6/dhcp-client": _dhcp_client,
    "/ipv6/pool": _pool,
    "/ipv6/nd": _nd,
    "/user": _user,
    "/user/group": _group,
}


def rows(view: View) -> Iterator[Shown]:
    """All rows of a menu in print order, `.id` first. Secrets are still in them."""
    path = view.menu.path
    if path == "/system/resource":
        yield view.facts()
        return
    if path == "/system/identity":
        (identity,) = view.tree.table(path)
        yield {"name": identity.values["name"]}
        return
    if path in ("/ip/route", "/ipv6/route"):
        for item_id, shown in _connected_routes(view):
            yield {".id": item_id, **shown}
    for row in view.tree.table(view.menu.table):
        if view.menu.part in (None, row.values.get("type")):
            yield {".id": row.id, **_RENDER[path](view, row)}
