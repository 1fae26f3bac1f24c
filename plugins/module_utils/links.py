# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The links of the way from a visitor to the ingress, each tried until it holds or time is up.

A link that is broken raises Broken, whose message names the link and says what to look at. Nothing is written.
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import socket
import ssl
import time
from typing import Any, Callable, Iterable, NamedTuple, Optional, Sequence, TypeVar

from ansible_collections.homelab.fabric.plugins.module_utils.certificate import subject

POLL = 0.2  # seconds between two tries
PATIENCE = 3.0  # seconds that one try may take
NO_TLS = "(no TLS)"
_HERE_NO_IPV6 = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_AT_HOME = [ipaddress.ip_network(p) for p in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]

T = TypeVar("T")
WhyNot = Callable[[str], Optional[str]]


class Broken(Exception):
    """A link that does not hold. The message names it and says what to look at."""


class Link(NamedTuple):
    """A link that holds: what it is, how long the try that succeeded took (None: not tried), what was seen."""

    link: str
    milliseconds: int | None
    detail: str


class Answer(NamedTuple):
    """What identifies who answers: the SHA-256 of a certificate, or the first line of an answer in HTTP."""

    identity: str
    shown: str


class Target(NamedTuple):
    """A service under one of its names: its port on the relay, and the upstream as (address, port), if known here."""

    server_name: str
    port: int
    upstream: tuple[str, int] | None
    proxy_protocol: bool

    @property
    def key(self) -> str:
        return f"{self.server_name}:{self.port}"


