"""No secret leaves its place: searched for byte by byte in all that three runs with -vvv --diff left or showed."""

from __future__ import annotations

import base64
import re
import subprocess

import pytest

from tests.integration.relay import devices
from tests.integration.relay.conftest import Built
from tests.integration.relay.inventory import PRESHARED_KEY
from tests.integration.relay.lab import ROOT, STATE, files_of, on
from tests.integration.relay.search import files_below, found_in

CONF = "etc/wireguard/wg0.conf"
# On this machine: the lab's own state, other programs' data, and what is not Ansible's to write.
CONTROLLER = ("tmp", "var/tmp", "root/.ansible", "run", "dev/shm", "etc")
ELSEWHERE = ("homelab-fabric", "pytest-of-", "systemd", "udev")


@pytest.fixture(scope="module")
def secrets(built: Built) -> dict[str, str]:
    """Every secret of this relay by what it is."""
    built.first.ok()
    on_vps = (devices.DISK / CONF).read_text()
    private = re.findall(r"^PrivateKey\s*=\s*(\S+)", on_vps, re.MULTILINE)
    assert len(private) == 1
    found = {
        "the VPS's private key": private[0],
        "the router's private key": next(
            row["private-key"] for row in devices.router_rows("/interface") if "private-key" in row
        ),
        "the preshared key": PRESHARED_KEY.read_text(),
        "the API token": (STATE / "secrets/cloudflare-token").read_text().strip(),
        "the router's password": (STATE / "secrets/routeros-password").read_text().strip(),
    }
    assert found["the preshared key"] in on_vps
    assert all(len(value) >= 40 for value in found.values())
    return found


def test_the_search_finds_secrets(secrets: dict[str, str]) -> None:
    secret = secrets["the router's password"]
    for hidden in (secret, base64.b64encode(f"ansible:{secret}!".encode()).decode(), secret.encode().hex()):
        assert found_in([("here", f"…{hidden}…".encode())], secrets) == ["the router's password in here"]


def test_in_what_the_runs_print(built: Built, secrets: dict[str, str]) -> None:
    runs = {"the check": built.check, "the first run": built.first, "the second run": built.second}
    assert devices.vps_peers().keys() <= set(re.findall(r"[A-Za-z0-9+/]{43}=", built.first.output))
    assert found_in([(name, run.output.encode()) for name, run in runs.items()], secrets) == []


def test_in_facts_and_registered_variables(built: Built, secrets: dict[str, str]) -> None:
    shown = [result for run in (built.first, built.second) for result in run.results]
    assert any("wireguard_public_key" in str(result.result) for result in shown if result.task == "Show the facts")
    places = [(f"{result.task} on {result.host}", repr(result.result).encode()) for result in shown]
    assert found_in(places, secrets) == []


def test_in_command_lines_and_environments(built: Built, secrets: dict[str, str]) -> None:
    seen = built.watch.processes
    # It saw Ansible, and what runs on the VPS.
    assert any(b"ansible-playbook" in process for process in seen)
    assert any(b"/usr/bin/apt-get" in process or b"dpkg" in process for process in seen)
    assert found_in([(repr(process[:300]), process) for process in seen], secrets) == []


def test_in_temporary_files_while_the_runs_last(built: Built, secrets: dict[str, str]) -> None:
    assert built.watch.files
    assert found_in([(path, content) for (path, changed, size), content in built.watch.files.items()], secrets) == []


def test_in_files_of_the_vps(secrets: dict[str, str]) -> None:
    """Everything written since it was new, and what it has in memory. The tunnel's own file is for root alone."""
    with files_of("vps-relay") as root:
        in_memory = [root / name for name in ("run", "tmp", "dev/shm")]
        places = [*files_below(devices.DISK), *files_below(*in_memory)]
    own = str(devices.DISK / CONF)
    assert own in dict(places)
    assert found_in([place for place in places if place[0] != own], secrets) == []
    assert (devices.DISK / CONF).stat().st_mode & 0o777 == 0o600
    assert (devices.DISK / CONF).parent.stat().st_mode & 0o777 == 0o700


def test_in_logs_of_the_vps(secrets: dict[str, str]) -> None:
    """The journal's files are compressed, so it is asked."""
    journal = on("vps-relay", "journalctl", "--no-pager", "--all", "--output=export")
    assert "Invoked with" in journal
    assert found_in([("the journal", journal.encode())], secrets) == []


def test_in_files_of_the_controller(secrets: dict[str, str]) -> None:
    with files_of("controller") as root:
        folders = [root / name for name in CONTROLLER]
        places = list(files_below(*folders, without=ELSEWHERE))
    checkout = subprocess.run(["git", "ls-files", "--others", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    written = [ROOT / name for name in checkout.decode().split("\0") if name and not name.startswith(".venv")]
    recent = [path for path in written if path.is_file() and path.stat().st_mtime > PRESHARED_KEY.stat().st_mtime]
    assert places
    assert found_in([*places, *((str(path), path.read_bytes()) for path in recent)], secrets) == []


def test_in_what_the_doubles_log(secrets: dict[str, str]) -> None:
    """What crossed the wire is redacted there; the state is the router's own, for root alone."""
    state = devices.ROUTER / "state.json"
    assert state.stat().st_mode & 0o777 == 0o600
    # The router answers what it is asked; the collection never asks for a private key.
    asked = [" ".join(sentence["words"]) for sentence in devices.sentences() if "/print" in sentence["words"][0]]
    lists = [words for words in asked if words.startswith("/interface/wireguard/print")]
    assert lists
    assert all("=.proplist=" in words and "private-key" not in words for words in lists)
