"""The hub's side: runs of the playbook about clients, and what the VPS knows of them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from camera import picture, scan

from tests.integration.relay.lab import Run, attempt, on, play

PLAYBOOK = "playbooks/vps-client-vpn.yml"
LIST = "playbooks/vps-clients.yml"
FOLDER = "/etc/wireguard/clients"


def give(name: str = "", *options: str, **variables: Any) -> Run:
    """A run about one device, or with no name about `vpn_clients`."""
    named = {"vpn_client_name": name} if name else {}
    return play(*options, play=PLAYBOOK, variables={**named, **variables})


def configuration(name: str) -> str:
    return on("vps-relay", "cat", f"{FOLDER}/{name}.conf")


def registered() -> list[str]:
    """Names of the clients, as the VPS has them on disk."""
    text = attempt("vps-relay", "cat", f"{FOLDER}/register.json").stdout
    interfaces = json.loads(text)["interfaces"] if text else {}
    return sorted(interfaces.get("wg0", {}).get("clients", {}))


def revoke(*names: str) -> None:
    if names:
        absent = [{"name": name, "state": "absent"} for name in names]
        play(play=PLAYBOOK, variables={"vpn_clients": absent}).ok()


def clients(run: Run) -> dict[str, dict[str, Any]]:
    """What the run says of each client."""
    return {client["name"]: client for result in run.results for client in result.result.get("clients", ())}


def live_keys() -> set[str]:
    """Public keys of the peers that the hub would answer now."""
    return set(on("vps-relay", "wg", "show", "wg0", "peers").split())


def scanned(output: str) -> list[str]:
    """What a phone's camera reads from a terminal of 80 columns with this output."""
    with tempfile.TemporaryDirectory() as folder:
        screen = Path(folder, "screen.pgm")
        screen.write_bytes(picture(output))
        return scan([screen])[screen]
