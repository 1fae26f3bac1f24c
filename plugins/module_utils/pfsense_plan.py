# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of pfSense's configuration, and those that bring the package's tunnel and peers to a target.

Pure: what was read in, edits out. An edit names its object by what it is, never by its number, since the configuration
may have changed by the time it is made.
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_config import (
    FIRST_PORT,
    Firewall,
    Item,
    number,
    peer_of,
    prefixes_of,
    rows,
)
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER, Peer, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    REDACTED,
    TunnelError,
)

PACKAGE = "installedpackages/wireguard"
TUNNELS, PEERS = f"{PACKAGE}/tunnels/item", f"{PACKAGE}/peers/item"
DEFAULT_MTU = 1420
_SECRET = ("privatekey", "presharedkey")


class Edit(NamedTuple):
    """`text`: what check mode shows, secrets redacted. `about`: for the history. `data`: for hf_edit in PHP."""

    text: str
    about: str
    data: dict[str, Any]


def change(
    at: str, find: Mapping[str, str] | None, before: Item | None, wanted: Item | None, about: str, **more: Any
) -> list[Edit]:
    """The edit from one state of an object to another, or none. Of `wanted`, a field that is None shall not be there.

    `find`: fields that name the object in a list; without it, `at` is the object itself. `wanted` None removes it.
    """
    data: dict[str, Any] = {"at": at, "set": None, **more}
    name = ""
    if find is not None:
        data.update(find=dict(find), new=before is None)
        name = "[" + " ".join(f"{key}={_shown(key, value)}" for key, value in find.items()) + "]"
    if wanted is None:
        return [] if before is None else [Edit(f"delete {at}{name}", f"{about} removed", data)]
    wrong = {key: value for key, value in wanted.items() if before is None or not _same(before.get(key), value)}
    if not wrong and before is not None:
        return []
    data["set"] = wrong
    fields = " ".join(f"{key}={_shown(key, v)}" for key, v in wrong.items() if before is not None or v is not None)
    if before is None and find is not None:
        return [Edit(f"add {at} {fields}", f"{about} added", data)]
    return [Edit(f"set {at}{name} {fields}", f"{about} {'added' if before is None else 'changed'}", data)]


def _same(before: Any, wanted: Any) -> bool:
    if isinstance(before, dict) and isinstance(wanted, dict):
        return before.keys() == wanted.keys() and all(_same(before[key], wanted[key]) for key in wanted)
    if before is None or wanted is None or isinstance(before, (dict, list)) or isinstance(wanted, (dict, list)):
        return bool(before == wanted)
    return str(before) == str(wanted)


def _shown(key: str, value: Any) -> str:
    if value is None:
        return "(none)"
    if key in _SECRET and value:
        return REDACTED
    if isinstance(value, dict):
        inner = value.get("row")
        if isinstance(inner, list):
            return ",".join(f"{row['address']}/{row['mask']}" for row in inner)
        return ":".join(f"{name}={text}" if text else str(name) for name, text in value.items())
    text = str(value)
    return f'"{text}"' if " " in text or not text else text


def setting(at: str, before: str, wanted: str, about: str) -> list[Edit]:
    """The edit of one value."""
    return [] if before == wanted else [Edit(f"set {at} {wanted}", about, {"at": at, "set": wanted})]


def address_rows(prefixes: Sequence[str], before: Any) -> Any:
    """`before` if it says the same, else the rows as the package keeps them; texts of rows that stay are kept."""
    if prefixes_of(before) == tuple(prefixes) and len(rows(before)) == len(prefixes):
        return before
    texts = {f"{row.get('address')}/{row.get('mask')}": str(row.get("descr") or "") for row in rows(before)}
    parts = [(prefix, *prefix.split("/")) for prefix in prefixes]
    return {"row": [{"address": host, "mask": bits, "descr": texts.get(prefix, "")} for prefix, host, bits in parts]}


def plan_tunnel(firewall: Firewall, target: Tunnel) -> list[Edit]:
    """The package's settings, the tunnel, and its peers; those that leave come first, so their prefixes are free."""
    settings, tunnel = firewall.dump["settings"], firewall.tunnel
    edits: list[Edit] = []
    if settings.get("enable") not in ("on", "yes"):
        edits += setting(f"{PACKAGE}/config/0/enable", "off", "on", "WireGuard enabled")
    wanted: dict[str, Any] = {
        # The interface that it is assigned to has them.
        "addresses": "" if tunnel is None or rows(tunnel.get("addresses")) else tunnel.get("addresses"),
        "name": firewall.name,
        "enabled": "yes",
        "descr": firewall.descr,
        "listenport": str(target.listen_port or number(tunnel and tunnel.get("listenport")) or firewall.free_port()),
    }
    if tunnel is None:
        # pfSense never applies this one, but that of the interface.
        wanted.update(mtu=str(target.mtu or DEFAULT_MTU), privatekey="@new", publickey="@own")
    elif tunnel.get("derived") and tunnel.get("publickey") != tunnel["derived"]:
        wanted["publickey"] = "@own"
    edits += change(TUNNELS, {"name": firewall.name}, tunnel, wanted, f"tunnel {firewall.name}", check="tunnel")
    return edits + _plan_peers(firewall, target)


