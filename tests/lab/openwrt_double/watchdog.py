"""`wireguard_watchdog` of the package wireguard-tools: looks up the names of silent peers again. Cron has to call it.

Only peers with a keepalive, of interfaces that are up, when there was no handshake for 150 seconds.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess

from .ubus_cli import ask
from .uci_read import is_on, load, one

SILENT = 150
WG = "/usr/bin/wg"


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def shown(interface: str, what: str) -> dict[str, str]:
    rows = (line.partition("\t") for line in said(WG, "show", interface, what).splitlines())
    return {key: value for key, _tab, value in rows}


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def main() -> int:
    status, answer = ask("call", "S", "network.interface", "dump", "{}")
    interfaces = json.loads(answer)["interface"] if not status else []
    package = load("network")
    for interface in (i["interface"] for i in interfaces if i["up"] and i["proto"] == "wireguard"):
        keepalives, handshakes = shown(interface, "persistent-keepalive"), shown(interface, "latest-handshakes")
        for peer in package.sections:
            key, host = one(peer, "public_key"), one(peer, "endpoint_host")
            if peer.type != f"wireguard_{interface}" or is_on(peer, "disabled") or not host or is_address(host):
                continue
            if keepalives.get(key, "off") == "off" or key not in handshakes:
                continue
            idle = int(said("date", "+%s")) - int(handshakes[key])
            if idle < SILENT:
                continue
            endpoint = f"{host}:{one(peer, 'endpoint_port', '51820')}"
            text = (
                f"{interface} endpoint {endpoint} is not responding for {idle} seconds, trying to re-resolve hostname"
            )
            subprocess.run(["/usr/bin/logger", "-t", "wireguard_monitor", text], check=False)
            subprocess.run([WG, "set", interface, "peer", key, "endpoint", endpoint], capture_output=True, check=False)
    return 0
