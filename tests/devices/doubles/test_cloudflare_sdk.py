"""The official SDK works against the Cloudflare double unmodified, and meets the errors it documents."""

from __future__ import annotations

from collections.abc import Iterator

import cloudflare
import pytest
from cloudflare_double import Cloudflare, Token


@pytest.fixture
def cf() -> Iterator[Cloudflare]:
    with Cloudflare(tokens=[Token("reads", frozenset({"dns_read", "zone_read"}))]) as double:
        yield double


def sdk(cf: Cloudflare, token: str | None = None, max_retries: int = 0) -> cloudflare.Cloudflare:
    client = cloudflare.Cloudflare(api_token=token or cf.token, base_url=cf.base_url, max_retries=max_retries)
    client.api_email = client.api_key = client.user_service_key = None
    return client


def test_create_list_edit_update_delete(cf: Cloudflare) -> None:
    records = sdk(cf).dns.records
    made = records.create(zone_id=cf.zone_id, name="www", type="A", ttl=1, content="203.0.113.10", comment="mine")
    assert made
    assert made.name == "www.example.org"
    listed = list(records.list(zone_id=cf.zone_id, name={"exact": "WWW.example.org"}, match="all"))
    assert [record.id for record in listed] == [made.id]
    assert len([entry for entry in cf.requests if entry.method == "GET"]) == 2, "the SDK asks until a page is empty"
    edited = records.edit(made.id, zone_id=cf.zone_id, name="www", type="A", ttl=60, content="203.0.113.11")
    assert edited
    assert (edited.content, edited.comment) == ("203.0.113.11", "mine")
    updated = records.update(made.id, zone_id=cf.zone_id, name="www", type="A", ttl=60, content="203.0.113.12")
    assert updated
    assert updated.comment is None
    deleted = records.delete(made.id, zone_id=cf.zone_id)
    assert deleted
    assert deleted.id == made.id
    assert cf.writes == 4


def test_lists_over_several_pages(cf: Cloudflare) -> None:
    cf.seed(*({"name": f"n{number}", "type": "A", "content": "203.0.113.10"} for number in range(25)))
    found = {record.name for record in sdk(cf).dns.records.list(zone_id=cf.zone_id, per_page=10)}
    assert len(found) == 25


def test_batch(cf: Cloudflare) -> None:
    (old,) = cf.seed({"name": "old", "type": "A", "content": "203.0.113.10"})
    done = sdk(cf).dns.records.batch(
        zone_id=cf.zone_id,
        deletes=[{"id": old["id"]}],
        posts=[{"name": "new", "type": "A", "ttl": 1, "content": "203.0.113.10"}],
    )
    assert done
    assert done.posts
    assert [record.name for record in done.posts] == ["new.example.org"]
    assert [record["name"] for record in cf.records] == ["new.example.org"]


def test_finds_a_zone_by_name(cf: Cloudflare) -> None:
    assert [zone.id for zone in sdk(cf, "reads").zones.list(name="example.org")] == [cf.zone_id]


@pytest.mark.parametrize(
    ("token", "zone_id", "content", "error", "code"),
    [
        ("reads", None, "203.0.113.10", cloudflare.PermissionDeniedError, 10000),
        ("wrong", None, "203.0.113.10", cloudflare.PermissionDeniedError, 9109),
        (None, "0" * 32, "203.0.113.10", cloudflare.NotFoundError, 7003),
        (None, None, "nonsense", cloudflare.BadRequestError, 1004),
    ],
)
def test_errors(
    cf: Cloudflare,
    token: str | None,
    zone_id: str | None,
    content: str,
    error: type[cloudflare.APIStatusError],
    code: int,
) -> None:
    records = sdk(cf, token).dns.records
    with pytest.raises(error) as caught:
        records.create(zone_id=zone_id or cf.zone_id, name="www", type="A", ttl=1, content=content)
    assert caught.value.errors[0].code == code


def test_a_write_repeated_after_a_lost_answer_finds_its_own_record(cf: Cloudflare) -> None:
    cf.fail(status=500, executed=True)
    with pytest.raises(cloudflare.BadRequestError) as caught:
        sdk(cf, max_retries=1).dns.records.create(
            zone_id=cf.zone_id, name="www", type="A", ttl=1, content="203.0.113.10"
        )
    assert caught.value.errors[0].code == 81058
    assert len(cf.records) == 1


def test_retries_when_told_to_wait(cf: Cloudflare) -> None:
    cf.fail(status=429, retry_after=0)
    assert list(sdk(cf, max_retries=1).dns.records.list(zone_id=cf.zone_id)) == []


def test_a_lost_connection(cf: Cloudflare) -> None:
    cf.fail(drop=True)
    with pytest.raises(cloudflare.APIConnectionError):
        list(sdk(cf).dns.records.list(zone_id=cf.zone_id))
