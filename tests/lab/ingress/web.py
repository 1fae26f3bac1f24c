"""Just enough HTTP/1.1: one request a connection, a page that names the service and the client."""

from __future__ import annotations

import asyncio
import html
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

LONGEST_BODY = 1 << 30


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    host: str


async def read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    return Request(method, target, headers.get("host", "").partition(":")[0])


async def answer(writer: asyncio.StreamWriter, status: str, body: bytes, *headers: str) -> None:
    lines = (f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", "")
    writer.write("\r\n".join(lines).encode() + body)
    await writer.drain()


def page(service: str, client: str) -> bytes:
    title = service.partition(".")[0].capitalize()
    client = html.escape(client)
    return (
        f"<!doctype html><title>{title}</title><h1>{title} at home</h1><p>You asked for {service} from {client}.</p>\n"
    ).encode()


async def respond(port: str, client: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await read_request(reader)
    print(f"{port} {client} {request.method} {request.host} {request.target}", flush=True)
    if port == "80":
        await answer(writer, "308 Permanent Redirect", b"", f"Location: https://{request.host}{request.target}")
        return
    # /download?bytes=N is for tests that need a long transfer.
    url = urlsplit(request.target)
    if url.path == "/download":
        await download(writer, int(parse_qs(url.query)["bytes"][0]))
    else:
        await answer(writer, "200 OK", page(request.host, client), "Content-Type: text/html; charset=utf-8")


async def download(writer: asyncio.StreamWriter, size: int) -> None:
    if not 0 <= size <= LONGEST_BODY:
        raise ValueError(f"a download has 0 to {LONGEST_BODY} bytes, not {size}")
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode())
    block = bytes(1 << 16)
    while size > 0:
        writer.write(block[:size])
        size -= len(block)
        await writer.drain()


async def handle(port: str, client: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await respond(port, client, reader, writer)
    except (OSError, ValueError, KeyError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        print(f"{port} {client} broke off: {error!r}", flush=True)
    finally:
        writer.close()


async def serve(client: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await handle("443", client, reader, writer)


async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await handle("80", writer.get_extra_info("peername")[0], reader, writer)
