# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pfSense's configuration as edits would leave it, for check mode: those that PHP would make, made to what was read.

Pure: no I/O.
"""

from __future__ import annotations

import copy
from typing import Any, Iterable, Mapping

from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_config import Firewall, wanted_peers
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_plan import PACKAGE, PEERS, TUNNELS, Edit
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_rules import NAT, NAT_MODE, RULES
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_site import GATEWAYS, ROUTES
from ansible_collections.homelab.fabric.plugins.module_utils.values import KNOWN_AFTER_APPLY

_LISTS = {
    TUNNELS: "tunnels",
    PEERS: "peers",
    GATEWAYS: "gateways",
    ROUTES: "routes",
    RULES: "rules",
    NAT: "nat_rules",
}
# Where a single value is: a key of what was read, and one in it.
_VALUES = {
    f"{PACKAGE}/config/0/enable": ("settings", "enable"),
    "gateways/defaultgw4": ("default_gateways", "inet"),
    "gateways/defaultgw6": ("default_gateways", "inet6"),
}


def assumed(firewall: Firewall, edits: Iterable[Edit]) -> dict[str, Any]:
    """What would be read after these edits were written and made to run."""
    dump: dict[str, Any] = copy.deepcopy(dict(firewall.dump))
    for edit in edits:
        _make(dump, edit.data)
    after = Firewall(dump, firewall.name, "")
    if after.tunnel is not None:
        peers = {
            key: {
                "allowed_ips": ",".join(prefixes),
                "preshared_key": "" if has_psk else "(none)",
                "keepalive": str(keepalive),
            }
            for key, (prefixes, has_psk, keepalive) in wanted_peers(after).items()
        }
        dump["live"][after.name] = {"up": True, "listen_port": after.tunnel["listenport"], "peers": peers}
    dump.update(service=True, unfinished=[])
    return dump


def _make(dump: dict[str, Any], data: Mapping[str, Any]) -> None:
    """One edit, as hf_edit makes it in PHP."""
    at, new = data["at"], data["set"]
    if at in _LISTS:
        items = dump[_LISTS[at]]
        wanted = data["find"].items()
        found = [item for item in items if all(str(item.get(key)) == value for key, value in wanted)]
        if new is None:
            items[:] = [item for item in items if item not in found]
        elif data["new"]:
            items.append(_merged({}, new))
        else:
            items[:] = [_merged(item, new) if item in found else item for item in items]
    elif at in _VALUES:
        section, key = _VALUES[at]
        dump[section] = {**dump[section], key: new}
    elif at == NAT_MODE:
        dump["nat_mode"] = new
    else:
        key = at.partition("/")[2]
        dump["interfaces"][key] = _merged(dump["interfaces"].get(key, {}), new)


def _merged(item: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of one over those of the other; None takes a field away."""
    both = {key: value for key, value in {**item, **new}.items() if value is not None}
    if both.pop("privatekey", None):
        both["publickey"] = KNOWN_AFTER_APPLY
    return both
