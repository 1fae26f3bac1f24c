# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Road warriors as a table for people. Pure."""

from __future__ import annotations

import textwrap
from typing import Any, Mapping, Sequence

HEADINGS = ("NAME", "ADDRESS", "ACCESS", "HANDSHAKE", "IN", "OUT", "EXPIRES", "KEY")
NARROWEST = 12  # of a column that may be broken, in characters
GAP = "  "


def table(clients: Sequence[Mapping[str, Any]], width: int = 80) -> str:
    """Clients as wireguard_client returns them, no line longer than `width` if that can be.

    Several addresses or prefixes stand below each other. Where the lines would be too long, the widest cells of the
    first three columns are broken.
    """
    if not clients:
        return "no clients"
    rows = [HEADINGS, *(_cells(client) for client in clients)]
    widths = [max(len(line) for row in rows for line in row[i].splitlines()) for i in range(len(HEADINGS))]
    while sum(widths) + len(GAP) * (len(widths) - 1) > width:
        widest = max(range(3), key=lambda i: widths[i])
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    return "\n".join(line for row in rows for line in _lines(row, widths))


def _lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = [
        [piece for line in cell.splitlines() for piece in textwrap.wrap(line, width)]
        for cell, width in zip(row, widths)
    ]
    height = max(map(len, cells))
    padded = [cell + [""] * (height - len(cell)) for cell in cells]
    return [GAP.join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in zip(*padded)]


def _cells(client: Mapping[str, Any]) -> tuple[str, ...]:
    age = client.get("handshake_age")
    return (
        client["name"],
        "\n".join(client["addresses"]) or "-",
        "\n".join(_access(client)),
        "never" if age is None else f"{_age(age)} ago",
        _bytes(client.get("received")),
        _bytes(client.get("sent")),
        "expired" if client["expired"] else (client["expires"] or "never").partition("T")[0],
        client["key"],
    )


def _access(client: Mapping[str, Any]) -> list[str]:
    """Where it may go: its limits, which narrow its access."""
    limits = [
        "".join(
            [
                limit["network"],
                f" {limit['protocol']}" if limit["protocol"] != "any" else "",
                f" {','.join(limit['ports'])}" if limit["ports"] else "",
            ]
        )
        for limit in client["limits"]
    ]
    return (limits or list(client["access"]) or ["-"]) + (["isolated"] if client["isolated"] else [])


def _age(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _bytes(number: int | None) -> str:
    size = float(number or 0)
    for unit in ("", "K", "M", "G", "T"):
        if size < 1000:
            return f"{size:.0f}{unit}" if size >= 10 or not unit else f"{size:.1f}{unit}"
        size /= 1024
    return f"{size:.1f}P"
