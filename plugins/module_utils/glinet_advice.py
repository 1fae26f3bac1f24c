# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user of GL.iNet's firmware should know although nothing failed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer

if TYPE_CHECKING:
    from ansible_collections.homelab.fabric.plugins.module_utils.glinet import State

SILENT = 180  # seconds after which a peer with a keepalive of 25 does not answer any more
_FIXES = {
    "track_ip": "`uci del_list {at}=1.1.1.1; uci add_list {at}=1.0.0.1; uci commit glconfig`",
    "config.yaml": "write 9.9.9.9 and 8.8.4.4 there, and `/etc/init.d/adguardhome restart`",
}
_RESOLVER = "write 9.9.9.9 and 8.8.4.4 instead, in the web interface under NETWORK > DNS or with `uci set {at}=…`"


def advice(name: str, peer: Peer | None, state: State) -> list[str]:
    """`peer`: whom the interface dials. `state`: that after the run."""
    found = []
    if peer and state.live.exists:
        found += _silence(name, peer, state)
    if peer and any(prefix.endswith("/0") for prefix in peer.allowed_ips):
        found.append(
            f"everything behind this router goes through {name}: while {peer.name} does not answer, its LAN may have "
            "no Internet. allowed_ips with the networks behind the tunnel alone avoid that"
        )
    if "ipv6" not in state.kinds and peer and any(":" in prefix for prefix in peer.allowed_ips):
        found.append(f"IPv6 is off on this router, so {name} has no IPv6: switch it on under NETWORK > IPv6")
    for at in state.advice:
        fix = next((fix for end, fix in _FIXES.items() if at.endswith(end)), _RESOLVER)
        why = "its health check fails" if at.endswith("track_ip") else "names fail to resolve"
        found.append(
            f"{at} has 1.1.1.1, which limits how often it answers a router, so that {why}: {fix.format(at=at)}"
        )
    return found


def _silence(name: str, peer: Peer, state: State) -> list[str]:
    live = state.live.peers.get(str(peer.public_key))
    if live is None:
        return []
    age = state.now - live.handshake if live.handshake else None
    if age is not None and age < SILENT:
        return []
    since = "has not answered yet" if age is None else f"has not answered for {age} s"
    dialled = str(peer.endpoint)
    if live.endpoint and live.endpoint != dialled:
        dialled += f" ({live.endpoint})"
    port = peer.endpoint.port if peer.endpoint else 0
    text = (
        f"{name} is configured and dials {dialled}, but {peer.name} {since}. See there whether it runs, lets UDP port "
        f"{port} in, and has this router as a peer with the public key {state.public_key}. The router goes on "
        "dialling: nothing has to be done here"
    )
    return [text]
