"""The relay's playbook with nothing to do against the same plays with one ping each."""

from __future__ import annotations

import os

import pytest

from tests.bench.ratios import medians, show
from tests.integration.relay.lab import PLAYBOOK, Run, lab, play

ROUNDS = 5


def run(playbook: str) -> Run:
    return play(play=playbook).ok()


@pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")
def test_idle_playbook() -> None:
    lab("up")
    run(PLAYBOOK)

    def idle() -> None:
        assert run(PLAYBOOK).changed == []

    times = medians({"idle": idle, "ping": lambda: run("tests/bench/ping.yml")}, ROUNDS)
    shown = f"{times['idle']:.2f} s / {times['ping']:.2f} s"
    show("idle playbook / ping playbook", times["idle"] / times["ping"], 3, about=shown)
