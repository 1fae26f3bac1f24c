"""GET of a list: filters, order and pages (facts, section 1).

A parameter that is not documented is refused: the service would ignore it and give everything, which a client that
misspells a filter would take for the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from cloudflare_double.errors import bad_request
from cloudflare_double.records import Record

Item = TypeVar("Item")
Test = Callable[[Record], bool]
Query = dict[str, str]

_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "exact": lambda text, wanted: text == wanted,
    "contains": lambda text, wanted: wanted in text,
    "startswith": lambda text, wanted: text.startswith(wanted),
    "endswith": lambda text, wanted: text.endswith(wanted),
}
_ORDER: dict[str, Callable[[Record], Any]] = {
    "type": lambda record: record.type,
    "name": lambda record: record.name,
    "content": lambda record: record.content,
    "ttl": lambda record: record.ttl,
    "proxied": lambda record: record.proxied,
}
_PLAIN = {"type", "proxied", "match", "tag_match", "order", "direction", "page", "per_page"}


def list_records(records: Sequence[Record], query: Query) -> list[Record]:
    """The records that ``query`` asks for, all pages. Raises ApiError."""
    tests, tag_tests = [], []
    for key, value in query.items():
        if key == "tag" or key.startswith("tag."):
            tag_tests.append(_tag_test(key.partition(".")[2], value))
        elif key not in _PLAIN:
            tests.append(_text_test(key, value))
    if "type" in query:
        tests.append(lambda record: record.type == query["type"])
    if "proxied" in query:
        wanted = _one_of(query, "proxied", ("true", "false")) == "true"
        tests.append(lambda record: record.proxied == wanted)
    if tag_tests:
        every_tag = _one_of(query, "tag_match", ("all", "any")) == "all"
        tests.append(lambda record: _combine(tag_tests, record, every_tag))
    every = _one_of(query, "match", ("all", "any")) == "all"
    # Without `order` the service promises none; by id is none that a client could rely on.
    found = sorted((record for record in records if _combine(tests, record, every)), key=lambda record: record.id)
    if "order" in query:
        found.sort(key=_ORDER[_one_of(query, "order", tuple(_ORDER))])
    if _one_of(query, "direction", ("asc", "desc")) == "desc":
        found.reverse()
    return found


def page_of(
    items: Sequence[Item], query: Query, *, default: int, smallest: int = 1, most: int
) -> tuple[list[Item], dict[str, int]]:
    """One page of ``items`` and its ``result_info``. A page past the end is empty. Raises ApiError."""
    page = _number(query, "page", 1, 1, 10**9)
    per_page = _number(query, "per_page", default, smallest, most)
    shown = list(items[(page - 1) * per_page : page * per_page])
    info = {
        "page": page,
        "per_page": per_page,
        "count": len(shown),
        "total_count": len(items),
        "total_pages": math.ceil(len(items) / per_page),
    }
    return shown, info


def _text_test(key: str, value: str) -> Test:
    field, _dot, operator = key.partition(".")
    wanted = value.lower()
    if field == "comment" and operator in ("present", "absent"):
        return lambda record: (record.comment is not None) == (operator == "present")
    # `name=` and `content=` without an operator are the older spelling of `.exact`.
    compare = _COMPARE.get(operator or ("exact" if field in ("name", "content") else ""))
    if field not in ("name", "content", "comment") or compare is None:
        raise bad_request(f"Query parameter {key!r} is not supported.")
    return lambda record: compare(str(getattr(record, field) or "").lower(), wanted)


def _tag_test(operator: str, value: str) -> Test:
    """``tag.present=NAME``, ``tag.exact=NAME:VALUE`` and so on."""
    name, _colon, wanted = value.lower().partition(":")
    if operator in ("present", "absent"):
        return lambda record: (
            (name in (tag.lower().partition(":")[0] for tag in record.tags)) == (operator == "present")
        )
    compare = _COMPARE.get(operator)
    if compare is None:
        raise bad_request(f"Query parameter 'tag.{operator}' is not supported.")

    def test(record: Record) -> bool:
        pairs = (tag.lower().partition(":") for tag in record.tags)
        return any(tag == name and compare(text, wanted) for tag, colon, text in pairs)

    return test


def _combine(tests: Sequence[Test], record: Record, every: bool) -> bool:
    return all(test(record) for test in tests) if every or not tests else any(test(record) for test in tests)


def _one_of(query: Query, key: str, allowed: tuple[str, ...]) -> str:
    value = query.get(key, allowed[0])
    if value not in allowed:
        raise bad_request(f"{key} must be one of {', '.join(allowed)}.")
    return value


def _number(query: Query, key: str, default: int, smallest: int, most: int) -> int:
    text = query.get(key, str(default))
    if not text.isascii() or not text.isdigit() or not smallest <= int(text) <= most:
        raise bad_request(f"{key} must be a number between {smallest} and {most}.")
    return int(text)
