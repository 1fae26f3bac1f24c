"""Writes every result of a run as a JSON line into the file $HOMELAB_RECORD, beside what the run prints."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: aggregate
short_description: Results of a run as JSON lines
description: Writes every result of a run as a JSON line into the file that E(HOMELAB_RECORD) names.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """task, host, action, status (ok, changed, skipped, failed, unreachable), result; loops one line an item."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = False

    def _write(self, status: str, result: Any) -> None:
        row = {
            "task": result.task.get_name(),
            "host": result.host.get_name(),
            "action": result.task.action,
            "status": "changed" if status == "ok" and result.is_changed() else status,
            "result": result.result,
        }
        with open(os.environ["HOMELAB_RECORD"], "a", encoding="utf-8") as file:
            file.write(json.dumps(row, default=str) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write("ok", result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._write("ok", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._write("skipped", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write("unreachable", result)
