"""The PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt): who the client was before the proxy."""

from __future__ import annotations

import ipaddress
import socket

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_V1 = 107
ADDRESS_BYTES = {1: 4, 2: 16}  # by address family, the high half of byte 14


def read_header(connection: socket.socket) -> str:
    """The client's address, or "unknown" where the proxy speaks for itself; not a byte more than the header is read.

    Raises ValueError on anything else.
    """
    start = read_exactly(connection, len(SIGNATURE))
    return version2(connection) if start == SIGNATURE else version1(connection, start)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        block = connection.recv(size - len(data))
        if not block:
            raise ValueError(f"the connection ended in the PROXY protocol header: {data!r}")
        data += block
    return data


def version1(connection: socket.socket, line: bytes) -> str:
    if not line.startswith(b"PROXY "):
        raise ValueError("no PROXY protocol header")
    while not line.endswith(b"\r\n"):
        if len(line) == LONGEST_V1:
            raise ValueError(f"the header of version 1 is longer than {LONGEST_V1} bytes")
        line += read_exactly(connection, 1)
    words = line.decode("ascii").split()
    if words[1:2] == ["UNKNOWN"]:
        return "unknown"
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ValueError(f"bad header of version 1: {words}")
    return str(ipaddress.ip_address(words[2]))


def version2(connection: socket.socket) -> str:
    version_command, family_protocol, *length = read_exactly(connection, 4)
    rest = read_exactly(connection, int.from_bytes(length, "big"))
    if version_command >> 4 != 2:
        raise ValueError(f"bad version in a header of version 2: {version_command:#x}")
    size = ADDRESS_BYTES.get(family_protocol >> 4, 0)
    if version_command & 15 == 0 or not size:
        return "unknown"
    return str(ipaddress.ip_address(rest[:size]))
