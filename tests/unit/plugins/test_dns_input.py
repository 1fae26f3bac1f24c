"""The arguments of cloudflare_records: every mistake is refused by name before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils import dns_input
from ansible_collections.homelab.fabric.plugins.module_utils.dns_text import (
    RecordError,
    host_name,
    normal_content,
    txt_quote,
)
from hypothesis import given
from hypothesis import strategies as st

ZONE = "example.org"


def entry(**given: Any) -> dict[str, Any]:
    """An entry as Ansible hands it to the module."""
    filled = {"name": "jellyfin", "type": "A", "content": "203.0.113.10", "state": "present"}
    return {**filled, "ttl": None, "proxied": None, "comment": None, **given}


def cname(content: str, **given: Any) -> dict[str, Any]:
    return entry(type="CNAME", content=content, **given)


def text(content: str, **given: Any) -> dict[str, Any]:
    return entry(type="TXT", content=content, **given)


RECORDS: list[tuple[list[dict[str, Any]], str]] = [
    ([entry(name="")], "records[0].name is empty; a template"),
    ([entry(), entry(name="  ")], "records[1].name is empty"),
    ([entry(name="a b")], "records[0].name: 'a b' is not a domain name"),
    ([entry(name="-a")], "records[0].name: '-a' is not a domain name"),
    ([entry(name="a..b")], "records[0].name: 'a..b' is not a domain name"),
    ([entry(name="a.*")], "records[0].name: 'a.*' is not a domain name"),
    ([entry(name="https://jellyfin.example.org/")], "records[0].name: 'https://jellyfin.example.org/' is not"),
    ([entry(name="x" * 64)], "is not a domain name"),
    ([entry(name="\u2603\u2603.\u00ad")], "is not a domain name"),
    ([entry(name="\u0640\u0640.example.org")], "is not a domain name"),
    (
        [entry(name="jellyfin.exmaple.org")],
        "records[0].name: 'jellyfin.exmaple.org' does not lie in the zone example.org",
    ),
    ([entry(name="jellyfin.example.com.")], "records[0].name: 'jellyfin.example.com.' does not lie in the zone"),
    ([entry(name="x." * 125 + "x")], "at most 63 between two dots and 253 in all"),
    ([entry(content=None)], "records[0].content is missing; say where A is to point"),
    ([entry(content="")], "records[0].content is empty; a template"),
    ([entry(content="203.0.113.300")], "records[0].content: '203.0.113.300' is not an IPv4 address"),
    ([entry(content="203.0.113.10/32")], "records[0].content: '203.0.113.10/32' is not an IPv4 address"),
    ([entry(content="203.0.113")], "is not an IPv4 address"),
    ([entry(content="vps.example.org")], "is not an IPv4 address; a name needs type: CNAME"),
    ([entry(content="2001:db8::1")], "is an IPv6 address; use type: AAAA"),
    ([entry(type="AAAA")], "'203.0.113.10' is an IPv4 address; use type: A"),
    ([entry(type="AAAA", content="2001:db8::g")], "'2001:db8::g' is not an IPv6 address"),
    ([entry(type="AAAA", content="fe80::1%eth0")], "has a zone index"),
    ([cname("203.0.113.10")], "is an address; a CNAME points to a name, use type: A or AAAA"),
    ([cname("vps")], "'vps' is not the full name of a host"),
    ([cname("*.example.org")], "is not the full name of a host"),
    ([cname("vps example.org")], "is not a domain name"),
    ([cname("jellyfin.example.org")], "records[0].content: jellyfin.example.org points to itself"),
    ([text("two\nlines")], "records[0].content: the text holds a line break"),
    ([text('""')], "the text is empty"),
    ([text('"\\200"')], "beyond ASCII"),
    ([text("x" * 4090)], "records[0].content: the text has 4090 bytes"),
    ([text("x", proxied=True)], "records[0].proxied: a TXT record cannot be proxied"),
    ([entry(ttl=0)], "records[0].ttl: 0 is neither 1 (automatic) nor 60 to 86400 seconds"),
    ([entry(ttl=59)], "records[0].ttl: 59"),
    ([entry(ttl=86401)], "records[0].ttl: 86401"),
    ([entry(comment="a\nb")], "records[0].comment holds a line break"),
    ([entry(comment="c" * 101)], "records[0].comment: 101 characters"),
    ([entry(comment="x [managed by me]")], "ends like the mark of an owner; set owner instead"),
    (
        [entry(), entry(ttl=60)],
        "records[1]: jellyfin.example.org A 203.0.113.10 stands in records[0] with other options",
    ),
    (
        [entry(), cname("vps.example.org")],
        "records[0]: jellyfin.example.org A 203.0.113.10 cannot be there beside the CNAME",
    ),
    ([cname("a.example.net"), cname("b.example.net")], "cannot be there beside the CNAME of records["),
    (
        [entry(), entry(state="absent")],
        "records[1]: jellyfin.example.org A 203.0.113.10 is wanted present by records[0]",
    ),
    (
        [entry(state="absent", content=None), entry()],
        "records[0]: jellyfin.example.org A 203.0.113.10 is wanted present",
    ),
    ([text("", state="absent")], "records[0].content is empty"),
    ([entry(type="TXT", content=None, state="absent")], "records[0].content is missing; TXT records of several owners"),
]


@pytest.mark.parametrize(("entries", "message"), RECORDS, ids=[message[:60] for _entries, message in RECORDS])
def test_wrong_records(entries: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RecordError) as caught:
        dns_input.read_records(entries, ZONE, 1, False)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["@", "jellyfin", "jellyfin."])
def test_relative_names_need_the_zones_name(name: str) -> None:
    with pytest.raises(RecordError, match=r"records\[0\].name: .* is relative to a zone known by its id alone"):
        dns_input.read_records([entry(name=name)], None, 1, False)


OTHERS: list[tuple[Callable[[Any], Any], Any, str]] = [
    (dns_input.read_token, None, "api_token is missing; give a token"),
    (dns_input.read_token, "", "api_token is empty; a template"),
    (dns_input.read_token, "abc def", "api_token holds a blank"),
    (dns_input.read_token, "abc\n", "api_token holds a blank"),
    (dns_input.read_zone_id, "", "zone_id is empty"),
    (dns_input.read_zone_id, "example.org", "zone_id: 'example.org' is not 32 hexadecimal digits"),
    (dns_input.read_zone_id, "0" * 31, "is not 32 hexadecimal digits"),
    (dns_input.read_zone_id, "../" * 10 + "ab", "is not 32 hexadecimal digits"),
    (dns_input.read_zone, "", "zone is empty"),
    (dns_input.read_zone, "org", "zone: 'org' is not a zone's full name"),
    (dns_input.read_zone, "example .org", "zone: 'example .org' is not a domain name"),
    (dns_input.read_base_url, "", "base_url: '' is not the address of an API"),
    (dns_input.read_base_url, "api.cloudflare.com", "base_url: 'api.cloudflare.com' is not the address"),
    (dns_input.read_base_url, "ftp://api.cloudflare.com", "is not the address of an API"),
    (dns_input.read_base_url, "https://host:99999/", "is not the address of an API"),
    (dns_input.read_base_url, "https://me:secret@host/", "is not the address of an API"),
    (dns_input.read_owner, "", "owner: '' is not 1 to 40 letters"),
    (dns_input.read_owner, "my relay", "owner: 'my relay' is not 1 to 40 letters"),
    (dns_input.read_timeout, -1, "timeout: -1 is less than 0 seconds"),
]


@pytest.mark.parametrize(("read", "value", "message"), OTHERS)
def test_wrong_arguments(read: Callable[[Any], Any], value: Any, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        read(value)
    assert message in str(caught.value)


def test_names_ttl_and_proxied_are_completed() -> None:
    entries = [
        entry(name="@"),
        entry(name="Jellyfin"),
        entry(name="*.b\u00fccher", ttl=60, proxied=False),
        entry(name="example.org.", type="AAAA", content="2001:DB8:0::1"),
        text("hello"),
    ]
    wanted = dns_input.read_records(entries, ZONE, 300, True).wanted
    assert [(item.name, item.ttl, item.proxied) for item in wanted] == [
        ("example.org", 300, True),
        ("jellyfin.example.org", 300, True),
        ("*.xn--bcher-kva.example.org", 60, False),
        ("example.org", 300, True),
        ("jellyfin.example.org", 300, False),
    ]
    assert wanted[3].content == "2001:db8::1"


def test_a_record_listed_twice_alike_counts_once() -> None:
    assert len(dns_input.read_records([entry(), entry(name="jellyfin.example.org")], ZONE, 1, False).wanted) == 1


def test_names_are_lower_case_punycode() -> None:
    assert host_name("B\u00dcCHER.Example.org.") == host_name("xn--bcher-kva.example.org")


TEXT = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=600)


@given(TEXT)
def test_quoted_text_reads_as_what_was_quoted(content: str) -> None:
    normal = normal_content("TXT", txt_quote(content))
    assert normal == content
    assert all(len(string.encode()) <= 2 * 255 for string in txt_quote(content).split('" "'))
