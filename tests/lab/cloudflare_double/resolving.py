"""What the zone's name servers answer: from the very records that the API changes. No sockets, no wire format.

Wildcards are RFC 4592's, answers without records RFC 2308's; a CNAME is followed as far as this server knows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cloudflare_double import txt
from cloudflare_double.records import PROXIABLE, Record
from cloudflare_double.zones import Zone, Zones

AUTOMATIC_TTL = 300  # seconds; what Cloudflare's "Auto" is for records that are not proxied
STATIC_TTL = 60
NEGATIVE_TTL = 1800  # the minimum of Cloudflare's SOA records

NOERROR, NXDOMAIN, REFUSED = "NOERROR", "NXDOMAIN", "REFUSED"
NAME_SERVERS = ("ada.ns.cloudflare.com.", "bob.ns.cloudflare.com.")
_LONGEST_CHAIN = 8


@dataclass(frozen=True)
class Answered:
    """A resource record in presentation format; ``name`` without final dot, ``ttl`` in seconds."""

    name: str
    ttl: int
    type: str
    data: str


@dataclass
class Reply:
    code: str = NOERROR
    answers: list[Answered] = field(default_factory=list)
    authority: list[Answered] = field(default_factory=list)


class Resolver:
    """Answers for the zones, and for ``static`` pairs of name and address outside them; refuses all else.

    ``own`` are the addresses that proxied records answer with.
    """

    def __init__(self, zones: Zones, *, static: Iterable[tuple[str, str]] = (), own: Sequence[str] = ()) -> None:
        self._zones = zones
        self._own = list(own)
        self._static: dict[str, list[str]] = {}
        for name, address in static:
            if zones.holding(name.lower()):
                raise ValueError(f"{name} lies in a zone: give it a record instead of a static address")
            self._static.setdefault(name.lower(), []).append(str(ipaddress.ip_address(address)))

    def resolve(self, name: str, kind: str) -> Reply:
        """The reply for ``name`` (no final dot) and a type such as ``AAAA``."""
        reply = Reply()
        name = name.lower()
        for _hop in range(_LONGEST_CHAIN):
            target = self._step(name, kind, reply)
            if target is None or any(answer.name == target for answer in reply.answers):
                break
            name = target
        return reply

    def _step(self, name: str, kind: str, reply: Reply) -> str | None:
        """Adds what is known of one name; gives the next name of a CNAME chain."""
        zone = self._zones.holding(name)
        if name in self._static:
            found = _addresses(name, self._static[name], kind, STATIC_TTL)
            reply.answers += found
            if not found:
                reply.authority.append(_soa(name, 1))
            return None
        if zone is None:
            if not reply.answers:
                reply.code = REFUSED
            return None  # a chain that leaves this server: its rest is the resolver's business
        held = _at(zone, name)
        if held is None:
            reply.code = NXDOMAIN
            reply.authority.append(_soa(zone.name, zone.serial))
            return None
        aliases = [record for record in held if record.type == "CNAME" and not record.proxied]
        if aliases and kind != "CNAME" and name != zone.name:
            reply.answers.append(Answered(name, _ttl(aliases[0]), "CNAME", aliases[0].content + "."))
            return aliases[0].content
        found = self._apex(zone, kind) if name == zone.name else []
        found += self._flattened(aliases, kind) if name == zone.name else []
        found += self._records(name, held, kind)
        reply.answers += found
        if not found:
            reply.authority.append(_soa(zone.name, zone.serial))
        return None

    def _records(self, name: str, held: Sequence[Record], kind: str) -> list[Answered]:
        proxied = [record for record in held if record.proxied and record.type in PROXIABLE]
        found = []
        if proxied and kind in ("A", "AAAA"):
            other_family = "ipv6_only" if kind == "A" else "ipv4_only"
            if not any(record.settings.get(other_family) for record in proxied):
                found += _addresses(name, self._own, kind, AUTOMATIC_TTL)
        plain = [record for record in held if record.type == kind and not record.proxied]
        return found + [Answered(name, _ttl(record), kind, _data(record)) for record in plain]

    def _apex(self, zone: Zone, kind: str) -> list[Answered]:
        if kind == "SOA":
            return [_soa(zone.name, zone.serial)]
        return [Answered(zone.name, 86400, "NS", server) for server in NAME_SERVERS] if kind == "NS" else []

    def _flattened(self, aliases: Sequence[Record], kind: str) -> list[Answered]:
        """A CNAME at the zone's own name answers with its target's addresses, under the zone's name."""
        if not aliases or kind not in ("A", "AAAA"):
            return []
        target = self.resolve(aliases[0].content, kind)
        ttl = _ttl(aliases[0])
        return [Answered(aliases[0].name, ttl, kind, each.data) for each in target.answers if each.type == kind]


def _at(zone: Zone, name: str) -> list[Record] | None:
    """The records that answer for ``name``; None if neither the name nor a wildcard for it exists."""
    by_name: dict[str, list[Record]] = {zone.name: []}
    for record in zone.records.values():
        by_name.setdefault(record.name, []).append(record)
    # Names between a record and the zone's own exist too, with no records.
    existing = {ancestor for owner in by_name for ancestor in _ancestors(owner, zone.name)}
    if name in existing:
        return by_name.get(name, [])
    encloser = next(ancestor for ancestor in _ancestors(name, zone.name) if ancestor in existing)
    return by_name.get(f"*.{encloser}")


def _ancestors(name: str, zone: str) -> list[str]:
    """``name`` and every name above it up to the zone's, nearest first."""
    names = [name]
    while names[-1] != zone:
        names.append(names[-1].partition(".")[2])
    return names


def _addresses(name: str, addresses: Iterable[str], kind: str, ttl: int) -> list[Answered]:
    version = {"A": 4, "AAAA": 6}.get(kind)
    fitting = [address for address in addresses if ipaddress.ip_address(address).version == version]
    return [Answered(name, ttl, kind, address) for address in fitting]


def _data(record: Record) -> str:
    if record.type == "TXT":
        return txt.quoted(txt.strings(record.content))
    if record.type == "MX":
        return f"{record.priority} {record.content}."
    return f"{record.content}." if record.type == "CNAME" else record.content


def _ttl(record: Record) -> int:
    return AUTOMATIC_TTL if record.ttl == 1 else record.ttl


def _soa(name: str, serial: int) -> Answered:
    data = f"{NAME_SERVERS[0]} dns.cloudflare.com. {serial} 10000 2400 604800 {NEGATIVE_TTL}"
    return Answered(name, NEGATIVE_TTL, "SOA", data)
