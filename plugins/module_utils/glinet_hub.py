# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A router with GL.iNet's firmware 4.x whose own server, wgserver, is the hub, as a backend of converge.py.

The handler reads peers and routes only when it sets the server up, which drops every session. So what changed is made
live as on OpenWrt; `ifup` is for what is the interface's own. See openwrt.py, whose scripts it shares, and glinet.py.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils import glinet_server as server
from ansible_collections.homelab.fabric.plugins.module_utils import glinet_server_firewall as firewall
from ansible_collections.homelab.fabric.plugins.module_utils import openwrt_shell as shell
from ansible_collections.homelab.fabric.plugins.module_utils.converge import Command, DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.glinet import GlinetBackend, check_router
from ansible_collections.homelab.fabric.plugins.module_utils.glinet_shell import (
    DIRECT_TABLE,
    READ_SERVER,
    REASONS,
    SERVER_FILE,
    SERVER_PACKAGES,
)
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_assume import running, written
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_backend import BAD_KEY, RouterBackend
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_live import (
    Changes,
    Live,
    Route,
    Step,
    check_routes,
    client_of,
    is_set_up,
    live_changes,
    parse_live,
    parse_routes,
)
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import Line, Section, parse
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel, parse_tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    TunnelError,
    parse_keepalive,
)
from ansible_collections.homelab.fabric.plugins.module_utils.wg import peer_text


class State(NamedTuple):
    """What a script showed of the router. `there`: whether the server's file is; `direct`: its routes in the table that
    the firmware looks into first, None where it does not look; `user`: from where this run is connected."""

    sums: str
    there: bool
    closed: bool
    config: server.Config
    firewall: dict[str, Section]
    public_key: str | None
    live: Live
    routes: list[Route]
    direct: tuple[str, ...] | None
    notes: list[str]
    user: str | None
    now: int


