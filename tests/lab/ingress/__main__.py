"""`python -m ingress --site NAME CERTIFICATE KEY …`: HTTPS by server name on 443, redirects on 80.

Port 8443 is the same as 443 behind a mandatory PROXY protocol header, version 1 or 2: the client that the page names is
the one that the header told. Every request is a line on standard output.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from .web import Page, Redirect, Server, tls_context


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ingress")
    parser.add_argument("--site", nargs=3, action="append", required=True, metavar=("NAME", "CERTIFICATE", "KEY"))
    sites = [(name, Path(certificate), Path(key)) for name, certificate, key in parser.parse_args().site]
    tls = tls_context(sites)
    servers = [
        Server(("", 80), Redirect),
        Server(("", 443), Page, tls=tls),
        Server(("", 8443), Page, tls=tls, behind_proxy=True),
    ]
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
