"""Any zone, any list: the zone becomes as listed, a second run writes nothing, and nobody else loses anything.

The plan is carried out by the strict double of Cloudflare's API, which refuses what Cloudflare refuses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.cloudflare import Api, converge
from ansible_collections.homelab.fabric.plugins.module_utils.dns_input import read_records
from ansible_collections.homelab.fabric.plugins.module_utils.dns_plan import Record, record_from_api
from ansible_collections.homelab.fabric.plugins.module_utils.dns_text import RecordError
from cloudflare_double import Cloudflare, Limit
from cloudflare_double.errors import ApiError
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

OWNER = "homelab.fabric"
CONTENTS = {
    "A": ["203.0.113.1", "203.0.113.2", "203.0.113.3"],
    "AAAA": ["2001:db8::1", "2001:DB8:0::2"],
    "CNAME": ["vps.example.org", "Relay.example.net."],
    "TXT": ["one", '"one"', "v=spf1 -all", 'say "x"'],
}
COMMENTS = [
    None,
    "",
    "Films",
    "Films [managed by homelab.fabric]",
    "[managed by homelab.fabric]",
    "x [managed by other]",
]


@st.composite
def bodies(draw: st.DrawFn, comments: list[str | None]) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(CONTENTS)))
    return {
        # TXT on names of its own: the double takes no CNAME beside it, where Cloudflare does (cloudflare-docs 30376).
        "name": draw(st.sampled_from(["t.example.org"] if kind == "TXT" else ["a.example.org", "example.org"])),
        "type": kind,
        "content": draw(st.sampled_from(CONTENTS[kind])),
        "ttl": draw(st.sampled_from([1, 300])),
        "proxied": kind != "TXT" and draw(st.booleans()),
        "comment": draw(st.sampled_from(comments)),
    }


@pytest.fixture(scope="module")
def zone() -> Iterator[Cloudflare]:
    with Cloudflare(limits=[Limit(10**9, 1)]) as double:
        yield double


@pytest.fixture(scope="module")
def api(zone: Cloudflare) -> Api:
    return Api(zone.token, zone.base_url, timeout=0)


@settings(max_examples=150, deadline=None)
@given(
    there=st.lists(bodies(COMMENTS), max_size=8),
    listed=st.lists(bodies([None, "", "Music"]), max_size=5),
    prune=st.booleans(),
)
def test_any_zone(
    zone: Cloudflare, api: Api, there: list[dict[str, Any]], listed: list[dict[str, Any]], prune: bool
) -> None:
    fill(zone, there)
    before = api.records(zone.zone_id)
    try:
        wanted = read_records([{"state": "present", **body} for body in listed], None, 1, False)
    except RecordError:
        assume(False)
    writes = zone.writes
    try:
        first = converge(api, zone.zone_id, wanted, OWNER, prune, write=True)
    except RecordError as error:
        event("refused: " + " ".join(str(error).split()[3:6]))
        assert zone.writes == writes
        return
    event("changed" if first.changes else "nothing to do")
    after = {record.id: record for record in api.records(zone.zone_id)}

    assert zone.writes - writes == bool(first.changes)
    assert [after[record.id] for record in first.records] == first.records
    for item in wanted.wanted:
        found = [record for record in after.values() if record[1:4] == item[:3]]
        assert [(record.proxied, record.ttl) for record in found] == [(item.proxied, 1 if item.proxied else item.ttl)]
        assert item.comment in (None, found[0].text)
    for record in before:
        if record.owner not in (None, OWNER):
            assert after[record.id] == record
        elif record.owner is None and after[record.id].content != record.content:
            assert record.type != "TXT"
            assert after[record.id].owner == OWNER
            assert [other.id for other in before if other[1:3] == record[1:3]] == [record.id]
    if prune:
        assert {record.id for record in after.values() if record.owner == OWNER} <= {
            record.id for record in first.records
        }
    assert converge(api, zone.zone_id, wanted, OWNER, prune, write=True).changes == []


def fill(zone: Cloudflare, there: list[dict[str, Any]]) -> None:
    for record in list(zone.records):
        with zone.api.zones.change(next(iter(zone.api.zones))) as draft:
            draft.delete(record["id"])
    for body in there:
        with contextlib.suppress(ApiError):  # cannot stand beside one that is there
            zone.seed(body)


def test_what_the_api_leaves_out_counts_as_its_default() -> None:
    record = record_from_api({"id": "1", "name": "A.example.org", "type": "MX", "content": None})
    assert record == Record("1", "a.example.org", "MX", "", 1, False, "")
