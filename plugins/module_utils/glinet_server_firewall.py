# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall of GL.iNet's server, in the firmware's own sections. Pure.

From firmware 4.8 on its handler writes them by the options of main_server each time that it sets the server up, and
switches them off when it goes. The same is written here, so that either finds what the other one wants; up to 4.7
nobody else does.
"""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.homelab.fabric.plugins.module_utils.glinet_server import NAME
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_firewall import (
    FIREWALL,
    hidden_sources,
    plan_sections,
    policy_of,
)
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import Line, Sections, delete, edits
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel

ZONE, PORT, TO_LAN, FROM_LAN, AMONG = NAME, f"{NAME}_allow", f"{NAME}2lan", f"lan2{NAME}", f"{NAME}2{NAME}"
OF_FIRMWARE = (f"{NAME}2wan", f"{NAME}_allow_dns")  # which it makes besides, and nobody asked for


def with_policy(current: Tunnel, sections: Sections, network: Sections, goal: Tunnel) -> Tunnel:
    """The tunnel with what its firewall grants, in the goal's words: whatever is named means the whole LAN."""
    to_lan, from_lan = sections.get(TO_LAN), sections.get(FROM_LAN)
    reached = (
        to_lan is not None
        and from_lan is not None
        and to_lan.type == "rule"
        and to_lan.get("target") == "ACCEPT"
        and to_lan.is_on("enabled", "1")
        and from_lan.is_on("enabled", "1")
    )
    return replace(
        current,
        forward_to=(goal.forward_to or ("lan",)) if reached else (),
        masquerade=policy_of(sections, network, NAME, ()).masquerade,
    )


def plan_firewall(sections: Sections, target: Tunnel, ipv6: bool, phones: bool) -> list[Line]:
    """The lines for all of it. `phones`: others' peers, who keep the way to the LAN that they have."""
    family = "any" if ipv6 else "ipv4"
    reached = bool(target.forward_to)
    whole = {"src": NAME, "proto": "all", "family": family}
    ways = {"target": "ACCEPT", "enabled": "1"}
    port = {"src": "wan", "proto": "udp", "dest_port": str(target.listen_port), "family": family}
    zone = {"network": NAME, "output": "ACCEPT", "mtu_fix": "1", "masq": "0", "masq6": "0", "family": family}
    keep = phones and not reached
    wanted: dict[str, tuple[str, dict[str, str]]] = {
        ZONE: ("zone", zone if keep else {**zone, "input": "ACCEPT" if reached else "REJECT"}),
        PORT: ("rule", {**port, **ways}),
        FROM_LAN: ("forwarding", {"src": "lan", "dest": NAME, "family": family}),
    }
    if not keep:
        wanted[TO_LAN] = ("rule", {**whole, "dest": "lan", **(ways if reached else {"enabled": "0"})})
        wanted[AMONG] = ("rule", {**whole, "dest": NAME, **ways, "target": "ACCEPT" if reached else "REJECT"})
    lines: list[Line] = []
    for identity, (kind, options) in wanted.items():
        there = sections.get(identity)
        if there and there.type != kind:
            lines.append(delete(FIREWALL, there))
            there = None
        lines += edits(FIREWALL, there, identity, kind, {"name": identity, "enabled": "1", **options})
    return lines + plan_sections(sections, NAME, hidden_sources(target))


def plan_gone(sections: Sections, ours: bool) -> list[Line]:
    """The lines that take it away where the server was ours, else switch it off, as the firmware does."""
    lines: list[Line] = []
    for identity in (TO_LAN, FROM_LAN, AMONG, PORT, *OF_FIRMWARE, ZONE):
        there = sections.get(identity)
        if there:
            lines += (
                [delete(FIREWALL, there)] if ours else edits(FIREWALL, there, identity, there.type, {"enabled": "0"})
            )
    return lines + plan_sections(sections, NAME, ())
