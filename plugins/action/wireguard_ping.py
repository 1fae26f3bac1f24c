# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole of the module: it sends shell scripts over the connection, as not every router has Python."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_api import (
    CONNECTION_ARGUMENTS,
    LIBRARY_PROBLEM,
    NotAllowed,
    Router,
)
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_peers import PEERS, live_of
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_rows import is_on, prefixes
from ansible_collections.homelab.fabric.plugins.module_utils.site_ping import (
    Answer,
    Peer,
    listing_script,
    own_addresses,
    parse_answers,
    report,
    sending_script,
    source_for,
)
from ansible_collections.homelab.fabric.plugins.module_utils.values import DEVICES

POLL = 0.2  # seconds between two rounds: a router without a route answers at once
ARGUMENTS: dict[str, Any] = {
    "device": {"type": "str", "choices": list(DEVICES), "default": "linux"},
    "networks": {"type": "list", "elements": "str", "default": []},
    "targets": {"type": "dict", "required": True},
    "timeout": {"type": "int", "default": 30},
    "wait_for": {"type": "list", "elements": "str"},
    "routeros": {"type": "dict", "options": CONNECTION_ARGUMENTS},
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Learns from which address to send, then sends to all targets at once."""

    _supports_check_mode = True
    _supports_async = False
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _spec, wanted = self.validate_argument_spec(ARGUMENTS, required_if=[("device", "routeros", ("routeros",))])
        asked = wanted["targets"] if wanted["wait_for"] is None else wanted["wait_for"]
        seconds = dict.fromkeys(wanted["targets"], 0)
        if not self._task.check_mode:
            seconds.update({name: wanted["timeout"] for name in asked if name in seconds})
        try:
            result["sites"] = (self._of_a_router if wanted["routeros"] else self._by_shell)(wanted, seconds)
        except NotAllowed as error:
            return {**result, "changed": False, "sites": {}, "warnings": [str(error)]}
        except DeviceError as error:
            return {**result, "failed": True, "msg": str(error)}
        return {**result, "changed": False}

    def _by_shell(self, wanted: dict[str, Any], seconds: dict[str, int]) -> dict[str, Any]:
        device, targets = wanted["device"], wanted["targets"]
        own = own_addresses(self._shell(listing_script(device)))
        sources = {name: source_for(address, own, wanted["networks"]) for name, address in targets.items()}
        said = self._shell(sending_script(device, targets, sources, seconds))
        try:
            answers, peers = parse_answers(said)
        except ValueError:
            raise DeviceError(f"the host did not run the script to its end, it said: {said[-500:]!r}") from None
        return {name: report(targets[name], sources[name], answers[name], peers) for name in targets}

    def _shell(self, script: str) -> str:
        done = self._low_level_execute_command("/bin/sh", in_data=script.encode())
        return str(done["stdout"]).replace("\r\n", "\n")

    def _of_a_router(self, wanted: dict[str, Any], seconds: dict[str, int]) -> dict[str, Any]:
        if LIBRARY_PROBLEM:
            raise DeviceError("librouteros is not installed beside Ansible: pip install librouteros")
        router, targets = Router(wanted["routeros"]), wanted["targets"]
        try:
            router.connect()
            rows = router.rows("/ip/address", ("address", "disabled")) + router.rows("/ipv6/address", ("address",))
            own = [row["address"].partition("/")[0] for row in rows if not is_on(row, "disabled")]
            sources = {name: source_for(address, own, wanted["networks"]) for name, address in targets.items()}
            answers: dict[str, Answer] = {}
            started = time.monotonic()
            waiting = list(targets)
            while waiting:
                for name in waiting:
                    answers[name] = Answer(*router.ping(targets[name], sources[name]))
                taken = time.monotonic() - started
                waiting = [name for name in waiting if answers[name].milliseconds is None and taken < seconds[name]]
                time.sleep(POLL if waiting else 0)
            live = router.rows(PEERS, ("allowed-address", "last-handshake", "rx", "tx"))
        finally:
            router.close()
        peers = [Peer(prefixes(row.get("allowed-address", "")), live_of(row)["handshake_age"]) for row in live]
        return {name: report(targets[name], sources[name], answers[name], peers) for name in targets}
