"""Listening sockets in threads of their own: started at once, stopped at once."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import socketserver
import threading
from typing import Any

log = logging.getLogger("cloudflare_double")

_FREEBIND: dict[int, tuple[int, int]] = {
    socket.AF_INET: (socket.IPPROTO_IP, 15),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 78),
}  # linux/in.h, in6.h


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET


class Listening(socketserver.TCPServer):
    """A mixin for socketserver's classes: either address family, and an address that is not ready yet will do."""

    allow_reuse_address = True

    def __init__(self, address: str, port: int, handler: type[socketserver.BaseRequestHandler]) -> None:
        self.address_family = family_of(address)
        super().__init__((address, port), handler)

    def server_bind(self) -> None:
        # An IPv6 address of an interface just brought up cannot be bound before its duplicate check is over.
        with contextlib.suppress(OSError):
            self.socket.setsockopt(*_FREEBIND[self.address_family], 1)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("connection of %s ended", client_address, exc_info=True)

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])


def start(server: Listening) -> threading.Thread:
    """Serves in a thread of its own until ``stop``."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    return thread


def stop(server: Listening) -> None:
    """Stops serving and closes the socket. A poke spares the wait for the server's next look at its flag."""
    ending = threading.Thread(target=server.shutdown)
    ending.start()
    with contextlib.suppress(OSError), socket.socket(server.address_family, server.socket_type) as poke:
        poke.connect(server.socket.getsockname()[:2])
        if server.socket_type == socket.SOCK_DGRAM:
            poke.send(b"")
    ending.join()
    server.server_close()
