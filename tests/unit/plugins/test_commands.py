"""How a command of the host ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils import commands
from ansible_collections.homelab.fabric.plugins.module_utils.commands import MISSING, TIMED_OUT, Result, execute


def test_output_and_status() -> None:
    assert execute(["sh", "-c", "cat; echo $NUMBER >&2; exit 3"], "in", NUMBER="7") == Result(3, "in", "7\n")


def test_nothing_to_read_is_the_end_of_input() -> None:
    assert execute(["cat"]) == Result(0, "", "")


def test_input_that_nobody_reads() -> None:
    assert execute(["true"], "x" * 1_000_000).status == 0


def test_bytes_that_are_no_text_come_back_as_they_were() -> None:
    assert os.fsencode(execute(["printf", r"\377"]).out) == b"\xff"


def test_a_tool_that_is_not_there() -> None:
    assert execute(["no-such-tool"]) == Result(MISSING, "", "no-such-tool: No such file or directory")


def test_what_takes_too_long_ends_with_all_that_it_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commands, "TIMEOUT", 0.3)
    left = tmp_path / "left"
    ended = execute(["sh", "-c", f"(sleep 2; touch {left}) & sleep 60"])
    assert ended == Result(TIMED_OUT, "", "no answer within 0.3 s")
    assert execute(["sleep", "0.2"]).status == 0
    assert not execute(["pgrep", "-f", str(left)]).out
