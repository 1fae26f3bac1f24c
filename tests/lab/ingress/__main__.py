"""`python -m ingress --site NAME CERTIFICATE KEY …`: HTTPS by server name on 443, redirects on 80.

Port 8443 is the same as 443 behind a mandatory PROXY protocol header, version 1 or 2: the client that the page names is
the one that the header told. Every request is a line on standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
from functools import partial
from pathlib import Path

from .proxy_protocol import read_header
from .web import redirect, serve

Site = tuple[str, Path, Path]


def contexts(sites: list[Site]) -> ssl.SSLContext:
    """A context that shows the certificate of the name that was asked for, and refuses other names."""
    by_name = {}
    for name, certificate, key in sites:
        by_name[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        by_name[name].load_cert_chain(certificate, key)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        if name not in by_name:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = by_name[name]
        return None

    first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    first.load_cert_chain(*sites[0][1:])
    first.sni_callback = choose
    return first


async def behind_proxy(tls: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        client = await read_header(reader)
        await writer.start_tls(tls)
    except (ValueError, OSError, asyncio.IncompleteReadError) as error:
        print(f"8443 refused: {error}", flush=True)
        writer.close()
        return
    await serve(client, reader, writer)


async def direct(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await serve(writer.get_extra_info("peername")[0], reader, writer)


async def run(sites: list[Site]) -> None:
    tls = contexts(sites)
    servers = [
        await asyncio.start_server(redirect, port=80, family=socket.AF_UNSPEC),
        await asyncio.start_server(direct, port=443, family=socket.AF_UNSPEC, ssl=tls),
        await asyncio.start_server(partial(behind_proxy, tls), port=8443, family=socket.AF_UNSPEC),
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ingress")
    parser.add_argument("--site", nargs=3, action="append", required=True, metavar=("NAME", "CERTIFICATE", "KEY"))
    asyncio.run(run([(name, Path(certificate), Path(key)) for name, certificate, key in parser.parse_args().site]))


if __name__ == "__main__":
    main()
