"""One DNS record: what the service takes, how it spells it, and what it answers.

Facts section 2. Where they leave a behaviour open, the stricter one is chosen; README.md lists those choices.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudflare_double import txt
from cloudflare_double.errors import bad_request, invalid

ADDRESS_TYPES = ("A", "AAAA")
PROXIABLE = ("A", "AAAA", "CNAME")
TYPES = ("A", "AAAA", "CNAME", "MX", "TXT")

_SETTINGS = {"A": {"ipv4_only", "ipv6_only"}, "AAAA": {"ipv4_only", "ipv6_only"}}
_SETTINGS["CNAME"] = {"ipv4_only", "ipv6_only", "flatten_cname"}
_WRITABLE = {"name", "type", "ttl", "content", "proxied", "comment", "tags", "settings", "priority"}
_DEFAULTS: dict[str, Any] = {"proxied": False, "comment": None, "tags": [], "settings": {}}
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")


@dataclass(frozen=True)
class Plan:
    """What a zone's plan allows. Lengths in characters, ``batch`` in operations of one request."""

    batch: int
    comment: int
    tags: int


# Batch: facts section 1. Comments and tags: Cloudflare's page "Record attributes"; 9300 and 9313 in public reports.
PLANS = {"free": Plan(batch=200, comment=100, tags=0), "pro": Plan(batch=3500, comment=500, tags=20)}


@dataclass(frozen=True)
class Record:
    """A record as the service keeps it. ``ttl`` in seconds, 1 = automatic; times are ISO 8601, UTC."""

    id: str
    name: str
    type: str
    content: str
    ttl: int
    proxied: bool
    comment: str | None
    tags: tuple[str, ...]
    settings: dict[str, bool] = field(hash=False)
    priority: int | None
    created_on: str
    modified_on: str

    @property
    def data(self) -> tuple[object, ...]:
        """What may not occur twice in a zone."""
        value: object = txt.strings(self.content) if self.type == "TXT" else self.content
        return (self.name, self.type, value)

    def render(self) -> dict[str, Any]:
        """The record as the API answers it."""
        shown: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "content": self.content,
            "proxiable": self.type in PROXIABLE,
            "proxied": self.proxied,
            "ttl": self.ttl,
            "settings": dict(self.settings),
            "meta": {},
            "comment": self.comment,
            "tags": list(self.tags),
            "created_on": self.created_on,
            "modified_on": self.modified_on,
        }
        if self.priority is not None:
            shown["priority"] = self.priority
        return shown

    @classmethod
    def load(cls, shown: Mapping[str, Any]) -> Record:
        """The opposite of ``render``, for the state file."""
        kept = {key: value for key, value in shown.items() if key not in ("proxiable", "meta")}
        return cls(**{"priority": None, **kept, "tags": tuple(shown["tags"])})