class HubBackend(RouterBackend[State]):
    """converge.Backend for the server of such a router."""

    device = "glinet"

    def __init__(self, params: dict[str, Any], execute: shell.Execute) -> None:
        self._undialled = [peer["name"] for peer in params["peers"] if peer["endpoint"]]
        for peer in params["peers"]:
            # The server answers and never dials, and its own keepalive is none, so that is what was asked for.
            with contextlib.suppress(TunnelError):
                parse_keepalive(peer["persistent_keepalive"], "persistent_keepalive")
                peer.update(endpoint=None, persistent_keepalive="0")
        params["open_port"] = True  # as the firmware has it whenever the server runs
        super().__init__(params, execute)

    # What is there

    def read(self) -> Tunnel | None:
        wanted = parse_tunnel(self._params, self.device)
        parts = shell.ask(self._execute, self._name, READ_SERVER)
        check_router(parts, SERVER_PACKAGES)
        self._state = state = _state_of(parts, self._name)
        if state.public_key == BAD_KEY:
            raise DeviceError(
                f"the private key of {self._name} in {SERVER_FILE} is no WireGuard key. Have the web interface make a "
                "new one"
            )
        current = server.tunnel_of(state.config, state.public_key)
        if current is None or (self._params["state"] == "absent" and not self._plan_absent().lines):
            return None
        return firewall.with_policy(current, state.firewall, state.config.network, wanted)

    def assume(self, tunnel: Tunnel) -> None:
        """Take a tunnel for what is there, in check mode: everything that a run and the firmware would make of it."""
        state, plan = self._read, self._plan_present(tunnel)
        key = state.public_key or KNOWN_AFTER_APPLY
        self._state = state._replace(
            there=True,
            closed=True,
            config=_after(state.config, plan.lines),
            firewall=written(state.firewall, "firewall", plan.lines),
            public_key=key,
            live=running(state.live, tunnel, key),
            direct=None if state.direct is None else tunnel.routes or (),
            notes=[],
        )

    # What is to do

    def commands(self, current: Tunnel | None, target: Tunnel | None) -> list[Command]:
        plan = self._plan_present(target) if target else self._plan_absent()
        return shell.commands(plan, partial(self._apply, plan))

    def _plan_present(self, target: Tunnel) -> shell.Plan:
        state, purge = self._read, bool(self._params["purge"])
        server.check(state.config, target, purge)
        check_routes(target, state.live, state.routes, state.user)
        phones = not purge and bool(server.others(state.config))
        made = server.plan(state.config, target, purge)
        made["firewall"] = firewall.plan_firewall(state.firewall, target, state.config.ipv6, phones)
        return self._plan(made, target, True)

    def _plan_absent(self) -> shell.Plan:
        """With phones of others the server goes on, without what is ours."""
        state, purge = self._read, bool(self._params["purge"])
        made = server.plan_gone(state.config, purge)
        stays = not purge and bool(server.others(state.config))
        section = server.server_section(state.config)
        ours = section is not None and server.is_ours(section)
        made["firewall"] = [] if stays else firewall.plan_gone(state.firewall, ours)
        tunnel = server.tunnel_of(_after(state.config, [line for some in made.values() for line in some]), None)
        if stays and tunnel:
            return self._plan(made, tunnel, False)
        going = bool(made["network"]) or "setup" in state.notes
        reload = bool(made["firewall"]) or "firewall" in state.notes
        return self._filled(
            made,
            notes=[*(["setup"] if going else []), *(["firewall"] if reload else [])],
            steps=[Step(["ubus", "call", "network", "reload"])] if going else [],
            wait="gone" if going else "",
            reload_firewall=reload,
        )

    def _plan(self, made: dict[str, list[Line]], target: Tunnel, present: bool) -> shell.Plan:
        """What makes the lines live for a server that runs, or has to be set up."""
        state = self._read
        lines = [line for some in made.values() for line in some]
        new_key = present and state.public_key is None
        changes = live_changes(
            server.as_openwrt(state.config),
            server.routed(_after(state.config, lines)),
            target,
            state.live,
            state.notes,
            {},
        )
        set_up = self._set_up(made, target, new_key) if present else None
        probe = "\n".join(step.stdin for step in changes.steps if step.stdin)
        if set_up:
            changes = Changes([set_up], ["setup"])
            probe = "\n".join(peer_text(peer, False) for peer in target.peers if peer.ours)
        reload = bool(made["firewall"]) or "firewall" in state.notes or bool(set_up)
        section = server.server_section(state.config)
        at = f"{server.PACKAGE}.{section.id if section else server.SERVER}"
        return self._filled(
            made,
            key=f"{at}.private_key" if new_key else "",
            public=f"{at}.public_key" if new_key else "",
            peers=probe,
            notes=[*changes.notes, *(["firewall"] if reload else [])],
            steps=changes.steps,
            wait="up" if set_up else "",
            reload_firewall=reload,
            after=self._direct(target, bool(set_up), changes.notes),
        )

    def _set_up(self, made: dict[str, list[Line]], target: Tunnel, new_key: bool) -> Step | None:
        """How netifd is told to set the server up again, where only that helps: it drops all sessions."""
        state = self._read
        if self._name not in state.config.network:
            return Step(["ubus", "call", "network", "reload"])
        section = server.server_section(state.config)
        moved = section is not None and set(server.addresses(state.config, section)) != set(target.addresses)
        due = new_key or moved or bool(made["network"]) or "setup" in state.notes
        if due or not is_set_up(state.live, target, state.public_key):
            return Step(["ifup", self._name])
        return None

    def _direct(self, target: Tunnel, fresh: bool, notes: Sequence[str]) -> list[Step]:
        """What the firmware copies before the server's handler has made its routes, or never: while a client runs,
        packets to the networks behind the peers would else go into the client's tunnel."""
        live, there = self._read.live, self._read.direct
        if there is None:
            return []
        stay = {*live.routes, *(target.routes or ())} - {note.partition("route ")[2] for note in notes}
        coming = [("replace", prefix) for prefix in target.routes or () if fresh or prefix not in there]
        leaving = [("del", prefix) for prefix in there if prefix not in stay and not fresh]
        at = ["dev", self._name, "table", DIRECT_TABLE]
        return [
            Step(["ip", "-6" if ":" in prefix else "-4", "route", verb, prefix, *at])
            for verb, prefix in [*coming, *leaving]
        ]

    def _filled(self, made: dict[str, list[Line]], **given: Any) -> shell.Plan:
        state = self._read
        plan: dict[str, Any] = {"key": "", "peers": "", **given}
        # The server before its interface, which fails without it; and it goes last, for it tells that there is ours.
        order = (server.PACKAGE, "firewall", "network")
        order = order if plan["wait"] != "gone" else order[::-1]
        packages = [some for some in order if made.get(some) or (plan["key"] and some == server.PACKAGE)]
        return shell.Plan(
            name=self._name,
            sums=state.sums,
            lines=[line for some in made.values() for line in some],
            packages=packages,
            close=SERVER_FILE if state.there and not state.closed and plan["wait"] != "gone" else "",
            touch="" if state.there or not made.get(server.PACKAGE) else SERVER_FILE,
            **plan,
        )

    def _apply(self, plan: shell.Plan) -> None:
        before = self._read.public_key
        parts = shell.apply(self._execute, plan, READ_SERVER, SERVER_PACKAGES, REASONS)
        self._state = _state_of(parts, self._name)
        after = self._state.public_key
        if before and plan.packages and plan.wait != "gone" and before != after:
            raise DeviceError(f"{self._name} had the public key {before} and has {after} now")

    # What became of it

    def warnings(self) -> list[str]:
        if not self._undialled or self._params["state"] == "absent":
            return []
        names = ", ".join(self._undialled)
        text = (
            f"peers: {names} can be dialled, but GL.iNet's server does not dial. It has to dial this router itself, "
            "with persistent_keepalive 25 there (`keepalive` of that node)"
        )
        return [text]


def backend_of(params: dict[str, Any], execute: shell.Execute) -> GlinetBackend | HubBackend:
    """The backend of converge.py for the interface that is named."""
    return HubBackend(params, execute) if params["name"] == server.NAME else GlinetBackend(params, execute)


def _after(config: server.Config, lines: Sequence[Line]) -> server.Config:
    return config._replace(
        network=written(config.network, "network", lines),
        server=written(config.server, server.PACKAGE, lines),
    )


def _state_of(parts: Mapping[str, str], name: str) -> State:
    kinds = set(parts["kind"].split())
    newer = "route_policy" in kinds
    config = server.Config(
        newer=newer,
        ipv6="ipv6" in kinds,
        network=parse(parts["network"], "network"),
        server=parse(parts["server"], server.PACKAGE),
    )
    looked_into = newer and parts["policy"] == "1"
    return State(
        sums=parts["sums"],
        there=bool(parts["mode"]),
        closed=parts["mode"] == "------",
        config=config,
        firewall=parse(parts["firewall"], "firewall"),
        public_key=parts["key"] or None,
        live=parse_live(parts),
        routes=parse_routes(parts["routes"]),
        direct=tuple(route.prefix for route in parse_routes(parts["direct"], name)) if looked_into else None,
        notes=parts["notes"].splitlines(),
        user=client_of(parts),
        now=int(parts["now"]),
    )
