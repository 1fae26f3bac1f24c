"""The API itself: a request in, an answer out, no sockets."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cloudflare_double import errors
from cloudflare_double.access import Headers, Token, identify
from cloudflare_double.errors import ApiError
from cloudflare_double.faults import WRITES, Fault, Faults
from cloudflare_double.journal import Entry, Journal
from cloudflare_double.limits import RateLimiter
from cloudflare_double.listing import list_records, page_of
from cloudflare_double.zones import Draft, Zone, Zones

PREFIX = "/client/v4"
MOST_PER_PAGE = 5_000_000

_ID = "[0-9a-f]{32}"
_BATCH: tuple[tuple[str, bool, Callable[[Draft, str, Mapping[str, Any]], Any]], ...] = (
    # The order in which the service runs them, whatever the order in the body; whether each names a record by its id.
    ("deletes", True, lambda draft, id, body: draft.delete(id)),
    ("patches", True, lambda draft, id, body: draft.edit(id, body)),
    ("puts", True, lambda draft, id, body: draft.overwrite(id, body)),
    ("posts", False, lambda draft, id, body: draft.create(body)),
)


@dataclass(frozen=True)
class Request:
    """``target`` is path and query as sent; ``body`` None if none was sent."""

    method: str
    target: str
    headers: Headers
    body: bytes | None = None


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class _Result:
    """What a handler found: the envelope's ``result`` and ``result_info``, and how many records it changed."""

    result: Any
    info: dict[str, int] | None = None
    changes: int = 0


@dataclass
class _Trace:
    """What the log wants to know of a request that may fail half-way."""

    token: str | None = None
    body: Any = None
    changes: int = 0


