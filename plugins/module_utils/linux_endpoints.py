# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What looks up endpoints again on a Linux host: WireGuard does it once, when a peer is configured. Pure.

Every minute a script dials the peers that did not answer for a while at the address that their name has by then.
wireguard-tools have an example of such a script, which is no part of what distributions install for use.
"""

from __future__ import annotations

from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel

SILENT = 135  # seconds since the last handshake; a session in use is renewed after 120


def unit_name(interface: str) -> str:
    """Of the timer and the service, without their suffix."""
    return f"wireguard-endpoints-{interface}"


def texts(tunnel: Tunnel, folder: str, path: str) -> dict[str, str]:
    """The script at `path`, the service and the timer; {} where no peer of ours is dialled by a name."""
    named = {
        str(peer.public_key): str(peer.endpoint)
        for peer in tunnel.peers
        if peer.ours and peer.endpoint and peer.endpoint.is_name
    }
    if not named:
        return {}
    return {
        "script": _script(tunnel.name, named, folder),
        "service": _service(tunnel.name, path),
        "timer": _timer(tunnel.name),
    }


def _script(interface: str, named: dict[str, str], folder: str) -> str:
    """`named`: public key → endpoint. The lock is that of the modules, which could be removing a peer."""
    return "\n".join(
        [
            "#!/bin/sh",
            f"# homelab.fabric: peers of {interface} that do not answer are dialled where their names lead to now.",
            f"exec 9< '{folder}'",
            "flock -n 9 || exit 0",
            "now=$(date +%s)",
            f"wg show '{interface}' latest-handshakes 2> /dev/null | while read -r key last; do",
            f"    [ $((now - last)) -gt {SILENT} ] || continue",
            "    case $key in",
            *(f"    {key}) endpoint={endpoint} ;;" for key, endpoint in named.items()),
            "    *) continue ;;",
            "    esac",
            f"""    WG_ENDPOINT_RESOLUTION_RETRIES=1 wg set '{interface}' peer "$key" endpoint "$endpoint" || true""",
            "done",
            "",
        ]
    )


def _service(interface: str, path: str) -> str:
    return (
        f"# homelab.fabric\n[Unit]\nDescription=Look up where silent peers of {interface} are now\n"
        f"After=wg-quick@{interface}.service\n\n[Service]\nType=oneshot\nExecStart=/bin/sh {path}\n"
    )


def _timer(interface: str) -> str:
    return (
        f"# homelab.fabric\n[Unit]\nDescription=Peers of {interface} that are dialled by name may move\n\n"
        "[Timer]\nOnCalendar=minutely\nAccuracySec=10s\n\n[Install]\nWantedBy=timers.target\n"
    )
