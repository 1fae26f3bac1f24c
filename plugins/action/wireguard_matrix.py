# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix of sites on the terminal, as a table that a callback plugin would quote and indent."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.homelab.fabric.plugins.module_utils.network import Network
from ansible_collections.homelab.fabric.plugins.module_utils.network_document import TopologyError, read_networks
from ansible_collections.homelab.fabric.plugins.module_utils.site_matrix import judge, wrapped

display = Display()

ARGUMENTS: dict[str, Any] = {
    "networks": {"type": "dict", "required": True},
    "network": {"type": "str", "required": True},
    "registered": {"type": "list", "elements": "str", "required": True},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Judges what every site has seen, and prints it."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _spec, wanted = self.validate_argument_spec(ARGUMENTS)
        try:
            networks = {network.name: network for network in read_networks(wanted["networks"])}
        except TopologyError as error:
            return {"failed": True, "msg": str(error)}
        if wanted["network"] not in networks:
            return {"failed": True, "msg": f"network: {wanted['network']!r} is none of {', '.join(networks)}"}
        network = networks[wanted["network"]]
        verdict = judge(network, self._results(network, wanted["registered"], (task_vars or {})["hostvars"]))
        display.display(f"\n{verdict.table}\n")
        result = {"changed": False, "broken": verdict.broken, "problems": verdict.problems}
        if not verdict.broken:
            return {**result, "msg": "every site that was reached reaches every other one"}
        if self._task.check_mode:
            return {**result, "msg": f"before a real run:\n{wrapped(verdict.problems)}"}
        many = len(verdict.broken)
        return {**result, "failed": True, "msg": f"{many} ways do not hold:\n{wrapped(verdict.problems)}"}

    def _results(self, network: Network, names: Sequence[str], hostvars: Mapping[str, Any]) -> dict[str, Any]:
        """By node, what `wireguard_ping` returned there; a host that is skipped or not in this run has nothing."""
        found = ((node, hostvars[node].get(name)) for node in network.nodes if node in hostvars for name in names)
        return {node: result["sites"] for node, result in found if result and "sites" in result}
