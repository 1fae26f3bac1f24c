# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command of this host to its end.

Not by AnsibleModule.run_command: where a command closes its output just before it ends, that one polls no pipe at all
for a second (ansible.module_utils.basic, `selector.select(1)`), and a run of ours consists of dozens of short commands.
"""

from __future__ import annotations

import os
import signal
import subprocess
from typing import NamedTuple, Sequence

TIMEOUT = 90  # seconds for one command; a service start waits for the network
TIMED_OUT, MISSING = 124, 127  # exit statuses of ours, as `timeout` and a shell have them


class Result(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def execute(command: Sequence[str], stdin: str = "", **environment: str) -> Result:
    """Run to the end, with the `environment` besides this process's own. A tool that is not there ends with MISSING."""
    surroundings = {**os.environ, "PATH": search_path(), "LC_ALL": "C", **environment}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=surroundings,
            encoding="utf-8",
            errors="surrogateescape",
            start_new_session=True,
        )
    except OSError as error:
        return Result(MISSING, "", f"{command[0]}: {error.strerror}")
    with process:
        try:
            out, err = process.communicate(stdin or None, TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return Result(TIMED_OUT, "", f"no answer within {TIMEOUT} s")
    return Result(process.returncode, out, err)


def search_path() -> str:
    """Where tools are looked for; sudo and cron may leave out the system's."""
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
