"""A hundred clients in one run against one."""

from __future__ import annotations

import os
import statistics
import time

import pytest

from tests.bench.ratios import show
from tests.integration.clients.hub import give, registered, revoke
from tests.integration.relay.lab import is_open, lab, play

MANY = [f"client{number}" for number in range(100)]
ROUNDS = 3


def seconds(names: list[str], *, codes: bool, changes: bool) -> float:
    """Of a run over these clients, as a user waits for it."""
    started = time.perf_counter()
    run = give(vpn_clients=names, vpn_client_qr=codes).ok()
    took = time.perf_counter() - started
    assert bool(run.changed) == changes
    return took


def measured(names: list[str], *, codes: bool) -> tuple[float, float]:
    """Median seconds to make these clients on a hub without any, and of a run with nothing to do."""
    made, idle = [], []
    for _round in range(ROUNDS):
        revoke(*registered())
        made.append(seconds(names, codes=codes, changes=True))
        idle.append(seconds(names, codes=codes, changes=False))
    return statistics.median(made), statistics.median(idle)


@pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")
@pytest.mark.parametrize("codes", [False, True], ids=["without codes", "with codes"])
def test_a_hundred_clients(codes: bool) -> None:
    lab("up")
    if not is_open():
        play().ok()
    one, idle_one = measured(MANY[:1], codes=codes)
    many, idle_many = measured(MANY, codes=codes)
    revoke(*registered())
    shown = "with their codes printed" if codes else "without codes"
    show(f"100 clients made, {shown} / one", many / one, 3, about=f"{many:.2f} s / {one:.2f} s")
    idle = f"{idle_many:.2f} s / {idle_one:.2f} s"
    show("nothing to do for 100 clients / for one", idle_many / idle_one, 1.3, about=idle)
