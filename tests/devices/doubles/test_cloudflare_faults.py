"""The Cloudflare double fails as ordered, throttles as documented, and logs without secrets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cloudflare_double import ZONE_ID, Cloudflare, Limit
from cloudflare_double.errors import ApiError
from cloudflare_double.limits import RateLimiter

RECORDS = f"/zones/{ZONE_ID}/dns_records"
A = {"name": "www.example.org", "type": "A", "ttl": 300, "content": "203.0.113.10"}


@pytest.fixture
def cf() -> Iterator[Cloudflare]:
    with Cloudflare() as double:
        yield double


@pytest.fixture
def client(cf: Cloudflare) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {cf.token}"}
    with httpx.Client(base_url=cf.base_url, headers=headers, trust_env=False, verify=False) as client:
        yield client


@pytest.mark.parametrize(
    ("fault", "status", "records"),
    [
        ({"status": 500}, 500, 0),
        ({"status": 500, "executed": True}, 500, 1),
        ({"status": 429, "retry_after": 7}, 429, 0),
        ({"status": 502, "html": True}, 502, 0),
        ({"drop": True}, None, 0),
        ({"drop": True, "executed": True}, None, 1),
        ({"delay": 0.05}, 200, 1),
        ({"status": 500, "writes_only": True}, 500, 0),
    ],
)
def test_faults(cf: Cloudflare, client: httpx.Client, fault: dict[str, Any], status: int | None, records: int) -> None:
    cf.fail(**fault)
    got = None
    try:
        answer = client.post(RECORDS, json=A)
        got = answer.status_code
        assert answer.headers["Content-Type"] == ("text/html" if fault.get("html") else "application/json")
        assert answer.headers.get("Retry-After") == ("7" if "retry_after" in fault else None)
    except httpx.RemoteProtocolError:
        assert fault["drop"]
    assert got == status
    assert (len(cf.records), cf.writes, cf.requests[-1].status) == (records, records, status)
    assert client.get(RECORDS).status_code == 200, "a fault strikes once unless told otherwise"


def test_faults_strike_in_order_after_those_let_through(cf: Cloudflare, client: httpx.Client) -> None:
    cf.fail(status=503, times=2, skip=1)
    cf.fail(status=500)
    assert [client.get(RECORDS).status_code for number in range(5)] == [200, 503, 503, 500, 200]


def test_faults_of_writes_leave_reads_alone(cf: Cloudflare, client: httpx.Client) -> None:
    cf.fail(status=500, writes_only=True)
    assert client.get(RECORDS).status_code == 200
    assert client.post(RECORDS, json=A).status_code == 500


@pytest.mark.parametrize("fault", [{}, {"html": True}, {"html": True, "drop": True}])
def test_faults_that_mean_nothing(cf: Cloudflare, fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs"):
        cf.fail(**fault)


def test_rate_limit_answers_429_and_keeps_out_everybody() -> None:
    with Cloudflare(limits=[Limit(2, 300)]) as cf:
        headers = {"Authorization": f"Bearer {cf.token}"}
        with httpx.Client(base_url=cf.base_url, headers=headers, trust_env=False, verify=False) as client:
            allowed = [client.get(RECORDS) for number in range(2)]
            refused = client.post(RECORDS, json=A, headers={"Authorization": "Bearer another"})
    assert [answer.headers["Ratelimit"] for answer in allowed] == ['"default";r=1;t=300', '"default";r=0;t=300']
    assert allowed[0].headers["Ratelimit-Policy"] == '"default";q=2;w=300'
    assert "Retry-After" not in allowed[1].headers
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, 971)
    assert refused.headers["Retry-After"] == "300"
    assert cf.writes == 0


def test_a_block_lasts_its_window_from_the_last_straw() -> None:
    now = 0.0
    limiter = RateLimiter([Limit(2, 300)], clock=lambda: now)
    limiter.take()
    now = 100.0
    limiter.take()
    for now, seconds in ((200.0, 300), (499.0, 1)):  # noqa: B007 - read by the clock
        with pytest.raises(ApiError) as refused:
            limiter.take()
        assert refused.value.headers["Retry-After"] == str(seconds)
    now = 500.0
    assert limiter.take()["Ratelimit"] == '"default";r=1;t=300'


def test_a_window_that_was_not_used_up_begins_anew() -> None:
    now = 0.0
    limiter = RateLimiter([Limit(1, 300)], clock=lambda: now)
    limiter.take()
    now = 300.0
    limiter.take()


def test_the_documented_limits_apply_by_default() -> None:
    assert [(limit.quota, limit.window) for limit in RateLimiter().limits] == [(1200, 300), (200, 1)]


def test_the_log_tells_what_was_asked_and_never_the_token(cf: Cloudflare, client: httpx.Client) -> None:
    client.get(RECORDS, params={"name": "www.example.org"})
    client.post(RECORDS, json=A)
    client.post(RECORDS, json=A)
    listed, created, refused = cf.requests
    assert (listed.method, listed.path, listed.query) == ("GET", f"/client/v4{RECORDS}", "name=www.example.org")
    assert (created.status, created.changes, created.body, created.token) == (200, 1, A, "own")
    assert (refused.status, refused.changes) == (400, 0)
    assert cf.writes == 1
    assert cf.token not in repr(cf.requests)


def test_a_double_starts_and_stops_at_once() -> None:
    start = time.perf_counter()
    for _turn in range(10):
        with Cloudflare():
            pass
    assert threading.active_count() < 10
    assert time.perf_counter() - start < 5, "each takes about a millisecond; the bound only catches waiting"


def test_a_stopped_double_answers_no_kept_connection() -> None:
    with httpx.Client(trust_env=False, verify=False) as client:
        with Cloudflare() as cf:
            client.get(cf.base_url)
        with pytest.raises(httpx.TransportError):
            client.get(cf.base_url)
