"""The web servers: a page that names the service and the client, and a redirect to it."""

from __future__ import annotations

import html
import ssl
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .proxy_protocol import read_header

PATIENCE = 60.0  # seconds that a client may be silent
LONGEST_DOWNLOAD = 1 << 30


def tls_context(sites: Iterable[tuple[str, Path, Path]]) -> ssl.SSLContext:
    """Shows the certificate of the name that was asked for, and refuses other names. Sites: name, certificate, key."""
    by_name = {}
    for name, certificate, key in sites:
        by_name[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        by_name[name].load_cert_chain(certificate, key)

    def choose(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, current: ssl.SSLContext) -> int | None:
        if name not in by_name:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = by_name[name]
        return None

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = choose
    return context


class Server(ThreadingHTTPServer):
    """Reads the PROXY protocol header and shakes hands in the connection's own thread: who is slow holds up nobody."""

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        tls: ssl.SSLContext | None = None,
        behind_proxy: bool = False,
    ) -> None:
        self.tls = tls
        self.behind_proxy = behind_proxy
        super().__init__(address, handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        connection: socket = request
        connection.settimeout(PATIENCE)
        client, port = client_address
        try:
            if self.behind_proxy:
                client = read_header(connection)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            super().finish_request(connection, (client, port))
        except (OSError, ValueError) as error:
            self.log(client, f"broke off: {error}")
        finally:
            connection.close()

    def log(self, client: str, text: str) -> None:
        print(f"{self.server_address[1]} {client} {text}", flush=True)


class Handler(BaseHTTPRequestHandler):
    """One request a connection (HTTP/1.0's way), which keeps the log to one line each."""

    server: Server

    @property
    def host(self) -> str:
        return self.headers.get("Host", "").partition(":")[0]

    def answer(self, status: HTTPStatus, body: bytes = b"", **headers: str) -> None:
        self.log_message("%s %s%s: %d", self.command, self.host, self.path, status)
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, format: str, *arguments: object) -> None:
        self.server.log(self.client_address[0], format % arguments)


class Redirect(Handler):
    def do_GET(self) -> None:
        self.answer(HTTPStatus.PERMANENT_REDIRECT, Location=f"https://{self.host}{self.path}")

    do_HEAD = do_GET


class Page(Handler):
    """Any path is the page, but /download?bytes=N, for tests that need a long transfer."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/download":
            self.download(int(parse_qs(url.query)["bytes"][0]))
            return
        title = html.escape(self.host.partition(".")[0].capitalize())
        asked = f"You asked for {html.escape(self.host)} from {self.client_address[0]}."
        text = f"<!doctype html><title>{title}</title><h1>{title} at home</h1><p>{asked}</p>\n"
        self.answer(HTTPStatus.OK, text.encode(), Content_Type="text/html; charset=utf-8")

    do_HEAD = do_GET

    def download(self, size: int) -> None:
        if not 0 <= size <= LONGEST_DOWNLOAD:
            raise ValueError(f"a download has 0 to {LONGEST_DOWNLOAD} bytes, not {size}")
        self.log_message("%s %s%s", self.command, self.host, self.path)
        self.send_response_only(HTTPStatus.OK)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        block = bytes(1 << 16)
        while size > 0:
            self.wfile.write(block[:size])
            size -= len(block)
