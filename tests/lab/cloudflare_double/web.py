"""HTTP/1.1 with keep-alive in front of the API; TLS when there is a certificate."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
from http.server import BaseHTTPRequestHandler
from typing import Any

from cloudflare_double.api import Answer, Api, Request
from cloudflare_double.serving import Listening, log

LONGEST_BODY = 8 * 2**20  # bytes; a batch of 3,500 records has about 1 MB


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "cloudflare"
    sys_version = ""
    wbufsize = -1  # an answer leaves in one piece
    disable_nagle_algorithm = True
    timeout = 60
    server: WebServer

    def do_GET(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdigit() or int(length) > LONGEST_BODY:
            self._send(Answer(411, b"<html>411 Length Required</html>", {"Content-Type": "text/html"}))
            self.close_connection = True
            return
        body = self.rfile.read(int(length)) if int(length) else None
        answer = self.server.api.handle(Request(self.command, self.path, self.headers, body))
        if answer is None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(answer)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        log.info("%s %s", self.client_address[0], format % args)


class WebServer(Listening, socketserver.ThreadingTCPServer):
    """Serves ``api`` on one address; ``port`` 0 takes a free one."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, api: Api, address: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.api = api
        self._open: set[socket.socket] = set()
        super().__init__(address, port, _Handler)
        if tls:
            # The handshake is left to the connection's thread: a client that never ends it holds up nobody.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Closes kept-alive connections too: a service that is gone answers nobody."""
        super().server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """The server side of TLS from a PEM chain and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
