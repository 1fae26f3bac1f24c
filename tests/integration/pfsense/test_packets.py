"""The role against the lab's pfSense, over ssh, with packets between its LAN and a spoke: the lab's visitor."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.integration.relay.lab import STATE, Run, attempt, files_of, lab, on, play, until
from tests.integration.relay.pings import lost, ping_every_10_ms
from tests.integration.relay.search import found_in
from tests.integration.relay.watch import Watch

HOSTS = ("controller", "visitor", "pfsense", "pf-lan")
INVENTORY = ("-i", "tests/lab/inventory", "-i", "tests/lab/inventory-pfsense")
MODULE = "homelab.fabric.pfsense_wireguard"
SECRET = STATE / "secrets/pfsense-preshared-key"
CONFIG = "/cf/conf/config.xml"
LAN, SPOKE = "192.168.8.20", "10.0.10.1"
OFFICE = {"address": "10.9.0.9", "networks": ["10.77.0.0/24"]}  # reached by nobody


def site(key: str | None, *options: str, **nodes: Any) -> Run:
    """A run of the role on the firewall, whose network the visitor is in, and these nodes."""
    firewall = {"device": "pfsense", "interface": "tun_wg0", "address": "10.9.0.1", "endpoint": "203.0.113.90"}
    spoke = {"address": "10.9.0.2", "networks": ["10.0.10.0/24"], **({"public_key": key} if key else {})}
    nodes["pfsense"] = {**firewall, "networks": ["192.168.8.0/24"]}
    nodes["visitor"] = {**spoke, "preshared_key": f"{{{{ lookup('ansible.builtin.file', '{SECRET}') }}}}"}
    networks = {"home": {"prefix": "10.9.0.0/24", "hub": "pfsense", "nodes": nodes}}
    words = (*INVENTORY, "-vvv", "--diff", *options)
    return play(*words, play="tests/integration/pfsense/site.yml", variables={"wireguard_networks": networks}).ok()


def commands(run: Run) -> list[str]:
    (result,) = run.of(MODULE)
    return result.commands


def live_peers() -> set[str]:
    return set(on("pfsense", "wg", "show", "tun_wg0", "peers").split())


def revisions() -> int:
    """How often the configuration was written."""
    return on("pfsense", "cat", "/var/double/journal.jsonl").count('"what":"write"')


@dataclass(frozen=True, repr=False)
class Site:
    """The visitor's public key; a check on the blank firewall, two runs, and the number of writes after each."""

    key: str
    check: Run
    first: Run
    second: Run
    revisions: list[int]
    watch: Watch


@pytest.fixture(scope="module")
def built() -> Iterator[Site]:
    if os.geteuid():
        pytest.skip("the lab needs root")
    lab("up", "--only", *HOSTS)
    SECRET.write_text(on("controller", "wg", "genpsk"))
    SECRET.chmod(0o600)
    script = """set -e
        wireguard-go spoke0 >/dev/null 2>&1
        umask 077; wg genkey >/run/spoke.key
        wg set spoke0 private-key /run/spoke.key
        ip address add 10.9.0.2/24 dev spoke0
        ip address add 10.0.10.1/24 dev spoke0
        ip link set up dev spoke0
        ip route add 192.168.8.0/24 dev spoke0
        wg show spoke0 public-key"""
    key = on("visitor", "bash", "-c", script).strip()
    counted, runs = [revisions()], []
    with files_of("pfsense") as firewall, Watch([Path("/"), firewall]) as watch:
        for options in (["--check"], [], []):
            runs.append(site(key, *options))
            counted.append(revisions())
    words = f"peer {{}} preshared-key {SECRET} endpoint 203.0.113.90:51820 persistent-keepalive 5"
    allowed = "allowed-ips 10.9.0.0/24,192.168.8.0/24"
    mine = on("pfsense", "wg", "show", "tun_wg0", "public-key").strip()
    on("visitor", "wg", "set", "spoke0", *f"{words.format(mine)} {allowed}".split())
    check, first, second = runs
    yield Site(key, check, first, second, counted, watch)
    attempt("visitor", "ip", "link", "del", "spoke0")


