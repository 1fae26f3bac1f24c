# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tool `wg` says of peers, and how it is told, on every device that has it. Pure."""

from __future__ import annotations

import re
from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer
from ansible_collections.homelab.fabric.plugins.module_utils.values import REDACTED, Secret, sorted_prefixes

NO_PRESHARED_KEY = "A" * 43 + "="
"""The key of zeros, which `wg` takes for none."""


class LivePeer(NamedTuple):
    """A peer as the kernel has it. `handshake` is in seconds since 1970, 0 for never."""

    preshared_key: Secret
    endpoint: str | None
    allowed_ips: tuple[str, ...]
    handshake: int
    received: int
    sent: int
    keepalive: int


def given(text: str) -> str:
    """A value of `wg show dump`, empty where it shows that there is none."""
    return "" if text in ("(none)", "off") else text


def live_peer(fields: Sequence[str]) -> tuple[str, LivePeer]:
    """Public key and peer, of the fields of a peer's line of `wg show dump`."""
    key, psk, endpoint, allowed, handshake, received, sent, keepalive = fields
    peer = LivePeer(
        Secret(given(psk)),
        given(endpoint) or None,
        sorted_prefixes(given(allowed).split(",") if given(allowed) else ()),
        int(handshake),
        int(received),
        int(sent),
        int(given(keepalive) or 0),
    )
    return key, peer


def report(peers: Mapping[str, LivePeer], now: int) -> dict[str, dict[str, Any]]:
    """What converge.Backend.live returns; `now` is the device's time in seconds since 1970."""
    return {
        key: {
            "endpoint": peer.endpoint,
            "handshake_age": max(0, now - peer.handshake) if peer.handshake else None,
            "received": peer.received,
            "sent": peer.sent,
        }
        for key, peer in peers.items()
    }


def peer_text(peer: Peer, dial: bool) -> str:
    """A peer for `wg addconf`, everything said: what is left out there stays as it is, but for allowed IPs.

    Those are replaced by what is said, and an empty list is not understood.
    """
    lines = [
        "[Peer]",
        f"PublicKey = {peer.public_key}",
        f"PresharedKey = {peer.preshared_key.reveal() if peer.preshared_key else NO_PRESHARED_KEY}",
        f"PersistentKeepalive = {peer.keepalive or 'off'}",
    ]
    if peer.allowed_ips:
        lines.append(f"AllowedIPs = {', '.join(peer.allowed_ips)}")
    if dial:
        lines.append(f"Endpoint = {peer.endpoint}")
    return "\n".join(lines) + "\n"


def redact(text: str) -> str:
    """A tool's answer without anything that could be a key: `wg` quotes the line that it could not read."""
    text = re.sub(r"(?i)((?:key is not|unrecognized)[^`]*`)[^']*", rf"\g<1>{REDACTED}", text)
    text = re.sub(r"[A-Za-z0-9+/]{42,}=", REDACTED, text)
    return re.sub(r"(?i)((?:private|preshared)-?key\W*)\S+", rf"\g<1>{REDACTED}", text)
