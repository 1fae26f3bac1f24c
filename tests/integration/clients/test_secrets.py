"""A client's keys are in its files and its code, nowhere else: searched for in what runs with -vvv --diff left."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.clients.hub import FOLDER, give, scanned
from tests.integration.relay import devices
from tests.integration.relay.lab import Run, files_of, on
from tests.integration.relay.search import files_below, found_in
from tests.integration.relay.watch import Watch

LOUD = ("-vvv", "--diff")
OWN = devices.DISK / FOLDER.lstrip("/")


@dataclass(frozen=True, repr=False)
class Seen:
    """Runs that give, show again, renew and take access, the secrets of all of them, and what was watched."""

    runs: list[Run]
    secrets: dict[str, str]
    watch: Watch


def secrets_on_the_hub(moment: str) -> dict[str, str]:
    """Each key by what it is; and a piece of each configuration, as ssh would carry it, with the key in it."""
    found = {}
    for path in sorted(OWN.iterdir()):
        if path.suffix in (".key", ".psk"):
            found[f"{path.name}, {moment}"] = path.read_text().strip()
        elif path.suffix == ".conf":
            found[f"{path.name} in base64, {moment}"] = base64.b64encode(path.read_bytes()).decode()[24:72]
    return found


@pytest.fixture(scope="module")
def seen(relay: None) -> Iterator[Seen]:
    runs: list[Run] = []
    secrets: dict[str, str] = {}
    settings = {"vpn_client_png": "/root/vpn", "vpn_client_svg": "/root/vpn"}
    with files_of("vps-relay") as vps, Watch([Path("/"), vps]) as watch:
        for moment, name, changes in (
            ("check", "phone", {}),
            ("first", "phone", {}),
            ("again", "phone", settings),
            ("rotated", "phone", {"vpn_client_rotate": True}),
            ("all", "", {"vpn_clients": ["phone", "laptop"]}),
            ("revoked", "phone", {"vpn_client_state": "absent"}),
        ):
            options = (*LOUD, "--check") if moment == "check" else LOUD
            runs.append(give(name, *options, **changes).ok())
            secrets |= secrets_on_the_hub(moment) if OWN.exists() else {}
    yield Seen(runs, secrets, watch)
    on("controller", "rm", "-rf", "/root/vpn")
    give("laptop", vpn_client_state="absent").ok()


def test_the_codes_were_there_to_be_seen(seen: Seen) -> None:
    assert [len(scanned(run.output)) for run in seen.runs] == [0, 1, 1, 1, 1, 0]
    assert len(seen.secrets) > 10


def test_in_what_the_runs_print(seen: Seen) -> None:
    assert found_in([(str(i), run.output.encode()) for i, run in enumerate(seen.runs)], seen.secrets) == []


def test_in_results_and_facts(seen: Seen) -> None:
    places = [(result.task, repr(result.result).encode()) for run in seen.runs for result in run.results]
    assert places
    assert found_in(places, seen.secrets) == []


def test_in_command_lines_and_environments(seen: Seen) -> None:
    assert any(b"ansible-playbook" in process for process in seen.watch.processes)
    assert found_in([(repr(process[:300]), process) for process in seen.watch.processes], seen.secrets) == []


def test_in_temporary_files(seen: Seen) -> None:
    places = [
        (path, content) for (path, changed, size), content in seen.watch.files.items() if "hf-relay-run-" not in path
    ]
    assert found_in(places, seen.secrets) == []


def test_in_files_of_the_vps(seen: Seen) -> None:
    """The hub's own file has the preshared keys of clients, as WireGuard wants it; it is for root alone."""
    places = [place for place in files_below(devices.DISK) if "/etc/wireguard/" not in place[0]]
    assert found_in(places, seen.secrets) == []
    own = {path: path.stat().st_mode & 0o777 for path in [OWN, *OWN.iterdir(), OWN.parent / "wg0.conf"]}
    assert set(own.values()) == {0o700, 0o600}
    assert own[OWN] == 0o700


def test_in_logs_of_the_vps(seen: Seen) -> None:
    journal = on("vps-relay", "journalctl", "--no-pager", "--all", "--output=export")
    assert "homelab.fabric.wireguard_client" in journal
    assert found_in([("the journal", journal.encode())], seen.secrets) == []


def test_pictures_are_for_their_owner_alone(seen: Seen) -> None:
    with files_of("controller") as root:
        modes = {path.name: path.stat().st_mode & 0o777 for path in (root / "root/vpn").iterdir()}
        assert (root / "root/vpn").stat().st_mode & 0o777 == 0o700
    assert modes == {"phone.png": 0o600, "phone.svg": 0o600}
