# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What RouterOS says and is told: rows with values as text, and sentences that change them. Pure."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Dict, Mapping, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.values import REDACTED, Secret, sorted_prefixes

Row = Dict[str, str]


class Sentence(NamedTuple):
    """One change. `row` is the `.id` that it is about, `found_by` how one finds that row in the console.

    An attribute whose name begins with `!` unsets the property.
    """

    menu: str
    verb: str
    attributes: Mapping[str, str | Secret]
    row: str = ""
    found_by: Mapping[str, str] = {}

    def words(self) -> list[str]:
        """As sent, secrets included."""
        words = [f"{self.menu}/{self.verb}"]
        if self.row:
            words.append(f"={'numbers' if self.verb == 'move' else '.id'}={self.row}")
        values = (
            (name, value.reveal() if isinstance(value, Secret) else value) for name, value in self.attributes.items()
        )
        return words + [f"={name}={value}" for name, value in values]

    def __str__(self) -> str:
        """As one types it into RouterOS's console, secrets redacted."""
        words = [f"{self.menu}/{self.verb}"]
        if self.found_by:
            words.append("[find " + " ".join(f"{name}={console(value)}" for name, value in self.found_by.items()) + "]")
        words += [name if name.startswith("!") else f"{name}={console(v)}" for name, v in self.attributes.items()]
        return " ".join(words)

    def secrets(self) -> list[str]:
        return [value.reveal() for value in self.attributes.values() if isinstance(value, Secret) and value]


def console(value: str | Secret) -> str:
    """A value as RouterOS's console wants it typed: quoted where it must be."""
    if isinstance(value, Secret) and value:
        return REDACTED
    text = str(value)
    if re.fullmatch(r"[A-Za-z0-9_.:/,*!-]+", text):
        return text
    return '"' + re.sub(r'(["\\$?])', r"\\\1", text) + '"'


def is_on(row: Row, flag: str) -> bool:
    """A flag of a row; an absent one is off."""
    return row.get(flag) in ("true", "yes")


def seconds(text: str) -> int | None:
    """A duration (`1m33s`, `4w2d`, `00:01:33`, `93`, `1s500ms`) in whole seconds; None if it is none."""
    whole = re.sub(r"\d+ms$", "", text)
    match = re.fullmatch(r"((?:\d+[wdhms])*)(?:(\d+):(\d+):)?(\d+)?", whole)
    if not text or match is None:
        return None
    units, hours, minutes, rest = match.groups()
    weights = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
    total = sum(int(number) * weights[unit] for number, unit in re.findall(r"(\d+)([wdhms])", units))
    return total + int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(rest or 0)


@lru_cache(maxsize=4096)
def prefixes(text: str) -> tuple[str, ...]:
    """A comma-separated list in normal form; what is no prefix (a device holds none such) is left out."""
    found = (_network(part.strip()) for part in text.split(","))
    return sorted_prefixes(prefix for prefix in found if prefix)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return ""
