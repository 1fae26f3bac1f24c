"""How a command of the host ends."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.homelab.fabric.plugins.module_utils import commands
from ansible_collections.homelab.fabric.plugins.module_utils.commands import MISSING, TIMED_OUT, Result, execute


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": {}}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    return basic.AnsibleModule({}).run_command


def test_output_and_status(run_command: Any) -> None:
    ended = execute(run_command, ["sh", "-c", "cat; echo $NUMBER >&2; exit 3"], "in", NUMBER="7")
    assert ended == Result(3, "in", "7\n")


def test_input_that_nobody_reads(run_command: Any) -> None:
    assert execute(run_command, ["true"], "x" * 1_000_000).status in (0, 1)


def test_more_output_than_a_pipe_holds_after_a_silence(run_command: Any) -> None:
    assert len(execute(run_command, ["sh", "-c", "sleep 1.3; head -c 300000 /dev/zero"]).out) == 300_000


def test_bytes_that_are_no_text_come_back_as_they_were(run_command: Any) -> None:
    assert os.fsencode(execute(run_command, ["printf", r"\377"]).out) == b"\xff"


def test_a_tool_that_is_not_there(run_command: Any) -> None:
    assert execute(run_command, ["no-such-tool"]).status == MISSING


def test_what_takes_too_long(run_command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "TIMEOUT", 0.2)
    assert execute(run_command, ["sleep", "60"]) == Result(TIMED_OUT, "", "no answer within 0.2 s")


def test_a_command_that_closes_its_output_before_it_ends_is_waited_for() -> None:
    with subprocess.Popen(["sh", "-c", "exec >&-; sleep 0.05"], stdout=subprocess.PIPE) as process:
        commands._await_the_end(process)
        assert process.stdout
        process.stdout.read()
        assert process.poll() == 0


def test_what_comes_late_and_at_the_very_end_is_read(run_command: Any) -> None:
    """run_command looks after a second without output whether there is an end; both may come while it asks."""
    assert execute(run_command, ["sh", "-c", "sleep 1.1; echo late"]).out == "late\n"
