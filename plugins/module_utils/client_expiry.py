# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a client's time ends, and the script and systemd units that then remove it from the live interface. Pure.

Nothing of it is secret: a public key removes a peer. The script runs at each of these times, after a boot that
came later (Persistent), and at every start of the interface, because wg-quick's file still holds the peer.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Iterable, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError

_PERIODS = {"h": 3600, "d": 86400, "w": 604800}


class Expiry(NamedTuple):
    """A peer that goes at a time, in seconds since 1970."""

    time: int
    public_key: str
    name: str


def parse_expiry(text: str, argument: str, now: int) -> int:
    """Seconds since 1970: a time, a date (good until it ends, UTC), or a period such as 30d from now on."""
    period = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if period:
        return now + int(period.group(1)) * _PERIODS[period.group(2)]
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            moment = datetime.fromisoformat(text) + timedelta(days=1)
        else:
            moment = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text))
        return int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp())
    except (ValueError, OverflowError):
        raise TunnelError(
            argument,
            f"{text!r} is not a time",
            "write it like 2026-12-31, 2026-12-31T18:00:00Z or 30d (hours h, days d, weeks w)",
        ) from None


def utc(time: int) -> str:
    """A time as people and JSON readers expect it."""
    return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def unit_name(interface: str) -> str:
    """Of the timer and the service, without their suffix."""
    return f"wireguard-clients-{interface}"


def script(interface: str, expiring: Iterable[Expiry]) -> str:
    """A shell script that removes the peers whose time is over. It does no harm at any time."""
    lines = [f"{item.time} {item.public_key} {item.name}" for item in expiring]
    return "\n".join(
        [
            "#!/bin/sh",
            f"# homelab.fabric: clients of {interface} whose time is over lose their access.",
            f"wg show '{interface}' public-key > /dev/null 2>&1 || exit 0",
            "now=$(date +%s)",
            "while read -r expires key name; do",
            f"""    [ "$expires" -gt "$now" ] || wg set '{interface}' peer "$key" remove""",
            "done << 'END'",
            *lines,
            "END",
            "",
        ]
    )


def service(interface: str, path: str) -> str:
    """The unit that runs the script at `path`."""
    return (
        f"# homelab.fabric\n[Unit]\nDescription=End the access of expired clients of {interface}\n\n"
        f"[Service]\nType=oneshot\nExecStart=/bin/sh {path}\n"
    )


def timer(interface: str, expiring: Iterable[Expiry]) -> str:
    """The unit that starts the service whenever a client's time ends."""
    times = sorted({item.time for item in expiring})
    lines = [f"OnCalendar={utc(time)[:10]} {utc(time)[11:19]} UTC" for time in times]
    return "\n".join(
        [
            "# homelab.fabric",
            "[Unit]",
            f"Description=Clients of {interface} expire",
            "",
            "[Timer]",
            *lines,
            "AccuracySec=1s",
            "Persistent=true",
            "",
            "[Install]",
            "WantedBy=timers.target",
            "",
        ]
    )