class Api:
    """The service. ``handle`` may be called from several threads."""

    def __init__(
        self,
        zones: Zones,
        tokens: Sequence[Token],
        *,
        limiter: RateLimiter | None = None,
        faults: Faults | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.zones = zones
        self.limiter = limiter or RateLimiter()
        self.faults = faults or Faults()
        self.journal = journal or Journal()
        self._tokens = tuple(tokens)

    def handle(self, request: Request) -> Answer | None:
        """The answer; None = close the connection without one."""
        trace = _Trace()
        fault = self.faults.meet(request.method)
        if fault and fault.delay:
            time.sleep(fault.delay)
        answer: Answer | None = None
        if not fault or not fault.replaces_answer or fault.executed:
            answer = self._run(request, trace)
        if fault and fault.replaces_answer:
            answer = _faulty(fault)
        url = urlsplit(request.target)
        status = answer.status if answer else None
        self.journal.add(Entry(request.method, url.path, url.query, trace.token, trace.body, status, trace.changes))
        return answer

    def _run(self, request: Request, trace: _Trace) -> Answer:
        headers: dict[str, str] = {}
        try:
            headers = self.limiter.take()
            token = identify(request.headers, self._tokens)
            trace.token = token.label
            found = self._route(request, token, trace)
        except ApiError as error:
            return _envelope(error.status, None, error.render(), headers={**headers, **error.headers})
        trace.changes = found.changes
        return _envelope(200, found.result, [], info=found.info, headers=headers)

    def _route(self, request: Request, token: Token, trace: _Trace) -> _Result:
        url = urlsplit(request.target)
        path = url.path.removeprefix(PREFIX)
        if path == url.path:
            raise errors.no_route(url.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if path == "/zones":
            _only(request, "GET")
            return self._list_zones(token, query)
        match = re.fullmatch(rf"/zones/({_ID})(?:/(dns_records)(?:/(batch|{_ID}))?)?", path)
        zone = self.zones.by_id(match.group(1)) if match else None
        if not match or not zone:
            raise errors.no_route(path)
        if not match.group(2):
            _only(request, "GET")
            if not token.may("zone_read", zone.name):
                raise errors.zone_unauthorized()
            return _Result(zone.render())
        if not token.may("dns_write" if request.method in WRITES else "dns_read", zone.name):
            raise errors.no_right()
        if request.method in WRITES - {"DELETE"}:
            trace.body = _json(request)
        return self._records(request, zone, match.group(3), query, trace.body)

    def _list_zones(self, token: Token, query: dict[str, str]) -> _Result:
        if "zone_read" not in token.rights:
            raise errors.zone_unauthorized()
        unknown = set(query) - {"name", "page", "per_page"}
        if unknown:
            raise errors.bad_request(f"Query parameters {sorted(unknown)} are not modelled by this double.")
        if token.zones is not None and "name" not in query:
            raise errors.may_not_list_zones()
        wanted = query.get("name", "").lower()
        seen = [zone for zone in self.zones if token.sees(zone.name) and wanted in ("", zone.name)]
        shown, info = page_of(seen, query, default=20, smallest=5, most=50)
        return _Result([zone.render() for zone in shown], info)

    def _records(
        self,
        request: Request,
        zone: Zone,
        id: str | None,
        query: dict[str, str],
        body: Any,
    ) -> _Result:
        if id is None:
            _only(request, "GET", "POST")
            if request.method == "GET":
                found = list_records(list(zone.records.values()), query)
                shown, info = page_of(found, query, default=100, most=MOST_PER_PAGE)
                return _Result([record.render() for record in shown], info)
            with self.zones.change(zone) as draft:
                return _Result(draft.create(body).render(), changes=1)
        if id == "batch":
            _only(request, "POST")
            return self._batch(zone, body)
        _only(request, "GET", "PUT", "PATCH", "DELETE")
        if request.method == "GET":
            if id not in zone.records:
                raise errors.no_record()
            return _Result(zone.records[id].render())
        with self.zones.change(zone) as draft:
            if request.method == "DELETE":
                return _Result({"id": draft.delete(id).id}, changes=1)
            change = draft.overwrite if request.method == "PUT" else draft.edit
            return _Result(change(id, body).render(), changes=1)

    def _batch(self, zone: Zone, body: dict[str, Any]) -> _Result:
        unknown = sorted(set(body) - {name for name, by_id, run in _BATCH})
        lists = {name: body.get(name) or [] for name, by_id, run in _BATCH}
        if unknown or not all(isinstance(items, list) for items in lists.values()):
            raise errors.bad_request("A batch takes the lists deletes, patches, puts and posts.")
        operations = sum(map(len, lists.values()))
        if not 1 <= operations <= zone.plan.batch:
            raise errors.bad_request(f"A batch takes 1 to {zone.plan.batch} operations, not {operations}.")
        result: dict[str, Any] = {}
        with self.zones.change(zone) as draft:
            for name, by_id, run in _BATCH:
                result[name] = [run(draft, *_operation(item, by_id)).render() for item in lists[name]] or None
        return _Result(result, changes=operations)


def _operation(item: Any, by_id: bool) -> tuple[str, dict[str, Any]]:
    if not isinstance(item, dict) or by_id != isinstance(item.get("id"), str):
        raise errors.bad_request("Deletes, patches and puts name a record by its id, posts do not.")
    return item.get("id", ""), {key: value for key, value in item.items() if key != "id"}


def _json(request: Request) -> dict[str, Any]:
    if (request.headers.get("Content-Type") or "").partition(";")[0].strip() != "application/json":
        raise errors.bad_body("Content-type must be application/json.")
    try:
        body = json.loads(request.body or b"")
    except ValueError:
        raise errors.bad_body("Failed to parse request body, content-type must be application/json") from None
    if not isinstance(body, dict):
        raise errors.bad_body("Failed to parse request body, content-type must be application/json")
    return body


def _only(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise errors.no_method(request.method)


def _faulty(fault: Fault) -> Answer | None:
    if fault.drop or fault.status is None:
        return None
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if fault.html:
        page = f"<html><head><title>{fault.status}</title></head><body><center>cloudflare</center></body></html>\n"
        return Answer(fault.status, page.encode(), {**headers, "Content-Type": "text/html"})
    code, message = (
        (971, "Please wait and consider throttling your request speed")
        if fault.status == 429
        else (
            10001,
            "Internal error",
        )
    )
    return _envelope(fault.status, None, [{"code": code, "message": message}], headers=headers)


def _envelope(
    status: int,
    result: Any,
    problems: list[dict[str, object]],
    *,
    info: dict[str, int] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    envelope: dict[str, Any] = {"result": result, "success": not problems, "errors": problems, "messages": []}
    if info is not None:
        envelope["result_info"] = info
    return Answer(status, json.dumps(envelope).encode(), {**(headers or {}), "Content-Type": "application/json"})