def _plan_peers(firewall: Firewall, target: Tunnel) -> list[Edit]:
    """An item is paired by its public key, and only then by its name, so none ever takes a key that another has."""
    keys = [str(item.get("publickey")) for item in firewall.peers if item.get("publickey") != KNOWN_AFTER_APPLY]
    if len(set(keys)) < len(keys):
        raise TunnelError(
            "peers", f"{firewall.name} has two peers with the same public key", "remove one of them in VPN > WireGuard"
        )
    ours = [peer for peer in target.peers if peer.ours]
    kept = {peer.public_key for peer in target.peers if not peer.ours}
    items = {str(item.get("publickey")): item for item in firewall.peers if item.get("publickey") in keys}
    pairs = {peer.name: items[str(peer.public_key)] for peer in ours if peer.public_key in items}
    taken = {id(item) for item in pairs.values()}
    named = {peer_of(item).identity: item for item in firewall.peers if id(item) not in taken}
    for peer in ours:
        if peer.name not in pairs and peer.identity in named:
            pairs[peer.name] = named[peer.identity]
    taken = {id(item) for item in pairs.values()}
    edits: list[Edit] = []
    for item in firewall.peers:
        if id(item) not in taken and item.get("publickey") not in kept:
            edits += _peer_change(firewall, item, None)
    for peer in ours:
        edits += _peer_change(firewall, pairs.get(peer.name), peer)
    return edits


def _peer_change(firewall: Firewall, item: Item | None, peer: Peer | None) -> list[Edit]:
    find = {"tun": firewall.name, "publickey": str(item["publickey"] if item else peer and peer.public_key)}
    if peer is None:
        return change(PEERS, find, item, None, f"peer {peer_of(item or {}).name}")
    before = None if item is None else _peer_view(item)
    psk = peer.preshared_key
    wanted: dict[str, Any] = {
        "allowedips": address_rows(peer.allowed_ips, item.get("allowedips") if item else None),
        "enabled": "yes",
        "tun": firewall.name,
        "descr": MARKER + peer.name,
        "endpoint": peer.endpoint.host if peer.endpoint else None,
        "port": str(peer.endpoint.port) if peer.endpoint else None,
        "persistentkeepalive": str(peer.keepalive) if peer.keepalive else "",
        "publickey": str(peer.public_key),
        # Empty, never absent.
        "presharedkey": psk.reveal() if psk else "",
    }
    return change(PEERS, find, before, wanted, f"peer {peer.name}", check="peer")


def _peer_view(item: Item) -> dict[str, Any]:
    """The item with what can be spelled in several ways in ours."""
    view = dict(item)
    endpoint = peer_of(item).endpoint
    for key in ("endpoint", "port"):
        view.pop(key, None)
    if endpoint:
        view.update(endpoint=endpoint.host, port=str(number(item.get("port")) or FIRST_PORT))
    keepalive = number(item.get("persistentkeepalive"))
    view["persistentkeepalive"] = str(keepalive) if keepalive else ""
    return view


def remove_tunnel(firewall: Firewall) -> list[Edit]:
    """The tunnel and its peers. Those of others stay without a tunnel, as pfSense itself does it."""
    edits: list[Edit] = []
    for item in firewall.peers:
        if peer_of(item).ours:
            edits += _peer_change(firewall, item, None)
        else:
            find = {"tun": firewall.name, "publickey": str(item.get("publickey"))}
            edits += change(PEERS, find, item, {"tun": "unassigned"}, f"peer {peer_of(item).name}")
    find = {"name": firewall.name}
    return edits + change(TUNNELS, find, firewall.tunnel, None, f"tunnel {firewall.name}", check="tunnel")


def summary(firewall: Firewall, edits: Sequence[Edit]) -> str:
    """The line in Diagnostics > Configuration History."""
    told = list(dict.fromkeys(edit.about for edit in edits))
    rest = f"; and {len(told) - 5} more" if len(told) > 6 else ""
    return f"{MARKER}{firewall.name}: " + "; ".join(told if not rest else told[:5]) + rest
