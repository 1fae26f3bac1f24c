# Copyright: (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS records wanted against DNS records there, as an ordered list of changes. Pure: no network, no Ansible.

Who made a record is written at the end of its comment, ``[managed by OWNER]``, since tags need a paid plan.
A record carries the mark exactly when this collection wrote its content; only such records are ever pruned.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any, Iterable, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.dns_text import RecordError, normal_content, txt_quote
from ansible_collections.homelab.fabric.plugins.module_utils.values import KNOWN_AFTER_APPLY

AUTOMATIC = 1
COMMENT_LIMIT = 100
"""Characters; Cloudflare's free plan refuses more with code 9313 (paid plans take 500)."""

_MARK = re.compile(r"\s*\[managed by ([A-Za-z0-9._-]{1,40})\]\s*$")
_ADDRESSES = ("A", "AAAA")
_EXCLUDES = {"A": ("CNAME",), "AAAA": ("CNAME",), "CNAME": _ADDRESSES}
"""Types that cannot stand beside a type at one name (Cloudflare's 81053 and 81054)."""


class Wanted(NamedTuple):
    """A record of the list, in normal form. `comment` None leaves the text that is there."""

    name: str
    type: str
    content: str
    ttl: int
    proxied: bool
    comment: str | None


class Removal(NamedTuple):
    """What must not be there. `content` None means whatever the content is."""

    name: str
    type: str
    content: str | None


class Record(NamedTuple):
    """A record of the zone in normal form. `comment` is the whole text, mark included; `owner` is read from it."""

    id: str
    name: str
    type: str
    content: str
    ttl: int
    proxied: bool
    comment: str

    @property
    def owner(self) -> str | None:
        found = _MARK.search(self.comment)
        return found.group(1) if found else None

    @property
    def text(self) -> str:
        return _MARK.sub("", self.comment)

    def describe(self) -> str:
        """One line for people."""
        ttl = "auto" if self.proxied or self.ttl == AUTOMATIC else str(self.ttl)
        way = "" if self.type == "TXT" else " proxied" if self.proxied else " DNS-only"
        comment = " # " + self.comment if self.comment else ""
        return f"{self.name} {self.type} {self.content} ttl={ttl}{way}{comment}"


class Change(NamedTuple):
    """One write. `action` is delete, patch or post; `before` is None for post, `after` for delete."""

    action: str
    before: Record | None
    after: Record | None

    @property
    def body(self) -> dict[str, Any]:
        """The fields to send. Cloudflare's schema demands name, type and ttl in a PATCH as well; what is left out
        there (tags, settings, a comment that stays) is kept by Cloudflare."""
        if self.after is None:
            return {}
        new = self.after
        body: dict[str, Any] = {"name": new.name, "type": new.type, "ttl": AUTOMATIC if new.proxied else new.ttl}
        body["content"] = txt_quote(new.content) if new.type == "TXT" else new.content
        if new.type != "TXT":
            body["proxied"] = new.proxied
        if new.comment != (self.before.comment if self.before else ""):
            body["comment"] = new.comment
        return body


class Plan(NamedTuple):
    """`changes` in the order of writing; `records`: the wanted ones as the zone then has them, in the list's order."""

    changes: list[Change]
    records: list[Record]


def record_from_api(item: dict[str, Any]) -> Record:
    """A record as the API returns it, in normal form, so that spelling never counts as a change."""
    kind = str(item.get("type") or "")
    content = str(item.get("content") or "")
    with contextlib.suppress(RecordError):  # Then this collection cannot have written it; it is compared as it is.
        content = normal_content(kind, content)
    return Record(
        id=str(item.get("id") or ""),
        name=str(item.get("name") or "").lower().rstrip("."),
        type=kind,
        content=content,
        ttl=int(item.get("ttl") or AUTOMATIC),
        proxied=bool(item.get("proxied")),
        comment=str(item.get("comment") or ""),
    )


def has_mark(comment: str) -> bool:
    return _MARK.search(comment) is not None


def plan(
    wanted: Sequence[Wanted], removals: Sequence[Removal], there: Sequence[Record], owner: str, prune: bool
) -> Plan:
    """What to write so that the zone holds `wanted` and not `removals`.

    Raises RecordError where it cannot be known which record is meant, before anything is written.
    """
    _refuse_other_zone(wanted, there)
    going = {record.id: record for record in there if any(_is_meant(record, removal) for removal in removals)}
    staying = [record for record in there if record.id not in going]
    result: dict[Wanted, Record] = {}
    changes: list[Change] = []
    for name, kind in dict.fromkeys((item.name, item.type) for item in wanted):
        group = [item for item in wanted if (item.name, item.type) == (name, kind)]
        going.update((record.id, record) for record in staying if _stands_in_the_way(record, name, kind, owner))
        found = [record for record in staying if (record.name, record.type) == (name, kind)]
        for item, before in _pair(group, found, owner).items():
            after = _after(item, before, owner)
            result[item] = after
            if before is None:
                changes.append(Change("post", None, after))
            elif after != before:
                changes.append(Change("patch", before, after))
    if prune:
        kept = {record.id for record in result.values()}
        going.update((record.id, record) for record in there if record.owner == owner and record.id not in kept)
    deletes = [Change("delete", record, None) for record in going.values()]
    # Cloudflare carries a batch out in this order, which is the alphabet's as well: delete, patch, post.
    return Plan(deletes + sorted(changes, key=lambda change: change.action), [result[item] for item in wanted])


