"""Orders to a running double, through a socket in its state directory that only its owner reaches.

python -m cloudflare_double.control --state DIR status
python -m cloudflare_double.control --state DIR fail --status 502 --html --times 3
python -m cloudflare_double.control --state DIR fail --drop --executed --writes-only
python -m cloudflare_double.control --state DIR limit --quota 20 --window 300
python -m cloudflare_double.control --state DIR clear      # forgets faults and a changed limit
python -m cloudflare_double.control --state DIR reset      # removes all records
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import socketserver
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudflare_double.api import Api
from cloudflare_double.faults import Fault
from cloudflare_double.limits import Limit, documented

SOCKET = "control"


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """Takes one JSON object a connection, answers with one: ``{"ok": …}`` or ``{"error": text}``."""

    daemon_threads = True

    def __init__(self, api: Api, state: Path) -> None:
        self.api = api
        path = state / SOCKET
        path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            super().__init__(str(path), _Handler)
        finally:
            os.umask(old)


class _Handler(socketserver.StreamRequestHandler):
    server: ControlServer

    def handle(self) -> None:
        try:
            order = json.loads(self.rfile.readline())
            reply = {"ok": obey(self.server.api, order)}
        except (ValueError, TypeError, KeyError) as error:
            reply = {"error": str(error)}
        self.wfile.write(json.dumps(reply).encode() + b"\n")


def obey(api: Api, order: Mapping[str, Any]) -> Any:
    """Carries one order out. Raises ValueError, TypeError, KeyError if it is none."""
    what, arguments = order["order"], {key: value for key, value in order.items() if key != "order"}
    if what == "fail":
        api.faults.add(Fault(**arguments))
    elif what == "limit":
        api.limiter.limits = [Limit(**arguments)]
    elif what == "clear":
        api.faults.clear()
        api.limiter.limits = documented()
    elif what == "reset":
        for zone in api.zones:
            with api.zones.change(zone) as draft:
                for id in list(draft.records):
                    draft.delete(id)
    elif what != "status":
        raise ValueError(f"unknown order {what!r}")
    return {
        "requests": len(api.journal.entries),
        "writes": api.journal.writes,
        "records": {zone.name: len(zone.records) for zone in api.zones},
        "faults": api.faults.pending(),
    }


def send(state: Path, order: Mapping[str, Any]) -> Any:
    """Sends ``order`` to the double of ``state`` and gives its answer. Raises OSError, RuntimeError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(state / SOCKET))
        connection.sendall(json.dumps(order).encode() + b"\n")
        reply = json.loads(connection.makefile().readline())
    if "error" in reply:
        raise RuntimeError(reply["error"])
    return reply["ok"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cloudflare_double.control")
    parser.add_argument("--state", type=Path, required=True)
    orders = parser.add_subparsers(dest="order", required=True)
    for order in ("status", "clear", "reset"):
        orders.add_parser(order)
    fail = orders.add_parser("fail")
    fail.add_argument("--status", type=int)
    fail.add_argument("--retry-after", type=int)
    fail.add_argument("--delay", type=float)
    fail.add_argument("--times", type=int)
    fail.add_argument("--skip", type=int)
    for flag in ("--html", "--drop", "--executed", "--writes-only"):
        fail.add_argument(flag, action="store_true")
    limit = orders.add_parser("limit")
    limit.add_argument("--quota", type=int, required=True)
    limit.add_argument("--window", type=float, required=True)
    given = {key: value for key, value in vars(parser.parse_args(arguments)).items() if value is not None}
    state = given.pop("state")
    try:
        sys.stdout.write(json.dumps(send(state, given), indent=2) + "\n")
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"cloudflare_double in {state}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
