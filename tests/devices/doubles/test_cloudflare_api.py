"""The Cloudflare double refuses and spells as the facts say: records, errors, lists, batches. Raw HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cloudflare_double import ZONE_ID, Cloudflare, Token

CLIENT = httpx.Client(trust_env=False, verify=False)  # plain HTTP: spares the loading of certificates
OTHER_ID = "f" * 32
NOBODYS_ID = "e" * 32
RECORDS = f"/zones/{ZONE_ID}/dns_records"
A = {"name": "www.example.org", "type": "A", "ttl": 300, "content": "203.0.113.10"}
AAAA = {"name": "www.example.org", "type": "AAAA", "ttl": 300, "content": "2001:db8:113::10"}
CNAME = {"name": "jellyfin.example.org", "type": "CNAME", "ttl": 1, "content": "www.example.org"}
TXT = {"name": "_acme.example.org", "type": "TXT", "ttl": 60, "content": "hello"}
MX = {"name": "example.org", "type": "MX", "ttl": 1, "content": "mail.example.org", "priority": 10}
TOKENS = [
    Token("reads", frozenset({"dns_read"})),
    Token("lists-zones", frozenset({"zone_read"})),
    Token("writes-elsewhere", frozenset({"dns_write", "zone_read"}), frozenset({"example.net"})),
]


@pytest.fixture
def cf() -> Iterator[Cloudflare]:
    with Cloudflare(tokens=TOKENS, other_zones={"example.net": OTHER_ID}) as double:
        yield double


def call(cf: Cloudflare, method: str, path: str, body: Any = None, token: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token or cf.token}"}
    return CLIENT.request(method, cf.base_url + path, json=body, headers=headers)


def codes(answer: httpx.Response) -> tuple[int, ...]:
    """Status, then the codes of errors and chains in order."""
    found = [answer.status_code]
    for error in answer.json()["errors"]:
        found += [error["code"], *(link["code"] for link in error.get("error_chain", []))]
    return tuple(found)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (A, {"content": "203.0.113.10", "ttl": 300, "proxied": False, "proxiable": True, "comment": None, "tags": []}),
        ({**A, "name": "WWW.Example.ORG"}, {"name": "www.example.org"}),
        ({**A, "name": "www"}, {"name": "www.example.org"}),
        ({**A, "name": "@"}, {"name": "example.org"}),
        ({**A, "name": "*"}, {"name": "*.example.org"}),
        ({**A, "name": "www.example.net"}, {"name": "www.example.net.example.org"}),
        ({**A, "proxied": True}, {"ttl": 1, "proxied": True}),
        ({**A, "comment": "homelab.fabric"}, {"comment": "homelab.fabric"}),
        ({**A, "comment": ""}, {"comment": None}),
        ({**AAAA, "content": "2001:0DB8:0113:0:0::0010"}, {"content": "2001:db8:113::10"}),
        ({**CNAME, "content": "WWW.example.org."}, {"content": "www.example.org"}),
        ({**CNAME, "settings": {"flatten_cname": True}}, {"settings": {"flatten_cname": True}}),
        (TXT, {"content": '"hello"', "proxiable": False}),
        ({**TXT, "content": '"a" "b \\" c"'}, {"content": '"a" "b \\" c"'}),
        ({**TXT, "content": "x" * 300}, {"content": '"' + "x" * 255 + '" "' + "x" * 45 + '"'}),
        (MX, {"priority": 10}),
    ],
)
def test_post_spells_records_its_own_way(cf: Cloudflare, body: dict[str, Any], expected: dict[str, Any]) -> None:
    answer = call(cf, "POST", RECORDS, body)
    assert codes(answer) == (200,)
    result = answer.json()["result"]
    assert {key: result[key] for key in expected} == expected
    assert len(result["id"]) == 32
    assert "zone_id" not in result
    assert cf.records == [result]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({**A, "content": "999.1.1.1"}, (400, 1004, 9005)),
        ({**A, "content": "2001:db8::1"}, (400, 1004, 9005)),
        ({**A, "content": None}, (400, 1004, 9005)),
        ({**AAAA, "content": "203.0.113.10"}, (400, 1004, 9006)),
        ({**AAAA, "content": "fe80::1%eth0"}, (400, 1004, 9006)),
        ({**CNAME, "content": "203.0.113.10"}, (400, 1004, 9007)),
        ({**CNAME, "content": CNAME["name"]}, (400, 1004, 9039)),
        ({**TXT, "content": "two\nlines"}, (400, 1004, 9051)),
        ({**TXT, "content": '"open'}, (400, 1004, 9051)),
        ({**TXT, "content": "x" * 4096}, (400, 1004, 9015)),
        ({**TXT, "proxied": True}, (400, 1004, 9041)),
        ({**A, "ttl": 0}, (400, 1004, 9021)),
        ({**A, "ttl": 30}, (400, 1004, 9021)),
        ({**A, "ttl": 86401}, (400, 1004, 9021)),
        ({**A, "ttl": "300"}, (400, 1004, 9021)),
        ({key: A[key] for key in ("name", "type", "content")}, (400, 1004, 9021)),
        ({key: A[key] for key in ("name", "ttl", "content")}, (400, 1004, 9004)),
        ({key: A[key] for key in ("type", "ttl", "content")}, (400, 1004, 9000)),
        ({**A, "name": ""}, (400, 1004, 9000)),
        ({**A, "name": "a..b"}, (400, 1004, 9000)),
        ({**A, "name": "x" * 64}, (400, 1004, 9000)),
        ({**A, "name": "bücher"}, (400, 1004, 9000)),
        ({**A, "name": "a.*.example.org"}, (400, 1004, 9000)),
        ({**A, "type": "a"}, (400, 1004, 9004)),
        ({**A, "comment": "x" * 101}, (400, 1004, 9313)),
        ({**A, "tags": ["owner:me"]}, (400, 1004, 9300)),
        ({**A, "settings": {"flatten_cname": True}}, (400, 1000)),
        ({**A, "proxied": "no"}, (400, 1000)),
        ({**A, "value": "203.0.113.10"}, (400, 1000)),
        ({**A, "id": "a" * 32}, (400, 1000)),
        ([A], (400, 9207)),
    ],
)
def test_post_refuses(cf: Cloudflare, body: Any, expected: tuple[int, ...]) -> None:
    answer = call(cf, "POST", RECORDS, body)
    assert codes(answer) == expected
    assert answer.json()["result"] is None
    assert answer.json()["success"] is False
    assert (cf.records, cf.writes) == ([], 0)


@pytest.mark.parametrize(
    ("held", "body", "expected"),
    [
        (A, A, (400, 81058)),
        (A, {**A, "name": "WWW", "ttl": 1, "comment": "another"}, (400, 81058)),
        (AAAA, {**AAAA, "content": "2001:DB8:113:0::10"}, (400, 81058)),
        (TXT, {**TXT, "content": '"hello"'}, (400, 81058)),
        (A, {**CNAME, "name": A["name"], "content": "example.net"}, (400, 81053)),
        (CNAME, {**CNAME, "content": "example.net"}, (400, 81053)),
        (CNAME, {**A, "name": CNAME["name"]}, (400, 81054)),
        (CNAME, {**TXT, "name": CNAME["name"]}, (400, 81054)),
        (A, {**A, "content": "203.0.113.11"}, (200,)),
        (A, AAAA, (200,)),
    ],
)
def test_records_in_conflict(cf: Cloudflare, held: dict[str, Any], body: dict[str, Any], expected: Any) -> None:
    cf.seed(held)
    assert codes(call(cf, "POST", RECORDS, body)) == expected


def test_put_resets_what_it_leaves_out_and_patch_keeps_it(cf: Cloudflare) -> None:
    (record,) = cf.seed({**A, "comment": "mine", "proxied": True, "settings": {"ipv4_only": True}})
    needed = {"name": "www", "type": "A", "ttl": 60}
    patched = call(cf, "PATCH", f"{RECORDS}/{record['id']}", {**needed, "content": "203.0.113.11"}).json()["result"]
    changed = {"content": "203.0.113.11", "modified_on": patched["modified_on"]}
    assert patched == {**record, **changed}
    put = call(cf, "PUT", f"{RECORDS}/{record['id']}", {**needed, "content": "203.0.113.12"}).json()["result"]
    assert (put["comment"], put["proxied"], put["ttl"], put["settings"]) == (None, False, 60, {})
    assert (put["id"], put["created_on"]) == (record["id"], record["created_on"])
    assert cf.writes == 2


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [
        ("PATCH", {"content": "203.0.113.11"}, (400, 1004, 9000)),
        ("PATCH", {"name": "www", "type": "A"}, (400, 1004, 9021)),
        ("PATCH", {**A, "type": "TXT", "content": "text"}, (400, 1004, 9004)),
        ("PUT", {**A, "type": "TXT", "content": "text"}, (400, 1004, 9004)),
        ("PUT", {key: A[key] for key in ("name", "type", "ttl")}, (400, 1004, 9005)),
        ("PATCH", {**A, "content": "203.0.113.20"}, (400, 81058)),
        ("PUT", {**A, "content": "203.0.113.20"}, (400, 81058)),
        ("PATCH", {**A, "name": CNAME["name"]}, (400, 81054)),
    ],
)
def test_changes_refused(cf: Cloudflare, method: str, body: dict[str, Any], expected: tuple[int, ...]) -> None:
    record = cf.seed(A, {**A, "content": "203.0.113.20"}, CNAME)[0]
    before = cf.records
    assert codes(call(cf, method, f"{RECORDS}/{record['id']}", body)) == expected
    assert cf.records == before


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_record_that_is_gone(cf: Cloudflare, method: str) -> None:
    (record,) = cf.seed(A)
    deleted = call(cf, "DELETE", f"{RECORDS}/{record['id']}")
    assert deleted.json()["result"] == {"id": record["id"]}
    assert codes(call(cf, method, f"{RECORDS}/{record['id']}", A)) == (404, 81044)


def batch(cf: Cloudflare, **operations: Any) -> httpx.Response:
    return call(cf, "POST", f"{RECORDS}/batch", operations)


def test_batch_runs_deletes_patches_puts_posts_whatever_their_order(cf: Cloudflare) -> None:
    one, two, three = cf.seed(A, {**A, "content": "203.0.113.20"}, CNAME)
    answer = batch(
        cf,
        posts=[{**A, "name": CNAME["name"]}],  # free only when the CNAME is deleted
        puts=[{**A, "id": two["id"], "content": "203.0.113.10"}],  # free only when `one` is patched
        patches=[{"id": one["id"], "name": "www", "type": "A", "ttl": 60, "content": "203.0.113.30"}],
        deletes=[{"id": three["id"]}],
    )
    assert codes(answer) == (200,)
    result = answer.json()["result"]
    assert {name: len(items) for name, items in result.items()} == {"deletes": 1, "patches": 1, "puts": 1, "posts": 1}
    assert [(record["name"], record["content"]) for record in cf.records] == [
        (CNAME["name"], "203.0.113.10"),
        ("www.example.org", "203.0.113.10"),
        ("www.example.org", "203.0.113.30"),
    ]
    assert (cf.writes, cf.requests[-1].changes) == (1, 4)


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ({"posts": [{**A, "name": "new"}, A]}, (400, 81058)),
        ({"posts": [{**A, "name": "new"}, {**A, "content": "bad"}]}, (400, 1004, 9005)),
        ({"posts": [{**A, "name": "new"}], "deletes": [{"id": NOBODYS_ID}]}, (404, 81044)),
        ({"posts": [{**A, "name": "new", "id": NOBODYS_ID}]}, (400, 1000)),
        ({"patches": [A]}, (400, 1000)),
        ({"creates": [A]}, (400, 1000)),
        ({"posts": {}}, (400, 1000)),
        ({"posts": [{**A, "name": f"n{number}"} for number in range(201)]}, (400, 1000)),
    ],
)
def test_batch_is_all_or_nothing(cf: Cloudflare, operations: dict[str, Any], expected: tuple[int, ...]) -> None:
    cf.seed(A)
    before = cf.records
    assert codes(batch(cf, **operations)) == expected
    assert (cf.records, cf.writes) == (before, 0)


def test_batch_of_200_is_the_most_of_a_free_zone(cf: Cloudflare) -> None:
    assert codes(batch(cf, posts=[{**A, "name": f"n{number}"} for number in range(200)])) == (200,)
    assert len(cf.records) == 200


SEEDS = (A, {**AAAA, "comment": "Mine"}, {**CNAME, "proxied": True}, TXT)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"A", "AAAA", "CNAME", "TXT"}),
        ("type=AAAA", {"AAAA"}),
        ("proxied=true", {"CNAME"}),
        ("name=www.example.org", {"A", "AAAA"}),
        ("name.exact=WWW.example.org", {"A", "AAAA"}),
        ("name.contains=acme", {"TXT"}),
        ("name.startswith=www&type=A", {"A"}),
        ("name.endswith=.example.org", {"A", "AAAA", "CNAME", "TXT"}),
        ("content.exact=203.0.113.10", {"A"}),
        ("content.contains=example", {"CNAME"}),
        ("comment.present=", {"AAAA"}),
        ("comment.absent=", {"A", "CNAME", "TXT"}),
        ("comment.exact=mine", {"AAAA"}),
        ("tag.present=owner", set()),
        ("match=any&type=TXT&content.exact=203.0.113.10", {"A", "TXT"}),
        ("page=2", set()),
        ("page=1000&per_page=5000000", set()),
    ],
)
def test_lists(cf: Cloudflare, query: str, expected: set[str]) -> None:
    cf.seed(*SEEDS)
    answer = call(cf, "GET", f"{RECORDS}?{query}")
    assert codes(answer) == (200,)
    assert {record["type"] for record in answer.json()["result"]} == expected


def test_pages(cf: Cloudflare) -> None:
    cf.seed(*({**A, "name": f"n{number:02}"} for number in range(7)))
    seen = []
    for page, count in ((1, 3), (2, 3), (3, 1), (4, 0)):
        answer = call(cf, "GET", f"{RECORDS}?per_page=3&page={page}&order=name&direction=desc").json()
        info = {"page": page, "per_page": 3, "count": count, "total_count": 7, "total_pages": 3}
        assert answer["result_info"] == info
        seen += [record["name"] for record in answer["result"]]
    assert seen == [f"n{number:02}.example.org" for number in reversed(range(7))]
    assert call(cf, "GET", RECORDS).json()["result_info"]["per_page"] == 100


@pytest.mark.parametrize(
    "query",
    [
        *("per_page=0", "per_page=5000001", "page=0", "page=x", "order=id", "proxied=1", "match=some", "direction=up"),
        *("search=www", "zone=example.org", "name.like=www", "comment=mine", "tag=x"),
    ],
)
def test_lists_refuse_what_is_not_documented(cf: Cloudflare, query: str) -> None:
    assert codes(call(cf, "GET", f"{RECORDS}?{query}")) == (400, 1000)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (400, 9106)),
        ({"Authorization": "Bearer"}, (400, 6003, 6111)),
        ({"Authorization": "Bearer two words"}, (400, 6003, 6111)),
        ({"Authorization": "Basic abc"}, (400, 6003, 6111)),
        ({"Authorization": "Bearer unknown"}, (403, 9109)),
        ({"X-Auth-Email": "me@example.org", "X-Auth-Key": "0" * 37}, (400, 6003, 6103)),
    ],
)
def test_credentials(cf: Cloudflare, headers: dict[str, str], expected: tuple[int, ...]) -> None:
    assert codes(CLIENT.get(cf.base_url + RECORDS, headers=headers)) == expected


OTHER = f"/zones/{OTHER_ID}/dns_records"


@pytest.mark.parametrize(
    ("token", "method", "path", "expected"),
    [
        (None, "GET", RECORDS, (200,)),
        (None, "GET", OTHER, (403, 10000)),
        (None, "GET", "/zones?name=example.org", (403, 9109)),
        (None, "GET", f"/zones/{ZONE_ID}", (403, 9109)),
        (None, "GET", f"/zones/{NOBODYS_ID}/dns_records", (404, 7003, 7000)),
        (None, "GET", "/zones/example.org/dns_records", (404, 7003, 7000)),
        (None, "GET", f"{RECORDS}/not-an-id", (404, 7003, 7000)),
        (None, "GET", "/user/tokens/verify", (404, 7003, 7000)),
        (None, "PATCH", RECORDS, (405, 7001)),
        ("reads", "GET", RECORDS, (200,)),
        ("reads", "POST", RECORDS, (403, 10000)),
        ("reads", "POST", f"{RECORDS}/batch", (403, 10000)),
        ("reads", "DELETE", f"{RECORDS}/{NOBODYS_ID}", (403, 10000)),
        ("lists-zones", "GET", "/zones", (200,)),
        ("lists-zones", "GET", f"/zones/{ZONE_ID}", (200,)),
        ("lists-zones", "GET", RECORDS, (403, 10000)),
        ("writes-elsewhere", "GET", RECORDS, (403, 10000)),
        ("writes-elsewhere", "POST", OTHER, (200,)),
        ("writes-elsewhere", "GET", "/zones", (403, 0)),
        ("writes-elsewhere", "GET", "/zones?name=example.net", (200,)),
    ],
)
def test_rights(cf: Cloudflare, token: str | None, method: str, path: str, expected: tuple[int, ...]) -> None:
    assert codes(call(cf, method, path, A, token=token)) == expected


@pytest.mark.parametrize(
    ("token", "query", "expected"),
    [
        ("lists-zones", "", ["example.org", "example.net"]),
        ("lists-zones", "?name=Example.NET", ["example.net"]),
        ("lists-zones", "?name=example.com", []),
        ("lists-zones", "?page=2", []),
        ("writes-elsewhere", "?name=example.org", []),
    ],
)
def test_zones(cf: Cloudflare, token: str, query: str, expected: list[str]) -> None:
    result = call(cf, "GET", f"/zones{query}", token=token).json()["result"]
    assert [zone["name"] for zone in result] == expected
    assert all(zone["status"] == "active" for zone in result)


@pytest.mark.parametrize(
    ("content", "headers"),
    [(b"{", {"Content-Type": "application/json"}), (b"", {"Content-Type": "application/json"}), (b"{}", {})],
)
def test_bodies_that_are_no_json(cf: Cloudflare, content: bytes, headers: dict[str, str]) -> None:
    authorized = {**headers, "Authorization": f"Bearer {cf.token}"}
    answer = CLIENT.post(cf.base_url + RECORDS, content=content, headers=authorized)
    assert codes(answer) == (400, 9207)


def test_txt_as_sent_for_clients_that_must_take_both() -> None:
    with Cloudflare(quote_txt=False) as cf:
        assert cf.seed(TXT)[0]["content"] == "hello"
        assert codes(call(cf, "POST", RECORDS, {**TXT, "content": '"hello"'})) == (400, 81058)


def test_a_paid_plan_takes_tags_and_longer_comments() -> None:
    with Cloudflare(plan="pro") as cf:
        cf.seed({**A, "tags": ["owner:me"], "comment": "x" * 500}, AAAA)
        for query, count in (("tag.present=owner", 1), ("tag.exact=owner:me", 1), ("tag.exact=owner:you", 0)):
            assert len(call(cf, "GET", f"{RECORDS}?{query}").json()["result"]) == count, query