def test_check_mode_foretells_and_a_second_run_changes_nothing(built: Site) -> None:
    assert commands(built.check) == commands(built.first)
    assert [result.status for run in (built.check, built.first, built.second) for result in run.of(MODULE)] == [
        "changed",
        "changed",
        "ok",
    ]
    blank, checked, done, again = built.revisions
    assert (blank, done) == (checked, again)
    assert done > checked


def test_packets_go_from_lan_to_lan(built: Site) -> None:
    on("visitor", "ping", "-c", "1", "-w", "20", "-I", SPOKE, LAN)
    on("pf-lan", "ping", "-c", "1", "-w", "10", SPOKE)


def test_no_secret_shows(built: Site) -> None:
    secrets = {
        "the firewall's private key": on("pfsense", "wg", "show", "tun_wg0", "private-key").strip(),
        "the preshared key": SECRET.read_text().strip(),
    }
    config = on("pfsense", "cat", CONFIG)
    assert all(secret in config for secret in secrets.values())
    runs = {"the check": built.check, "the first run": built.first, "the second run": built.second}
    seen = [(repr(process[:300]), process) for process in built.watch.processes]
    assert any(b"php" in process for _name, process in seen)
    assert built.watch.files
    files = [(path, content) for (path, _changed, _size), content in built.watch.files.items()]
    shown = [(name, run.output.encode()) for name, run in runs.items()]
    assert found_in([*shown, *seen, *files], secrets) == []
    # Nothing else of the configuration travels, either.
    assert "ssh from the computer that runs Ansible" in config
    assert not [name for name, text in shown if b"ssh from the computer that runs Ansible" in text]


def test_a_peer_comes_changes_and_goes_while_another_loses_no_packet(built: Site) -> None:
    first, second = (on("controller", "wg", "genkey").strip() for _number in range(2))
    steps: list[dict[str, Any]] = [
        {"office": {**OFFICE, "public_key": first}},
        {"office": {**OFFICE, "public_key": second, "networks": ["10.77.0.0/24", "10.78.0.0/24"]}},
        {},
    ]
    seen = []
    with ping_every_10_ms("visitor", LAN) as output:
        for nodes in steps:
            assert commands(site(built.key, **nodes))
            seen.append((live_peers(), on("pfsense", "ip", "route").count(" via 10.9.0.9 ")))
    assert seen == [({built.key, first}, 1), ({built.key, second}, 2), ({built.key}, 0)]
    assert len(output) > 100
    assert lost(output) == []
    assert [line for line in output if line.startswith("ping: ")] == []


def test_a_peer_whose_key_this_run_does_not_know_stays(built: Site) -> None:
    run = site(None)
    assert commands(run) == []
    assert live_peers() == {built.key}


def test_a_reboot_brings_it_back(built: Site) -> None:
    lab("reboot", "pfsense")
    until(lambda: not attempt("visitor", "ping", "-c", "1", "-W", "1", LAN).returncode, 40, "the LAN answers")
    assert commands(site(built.key)) == []


def test_absent_leaves_nothing_behind(built: Site) -> None:
    arguments = json.dumps({"name": "tun_wg0", "state": "absent"})
    out = on("controller", "ansible", *INVENTORY, "pfsense", "-m", MODULE, "-a", arguments)
    assert "changed: true" in out
    assert "tun_wg0" not in on("pfsense", "ip", "address") + on("pfsense", "ip", "route")
    config = on("pfsense", "cat", CONFIG)
    assert not re.search(r"homelab.fabric: (?!tun_wg0: )|tun_wg0</|WG_", config)
    on("pf-lan", "ping", "-c", "1", "-w", "5", "203.0.113.53")
