"""The Cloudflare double serves its records as real DNS, over UDP and TCP."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest
from cloudflare_double import Cloudflare
from cloudflare_double.resolving import Resolver

RECORDS = (
    {"name": "www", "type": "A", "content": "198.51.100.1", "ttl": 120},
    {"name": "www", "type": "A", "content": "198.51.100.2", "ttl": 120},
    {"name": "www", "type": "AAAA", "content": "2001:db8::1"},
    {"name": "alias", "type": "CNAME", "content": "www.example.org"},
    {"name": "alias2", "type": "CNAME", "content": "alias.example.org"},
    {"name": "away", "type": "CNAME", "content": "elsewhere.test.net"},
    {"name": "known", "type": "CNAME", "content": "api.cloudflare.com"},
    {"name": "dangling", "type": "CNAME", "content": "nothing.here.example.org"},
    {"name": "loop1", "type": "CNAME", "content": "loop2.example.org"},
    {"name": "loop2", "type": "CNAME", "content": "loop1.example.org"},
    {"name": "shown", "type": "A", "content": "198.51.100.9", "proxied": True},
    {"name": "shown4", "type": "CNAME", "content": "elsewhere.test.net", "proxied": True}
    | {"settings": {"ipv4_only": True}},
    {"name": "*.wild", "type": "A", "content": "198.51.100.3"},
    {"name": "taken.wild", "type": "TXT", "content": "here"},
    {"name": "a.deep", "type": "A", "content": "198.51.100.4"},
    {"name": "text", "type": "TXT", "content": 'say "hi"'},
    {"name": "long", "type": "TXT", "content": "x" * 2000},
    {"name": "@", "type": "CNAME", "content": "www.example.org"},
    {"name": "mail", "type": "MX", "content": "www.example.org", "priority": 5},
)
STATIC = [("api.cloudflare.com", "203.0.113.53"), ("api.cloudflare.com", "2001:db8:113::53")]


@pytest.fixture(scope="module")
def cf() -> Iterator[Cloudflare]:
    with Cloudflare(dns=True, static=STATIC) as double:
        double.seed(*RECORDS)
        yield double


def ask(cf: Cloudflare, name: str, kind: str, *, tcp: bool = False, edns: bool = True) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=edns)
    send = dns.query.tcp if tcp else dns.query.udp
    return send(query, "127.0.0.1", port=cf.dns_port, timeout=5)


def told(reply: dns.message.Message) -> list[str]:
    """Every answer as ``TYPE data``."""
    return [f"{dns.rdatatype.to_text(group.rdtype)} {data}" for group in reply.answer for data in group]


WWW = ["A 198.51.100.1", "A 198.51.100.2"]


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("www.example.org", "A", WWW),
        ("WWW.Example.ORG", "AAAA", ["AAAA 2001:db8::1"]),
        ("alias.example.org", "A", ["CNAME www.example.org.", *WWW]),
        ("alias2.example.org", "A", ["CNAME alias.example.org.", "CNAME www.example.org.", *WWW]),
        ("alias.example.org", "CNAME", ["CNAME www.example.org."]),
        ("away.example.org", "A", ["CNAME elsewhere.test.net."]),
        ("known.example.org", "A", ["CNAME api.cloudflare.com.", "A 203.0.113.53"]),
        ("loop1.example.org", "A", ["CNAME loop2.example.org.", "CNAME loop1.example.org."]),
        ("shown.example.org", "A", ["A 127.0.0.1"]),
        ("shown.example.org", "AAAA", ["AAAA ::1"]),
        ("shown4.example.org", "A", ["A 127.0.0.1"]),
        ("any.wild.example.org", "A", ["A 198.51.100.3"]),
        ("any.thing.wild.example.org", "A", ["A 198.51.100.3"]),
        ("text.example.org", "TXT", ['TXT "say \\"hi\\""']),
        ("example.org", "A", WWW),
        ("mail.example.org", "MX", ["MX 5 www.example.org."]),
        ("example.org", "NS", ["NS ada.ns.cloudflare.com.", "NS bob.ns.cloudflare.com."]),
        ("api.cloudflare.com", "A", ["A 203.0.113.53"]),
        ("api.cloudflare.com", "AAAA", ["AAAA 2001:db8:113::53"]),
    ],
)
def test_answers(cf: Cloudflare, name: str, kind: str, expected: list[str], tcp: bool) -> None:
    reply = ask(cf, name, kind, tcp=tcp)
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.flags & dns.flags.AA
    assert sorted(told(reply)) == sorted(expected)
    assert not reply.authority


@pytest.mark.parametrize(
    ("name", "kind", "code", "authority"),
    [
        ("nothing.example.org", "A", dns.rcode.NXDOMAIN, "example.org."),
        ("dangling.example.org", "A", dns.rcode.NXDOMAIN, "example.org."),
        ("x.taken.wild.example.org", "A", dns.rcode.NXDOMAIN, "example.org."),
        ("text.example.org", "A", dns.rcode.NOERROR, "example.org."),
        ("alias.example.org", "MX", dns.rcode.NOERROR, "example.org."),
        ("taken.wild.example.org", "A", dns.rcode.NOERROR, "example.org."),
        ("any.wild.example.org", "AAAA", dns.rcode.NOERROR, "example.org."),
        ("deep.example.org", "A", dns.rcode.NOERROR, "example.org."),
        ("example.org", "TXT", dns.rcode.NOERROR, "example.org."),
        ("shown4.example.org", "AAAA", dns.rcode.NOERROR, "example.org."),
        ("api.cloudflare.com", "TXT", dns.rcode.NOERROR, "api.cloudflare.com."),
        ("www.api.cloudflare.com", "A", dns.rcode.REFUSED, None),
        ("www.example.net", "A", dns.rcode.REFUSED, None),
        ("notexample.org", "A", dns.rcode.REFUSED, None),
        ("10.113.0.203.in-addr.arpa", "PTR", dns.rcode.REFUSED, None),
        ("www.example.org", "ANY", dns.rcode.REFUSED, None),
    ],
)
def test_no_answer(cf: Cloudflare, name: str, kind: str, code: dns.rcode.Rcode, authority: str | None) -> None:
    reply = ask(cf, name, kind)
    assert reply.rcode() == code
    assert all(line.startswith("CNAME") for line in told(reply))
    found = [(str(group.name), group.rdtype) for group in reply.authority]
    assert found == ([(authority, dns.rdatatype.SOA)] if authority else [])


def test_times_to_live(cf: Cloudflare) -> None:
    for name, seconds in (("www", 120), ("alias", 300), ("shown", 300)):
        assert ask(cf, f"{name}.example.org", "A").answer[0].ttl == seconds


@pytest.mark.parametrize("edns", [False, True])
def test_what_is_too_long_for_udp_is_cut_and_whole_by_tcp(cf: Cloudflare, edns: bool) -> None:
    cut = ask(cf, "long.example.org", "TXT", edns=edns)
    assert cut.flags & dns.flags.TC
    assert not cut.answer
    whole = ask(cf, "long.example.org", "TXT", tcp=True)
    assert told(whole)[0].count("x") == 2000


def test_answers_follow_the_records(cf: Cloudflare) -> None:
    def serial() -> int:
        return int(ask(cf, "example.org", "SOA").answer[0][0].serial)

    before = serial()
    assert ask(cf, "late.example.org", "A").rcode() == dns.rcode.NXDOMAIN
    cf.seed({"name": "late", "type": "A", "content": "198.51.100.7"})
    assert told(ask(cf, "late.example.org", "A")) == ["A 198.51.100.7"]
    assert serial() == before + 1


@pytest.mark.parametrize("wire", [b"", b"x", b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff"])
def test_nonsense_stops_nobody(cf: Cloudflare, wire: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(5)
        sender.sendto(wire, ("127.0.0.1", cf.dns_port))
        if len(wire) >= 12:
            assert sender.recv(512)[3] & 0x0F == dns.rcode.FORMERR
    assert told(ask(cf, "www.example.org", "A"))


def test_a_static_name_within_the_zone_is_a_mistake(cf: Cloudflare) -> None:
    with pytest.raises(ValueError, match="lies in a zone"):
        Resolver(cf.api.zones, static=[("www.example.org", "203.0.113.1")])
