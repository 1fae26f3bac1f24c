"""Networks of sites: four makes of device against the slowest one alone, and fifty spokes against ten."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from tests.bench.ratios import show
from tests.integration.relay.lab import attempt, lab
from tests.integration.sites.network import PLAYBOOK, Sites

INVENTORY = ("-i", "inventory", "-i", "tests/lab/inventory", "-i", "tests/lab/inventory-site-to-site")
HOMES = ("sofia", "london", "valchedrym", "mikrotik-gw")
ROUNDS = 3
FEW, MANY = 10, 50


def from_blank(*options: str) -> float:
    """Seconds of a run over blank devices, as a user waits for it."""
    lab("down")
    lab("up", "--network", "site-to-site")
    started = time.perf_counter()
    done = attempt("controller", "ansible-playbook", *INVENTORY, *options, PLAYBOOK, timeout=300)
    took = time.perf_counter() - started
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return took


@pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")
def test_four_sites() -> None:
    alone = {home: statistics.median(from_blank("--limit", home) for _round in range(ROUNDS)) for home in HOMES}
    together = statistics.median(from_blank() for _round in range(ROUNDS))
    slowest = max(alone, key=lambda home: alone[home])
    about = f"{together:.2f} s / {alone[slowest]:.2f} s ({slowest})"
    show("4 sites, blank until all reach each other / slowest one", together / alone[slowest], 1.5, about=about)


def test_fifty_spokes(tmp_path: Path) -> None:
    """The limit is the ratio of the numbers of hosts: forks are the same in both."""
    taken: dict[int, list[float]] = {FEW: [], MANY: []}
    for number in range(ROUNDS):
        for spokes in taken:
            folder = tmp_path / f"{number}-{spokes}"
            folder.mkdir()
            with Sites(folder, spokes + 1) as sites:
                started = time.perf_counter()
                sites.play().ok()
                taken[spokes].append(time.perf_counter() - started)
                assert len(sites.peers("node0")) == spokes
    few, many = (statistics.median(taken[spokes]) for spokes in (FEW, MANY))
    about = f"{many:.1f} s / {few:.1f} s"
    show(f"{MANY} spokes, blank until connected / {FEW}", many / few, (MANY + 1) / (FEW + 1), about=about)
