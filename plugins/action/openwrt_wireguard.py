# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole of the module: OpenWrt has no Python, so it runs here and sends shell scripts over the connection.

The modules of firmware that is made of OpenWrt build on it.
"""

from __future__ import annotations

from typing import Any, Callable, ClassVar

from ansible.plugins.action import ActionBase
from ansible_collections.homelab.fabric.plugins.module_utils.converge import (
    TUNNEL_ARGUMENTS,
    Backend,
    DeviceError,
    converged,
)
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt import OpenWrtBackend
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_shell import Answer
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Reads the router with one script, and changes it with another one."""

    _supports_check_mode = True
    _supports_async = False
    TRANSFERS_FILES = False
    arguments: ClassVar[dict[str, Any]] = TUNNEL_ARGUMENTS

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _spec, params = self.validate_argument_spec(self.arguments)
        backend = self._backend(params)
        try:
            result.update(converged(params, backend, self._task.check_mode, self._task.diff, self._assume(backend)))
        except (TunnelError, DeviceError) as error:
            return {**result, "failed": True, "msg": str(error)}
        return result

    def _backend(self, params: dict[str, Any]) -> Backend:
        return OpenWrtBackend(params, self._execute)

    def _assume(self, backend: Backend) -> Callable[[Tunnel], None] | None:
        return backend.assume if isinstance(backend, OpenWrtBackend) else None

    def _execute(self, script: str) -> Answer:
        """By standard input: an argument would stand in the router's list of processes, and in -vvv's output."""
        context = self._connection._play_context
        censored, context.no_log = context.no_log, True  # -vvv shows what comes from the host
        try:
            answer = self._low_level_execute_command("/bin/sh", in_data=script.encode())
        finally:
            context.no_log = censored
        return Answer(int(answer["rc"]), str(answer["stdout"]), str(answer["stderr"]))
