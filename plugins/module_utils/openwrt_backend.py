# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the backends of OpenWrt and of GL.iNet's firmware share: a router of which one script shows everything."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_live import Live
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_shell import Execute
from ansible_collections.homelab.fabric.plugins.module_utils.wg import report

BAD_KEY = "bad"  # what the read script says of a private key that is none


class Shown(Protocol):
    """What a script showed of any of these routers."""

    @property
    def public_key(self) -> str | None:
        """The interface's; None: it has none yet."""

    @property
    def live(self) -> Live:
        """The interface as it runs."""

    @property
    def now(self) -> int:
        """The router's clock, in seconds."""


State = TypeVar("State", bound=Shown)


class RouterBackend(Generic[State]):
    """A part of converge.Backend for the interface `params["name"]` of the router on which `execute` runs a script."""

    route_foreign = False

    def __init__(self, params: dict[str, Any], execute: Execute) -> None:
        self._params = params
        self._name = str(params["name"])
        self._execute = execute
        self._state: State | None = None

    @property
    def _read(self) -> State:
        if self._state is None:
            raise RuntimeError("the router is read before anything else")
        return self._state

    def public_key(self) -> str | None:
        return self._read.public_key

    def live(self) -> dict[str, dict[str, Any]]:
        return report(self._read.live.peers, self._read.now)
