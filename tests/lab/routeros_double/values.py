"""What a single argument accepts, how it is kept, and how it reads back (facts 2 and 3).

`parse` turns what a client wrote into what is stored, or traps in the device's words. `show` turns what is stored into
what print answers. References to interfaces and lists are stored as `*ID`, so that a renamed referent reads under its
new name and a deleted one as `*ID`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Protocol

from . import keys
from .words import Trap


class Names(Protocol):
    """What values need of the configuration: names of interfaces and interface lists."""

    def find_name(self, table: str, name: str) -> str | None:
        """The id of the row with this name (or this id), None without one."""

    def name_of(self, table: str, item_id: str) -> str:
        """The name of the row with this id; the id itself when there is none."""


class Field:
    """A free string."""

    def parse(self, name: str, text: str, names: Names) -> str:
        return text

    def show(self, text: str, names: Names) -> str:
        return text


@dataclass(frozen=True)
class Text(Field):
    longest: int
    least: int = 0

    def parse(self, name: str, text: str, names: Names) -> str:
        if not self.least <= len(text) <= self.longest:
            raise Trap(f"value of {name} should be of length ({self.least}..{self.longest})")
        return text


class Bool(Field):
    def parse(self, name: str, text: str, names: Names) -> str:
        if text in ("yes", "true"):
            return "true"
        if text in ("no", "false"):
            return "false"
        raise Trap(f"input does not match any value of {name}")


class Flag(Field):
    """A property that is there or not: `blackhole`, which prints as the empty string."""

    def parse(self, name: str, text: str, names: Names) -> str:
        if text not in ("", "yes", "true"):
            raise Trap(f"input does not match any value of {name}")
        return ""


@dataclass(frozen=True)
class Integer(Field):
    low: int
    high: int
    words: tuple[str, ...] = ()

    def parse(self, name: str, text: str, names: Names) -> str:
        if text in self.words:
            return text
        if not re.fullmatch(r"-?\d+", text):
            raise Trap(f"invalid value for argument {name}")
        if not self.low <= int(text) <= self.high:
            raise Trap(f"value of {name} out of range ({self.low}..{self.high})")
        return str(int(text))


_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds(text: str) -> int | None:
    """Seconds of `25`, `25s` or `1m33s`; None for anything else. (`00:00:25` is unverified, so it is refused.)"""
    if text.isascii() and text.isdigit():
        return int(text)
    if not re.fullmatch(r"(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?", text) or not text:
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([wdhms])", text))


def duration(total: int) -> str:
    """`93` → `1m33s`, `0` → `0s`."""
    parts = ""
    for unit, size in _UNITS.items():
        count, total = divmod(total, size)
        parts += f"{count}{unit}" if count else ""
    return parts or "0s"


@dataclass(frozen=True)
class Duration(Field):
    low: int
    high: int
    words: tuple[str, ...] = ()

    def parse(self, name: str, text: str, names: Names) -> str:
        if text in self.words:
            return text
        total = seconds(text)
        if total is None:
            raise Trap(f"invalid value for argument {name}")
        if not self.low <= total <= self.high:
            raise Trap(f"value of {name} out of range ({duration(self.low)}..{duration(self.high)})")
        return duration(total)


@dataclass(frozen=True)
class Words(Field):
    """A closed vocabulary: one word, or with `many` a comma list, with `negated` a leading `!`."""

    words: tuple[str, ...]
    many: bool = False
    negated: bool = False
    or_number: int = -1  # numbers up to this one are accepted too

    def parse(self, name: str, text: str, names: Names) -> str:
        bare = text[1:] if self.negated and text.startswith("!") else text
        parts = bare.split(",") if self.many else [bare]
        for part in parts:
            number = part.isascii() and part.isdigit() and int(part) <= self.or_number
            if part not in self.words and not number:
                raise Trap(f"input does not match any value of {name}")
        if len(set(parts)) < len(parts):
            raise Trap(f"input does not match any value of {name}")
        return text


class Key(Field):
    """A WireGuard key; `auto` makes one, `none` and the empty string take it away."""

    def __init__(self, words: tuple[str, ...] = ()) -> None:
        self.words = words

    def parse(self, name: str, text: str, names: Names) -> str:
        if text in self.words:
            return {"auto": keys.private(), "none": ""}.get(text, text)
        try:
            keys.raw(text)
        except ValueError:
            raise Trap(f"failure: invalid {name}") from None
        return text


def _refuse_address(text: str) -> Trap:
    if re.fullmatch(r"[A-Za-z0-9_.-]*[G-Zg-z_-][A-Za-z0-9_.-]*", text):
        return Trap("invalid or unexpected argument base")  # a host name in a field for addresses
    return Trap("invalid value for argument address")


def address(text: str, family: int) -> str:
    """An address in normal form. Traps on the other family too (`family` 4 or 6; 0 takes both)."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        raise _refuse_address(text) from None
    if family not in (0, parsed.version):
        raise Trap("invalid value for argument address")
    return str(parsed)


def prefix(text: str, family: int) -> str:
    """A prefix in normal form, host bits cleared, with its length."""
    base, slash, length = text.partition("/")
    normal = address(base, family)
    longest = ipaddress.ip_address(normal).max_prefixlen
    if slash and not (length.isascii() and length.isdigit() and int(length) <= longest):
        raise Trap("invalid value for argument address")
    return str(ipaddress.ip_network(f"{normal}/{length or longest}", strict=False))


@dataclass(frozen=True)
class Address(Field):
    family: int = 4

    def parse(self, name: str, text: str, names: Names) -> str:
        return address(text, self.family)


