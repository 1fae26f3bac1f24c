"""site-to-site.yml over simulated routers: check mode, one call a node when nothing is new, nodes that are off."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.integration.sites.network import ROOT, Sites


def module_calls(sites: Sites) -> dict[str, int]:
    """How often each router was asked for its interfaces: once a call of the module; the list is begun anew."""
    found = {}
    for name, router in sites.routers.items():
        asked = [words for words in map(str, router.sentences) if "/interface/wireguard/print" in words]
        found[name] = len(asked)
        router.sentences.clear()
    return found


def test_blank_routers_are_connected_then_one_call_a_node_is_enough_and_limit_costs_no_peer(tmp_path: Path) -> None:
    with Sites(tmp_path, 3) as sites:
        check = sites.play("--check", "--diff").ok()
        assert [router.writes for router in sites.routers.values()] == [0, 0, 0]
        assert "+  - name: node2" in check.output
        first = sites.play("-v").ok()
        assert sites.peers("node0") == {"node1", "node2"}
        assert sites.peers("node1") == sites.peers("node2") == {"node0"}
        assert "node1    2 ms       -    2 ms" in first.output
        of_the_hub = next(
            play for play in first.output.split("PLAY [") if play.startswith("Every node that others dial")
        )
        assert ("[node0]" in of_the_hub, "[node1]" in of_the_hub) == (True, False)
        module_calls(sites)
        writes = [router.writes for router in sites.routers.values()]
        again = sites.play().ok()
        assert (again.total("changed"), [router.writes for router in sites.routers.values()]) == (0, writes)
        assert module_calls(sites) == {"node0": 1, "node1": 1, "node2": 1}
        assert sites.play("--limit", "node0").ok().total("changed") == 0
        assert sites.peers("node0") == {"node1", "node2"}


def test_a_node_that_is_off_is_finished_by_the_next_run_and_nobody_loses_it(tmp_path: Path) -> None:
    with Sites(tmp_path, 4) as sites:
        off = sites.routers["node3"]
        sites.routers["node3"].stop()
        run = sites.play()
        assert run.status != 0
        assert run.recap["node3"]["failed"] == 1
        assert [run.recap[name]["failed"] for name in ("node0", "node1", "node2")] == [0, 0, 0]
        assert sites.peers("node0") == {"node1", "node2"}
        assert re.search(r"node3 +off +off +off +-", run.output)
        assert off.writes == 0


def test_a_packet_that_is_lost_fails_the_run_and_names_the_link(tmp_path: Path) -> None:
    with Sites(tmp_path, 2) as sites:
        sites.routers["node1"].plane.answering.clear()
        run = sites.play("-e", "site_to_site_timeout=1")
        assert run.status != 0
        assert "LOST" in run.output
        assert "the link node1 - node0 has never had a handshake" in " ".join(run.output.split())


def test_two_hubs_with_a_spoke_each(tmp_path: Path) -> None:
    with Sites(tmp_path, 4, dialled=[0, 1], hub=["node0", "node1"], nodes={"node3": {"hub": "node1"}}) as sites:
        sites.play().ok()
        assert sites.peers("node0") == {"node1", "node2"}
        assert sites.peers("node1") == {"node0", "node3"}
        assert sites.peers("node3") == {"node1"}


def test_without_a_connection_to_an_api_the_shell_sends_the_packets() -> None:
    """`routeros: null`, as a template gives it for a device of another kind."""
    arguments = json.dumps({"targets": {"itself": "127.0.0.1"}, "routeros": None, "timeout": 1})
    words: list[str | Path] = [
        ROOT / ".venv/bin/ansible",
        "localhost",
        "-m",
        "homelab.fabric.wireguard_ping",
        "-a",
        arguments,
    ]
    done = subprocess.run(words, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "milliseconds: 0." in done.stdout, done.stdout
