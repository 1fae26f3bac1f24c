# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients of a hub on the terminal, as a table that a callback plugin would quote and indent."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.homelab.fabric.plugins.module_utils.client_table import table

display = Display()

ARGUMENTS: dict[str, Any] = {
    "interface": {"type": "str", "required": True},
    "format": {"type": "str", "choices": ["table", "json"], "default": "table"},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Reads the register on the host, and prints it."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(ARGUMENTS)
        asked, self._task.check_mode = self._task.check_mode, True  # else it would mend what it finds amiss
        try:
            result: dict[str, Any] = self._execute_module(
                "homelab.fabric.wireguard_client", {"interface": arguments["interface"]}, task_vars=task_vars
            )
        finally:
            self._task.check_mode = asked
        if result.get("failed"):
            return result
        clients = result["clients"]
        display.display("\n" + (json.dumps(clients, indent=2) if arguments["format"] == "json" else table(clients)))
        return {"changed": False, "clients": clients}