class Wait:
    """How long all links together may take. Every link gets one try, however late it is."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def until(self, attempt: Callable[[], T]) -> tuple[T, int]:
        """The first result of an attempt that raises neither OSError nor Broken, and its milliseconds."""
        while True:
            started = time.monotonic()
            try:
                return attempt(), round((time.monotonic() - started) * 1000)
            except (OSError, Broken):
                if time.monotonic() + POLL >= self._end:
                    raise
            time.sleep(POLL)


def check_upstream(target: Target, interface: str, why_not: WhyNot, wait: Wait) -> tuple[Link, Answer]:
    """The ingress itself, through the tunnel. `why_not` tells what keeps an address out of it, if it knows."""
    if target.upstream is None:
        raise ValueError("a target without an upstream has no direct way")
    address, port = target.upstream
    try:
        answer, milliseconds = wait.until(lambda: ask(target, address, port, target.proxy_protocol))
    except OSError as error:
        where = place(address, port)
        reason = why_not(address)
        if reason:
            look = f"{reason}. Look at: `networks` of the home's node in wireguard_networks, which has to hold it"
        elif isinstance(error, ConnectionRefusedError):
            look = "Look at: is the ingress running, and does it listen on this port?"
        elif _has_answered(error):
            proxied = "it expects a PROXY protocol header from this host" if target.proxy_protocol else "it speaks TLS"
            look = f"Look at: the ingress's log; whether {proxied} on this port, and knows {target.server_name or 'us'}"
        else:
            look = (
                "Look at: the forward rule on the home's router (before its drop rule, towards the ingress's network); "
                f"is {address} up? does it answer to this host's tunnel address through that router?"
            )
        text = f"the handshake is there, but {where} {said(error)} through {interface}"
        raise Broken(f"{_for(target)}{text}. {look}") from None
    return Link(f"{place(address, port)} through {interface}", milliseconds, answer.shown), answer


def check_relay(target: Target, address: str, expected: Answer | None, inside: bool, wait: Wait) -> Link:
    """The relay's own port, which has to show what the ingress shows: equal certificates prove a blind passthrough.

    `inside`: asked on the relay itself, not from afar.
    """
    where = place(address, target.port)
    link = f"{target.server_name or 'the ingress'} {'through nginx' if inside else 'from outside'} at {where}"

    def same() -> Answer | None:
        try:
            answer = ask(target, address, target.port, False)
        except OSError as error:
            if ":" in address and error.errno in _HERE_NO_IPV6:
                return None
            raise
        if expected and answer.identity != expected.identity:
            raise Broken(_other(target, where, answer, expected, inside))
        return answer

    try:
        answer, milliseconds = wait.until(same)
    except OSError as error:
        raise Broken(_not_relayed(target, where, error, inside)) from None
    if answer is None:
        return Link(link, None, "not tried: there is no IPv6 here")
    return Link(link, milliseconds, answer.shown)


def _other(target: Target, where: str, answer: Answer, expected: Answer, inside: bool) -> str:
    seen = f"{_for(target)}{where} shows {answer.shown}; the ingress itself shows {expected.shown}. Look at: "
    if inside:
        return seen + f"what else has port {target.port} in nginx (`nginx -T | grep listen`), and nginx's upstream"
    return seen + "whether this address is the VPS's, and no proxy or other machine answers for it"


def _not_relayed(target: Target, where: str, error: OSError, inside: bool) -> str:
    refused, answered = isinstance(error, ConnectionRefusedError), _has_answered(error)
    if inside:
        text = f"the ingress answers directly, but not through nginx: {where} {said(error)}"
        if refused:
            look = "is nginx running and listening there? systemctl status nginx; nginx -t; journalctl -u nginx"
        else:
            look = "/var/log/nginx/error.log; whether proxy_protocol of this service is what the ingress expects"
    else:
        text = f"nginx answers on the VPS, but not from here: {where} {said(error)}"
        if refused or answered:
            look = "whether this address is the VPS's; UFW (`ufw status`) and the provider's firewall"
        else:
            look = (
                f"the provider's firewall, which has to let TCP {target.port} in; `ufw status` on the VPS; the address"
            )
    return f"{_for(target)}{text}. Look at: {look}"


def check_trust(target: Target, address: str, wait: Wait) -> Link:
    """Whether a browser would accept the certificate."""
    context = ssl.create_default_context()
    where = place(address, target.port)
    try:
        answer, milliseconds = wait.until(lambda: ask(target, address, target.port, False, context))
    except OSError as error:
        reason = getattr(error, "verify_message", None) or said(error)
        raise Broken(
            f"{_for(target)}the certificate at {where} is not trusted here: {reason}. Look at: how the ingress gets "
            f"its certificate for {target.server_name}"
        ) from None
    return Link(f"trust in {target.server_name}", milliseconds, answer.shown)


def check_name(name: str, addresses: Sequence[str], wait: Wait) -> Link:
    """Whether a name points to the relay and nowhere else."""
    wanted = " and ".join(addresses)

    def resolve() -> list[str]:
        try:
            found = sorted({str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
        except OSError as error:
            raise Broken(
                f"DNS knows no address of {name} ({error.strerror}). Look at: its A record, which has to be {wanted}; "
                "whether the zone's name servers are Cloudflare's; a DNS cache, which forgets within the hour"
            ) from None
        stray = [address for address in found if address not in addresses]
        if stray and not all(_at_home(address) for address in found):
            raise Broken(
                f"DNS of {name} points to {', '.join(stray)} instead of {wanted}. Look at: its A and AAAA records; "
                "whether they are proxied; a DNS cache, which forgets an old record after its TTL"
            )
        return found

    found, milliseconds = wait.until(resolve)
    own = "" if all(address in addresses for address in found) else " (the home's own DNS)"
    return Link(f"DNS of {name}", milliseconds, ", ".join(found) + own)


def _at_home(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    return any(ip.version == network.version and ip in network for network in _AT_HOME)


def ask(target: Target, address: str, port: int, proxied: bool, context: ssl.SSLContext | None = None) -> Answer:
    """One connection and who answers it. Raises OSError; ssl.SSLError is one."""
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, port), PATIENCE) as plain:
        plain.settimeout(PATIENCE)
        if proxied:
            plain.sendall(_proxy_header(plain))
        if target.port == 80:
            return _ask_http(plain, target.server_name or address)
        try:
            with context.wrap_socket(plain, server_hostname=target.server_name or None) as secure:
                der = secure.getpeercert(binary_form=True) or b""
        except ssl.SSLError as error:
            # What OpenSSL calls an answer that is not TLS depends on its release and on the answer.
            if error.reason in (
                "WRONG_VERSION_NUMBER",
                "HTTP_REQUEST",
                "RECORD_LAYER_FAILURE",
                "PACKET_LENGTH_TOO_LONG",
            ):
                return Answer(NO_TLS, "an answer that is not TLS")
            raise
    digest = hashlib.sha256(der).hexdigest()
    return Answer(digest, f"the certificate {subject(der)}, SHA-256 {digest[:16]}…")


def _ask_http(plain: socket.socket, host: str) -> Answer:
    plain.sendall(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii"))
    received = b""
    while b"\r\n" not in received:
        piece = plain.recv(4096)
        if not piece:
            raise ConnectionResetError(errno.ECONNRESET, "closed without an answer")
        received += piece
    line = received.partition(b"\r\n")[0].decode("ascii", "replace")
    return Answer(line, line)


def _proxy_header(connection: socket.socket) -> bytes:
    """PROXY protocol, version 1, for a connection from this host itself."""
    (source, source_port), (address, port) = connection.getsockname()[:2], connection.getpeername()[:2]
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {address} {source_port} {port}\r\n".encode("ascii")


def said(error: OSError) -> str:
    """What a connection's end was like."""
    if isinstance(error, socket.timeout):
        return f"does not answer within {PATIENCE:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "refuses the connection"
    if isinstance(error, (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError)):
        return "closes the connection without an answer"
    if isinstance(error, ssl.SSLError):
        return f"ends the TLS handshake ({(error.reason or str(error)).replace('_', ' ').lower()})"
    return f"cannot be reached ({(error.strerror or str(error)).lower()})"


def _has_answered(error: OSError) -> bool:
    return isinstance(error, (ssl.SSLError, ConnectionResetError, BrokenPipeError)) and not isinstance(
        error, socket.timeout
    )


def place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _for(target: Target) -> str:
    return f"{target.server_name}: " if target.server_name else ""


def as_dicts(links: Iterable[Link]) -> list[dict[str, Any]]:
    return [link._asdict() for link in links]
