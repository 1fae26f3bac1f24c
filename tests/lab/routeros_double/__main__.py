"""The router as a process of the lab, inside its network namespace. SIGTERM is the power switch."""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path

from .dataplane import DataPlane
from .router import RouterOS


def main() -> None:
    parser = argparse.ArgumentParser(prog="routeros_double", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="directory of the state, made with mode 0700")
    parser.add_argument("--cert", type=Path, help="certificate (chain) of API-SSL; without one it is anonymous")
    parser.add_argument("--key", type=Path, help="private key of the certificate")
    parser.add_argument("--interface-map", default="", help="ROUTEROS=KERNEL,… of the devices that exist already")
    parser.add_argument("--factory", type=Path, help="JSON, menu → rows: the configuration when there is no state yet")
    parser.add_argument("--version", default="7.22.3")
    parser.add_argument("--listen", default="0.0.0.0")
    parser.add_argument("--ports", default="8728,8729", help="of API and API-SSL")
    options = parser.parse_args()
    if bool(options.cert) != bool(options.key):
        parser.error("--cert and --key belong together")
    os.umask(0o077)
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    links = dict(pair.split("=", 1) for pair in options.interface_map.split(",") if pair)
    plain, secure = (int(port) for port in options.ports.split(","))
    # Before any thread exists, so that none of them takes the signal away from here.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    router = RouterOS(
        options.version,
        json.loads(options.factory.read_text()) if options.factory else None,
        certificate=(options.cert, options.key) if options.cert else False,
        directory=options.state,
        host=options.listen,
        ports=(plain, secure),
        plane=DataPlane(links),
    )
    with router:
        print(
            f"RouterOS {router.version} answers on {router.host} ports {router.port} and {router.tls_port}", flush=True
        )
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
