"""DNS over UDP and TCP in front of the resolver; the wire format is dnspython's."""

from __future__ import annotations

import contextlib
import socketserver
import struct

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from cloudflare_double.resolving import REFUSED, Answered, Resolver
from cloudflare_double.serving import Listening, log

LARGEST_UDP = 1232  # bytes, as Cloudflare's own EDNS offer
_PLAIN_UDP = 512


def answer(resolver: Resolver, wire: bytes, *, udp: bool) -> bytes | None:
    """The reply to one message; None if there is nothing to reply to."""
    try:
        query = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return _format_error(wire)
    if query.flags & dns.flags.QR:
        return None
    reply = dns.message.make_response(query, our_payload=LARGEST_UDP)
    if query.opcode() != dns.opcode.QUERY:
        reply.set_rcode(dns.rcode.NOTIMP)
    elif len(query.question) != 1:
        reply.set_rcode(dns.rcode.FORMERR)
    else:
        _fill(resolver, query.question[0], reply)
    most = min(LARGEST_UDP, max(_PLAIN_UDP, query.payload if query.edns >= 0 else 0)) if udp else 65535
    try:
        return reply.to_wire(max_size=most)
    except dns.exception.TooBig:
        cut = dns.message.make_response(query, our_payload=LARGEST_UDP)
        cut.flags |= dns.flags.AA | dns.flags.TC
        return cut.to_wire()


def _fill(resolver: Resolver, question: dns.rrset.RRset, reply: dns.message.Message) -> None:
    name = question.name.to_text(omit_final_dot=True)
    kind = dns.rdatatype.to_text(question.rdtype)
    if question.rdclass != dns.rdataclass.IN or dns.rdatatype.is_metatype(question.rdtype):
        reply.set_rcode(dns.rcode.REFUSED)  # zone transfers, ANY and other classes
        return
    found = resolver.resolve(name, kind)
    reply.set_rcode(dns.rcode.from_text(found.code))
    if found.code != REFUSED:
        reply.flags |= dns.flags.AA
    reply.answer = _rrsets(found.answers)
    reply.authority = _rrsets(found.authority)
    log.info("DNS %s %s: %s, %d answers", name, kind, found.code, len(found.answers))


def _rrsets(answered: list[Answered]) -> list[dns.rrset.RRset]:
    sets: dict[tuple[str, str], list[Answered]] = {}
    for each in answered:
        sets.setdefault((each.name, each.type), []).append(each)
    return [
        dns.rrset.from_text(f"{name}.", min(each.ttl for each in group), "IN", kind, *(each.data for each in group))
        for (name, kind), group in sets.items()
    ]


def _format_error(wire: bytes) -> bytes | None:
    if len(wire) < 12 or wire[2] & 0x80:
        return None
    return wire[:2] + bytes([0x80 | (wire[2] & 0x79), dns.rcode.FORMERR]) + bytes(8)


class _Udp(socketserver.BaseRequestHandler):
    server: UdpServer

    def handle(self) -> None:
        wire, connection = self.request
        reply = answer(self.server.resolver, wire, udp=True)
        if reply:
            connection.sendto(reply, self.client_address)


class _Tcp(socketserver.StreamRequestHandler):
    server: TcpServer
    timeout = 10

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while len(length := self.rfile.read(2)) == 2:
                wire = self.rfile.read(struct.unpack("!H", length)[0])
                reply = answer(self.server.resolver, wire, udp=False)
                if reply is None:
                    return
                self.wfile.write(struct.pack("!H", len(reply)) + reply)


class UdpServer(Listening, socketserver.UDPServer):
    def __init__(self, resolver: Resolver, address: str, port: int) -> None:
        self.resolver = resolver
        super().__init__(address, port, _Udp)


class TcpServer(Listening, socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, resolver: Resolver, address: str, port: int) -> None:
        self.resolver = resolver
        super().__init__(address, port, _Tcp)


def servers(resolver: Resolver, address: str, port: int) -> list[Listening]:
    """UDP and TCP on the same port of ``address``; port 0 takes a free one."""
    for attempts_left in reversed(range(8)):
        tcp = TcpServer(resolver, address, port)
        try:
            return [UdpServer(resolver, address, tcp.port), tcp]
        except OSError:
            tcp.server_close()
            # A port that was free for TCP may be taken for UDP; a port that was asked for has no substitute.
            if port or not attempts_left:
                raise
    raise AssertionError("the last attempt returns or raises")
