# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole of the module, which differs from OpenWrt's in what is written there."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.homelab.fabric.plugins.action.openwrt_wireguard import ActionModule as RouterAction
from ansible_collections.homelab.fabric.plugins.module_utils.converge import Backend
from ansible_collections.homelab.fabric.plugins.module_utils.glinet import ARGUMENTS, GlinetBackend
from ansible_collections.homelab.fabric.plugins.module_utils.glinet_hub import HubBackend, backend_of
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel


class ActionModule(RouterAction):
    """Reads the router with one script, and changes it with another one."""

    arguments = ARGUMENTS

    def _backend(self, params: dict[str, Any]) -> Backend:
        return backend_of(params, self._execute)

    def _assume(self, backend: Backend) -> Callable[[Tunnel], None] | None:
        return backend.assume if isinstance(backend, (GlinetBackend, HubBackend)) else None
