# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A script that a timer of systemd runs on a Linux host: there while it is needed, else not."""

from __future__ import annotations

import os
import shlex
from typing import Mapping

from ansible_collections.homelab.fabric.plugins.module_utils.converge import Command
from ansible_collections.homelab.fabric.plugins.module_utils.linux_host import Host, Unit


class Timer:
    """The script `name` in wg-quick's folder, and systemd's service and timer `unit`."""

    def __init__(self, host: Host, name: str, unit: str) -> None:
        self.host = host
        self.script = host.path(name)
        self.unit = f"{unit}.timer"
        self.paths = {
            "script": self.script,
            "service": os.path.join(host.units, f"{unit}.service"),
            "timer": os.path.join(host.units, self.unit),
        }
        self._assumed: Mapping[str, str] | None = None

    def assume(self, texts: Mapping[str, str]) -> None:
        """Take these texts, of all parts or of none, for what is there and runs."""
        self._assumed = texts

    def install(self, texts: Mapping[str, str]) -> list[Command]:
        """Write what differs, and have it run. `texts`: of script, service and timer; {} asks for nothing."""
        differing = [part for part, text in texts.items() if self._text(part) != text]
        unit = self._state()
        if not texts or (not differing and unit.enabled and unit.active):
            return []
        writes = {part: self._write(self.paths[part], texts[part]) for part in differing}
        script = writes.pop("script", None)
        steps = list(writes.values())
        if writes:
            steps.append(self._command(["systemctl", "daemon-reload"]))
        if not unit.enabled:
            steps.append(self._command(["systemctl", "enable", self.unit]))
        if writes or not unit.active:
            steps.append(self._command(["systemctl", "restart", self.unit]))
        # The script goes last: as long as it differs, a run that was cut short is known to be unfinished.
        return [*steps, script] if script else steps

    def remove(self) -> list[Command]:
        """All of it that is there."""
        there = [path for part, path in self.paths.items() if self._text(part) is not None]
        if not there:
            return []
        unit = self._state()
        steps = []
        if unit.enabled or unit.active:
            steps.append(self._command(["systemctl", "disable", "--now", self.unit]))
        steps.append(Command(shlex.join(["rm", "-f", *there]), lambda: self.host.remove(*there)))
        if there != [self.script]:
            steps.append(self._command(["systemctl", "daemon-reload"]))
        return steps

    def _text(self, part: str) -> str | None:
        return self.host.read(self.paths[part]) if self._assumed is None else self._assumed.get(part)

    def _state(self) -> Unit:
        return self.host.unit(self.unit) if self._assumed is None else Unit(bool(self._assumed), bool(self._assumed))

    def _write(self, path: str, text: str) -> Command:
        mode = 0o600 if path == self.script else 0o644
        return Command(
            f"install -m {mode:o} /dev/stdin {shlex.quote(path)}",
            lambda: self.host.write(path, text, lambda _: None, mode),
        )

    def _command(self, command: list[str]) -> Command:
        remedy = f"`journalctl -u {self.unit}` on the host tells why"
        return Command(shlex.join(command), lambda: self.host.demand(command, remedy))
