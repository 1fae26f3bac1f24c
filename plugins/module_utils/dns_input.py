# Copyright: (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of cloudflare_records, checked and in normal form before anything is sent. Pure.

Every RecordError names the argument (`records[2].content`), the value and the remedy.
"""

from __future__ import annotations

import re
from typing import Any, Mapping, NamedTuple, Sequence
from urllib.parse import urlsplit

from ansible_collections.homelab.fabric.plugins.module_utils.dns_plan import (
    AUTOMATIC,
    COMMENT_LIMIT,
    Removal,
    Wanted,
    has_mark,
)
from ansible_collections.homelab.fabric.plugins.module_utils.dns_text import RecordError, host_name, normal_content

_EMPTY = "is empty; a template in it may have yielded nothing"


class Records(NamedTuple):
    wanted: list[Wanted]
    removals: list[Removal]


def read_token(token: str | None) -> str:
    if token is None:
        raise RecordError(
            "api_token is missing; give a token with the right DNS Write (Edit) for the zone, here or in the "
            "environment variable CLOUDFLARE_API_TOKEN"
        )
    if not token:
        raise RecordError(f"api_token {_EMPTY}; give a token with the right DNS Write (Edit) for the zone")
    if not re.fullmatch(r"[!-~]+", token):
        raise RecordError("api_token holds a blank, a line break or a character that no token has; copy it anew")
    return token


def read_zone_id(zone_id: str | None) -> str | None:
    if zone_id is None:
        return None
    if not zone_id:
        raise RecordError(f"zone_id {_EMPTY}; leave it out when the zone is given by name")
    if not re.fullmatch(r"[0-9a-fA-F]{32}", zone_id):
        raise RecordError(
            f"zone_id: {zone_id!r} is not 32 hexadecimal digits; copy the Zone ID from the zone's overview page, "
            "or give the zone's name as zone"
        )
    return zone_id.lower()


def read_zone(zone: str | None) -> str | None:
    if zone is None:
        return None
    if not zone:
        raise RecordError(f"zone {_EMPTY}; leave it out when zone_id is given")
    name = _named("zone", host_name, zone)
    if "." not in name or name.startswith("*"):
        raise RecordError(f"zone: {zone!r} is not a zone's full name, such as example.org")
    return name


def read_base_url(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.username or parts.query or parts.fragment or re.search(r"\s", base_url):
        raise RecordError(
            f"base_url: {base_url!r} is not the address of an API, such as https://api.cloudflare.com/client/v4"
        )
    return base_url


def read_owner(owner: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", owner):
        raise RecordError(f"owner: {owner!r} is not 1 to 40 letters, digits, dots, hyphens or underscores")
    return owner


def read_timeout(timeout: int) -> int:
    if timeout < 0:
        raise RecordError(
            f"timeout: {timeout} is less than 0 seconds; 0 never waits, 300 outlasts Cloudflare's throttling"
        )
    return timeout


def read_records(entries: Sequence[Mapping[str, Any]], zone: str | None, ttl: int, proxied: bool) -> Records:
    """The list of records. `zone` (normal form) completes relative names and `@`; `ttl` and `proxied` are for the
    entries that do not say."""
    ttl = _ttl("ttl", ttl)
    wanted: dict[tuple[str, str, str], tuple[str, Wanted]] = {}
    removals: dict[Removal, str] = {}
    for number, entry in enumerate(entries):
        where = f"records[{number}]"
        name, kind = _name(where, entry["name"], zone), entry["type"]
        if entry["state"] == "absent":
            removals[Removal(name, kind, _content_to_remove(where, kind, entry["content"]))] = where
            continue
        content = _content(where, kind, entry["content"])
        own_ttl = ttl if entry["ttl"] is None else _ttl(where + ".ttl", entry["ttl"])
        item = Wanted(name, kind, content, own_ttl, _proxied(where, entry, proxied), _comment(where, entry))
        first, same = wanted.setdefault((name, kind, content), (where, item))
        if same != item:
            raise RecordError(
                f"{where}: {name} {kind} {content} stands in {first} with other options; keep one of the two"
            )
        if kind == "CNAME" and content == name:
            raise RecordError(f"{where}.content: {name} points to itself; give the name of another host")
    items = [item for _where, item in wanted.values()]
    _refuse_company_of_cname(wanted)
    for removal, where in removals.items():
        for item in items:
            if (item.name, item.type) == removal[:2] and removal.content in (None, item.content):
                raise RecordError(
                    f"{where}: {item.name} {item.type} {item.content} is wanted present by {wanted[item[:3]][0]}; "
                    "keep one of the two"
                )
    return Records(items, list(removals))


def _refuse_company_of_cname(wanted: Mapping[tuple[str, str, str], tuple[str, Wanted]]) -> None:
    aliases = {name: (where, content) for (name, kind, content), (where, _item) in wanted.items() if kind == "CNAME"}
    for (name, kind, content), (where, _item) in wanted.items():
        if kind != "TXT" and name in aliases and (where, content) != aliases[name]:
            raise RecordError(
                f"{where}: {name} {kind} {content} cannot be there beside the CNAME of {aliases[name][0]}; "
                "a CNAME is the only address of its name, keep one of the two"
            )


def _named(argument: str, function: Any, *values: str) -> str:
    try:
        return str(function(*values))
    except RecordError as error:
        raise RecordError(f"{argument}: {error}") from None


def _name(where: str, name: str, zone: str | None) -> str:
    argument = where + ".name"
    if not name.strip():
        raise RecordError(f"{argument} {_EMPTY}; write @ for the zone itself")
    name = name.strip()
    if zone is None:
        if name == "@" or "." not in name.rstrip("."):
            raise RecordError(
                f"{argument}: {name!r} is relative to a zone known by its id alone; write it in full, or give zone"
            )
        return _named(argument, host_name, name)
    if name == "@":
        return zone
    full = _named(argument, host_name, name)
    if full == zone or full.endswith("." + zone):
        return full
    if name.endswith(".") or full.endswith("." + zone.rsplit(".", 1)[1]):
        raise RecordError(f"{argument}: {name!r} does not lie in the zone {zone}; check the spelling of both")
    return _named(argument, host_name, f"{full}.{zone}")


def _content(where: str, kind: str, content: str | None) -> str:
    argument = where + ".content"
    if content is None:
        raise RecordError(f"{argument} is missing; say where {kind} is to point, or what it is to hold")
    if not content.strip():
        raise RecordError(f"{argument} {_EMPTY}")
    return _named(argument, normal_content, kind, content)


def _content_to_remove(where: str, kind: str, content: str | None) -> str | None:
    if content is not None:
        return _content(where, kind, content)
    if kind == "TXT":
        raise RecordError(
            f"{where}.content is missing; TXT records of several owners share a name, say which to remove"
        )
    return None


def _ttl(argument: str, ttl: int) -> int:
    if ttl != AUTOMATIC and not 60 <= ttl <= 86400:
        raise RecordError(f"{argument}: {ttl} is neither 1 (automatic) nor 60 to 86400 seconds")
    return ttl


def _proxied(where: str, entry: Mapping[str, Any], default: bool) -> bool:
    if entry["type"] != "TXT":
        return default if entry["proxied"] is None else bool(entry["proxied"])
    if entry["proxied"]:
        raise RecordError(f"{where}.proxied: a TXT record cannot be proxied; leave proxied out")
    return False


def _comment(where: str, entry: Mapping[str, Any]) -> str | None:
    if entry["comment"] is None:
        return None
    comment = str(entry["comment"]).strip()
    if not comment.isprintable():
        raise RecordError(f"{where}.comment holds a line break or another control character; write it on one line")
    if has_mark(comment):
        raise RecordError(f"{where}.comment: {comment!r} ends like the mark of an owner; set owner instead")
    if len(comment) > COMMENT_LIMIT:
        raise RecordError(
            f"{where}.comment: {len(comment)} characters, Cloudflare takes {COMMENT_LIMIT} with the owner's mark"
        )
    return comment
