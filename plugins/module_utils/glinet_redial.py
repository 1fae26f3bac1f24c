# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What looks up a hub's name again on GL.iNet's firmware: cron, with a script of ours. Pure.

OpenWrt's `wireguard_watchdog` passes GL.iNet's interfaces over. `wg set` keeps link and routes, and WireGuard's own
packets have the firmware's mark for WAN, so nothing else has to follow.
"""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_watch import CRONTAB, RESTART
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER

SCRIPT = "/etc/fabric_watch"
TEXT = """#!/bin/sh
# homelab.fabric: dials the peer of a client interface again that has not answered for 150 s, for its name may have
# another address by now. Called by cron: /etc/crontabs/root.
peer=$(uci -q get network.$1.config) && key=$(uci -q get wireguard.$peer.public_key) || exit 0
last=$(wg show $1 latest-handshakes 2>/dev/null | awk -v key="$key" '$1 == key { print $2 }')
[ "$last" ] && [ $(($(date +%s) - last)) -ge 150 ] || exit 0
WG_ENDPOINT_RESOLUTION_RETRIES=1 wg set $1 peer "$key" endpoint "$(uci -q get wireguard.$peer.end_point)\""""
READ = f"""
part redial
grep -s "# {MARKER}$n\\$" {CRONTAB}
cat {SCRIPT} 2>/dev/null
"""


class Redial(NamedTuple):
    """What of it is there: whether the crontab has our line, and the script is the right one; whether cron runs."""

    line: bool
    script: bool
    running: bool


def line(name: str) -> str:
    return f"* * * * * /bin/sh {SCRIPT} {name} # {MARKER}{name}"


def parse_redial(text: str, name: str, running: bool) -> Redial:
    """`text`: what READ shows; `running`: of openwrt_watch.Watch."""
    first, _newline, rest = text.partition("\n")
    has_line = first == line(name)
    return Redial(has_line, (rest if has_line else text) == TEXT, running)


def redial_steps(redial: Redial, name: str, needed: bool, noted: bool) -> list[str]:
    """Shell commands, as openwrt_watch.watch_steps. The script goes with the last line that calls it."""
    if not needed:
        gone = [
            f"[ ! -e {CRONTAB} ] || sed -i '/# {MARKER}{name}$/d' {CRONTAB}",
            f"grep -sq {SCRIPT} {CRONTAB} || rm -f {SCRIPT}",
            f"[ -s {CRONTAB} ] || rm -f {CRONTAB}",
        ]
        return [*gone, f"{RESTART} || :"] if redial.line or noted else []
    if redial.line and redial.running and not noted:
        return []
    coming = [] if redial.line else [f"echo '{line(name)}' >>{CRONTAB}"]
    return [*coming, "/etc/init.d/cron enable", RESTART]
