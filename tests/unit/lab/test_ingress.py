"""The lab's ingress on loopback: certificates by name, the PROXY protocol, and its refusals."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme
from ingress.proxy_protocol import SIGNATURE, read_header
from ingress.web import Page, Redirect, Server, tls_context

HERE = ("127.0.0.1", 0)
NAMES = ("jellyfin.example.org", "grafana.example.org")
V4 = socket.inet_aton("198.51.100.20") + socket.inet_aton("203.0.113.10") + bytes(4)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8:51::20") * 2 + bytes(4)


def version2(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes([0x20 | command, family]) + len(rest).to_bytes(2, "big") + rest


def parse(header: bytes) -> tuple[str, bytes]:
    """What the header tells, and what is left behind it."""
    proxy, server = socket.socketpair()
    with proxy, server:
        proxy.sendall(header + b"payload")
        proxy.shutdown(socket.SHUT_WR)
        return read_header(server), server.recv(100)


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 198.51.100.20 203.0.113.10 40000 443\r\n", "198.51.100.20"),
        (b"PROXY TCP6 2001:db8:51::20 2001:db8:113::10 40000 443\r\n", "2001:db8:51::20"),
        (b"PROXY UNKNOWN\r\n", "unknown"),
        (b"PROXY UNKNOWN ffff:: ffff:: 1 2\r\n", "unknown"),
        (version2(1, 0x11, V4), "198.51.100.20"),
        (version2(1, 0x11, V4 + b"\x04\x00\x01x"), "198.51.100.20"),  # with a TLV behind the addresses
        (version2(1, 0x21, V6), "2001:db8:51::20"),
        (version2(0, 0x00, b""), "unknown"),
    ],
)
def test_proxy_header_tells_the_client_and_leaves_the_rest(header: bytes, client: str) -> None:
    assert parse(header) == (client, b"payload")


@pytest.mark.parametrize(
    "header",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03xx",  # TLS straight away
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 198.51.100.20 203.0.113.10 40000\r\n",
        b"PROXY UDP4 198.51.100.20 203.0.113.10 40000 443\r\n",
        b"PROXY TCP4 example.org 203.0.113.10 40000 443\r\n",
        b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
        SIGNATURE + b"\x11\x11\x00\x0c" + V4,
    ],
)
def test_anything_else_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(header)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def served(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    directory = tmp_path_factory.mktemp("tls")
    sites: list[tuple[str, Path, Path]] = []
    for name in NAMES:
        made = authority.issue_cert(name)
        files = directory / f"{name}.pem", directory / f"{name}.key"
        made.cert_chain_pems[0].write_to_path(str(files[0]))
        made.private_key_pem.write_to_path(str(files[1]))
        sites.append((name, *files))
    return tls_context(sites)


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def ask(server: Server, name: str, tls: ssl.SSLContext | None = None, header: bytes = b"") -> str:
    """Send the PROXY protocol header, shake hands where `tls` is given, and get a page; the whole answer."""
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
                connection.sendall(header)
                with tls.wrap_socket(connection, server_hostname=name) if tls else connection as channel:
                    channel.sendall(f"GET /page HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
                    return b"".join(iter(lambda: channel.recv(4096), b"")).decode()
        finally:
            server.shutdown()


@pytest.mark.parametrize("name", NAMES)
def test_each_name_has_its_certificate_and_page(name: str, served: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    assert f"You asked for {name} from 127.0.0.1." in ask(Server(HERE, Page, served), name, trusting)


def test_another_name_is_refused(served: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        ask(Server(HERE, Page, served), "other.example.org", trusting)


def test_behind_a_proxy_the_page_names_the_real_client(served: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    header = b"PROXY TCP4 198.51.100.20 203.0.113.10 40000 443\r\n"
    text = ask(Server(HERE, Page, served, behind_proxy=True), NAMES[0], trusting, header)
    assert "from 198.51.100.20." in text


def test_behind_a_proxy_nobody_comes_without_its_header(served: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    with pytest.raises(OSError, match=r".+"):
        ask(Server(HERE, Page, served, behind_proxy=True), NAMES[0], trusting)


def test_plain_http_redirects() -> None:
    text = ask(Server(HERE, Redirect), NAMES[0])
    assert text.startswith("HTTP/1.0 308 ")
    assert f"Location: https://{NAMES[0]}/page\r\n" in text
