"""The double as a process of the lab: HTTPS and DNS on the given addresses, records kept in the state directory."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from cloudflare_double import dns_server
from cloudflare_double.access import read_tokens
from cloudflare_double.api import Api
from cloudflare_double.control import ControlServer
from cloudflare_double.journal import Journal
from cloudflare_double.records import PLANS
from cloudflare_double.resolving import Resolver
from cloudflare_double.serving import Listening, start
from cloudflare_double.web import WebServer, tls_context
from cloudflare_double.zones import Zone, Zones


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if len(given.zone) != len(given.zone_id):
        sys.stderr.write("every --zone needs its --zone-id\n")
        return 2
    given.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    pairs = zip(given.zone, given.zone_id, strict=True)
    zones = Zones([Zone(name, id, plan=given.plan) for name, id in pairs], given.state / "zones.json")
    api = Api(zones, read_tokens(given.token_file), journal=Journal(given.state / "requests.jsonl"))
    resolver = Resolver(zones, static=given.static, own=given.address)
    tls = tls_context(given.cert, given.key)
    servers: list[Listening] = []
    for address in given.address:
        servers += [
            WebServer(api, address, given.https_port, tls),
            *dns_server.servers(resolver, address, given.dns_port),
        ]
    for server in servers:
        start(server)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    # Last of all, so that an answer of the control socket means that everything listens.
    control = ControlServer(api, given.state)
    threading.Thread(target=control.serve_forever, daemon=True).start()
    ended.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cloudflare_double", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="directory for records, request log, control socket")
    parser.add_argument("--cert", required=True, help="PEM chain for api.cloudflare.com")
    parser.add_argument("--key", required=True, help="its key")
    parser.add_argument("--zone", action="append", required=True, help="may be given several times, each with its id")
    parser.add_argument("--zone-id", action="append", required=True, type=_zone_id)
    parser.add_argument("--plan", choices=sorted(PLANS), default="free")
    parser.add_argument("--token-file", type=Path, required=True, help="a line each: SECRET [RIGHT,… [ZONE,…]]")
    parser.add_argument("--address", action="append", required=True, help="listen here; may be given several times")
    parser.add_argument("--static", action="append", default=[], type=_static, metavar="NAME=ADDRESS")
    parser.add_argument("--https-port", type=int, default=443)
    parser.add_argument("--dns-port", type=int, default=53)
    return parser


def _zone_id(text: str) -> str:
    if len(text) != 32 or set(text) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("a zone id is 32 hexadecimal digits in lower case")
    return text


def _static(text: str) -> tuple[str, str]:
    name, found, address = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError("NAME=ADDRESS expected")
    return name, address


if __name__ == "__main__":
    sys.exit(main())
