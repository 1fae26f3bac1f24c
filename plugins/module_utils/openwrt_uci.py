# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""UCI, OpenWrt's configuration: what `uci -X show` says as sections, and the lines for `uci batch` that change them.

Pure. An option and a list of one value look the same in `uci show` and mean the same to OpenWrt, so every value is a
tuple here. `uci batch` ends with 0 whatever happens, and an open quote swallows what follows: nothing but values that
have been parsed gets here, and `quote` refuses the rest.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Iterable, Mapping, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.values import REDACTED

SECRET_OPTIONS = ("private_key", "preshared_key", "presharedkey")
_PREFIX_LISTS = ("addresses", "address_v4", "address_v6", "allowed_ips", "src_ip", "dest_ip")
_OWN_DEFAULTS = ("network", "firewall")  # packages of OpenWrt's own, whose defaults are those below
_FLAGS = ("disabled", "route_allowed_ips", "enabled", "mtu_fix")
_DEFAULTS = {"endpoint_port": "51820", "persistent_keepalive": "0", "enabled": "1"}
_ON = ("1", "on", "true", "yes", "enabled")


@dataclass
class Section:
    """One section. `id` is its name, ``cfgNNHHHH`` where it has none; such an id holds until the next commit."""

    id: str
    type: str
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def get(self, option: str, default: str = "") -> str:
        """All values joined by blanks, as `uci get` does it."""
        return " ".join(self.options.get(option, (default,)))

    def words(self, option: str) -> list[str]:
        """A list, or one option separated by blanks, which OpenWrt takes for the same."""
        return self.get(option).split()

    def is_on(self, option: str, default: str = "0") -> bool:
        return self.get(option, default).lower() in _ON


Sections = Mapping[str, Section]  # by id
Options = Mapping[str, "str | tuple[str, ...] | None"]  # None: not set


class Line(NamedTuple):
    """A line for `uci batch`, and how it is shown."""

    text: str
    shown: str


def parse(text: str, package: str) -> dict[str, Section]:
    """`uci -X show PACKAGE` as sections by id, in their order. Values may go over several lines."""
    sections: dict[str, Section] = {}
    for entry in re.split(rf"\n(?={re.escape(package)}\.)", text.strip("\n")):
        match = re.match(rf"{re.escape(package)}\.(\w+)(?:\.(\w+))?=(.*)", entry, re.DOTALL)
        if not match:
            continue
        name, option, value = match.groups()
        if option is None:
            sections[name] = Section(name, value.strip())
        elif name in sections:
            sections[name].options[option] = _unquote(value)
    return sections


def _unquote(value: str) -> tuple[str, ...]:
    if re.fullmatch(r"'[^']*'(?: '[^']*')*", value):
        return tuple(value[1:-1].split("' '"))
    try:
        return tuple(shlex.split(value))
    except ValueError:  # the read script leaves out what it does not know, which may be a line of a value
        return (value.strip("'"),)


def quote(value: str) -> str:
    """A value for `uci batch`."""
    if re.search(r"[\x00-\x1f\x7f'\\]", value):
        raise DeviceError(f"{value!r} cannot be written into OpenWrt's configuration: leave quotes and backslashes out")
    return f"'{value}'"


def edits(
    package: str,
    there: Section | None,
    name: str,
    kind: str,
    wanted: Options,
) -> list[Line]:
    """What brings a section to these options; None: not set. Options that are not named stay as they are."""
    lines = []
    at = f"{package}.{there.id if there else name}"
    if there is None:
        lines.append(_plain(f"set {at}={kind}"))
    for option, value in wanted.items():
        after = (value,) if isinstance(value, str) else value or ()
        before = there.options.get(option, ()) if there else ()
        if before == after or canonical(package, option, before) == canonical(package, option, after):
            continue
        if not isinstance(value, str) and before:
            lines.append(_plain(f"delete {at}.{option}"))
        verb = "set" if isinstance(value, str) else "add_list"
        for item in after:
            text = f"{verb} {at}.{option}="
            shown = REDACTED if option in SECRET_OPTIONS else quote(item)
            lines.append(Line(text + quote(item), text + shown))
    return lines


def staged(lines: Iterable[Line]) -> tuple[str, dict[str, str]]:
    """The same as what `uci batch` gets, and by package what `uci -m import` gets after it.

    For each of its lines, `uci batch` reads the file and all lines before once more. So whole new sections, which may
    be hundreds, are imported at once.
    """
    batch: list[str] = []
    imported: dict[str, str] = {}
    new: set[str] = set()
    for line in lines:
        match = re.fullmatch(r"(set|add_list) (\w+)\.(\w+)(?:\.(\w+))?=(.*)", line.text)
        section = f"{match[2]}.{match[3]}" if match else ""
        if match and match[1] == "set" and not match[4]:
            new.add(section)
            imported[match[2]] = f"{imported.get(match[2], '')}config {match[5]} '{match[3]}'\n"
        elif match and section in new:
            word = "option" if match[1] == "set" else "list"
            imported[match[2]] += f"\t{word} {match[4]} {match[5]}\n"
        else:
            batch.append(line.text)
    return "\n".join(batch), imported


def delete(package: str, section: Section) -> Line:
    return _plain(f"delete {package}.{section.id}")


def _plain(text: str) -> Line:
    return Line(text, text)


def canonical(package: str, option: str, values: Iterable[str]) -> tuple[str, ...]:
    """One spelling for all values that a router takes for the same."""
    words = tuple(word for value in values for word in value.split())
    if option in _FLAGS and package in _OWN_DEFAULTS:
        text = " ".join(words) or _DEFAULTS.get(option, "0")
        return ("1" if text.lower() in _ON else "0",)
    if option in _PREFIX_LISTS:
        return tuple(sorted({_prefix(option, word) for word in words}))
    if option == "endpoint_host":
        return tuple(word.lower() for word in words)
    default = _DEFAULTS.get(option, "") if package in _OWN_DEFAULTS else ""
    return words or tuple(filter(None, (default,)))


@lru_cache(maxsize=65536)
def _prefix(option: str, word: str) -> str:
    """In normal form; what is no prefix (glued by commas, negated) stays as it is and so equals nothing else."""
    try:
        interface = ipaddress.ip_interface(word)
    except ValueError:
        return word
    return str(interface) if option.startswith("address") else str(interface.network)
