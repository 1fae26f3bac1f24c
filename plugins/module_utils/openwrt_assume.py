# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An OpenWrt router as a run would leave it, for check mode: what the lines for uci make of it, and a tunnel that runs.

Pure.
"""

from __future__ import annotations

import copy
import re
import shlex
from typing import Iterable, Mapping

from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_live import Live
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import Line, Section
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import Secret
from ansible_collections.homelab.fabric.plugins.module_utils.wg import LivePeer


def written(sections: Mapping[str, Section], package: str, lines: Iterable[Line]) -> dict[str, Section]:
    """The sections of a package after these lines, among which may be some for other packages."""
    after = copy.deepcopy(dict(sections))
    for line in lines:
        match = re.match(rf"(set|add_list|delete) {package}\.(\w+)(?:\.(\w+))?(?:=(.*))?$", line.text)
        if not match:
            continue
        verb, name, option, value = match.groups()
        if option is None:
            if verb == "delete":
                after.pop(name, None)
            else:
                after[name] = Section(name, value)
        elif verb == "delete":
            after[name].options.pop(option, None)
        else:
            before = after[name].options.get(option, ()) if verb == "add_list" else ()
            after[name].options[option] = (*before, *shlex.split(value))
    return after


def running(live: Live, tunnel: Tunnel, public_key: str) -> Live:
    """The interface once it runs as the tunnel says; it keeps peers that are not in it."""
    peers = {
        str(peer.public_key): LivePeer(
            peer.preshared_key or Secret(""),
            str(peer.endpoint) if peer.endpoint else None,
            peer.allowed_ips,
            0,
            0,
            0,
            peer.keepalive,
        )
        for peer in tunnel.peers
    }
    return Live(
        known=True,
        up=True,
        exists=True,
        public_key=public_key,
        listen_port=tunnel.listen_port or live.listen_port,
        peers={**live.peers, **peers},
        mtu=tunnel.mtu or live.mtu,
        addresses=tunnel.addresses,
        routes=tunnel.routes or (),
        told=live.told,
    )