def diff(changes: Iterable[Change], owner: str) -> dict[str, str]:
    """Ansible's before and after texts: a line for each record that changes."""
    before, after = [], []
    for change in changes:
        if change.before:
            taken_over = change.after and change.before.owner != owner and change.after.owner == owner
            note = f" (not made by {owner}, is taken over)" if taken_over else ""
            before.append(change.before.describe() + note)
        if change.after:
            after.append(change.after.describe())
    return {"before": _lines(before), "after": _lines(after)}


def _lines(lines: list[str]) -> str:
    return "".join(line + "\n" for line in sorted(lines))


def _is_meant(record: Record, removal: Removal) -> bool:
    return (record.name, record.type) == (removal.name, removal.type) and removal.content in (None, record.content)


def _refuse_other_zone(wanted: Sequence[Wanted], there: Sequence[Record]) -> None:
    """Cloudflare takes a name of another zone for a relative one and appends its own. With the zone given by id its
    name is unknown, but every record's name ends in it, and it has two labels at least."""
    endings = {tuple(record.name.split(".")[-2:]): record for record in there}
    for item in wanted:
        for ending, record in endings.items():
            if tuple(item.name.split(".")[-2:]) != ending:
                raise RecordError(
                    f"records: {item.name} does not lie in this zone, which holds {record.name}; "
                    "write the full name, or choose the zone (zone_id, zone) that it belongs to"
                )


def _stands_in_the_way(record: Record, name: str, kind: str, owner: str) -> bool:
    if record.name != name or record.type not in _EXCLUDES.get(kind, ()):
        return False
    if record.owner != owner:
        raise RecordError(
            f"records: {name} {kind} cannot be there beside {_whose(record)} {record.type} {record.content}; remove "
            f"that one (an entry with name: {name}, type: {record.type}, state: absent does) or choose another name"
        )
    return True


def _pair(group: list[Wanted], found: list[Record], owner: str) -> dict[Wanted, Record | None]:
    """Which record becomes which wanted one: equal content first, then our own, then the only foreign one there is."""
    pairs: dict[Wanted, Record | None] = {}
    left = sorted(found, key=lambda record: record.owner != owner)
    for item in group:
        pairs[item] = next((record for record in left if record.content == item.content), None)
        left = [record for record in left if record is not pairs[item]]
    own = [record for record in left if record.owner == owner]
    foreign = [record for record in left if record.owner != owner and record.type != "TXT"]
    missing = [item for item in group if pairs[item] is None]
    pairs.update(zip(missing, own))
    missing = missing[len(own) :]
    if missing and foreign:
        if len(group) > 1 or len(found) > 1:
            raise RecordError(_ambiguous(missing[0], foreign))
        pairs[missing[0]] = foreign[0]
    return pairs


def _ambiguous(item: Wanted, foreign: list[Record]) -> str:
    others = ", ".join(record.content for record in foreign)
    return (
        f"records: {item.name} {item.type} {item.content} is wanted, but records made by somebody else are there "
        f"({others}), and which of them to change cannot be known; list the contents to keep as further entries and "
        "those to remove as entries with state: absent"
    )


def _after(item: Wanted, before: Record | None, owner: str) -> Record:
    if before is None:
        before = Record(KNOWN_AFTER_APPLY, item.name, item.type, "", AUTOMATIC, False, "")
    ours = before.owner == owner or before.content != item.content
    text = before.text if item.comment is None else item.comment
    mark = owner if ours else before.owner
    if text == before.text and mark == before.owner:
        comment = before.comment
    else:
        comment = f"{text} [managed by {mark}]".strip() if mark else text
    ttl = before.ttl if item.proxied and before.proxied else AUTOMATIC if item.proxied else item.ttl
    after = before._replace(content=item.content, ttl=ttl, proxied=item.proxied, comment=comment)
    if after == before:
        return before
    if before.owner not in (None, owner):
        raise RecordError(
            f"records: {item.name} {item.type} belongs to owner {before.owner} ({before.content}); "
            "take it out of one of the two lists, or give both the same owner"
        )
    if comment != before.comment and len(comment) > COMMENT_LIMIT:
        raise RecordError(
            f"comment: {len(comment)} characters for {item.name} {item.type} with the mark of the owner, Cloudflare "
            f"takes {COMMENT_LIMIT}; give a comment of at most {COMMENT_LIMIT - len(comment) + len(text)}"
        )
    return after


def _whose(record: Record) -> str:
    return f"owner {record.owner}'s" if record.owner else "somebody else's"
