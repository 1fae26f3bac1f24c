# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What looks up endpoints again on OpenWrt: the package's own `wireguard_watchdog`, which cron has to call. Pure.

One line in root's crontab serves all interfaces. It dials peers with a keepalive that did not answer for 150 seconds
at the address that their name has by then.
"""

from __future__ import annotations

import re
from typing import Mapping, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_network import peer_of
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import Section
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel

CRONTAB = "/etc/crontabs/root"
LINE = "* * * * * /usr/bin/wireguard_watchdog # homelab.fabric"
RESTART = "/etc/init.d/cron restart"


class Watch(NamedTuple):
    """Whether the router has the program, cron runs, and the crontab has our line, or one of somebody else's."""

    here: bool
    running: bool
    ours: bool
    theirs: bool


def parse_watch(text: str) -> Watch:
    """What the read script shows under watch: a word a line, then lines of the crontab."""
    lines = text.splitlines()
    theirs = any(line != LINE and re.match(r"[^#]+wireguard_watchdog", line) for line in lines)
    return Watch("here" in lines, "running" in lines, LINE in lines, theirs)


def named(peers: tuple[Peer, ...]) -> list[Peer]:
    """Peers of ours that are dialled by name."""
    return [peer for peer in peers if peer.ours and peer.endpoint and peer.endpoint.is_name]


def is_needed(network: Mapping[str, Section], name: str, target: Tunnel | None) -> bool:
    """Whether any peer of ours is dialled by name: of this interface as it shall be, or of another one."""
    others = (
        peer_of(section)
        for section in network.values()
        if section.type.startswith("wireguard_") and section.type != f"wireguard_{name}"
    )
    return bool(named(tuple(filter(None, others))) or (target and named(target.peers)))


def watch_steps(watch: Watch, needed: bool, noted: bool) -> list[str]:
    """Shell commands. `noted`: a run was cut short between the crontab and cron's restart."""
    if not needed:
        gone = [f"sed -i '/wireguard_watchdog # homelab.fabric$/d' {CRONTAB}", f"[ -s {CRONTAB} ] || rm -f {CRONTAB}"]
        # Without any crontab it does not start.
        return [*(gone if watch.ours else []), f"{RESTART} || :"] if watch.ours or noted else []
    if not watch.here:
        return []
    coming = [] if watch.ours or watch.theirs else [f"echo '{LINE}' >>{CRONTAB}"]
    if not coming and watch.running and not noted:
        return []
    return [*coming, "/etc/init.d/cron enable", RESTART]
