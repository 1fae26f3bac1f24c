# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer that ends the access of a Linux host's clients: there when a client's time ends one day, else not."""

from __future__ import annotations

import os
import shlex

from ansible_collections.homelab.fabric.plugins.module_utils import client_expiry
from ansible_collections.homelab.fabric.plugins.module_utils.client_expiry import Expiry
from ansible_collections.homelab.fabric.plugins.module_utils.client_register import Register
from ansible_collections.homelab.fabric.plugins.module_utils.converge import Command
from ansible_collections.homelab.fabric.plugins.module_utils.linux_host import Host


class ExpiryTimer:
    """The script in wg-quick's folder, systemd's service and timer, for one interface."""

    def __init__(self, host: Host, interface: str) -> None:
        self.host = host
        self.interface = interface
        self.script = host.path(f"{interface}.expiry")
        unit = client_expiry.unit_name(interface)
        self.timer = f"{unit}.timer"
        self.paths = {
            "script": self.script,
            "service": os.path.join(host.units, f"{unit}.service"),
            "timer": os.path.join(host.units, self.timer),
        }

    def hooks(self, register: Register) -> list[str]:
        """wg-quick's file may still hold the expired: they go as soon as the interface is up."""
        return [f"PostUp = /bin/sh {self.script} || true"] if register.expiring else []

    def install(self, register: Register) -> list[Command]:
        """What is missing, to be done before an expiring peer goes live."""
        if not register.expiring:
            return []
        expiring = [Expiry(client.expires or 0, client.public_key, client.name) for client in register.expiring]
        texts = {
            "script": client_expiry.script(self.interface, expiring),
            "service": client_expiry.service(self.interface, self.script),
            "timer": client_expiry.timer(self.interface, expiring),
        }
        differing = [part for part, path in self.paths.items() if self.host.read(path) != texts[part]]
        unit = self.host.unit(self.timer)
        if not differing and unit.enabled and unit.active:
            return []
        writes = {part: self._write(self.paths[part], texts[part]) for part in differing}
        script = writes.pop("script", None)
        steps = list(writes.values())
        if differing:
            steps.append(self._command(["systemctl", "daemon-reload"]))
        if not unit.enabled:
            steps.append(self._command(["systemctl", "enable", self.timer]))
        steps.append(self._command(["systemctl", "restart", self.timer]))
        # The script goes last: as long as it differs, a run that was cut short is known to be unfinished.
        return [*steps, script] if script else steps

    def remove(self, register: Register | None) -> list[Command]:
        """All of it, if it is there and nobody needs it any more."""
        there = [path for path in self.paths.values() if self.host.read(path) is not None]
        if not there or (register and register.expiring):
            return []
        unit = self.host.unit(self.timer)
        steps = []
        if unit.enabled or unit.active:
            steps.append(self._command(["systemctl", "disable", "--now", self.timer]))
        steps.append(Command(shlex.join(["rm", "-f", *there]), lambda: self.host.remove(*there)))
        if there != [self.script]:
            steps.append(self._command(["systemctl", "daemon-reload"]))
        return steps

    def _write(self, path: str, text: str) -> Command:
        mode = 0o600 if path == self.script else 0o644
        return Command(
            f"install -m {mode:o} /dev/stdin {shlex.quote(path)}",
            lambda: self.host.write(path, text, lambda _: None, mode),
        )

    def _command(self, command: list[str]) -> Command:
        remedy = f"`journalctl -u {self.timer}` on the host tells why"
        return Command(shlex.join(command), lambda: self.host.demand(command, remedy))
