# Copyright: (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloudflare's API for DNS records, over the official SDK, and the flow read → plan → write.

The SDK's generic verbs (`client.get`, `client.post`) are used, not `client.dns.records`: the typed resources cost
another 0.11 s of imports and model building in a run with nothing to do (0.31 s instead of 0.20 s, SDK 5.9.0),
and its models do not validate.
"""

from __future__ import annotations

import email.utils
import json
import re
import ssl
import time
from typing import Any, Callable, NamedTuple, NoReturn, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.dns_input import Records
from ansible_collections.homelab.fabric.plugins.module_utils.dns_plan import Change, Record, plan, record_from_api

BASE_URL = "https://api.cloudflare.com/client/v4"
BATCH = 200
"""Operations in one batch on the free plan."""
PER_PAGE = 5000
OVERTAKEN = frozenset((81044, 81057, 81058))
"""Codes that say that the zone is no longer as it was read: record gone, record there already."""

_ATTEMPTS = 3
_REQUEST_SECONDS = 30.0
_LONGEST_BACKOFF = 8.0


class ApiError(Exception):
    """Cloudflare refused or could not be reached: one sentence that names the argument and the remedy."""


class Overtaken(ApiError):
    """A write that may have been carried out, or came too late: read the zone again."""


class Outcome(NamedTuple):
    """`changes` are those planned from the first reading; `records` the wanted ones as they are now."""

    changes: list[Change]
    records: list[Record]


class Api:
    """One connection. `timeout` is how many seconds all its calls together wait when Cloudflare asks to wait or fails.

    ImportError without the SDK.
    """

    def __init__(
        self,
        token: str,
        base_url: str = BASE_URL,
        timeout: float = 60,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        from cloudflare import Cloudflare

        self._client = Cloudflare(
            api_token=token,
            base_url=base_url,
            max_retries=0,  # The SDK gives up within seconds when asked to wait for more than a minute.
            timeout=_REQUEST_SECONDS,
            default_headers={"Authorization": f"Bearer {token}"},  # Wins over CLOUDFLARE_CUSTOM_HEADERS.
        )
        # Taken from the environment they would be sent in the token's place.
        self._client.api_email = self._client.api_key = self._client.user_service_key = None
        self._base_url = base_url
        self._timeout = timeout
        self._patience = timeout
        self._sleep = sleep
        self._refusals = self._broken = 0

    def zone_id(self, name: str) -> str:
        found = self._get("/zones", {"name": name}, f"looking the zone {name} up")["result"]
        if len(found) == 1:
            return str(found[0]["id"])
        if found:
            raise ApiError(f"zone: this token sees {len(found)} zones named {name}; give zone_id instead")
        raise ApiError(
            f"zone: this token sees no zone {name}; check the spelling and that the token has the right Zone Read "
            "for it, or give zone_id, which needs no such right"
        )

    def records(self, zone_id: str) -> list[Record]:
        """All records of the zone: one request for up to 5,000 of them."""
        found: list[Record] = []
        page = 1
        while True:
            answer = self._get(
                f"/zones/{zone_id}/dns_records", {"per_page": PER_PAGE, "page": page}, "listing the zone's records"
            )
            found += [record_from_api(item) for item in answer["result"]]
            if page >= int((answer.get("result_info") or {}).get("total_pages") or 1):
                return found
            page += 1

    def write(self, zone_id: str, changes: Sequence[Change]) -> list[Record]:
        """Carry out at most 200 changes in one transaction; returns what was changed and created."""
        body: dict[str, list[dict[str, Any]]] = {}
        for change in changes:
            key = "patches" if change.action == "patch" else change.action + "s"
            identity = {"id": change.before.id} if change.before else {}
            body.setdefault(key, []).append({**identity, **change.body})
        answer = self._call("POST", f"/zones/{zone_id}/dns_records/batch", "writing records", body=body)
        done = answer["result"] or {}
        return [record_from_api(item) for key in ("patches", "posts") for item in done.get(key) or ()]

    def _get(self, path: str, query: dict[str, Any], doing: str) -> dict[str, Any]:
        return self._call("GET", path, doing, query=query)

    def _call(
        self, method: str, path: str, doing: str, query: dict[str, Any] | None = None, body: Any = None
    ) -> dict[str, Any]:
        """The answer's envelope. A read is repeated; a write only when Cloudflare did not begin it (429)."""
        answer = None
        while answer is None:
            answer = self._attempt(method, path, doing, query, body)
        self._refusals = self._broken = 0
        return answer

    def _attempt(
        self, method: str, path: str, doing: str, query: dict[str, Any] | None, body: Any
    ) -> dict[str, Any] | None:
        """One request; None, after a wait, if it is to be repeated."""
        import cloudflare

        try:
            if method == "GET":
                answer = self._client.get(path, cast_to=object, options={"params": query or {}})
            else:
                answer = self._client.post(path, cast_to=object, body=body)
            return self._envelope(answer, doing)
        except (cloudflare.RateLimitError, cloudflare.InternalServerError) as error:
            self._wait(error, doing)
            if method != "GET" and error.status_code != 429:
                raise Overtaken(
                    f"base_url: Cloudflare failed when {doing} (HTTP {error.status_code}); run again later, "
                    "the next run finishes the work"
                ) from error
        except cloudflare.APIStatusError as error:
            self._refused(error, path, doing)
        except cloudflare.APIConnectionError as error:
            self._broken += 1
            if self._broken == _ATTEMPTS or _untrusted(error):
                raise ApiError(self._unreachable(error)) from error
            self._sleep(0.5 * self._broken)
            if method != "GET":
                raise Overtaken(self._unreachable(error)) from error
        except json.JSONDecodeError as error:
            raise ApiError(self._not_the_api("broken JSON")) from error
        return None

    def _envelope(self, answer: Any, doing: str) -> dict[str, Any]:
        if not isinstance(answer, dict) or "success" not in answer or "result" not in answer:
            raise ApiError(self._not_the_api("something else than Cloudflare's JSON"))
        if not answer["success"]:
            raise ApiError(f"records: Cloudflare refused when {doing}: {_said(answer)}")
        return answer

    def _wait(self, error: Any, doing: str) -> None:
        self._refusals += 1
        asked = _asked_to_wait(error.response.headers)
        seconds = max(asked or 0, min(0.5 * 2 ** (self._refusals - 1), _LONGEST_BACKOFF))
        if seconds > self._patience:
            wish = "asks to wait" if asked else "failed, and the next attempt would come after"
            raise ApiError(
                f"timeout: Cloudflare {wish} {seconds:g} s when {doing} (HTTP {error.status_code}: "
                f"{_said(error.body)}), and {self._patience:g} s are left of the {self._timeout:g} s allowed; "
                "run again later or raise timeout"
            ) from error
        self._patience -= seconds
        self._sleep(seconds)

    def _refused(self, error: Any, path: str, doing: str) -> NoReturn:
        """By HTTP status first, then by code, never by text."""
        if not isinstance(error.body, dict) or not error.body.get("errors"):
            raise ApiError(self._not_the_api(f"HTTP {error.status_code} without Cloudflare's JSON")) from error
        codes = _codes(error.body)
        said = f"(HTTP {error.status_code}: {_said(error.body)})"
        if path == "/zones":
            right = "the right Zone Read for it; zone_id instead of zone needs no such right"
        elif "batch" in path:
            right = "the right DNS Write (Edit) for the zone of this zone_id"
        else:
            right = "the right DNS Read for the zone of this zone_id"
        if error.status_code == 403 and 10000 in codes:
            remedy = f"api_token: the token may not be used for {doing} {said}; give it {right}"
        elif error.status_code in (401, 403) or codes & {6003, 6111, 9106}:
            remedy = (
                f"api_token: Cloudflare refuses the token when {doing} {said}; check that it is copied whole, neither "
                f"expired nor revoked, and has {right}"
            )
        elif codes & {7000, 7003}:
            remedy = f"zone_id: there is no such zone {said}; copy the Zone ID from the zone's overview page"
        elif codes & OVERTAKEN:
            raise Overtaken(f"records: Cloudflare refuses the change {said}") from error
        else:
            remedy = f"records: Cloudflare refused when {doing} {said}; nothing of this batch was written"
        raise ApiError(remedy) from error

    def _unreachable(self, error: Exception) -> str:
        if _untrusted(error):
            return (
                f"base_url: the certificate of {self._base_url} is not trusted ({_root(error)}); if its authority is "
                "your own, put it into a file and name that file in the environment variable SSL_CERT_FILE"
            )
        return f"base_url: no connection to {self._base_url} ({_root(error)}); check the address and the network"

    def _not_the_api(self, got: str) -> str:
        return f"base_url: {self._base_url} answered with {got}; Cloudflare's own is {BASE_URL}"