@dataclass(frozen=True)
class Prefix(Field):
    family: int = 4

    def parse(self, name: str, text: str, names: Names) -> str:
        return prefix(text, self.family)


@dataclass(frozen=True)
class InterfaceAddress(Field):
    """An address with its length, host bits kept. Without a length it is refused: what the device does is not known."""

    family: int = 4

    def parse(self, name: str, text: str, names: Names) -> str:
        prefix(text, self.family)
        if "/" not in text:
            raise Trap("invalid value for argument address")
        return str(ipaddress.ip_interface(text))


@dataclass(frozen=True)
class Prefixes(Field):
    """A comma list of prefixes of either family. Reads back in reverse: its order is not known (facts 5)."""

    def parse(self, name: str, text: str, names: Names) -> str:
        if not text:
            return ""
        return ",".join(dict.fromkeys(prefix(part, 0) for part in text.split(",")))

    def show(self, text: str, names: Names) -> str:
        return ",".join(reversed(text.split(",")))


@dataclass(frozen=True)
class AddressMatch(Field):
    """A matcher or translation target: address, prefix or range, negatable where a matcher."""

    family: int = 4
    negated: bool = True
    length: bool = True

    def parse(self, name: str, text: str, names: Names) -> str:
        mark = "!" if self.negated and text.startswith("!") else ""
        bare = text[len(mark) :]
        if "-" in bare and re.fullmatch(r"[0-9A-Fa-f:.]+-[0-9A-Fa-f:.]+", bare):
            first, last = (address(part, self.family) for part in bare.split("-"))
            return f"{mark}{first}-{last}"
        if "/" in bare and self.length:
            return mark + prefix(bare, self.family)
        return mark + address(bare, self.family)


@dataclass(frozen=True)
class Ports(Field):
    negated: bool = True

    def parse(self, name: str, text: str, names: Names) -> str:
        bare = text[1:] if self.negated and text.startswith("!") else text
        for part in bare.split(","):
            low, dash, high = part.partition("-")
            for number in (low, high) if dash else (low,):
                if not (number.isascii() and number.isdigit()):
                    raise Trap(f"invalid value for argument {name}")
                if int(number) > 65535:
                    raise Trap(f"value of {name} out of range (0..65535)")
        return text


class Endpoint(Field):
    """An address or a host name, or nothing."""

    def parse(self, name: str, text: str, names: Names) -> str:
        if not text:
            return ""
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            label = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
            # All digits and dots is a mistyped address, never a name.
            if len(text) > 253 or not re.fullmatch(rf"{label}(\.{label})*\.?", text) or re.fullmatch(r"[\d.]+", text):
                raise Trap(f"invalid value for argument {name}") from None
        return text


@dataclass(frozen=True)
class Reference(Field):
    """A row of another table by name. `words` are names that the device itself gives a meaning."""

    table: str
    type_name: str
    words: tuple[str, ...] = ()
    negated: bool = False
    many: bool = False
    category: int | None = None

    def parse(self, name: str, text: str, names: Names) -> str:
        mark = "!" if self.negated and text.startswith("!") else ""
        bare = text[len(mark) :]
        stored = []
        for part in bare.split(",") if self.many else [bare]:
            found = part if part in self.words else names.find_name(self.table, part)
            if found is None:
                raise Trap(f"input does not match any value of {self.type_name}", self.category)
            stored.append(found)
        return mark + ",".join(stored)

    def show(self, text: str, names: Names) -> str:
        mark = "!" if text.startswith("!") else ""
        parts = text[len(mark) :].split(",")
        return mark + ",".join(part if part in self.words else names.name_of(self.table, part) for part in parts)


def interface(*words: str, negated: bool = False) -> Reference:
    return Reference("/interface", "interface", words, negated, category=1)


@dataclass(frozen=True)
class Gateway(Field):
    """Of a route: addresses, interfaces or address%interface, several by commas."""

    family: int = 4

    def parse(self, name: str, text: str, names: Names) -> str:
        return ",".join(self._one(part, names) for part in text.split(","))

    def _one(self, text: str, names: Names) -> str:
        base, percent, device = text.partition("%")
        found = names.find_name("/interface", device if percent else base)
        if percent:
            if found is None:
                raise Trap("invalid or unexpected argument base")
            return f"{address(base, self.family)}%{found}"
        if found is not None:
            return found
        try:
            return address(base, self.family)
        except Trap:
            raise Trap("invalid or unexpected argument base") from None

    def show(self, text: str, names: Names) -> str:
        def one(part: str) -> str:
            base, percent, device = part.partition("%")
            if percent:
                return f"{base}%{names.name_of('/interface', device)}"
            return names.name_of("/interface", base) if base.startswith("*") else base

        return ",".join(one(part) for part in text.split(","))


#: Policies of a user group, in the order of the vocabulary.
POLICIES = (
    "local",
    "telnet",
    "ssh",
    "ftp",
    "reboot",
    "read",
    "write",
    "policy",
    "test",
    "winbox",
    "password",
    "web",
    "sniff",
    "sensitive",
    "api",
    "romon",
    "rest-api",
)


class Policy(Field):
    """Policies by commas; what is stored are the granted ones, what prints names all, denied ones with `!`."""

    def parse(self, name: str, text: str, names: Names) -> str:
        parts = text.split(",") if text else []
        if any(part.removeprefix("!") not in POLICIES for part in parts):
            raise Trap(f"input does not match any value of {name}")
        return ",".join(parts)

    def show(self, text: str, names: Names) -> str:
        granted = text.split(",")
        return ",".join(policy if policy in granted else f"!{policy}" for policy in POLICIES)
