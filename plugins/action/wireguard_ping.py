# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole of the module: it sends shell scripts over the connection, as not every router has Python."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from ansible.plugins.action import ActionBase
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError, NotAllowedError
from ansible_collections.homelab.fabric.plugins.module_utils.site_ping import (
    listing_script,
    own_addresses,
    parse_answers,
    report,
    sending_script,
    source_for,
)
from ansible_collections.homelab.fabric.plugins.module_utils.values import DEVICES

ARGUMENTS: dict[str, Any] = {
    "device": {"type": "str", "choices": list(DEVICES), "default": "linux"},
    "networks": {"type": "list", "elements": "str", "default": []},
    "targets": {"type": "dict", "required": True},
    "timeout": {"type": "int", "default": 30},
    "wait_for": {"type": "list", "elements": "str"},
    "routeros": {"type": "dict"},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Learns from which address to send, then sends to all targets at once."""

    _supports_check_mode = True
    _supports_async = False
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = ARGUMENTS
        send: Callable[..., dict[str, Any]] = self._by_shell
        if self._task.args.get("routeros") is not None:
            # Ansible loads this file once for all hosts and waits for it; librouteros takes longer than all the rest.
            from ansible_collections.homelab.fabric.plugins.module_utils import routeros_ping

            arguments, send = {**ARGUMENTS, "routeros": routeros_ping.ARGUMENTS}, routeros_ping.send
        _spec, wanted = self.validate_argument_spec(arguments, required_if=[("device", "routeros", ("routeros",))])
        targets = wanted["targets"]
        asked = targets if wanted["wait_for"] is None else wanted["wait_for"]
        seconds = dict.fromkeys(targets, 0)
        if not self._task.check_mode:
            seconds.update({name: wanted["timeout"] for name in asked if name in seconds})
        try:
            result["sites"] = send(wanted["routeros"] or wanted["device"], wanted["networks"], targets, seconds)
        except NotAllowedError as error:
            return {**result, "changed": False, "sites": {}, "warnings": [str(error)]}
        except DeviceError as error:
            return {**result, "failed": True, "msg": str(error)}
        return {**result, "changed": False}

    def _by_shell(
        self, device: str, networks: Sequence[str], targets: Mapping[str, str], seconds: Mapping[str, int]
    ) -> dict[str, Any]:
        own = own_addresses(self._shell(listing_script(device)))
        sources = {name: source_for(address, own, networks) for name, address in targets.items()}
        said = self._shell(sending_script(device, targets, sources, seconds))
        try:
            answers, peers = parse_answers(said)
        except ValueError:
            raise DeviceError(f"the host did not run the script to its end, it said: {said[-500:]!r}") from None
        return {name: report(targets[name], sources[name], answers[name], peers) for name in targets}

    def _shell(self, script: str) -> str:
        done = self._low_level_execute_command("/bin/sh", in_data=script.encode())
        return str(done["stdout"]).replace("\r\n", "\n")
