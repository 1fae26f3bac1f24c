"""The PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt): who the client was before the proxy."""

from __future__ import annotations

import asyncio
import ipaddress

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_V1 = 107
ADDRESS_BYTES = {1: 4, 2: 16}  # by address family, the high half of byte 14


async def read_header(reader: asyncio.StreamReader) -> str:
    """The client's address, or "unknown" where the proxy speaks for itself. Raises ValueError on anything else."""
    start = await reader.readexactly(len(SIGNATURE))
    return await version2(reader) if start == SIGNATURE else await version1(start, reader)


async def version1(start: bytes, reader: asyncio.StreamReader) -> str:
    if not start.startswith(b"PROXY "):
        raise ValueError("no PROXY protocol header")
    line = start if start.endswith(b"\r\n") else start + await reader.readuntil(b"\r\n")
    if len(line) > LONGEST_V1:
        raise ValueError("the header of version 1 is longer than 107 bytes")
    words = line.decode("ascii").split()
    if words[1:2] == ["UNKNOWN"]:
        return "unknown"
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ValueError(f"bad header of version 1: {words}")
    return str(ipaddress.ip_address(words[2]))


async def version2(reader: asyncio.StreamReader) -> str:
    version_command, family_protocol, *length = await reader.readexactly(4)
    rest = await reader.readexactly(int.from_bytes(length, "big"))
    if version_command >> 4 != 2:
        raise ValueError(f"bad version in a header of version 2: {version_command:#x}")
    size = ADDRESS_BYTES.get(family_protocol >> 4, 0)
    if version_command & 15 == 0 or not size:
        return "unknown"
    return str(ipaddress.ip_address(rest[:size]))