def converge(api: Api, zone_id: str, listed: Records, owner: str, prune: bool, write: bool) -> Outcome:
    """Bring the zone to what is listed.

    After a write of which nobody knows whether it was carried out the zone is read and planned anew, so that nothing
    is written twice. Raises ApiError, RecordError.
    """
    first: list[Change] | None = None
    for attempt in range(1, _ATTEMPTS + 1):
        now = plan(listed.wanted, listed.removals, api.records(zone_id), owner, prune)
        first = now.changes if first is None else first
        written: list[Record] = []
        try:
            for start in range(0, len(now.changes) if write else 0, BATCH):
                written += api.write(zone_id, now.changes[start : start + BATCH])
            break
        except Overtaken:
            if attempt == _ATTEMPTS:
                raise
    identity = {(record.name, record.type, record.content): record.id for record in written}
    return Outcome(first or [], [item._replace(id=identity.get(item[1:4], item.id)) for item in now.records])


def command(change: Change, zone_id: str) -> str:
    """The change as the API call that would do it alone."""
    path = f"/zones/{zone_id}/dns_records"
    if change.before:
        path += "/" + change.before.id
    body = " " + json.dumps(change.body, ensure_ascii=False) if change.body else ""
    return f"{change.action.upper()} {path}{body}"


def _errors(body: Any) -> list[dict[str, Any]]:
    """The errors of an envelope with those in their chains."""
    found: list[dict[str, Any]] = []
    for item in (body.get("errors") or []) if isinstance(body, dict) else []:
        if isinstance(item, dict):
            found += [item, *(link for link in item.get("error_chain") or [] if isinstance(link, dict))]
    return found


def _codes(body: Any) -> set[int]:
    return {int(item.get("code") or 0) for item in _errors(body)}


def _said(body: Any) -> str:
    return ", ".join(f"{item.get('code')} {item.get('message')}" for item in _errors(body)) or "no reason given"


def _asked_to_wait(headers: Any) -> float | None:
    """Seconds, from Retry-After (a number or a date) or else from `Ratelimit: "default";r=0;t=SECONDS`."""
    value = headers.get("retry-after") or ""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return float(value)
    if value:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except (TypeError, ValueError):
            pass
    left = re.search(r"r=0;\s*t=([0-9]+)", headers.get("ratelimit") or "")
    return float(left.group(1)) if left else None


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _untrusted(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def _root(error: BaseException) -> str:
    return str(_causes(error)[-1]) or str(error)