@dataclass(frozen=True)
class Rules:
    """What depends on the zone: its name, its plan, and whether a TXT record comes back in quotation marks."""

    zone: str
    plan: Plan
    quote_txt: bool

    def parse(
        self,
        body: Mapping[str, Any],
        *,
        id: str,
        now: str,
        old: Record | None = None,
        keep: bool = True,
    ) -> Record:
        """The record that ``body`` asks for, in place of ``old`` if given. Raises ApiError.

        Fields that ``body`` leaves out stay as in ``old`` (PATCH), or with ``keep`` false become defaults (PUT).
        """
        unknown = sorted(set(body) - _WRITABLE)
        if unknown:
            raise bad_request(f"Unknown or read-only fields: {', '.join(unknown)}.")
        given = {**(old.render() if old and keep else _DEFAULTS), **body}
        if "name" not in body:
            raise invalid(9000, "DNS name is invalid.")
        kind = body.get("type")
        if kind not in TYPES:
            raise invalid(9004, f"DNS record type {kind!r} is invalid, or not modelled by this double.")
        if old and kind != old.type:
            raise invalid(9004, "The type of a record cannot be changed.")  # open in the facts: the harsher way
        if "ttl" not in body:
            raise invalid(9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
        name = self.name(given["name"])
        proxied = _boolean(given["proxied"], "proxied")
        if proxied and kind not in PROXIABLE:
            raise invalid(9041, "Invalid proxied mode. Record cannot be proxied.")
        ttl = _ttl(given["ttl"])
        return Record(
            id=id,
            name=name,
            type=kind,
            content=self._content(kind, given.get("content"), name),
            ttl=1 if proxied else ttl,
            proxied=proxied,
            comment=self._comment(given["comment"]),
            tags=self._tags(given["tags"]),
            settings=_settings(given["settings"], kind),
            priority=_priority(given.get("priority"), kind),
            created_on=old.created_on if old else now,
            modified_on=now,
        )

    def name(self, given: object) -> str:
        """``given`` as full, lower-case name: relative names and ``@`` are taken as within the zone."""
        if not isinstance(given, str) or not 1 <= len(given) <= 255:
            raise invalid(9000, "DNS name is invalid.")
        name = given.lower().removesuffix(".")
        if name == "@":
            name = self.zone
        elif name != self.zone and not name.endswith("." + self.zone):
            name = f"{name}.{self.zone}"
        if not _is_host(name.removeprefix("*.")):
            raise invalid(9000, "DNS name is invalid.")
        return name

    def _content(self, kind: str, content: object, name: str) -> str:
        if not isinstance(content, str):
            content = ""
        if kind == "A":
            return str(
                _address(ipaddress.IPv4Address, content, 9005, "Content for A record must be a valid IPv4 address.")
            )
        if kind == "AAAA":
            return str(
                _address(ipaddress.IPv6Address, content, 9006, "Content for AAAA record must be a valid IPv6 address.")
            )
        if kind == "TXT":
            parts = txt.strings(content)
            return txt.quoted(parts) if self.quote_txt else content
        target = content.lower().removesuffix(".")
        if "." not in target or not _is_host(target) or re.fullmatch(r"[0-9.]+", target):
            raise invalid(9007, f"Content for {kind} record is invalid.")
        if kind == "CNAME" and target == name:
            raise invalid(9039, "CNAME content cannot reference itself.")
        return target

    def _comment(self, comment: object) -> str | None:
        if comment is None or comment == "":
            return None
        if not isinstance(comment, str):
            raise bad_request("comment must be a string.")
        if len(comment) > self.plan.comment:
            raise invalid(9313, f"DNS record comment exceeds the maximum length of {self.plan.comment} characters.")
        return comment

    def _tags(self, tags: object) -> tuple[str, ...]:
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise bad_request("tags must be a list of strings.")
        if len(tags) > self.plan.tags:
            raise invalid(9300, f"DNS record has {len(tags)} tags, exceeding the quota of {self.plan.tags}.")
        return tuple(tags)


def _is_host(name: str) -> bool:
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))


def _address(
    family: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address], content: str, code: int, message: str
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        if "%" in content:
            raise ValueError(content)
        return family(content)
    except ValueError:
        raise invalid(code, message) from None


def _ttl(ttl: object) -> int:
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not (ttl == 1 or 60 <= ttl <= 86400):
        raise invalid(9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
    return ttl


def _boolean(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise bad_request(f"{name} must be a boolean.")
    return value


def _settings(settings: object, kind: str) -> dict[str, bool]:
    if not isinstance(settings, dict) or set(settings) - _SETTINGS.get(kind, set()):
        raise bad_request(f"settings are not those of {kind} records.")
    return {name: _boolean(value, f"settings.{name}") for name, value in settings.items()}


def _priority(priority: object, kind: str) -> int | None:
    if kind != "MX":
        if priority is not None:
            raise bad_request(f"priority is not a field of {kind} records.")
        return None
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 65535:
        raise bad_request("priority must be an integer between 0 and 65535.")
    return priority
