# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command of this host to its end, by AnsibleModule.run_command without its waiting."""

from __future__ import annotations

import array
import fcntl
import os
import subprocess
import termios
from typing import IO, Any, Callable, NamedTuple, Sequence

TIMEOUT = 90  # seconds for one command; a service start waits for the network
TIMED_OUT, MISSING = 124, 127  # exit statuses of `timeout`: ended by it; the tool is not installed
Run = Callable[..., Any]
"""AnsibleModule.run_command."""


class Result(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def execute(run_command: Run, command: Sequence[str], stdin: str = "", **environment: str) -> Result:
    """Run to the end; `environment` comes on top of this process's own. A tool that is not there ends with MISSING."""
    try:
        result = Result(
            *run_command(
                ["timeout", str(TIMEOUT), *command],
                data=stdin,
                binary_data=True,
                environ_update={"PATH": search_path(), "LC_ALL": "C", **environment},
                expand_user_and_vars=False,
                handle_exceptions=False,
                before_communicate_callback=_await_the_end,
            )
        )
    except BrokenPipeError:
        return Result(1, "", f"{command[0]} did not read what it was given")
    return result if result.status != TIMED_OUT else Result(TIMED_OUT, "", f"no answer within {TIMEOUT} s")


def _await_the_end(process: subprocess.Popen[bytes]) -> None:
    """Where a process closes its output just before it ends, as `timeout` does, run_command asks twice whether it has
    ended; if that comes true in between, it goes on to poll no pipe at all for a second. So the first question waits.

    It asks as well when there was no output for a second, and then reads no more: nothing may be left to read.
    """

    def poll() -> int | None:
        try:
            status = process.wait(0.2)
        except subprocess.TimeoutExpired:
            return None
        return None if any(map(_unread, (process.stdout, process.stderr))) else status

    process.poll = poll  # type: ignore[method-assign]


def _unread(pipe: IO[bytes] | None) -> bool:
    waiting = array.array("i", [0])
    if pipe:
        fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return bool(waiting[0])


def search_path() -> str:
    """Where tools are looked for; sudo and cron may leave out the system's."""
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
