# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenWrt as a backend of converge.py: what the router has as a Tunnel, and the one script that changes it.

The configuration is committed first, with notes of what a crash would make unknowable; then the live interface and
the firewall follow; then the notes go. So the script may end anywhere, and the next run finishes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any, Mapping, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils import openwrt_firewall as firewall
from ansible_collections.homelab.fabric.plugins.module_utils import openwrt_network as network
from ansible_collections.homelab.fabric.plugins.module_utils import openwrt_shell as shell
from ansible_collections.homelab.fabric.plugins.module_utils.converge import Command, DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_assume import running, written
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_backend import BAD_KEY, RouterBackend
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_live import (
    Changes,
    Live,
    Route,
    Step,
    carries_itself,
    check_elsewhere,
    check_routes,
    client_of,
    is_set_up,
    live_changes,
    noted,
    parse_live,
    parse_networks,
    parse_routes,
)
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import Line, Section, edits, parse
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_watch import (
    Watch,
    is_needed,
    named,
    parse_watch,
    watch_steps,
)
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel, in_order, merge, parse_tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    TunnelError,
)
from ansible_collections.homelab.fabric.plugins.module_utils.wg import peer_text


class State(NamedTuple):
    """What a script showed of the router. `firewall` None: it has none. `loaded`: the rules that it runs with name the
    interface. `notes`: what an earlier run left to do."""

    sums: str
    closed: bool
    network: dict[str, Section]
    firewall: dict[str, Section] | None
    loaded: bool
    public_key: str | None
    live: Live
    routes: list[Route]
    networks: dict[str, str]
    watch: Watch
    notes: list[str]
    client: str | None
    now: int


class OpenWrtBackend(RouterBackend[State]):
    """converge.Backend of any router with OpenWrt."""

    device = "openwrt"

    def __init__(self, params: dict[str, Any], execute: shell.Execute) -> None:
        super().__init__(params, execute)
        self._warnings: list[str] = []

    # What is there

    def read(self) -> Tunnel | None:
        wanted = parse_tunnel(self._params, self.device)
        parts = shell.ask(self._execute, self._name)
        _check_router(parts)
        self._state = state = _state_of(parts, self._name)
        goal = wanted
        self._check_section(state)
        if self._params["state"] == "present":
            self._check_interface(state)
            bare = self._tunnel(state, wanted.routes)
            goal = merge(bare, wanted, self._params["purge"], self.route_foreign).target
        current = self._tunnel(state, goal.routes)
        if current is None:
            return None
        rules = firewall.policy_of(state.firewall or {}, state.network, self._name, wanted.forward_to)
        return replace(current, forward_to=rules.forward_to, masquerade=rules.masquerade, open_port=rules.open_port)

    def _tunnel(self, state: State, routes: tuple[str, ...] | None) -> Tunnel | None:
        """The tunnel without its firewall. Peers that somebody added to the running interface alone are in it."""
        tunnel = network.tunnel_of(state.network, self._name, routes or (), state.public_key)
        if tunnel is None:
            return None
        known = {peer.public_key for peer in tunnel.peers} | noted(state.notes, "peer")
        others = [Peer(key, key, ours=False) for key in state.live.peers if key not in known]
        # In merge's order, so that the diff shows differences alone.
        return replace(tunnel, peers=in_order([*tunnel.peers, *others]))

    def assume(self, tunnel: Tunnel) -> None:
        """Take a tunnel for what is there, in check mode: everything that a run would make of it."""
        state, plan = self._read, self._plan_present(tunnel)
        key = state.public_key or KNOWN_AFTER_APPLY
        self._state = state._replace(
            closed=True,
            network=written(state.network, "network", plan.lines),
            firewall=None if state.firewall is None else written(state.firewall, "firewall", plan.lines),
            loaded=True,
            public_key=key,
            live=running(state.live, tunnel, key),
            watch=state.watch._replace(ours=True, running=True) if plan.watch else state.watch,
            notes=[],
        )
        self._warnings.clear()

    def _check_section(self, state: State) -> None:
        section = state.network.get(self._name)
        if section and (section.type != "interface" or section.get("proto") not in ("", "wireguard")):
            what = section.get("proto") or section.type
            raise TunnelError("name", f"network.{self._name} is a section {what}", "choose another name")

    def _check_interface(self, state: State) -> None:
        if self._name not in state.network and state.live.exists and not state.live.known:
            raise DeviceError(
                f"{self._name} exists, but is not in /etc/config/network: another tool made it. Remove the interface "
                "there, or choose another name"
            )
        if state.public_key == BAD_KEY:
            raise DeviceError(
                f"network.{self._name}.private_key is no WireGuard key. Put the right one there, or `uci delete` it "
                "and `uci commit network`, to have a new one made"
            )

    # What is to do

    def commands(self, current: Tunnel | None, target: Tunnel | None) -> list[Command]:
        plan = self._plan_present(target) if target else self._plan_absent()
        return shell.commands(plan, partial(self._apply, plan))

    def _plan_present(self, target: Tunnel) -> shell.Plan:
        state, name = self._read, self._name
        self._check(target)
        lines = network.plan_network(state.network, target, self._params["purge"])
        rules = self._plan_firewall(target)
        new_key = state.public_key is None
        set_up = self._set_up(target, bool(lines), new_key)
        tables = {version: self._option(f"ip{version}table") for version in ("4", "6")}
        after = network.routes_after(state.network, target)
        changes = live_changes(state.network, after, target, state.live, state.notes, tables)
        if set_up:
            probe = "\n".join(peer_text(peer, peer.endpoint is not None) for peer in target.peers)
            changes = Changes([set_up], ["setup"])
        else:
            probe = "\n".join(step.stdin for step in changes.steps if step.stdin)
        # netifd's state tells the firewall which devices a zone has: one that was not up yet had none.
        lacking = state.firewall is not None and not (state.live.up and state.loaded)
        reload = bool(rules) or "firewall" in state.notes or lacking
        packages = [package for package, some in (("network", lines or new_key), ("firewall", rules)) if some]
        watch = self._plan_watch(target)
        return shell.Plan(
            name=name,
            sums=state.sums,
            lines=[*lines, *rules],
            key=f"network.{name}.private_key" if new_key else "",
            packages=packages,
            peers=probe if changes.steps else "",
            close="" if state.closed else "/etc/config/network",
            notes=[*changes.notes, *(["firewall"] if reload else []), *(["watch"] if watch else [])],
            steps=changes.steps,
            watch=watch,
            wait="up" if set_up else "",
            reload_firewall=reload,
        )

    def _set_up(self, target: Tunnel, changing: bool, new_key: bool) -> Step | None:
        """How netifd is told to set the interface up again, where only that helps: it drops all sessions."""
        state, name = self._read, self._name
        section = state.network.get(name)
        if section is None:
            return Step(["ubus", "call", "network", "reload"])
        # Its packets need host routes before the route that holds them, and those are netifd's.
        due = changing or not set(state.live.routes).issuperset(target.routes or ())
        if (
            new_key
            or "setup" in state.notes
            or edits("network", section, name, "interface", network.interface_options(target))
            or not is_set_up(state.live, target, state.public_key)
            or (due and carries_itself(target))
        ):
            return Step(["ifup", name])
        return None

    def _plan_firewall(self, target: Tunnel) -> list[Line]:
        state = self._read
        if state.firewall is None:
            if target.masquerade:
                raise TunnelError("masquerade", "this router has no firewall", "install firewall4, or leave it out")
            return []
        return firewall.plan_firewall(state.firewall, state.network, target)

    def _plan_watch(self, target: Tunnel | None) -> list[str]:
        state = self._read
        by_name = named(target.peers) if target else []
        if by_name and not state.watch.here:
            self._warnings.append(
                f"this router has no wireguard_watchdog, so {by_name[0].endpoint} is looked up when {self._name} "
                "comes up and never again: install wireguard-tools of your release"
            )
        still = [peer.name for peer in by_name if not peer.keepalive]
        if still:
            self._warnings.append(
                f"peers: {', '.join(still)} is dialled by name, and OpenWrt only looks up names of peers with a "
                "keepalive again: give it persistent_keepalive 25, or its address"
            )
        return watch_steps(state.watch, is_needed(state.network, self._name, target), "watch" in state.notes)

    def _plan_absent(self) -> shell.Plan:
        state = self._read
        lines = network.plan_gone(state.network, self._name)
        rules = firewall.plan_gone(state.firewall or {}, self._name)
        going = bool(lines) or state.live.known
        reload = bool(rules) or (state.firewall is not None and "firewall" in state.notes)
        watch = self._plan_watch(None)
        return shell.Plan(
            name=self._name,
            sums=state.sums,
            lines=[*lines, *rules],
            key="",
            packages=[package for package, some in (("network", lines), ("firewall", rules)) if some],
            peers="",
            close="",
            notes=[*(["firewall"] if reload else []), *(["watch"] if watch else [])],
            steps=[Step(["ubus", "call", "network", "reload"])] if going else [],
            watch=watch,
            wait="gone" if going else "",
            reload_firewall=reload,
        )

    def _option(self, option: str) -> str:
        section = self._read.network.get(self._name)
        return section.get(option) if section else ""

    def _apply(self, plan: shell.Plan) -> None:
        before = self._read.public_key
        self._state = _state_of(shell.apply(self._execute, plan), self._name)
        after = self._state.public_key
        if before and plan.packages and plan.wait != "gone" and before != after:
            raise DeviceError(f"{self._name} had the public key {before} and has {after} now")

    # Refusing

    def _check(self, target: Tunnel) -> None:
        state = self._read
        check_elsewhere(target, state.live, state.routes, state.networks)
        check_routes(target, state.live, state.routes, state.client)
        hosts = [peer.endpoint.host for peer in target.peers if peer.endpoint]
        if hosts and carries_itself(target) and self._option("nohostroute") == "1":
            raise TunnelError(
                "routes",
                "they hold an endpoint, and `nohostroute` keeps OpenWrt from sending its packets around the tunnel",
                f"`uci delete network.{self._name}.nohostroute`, or leave the endpoint's address out",
            )

    # What became of it

    def warnings(self) -> list[str]:
        return self._warnings


def _check_router(parts: Mapping[str, str]) -> None:
    missing = parts["missing"].split()
    if "uci" in missing or "ubus" in missing:
        raise DeviceError("this host is no OpenWrt: it has no `uci` or `ubus`. Use the module of its kind of device")
    if missing:
        raise DeviceError(
            f"`{missing[0]}` is not on this router. Install what is missing with `opkg update && opkg install "
            "wireguard-tools` (from OpenWrt 25.12 on: `apk update && apk add wireguard-tools`), then run "
            "`service network restart`"
        )
    if parts["handlers"] and "wireguard" not in json.loads(parts["handlers"]):
        raise DeviceError(
            "netifd of this router does not know WireGuard yet: it looks for its protocols at its start only. Run "
            "`service network restart` there once after wireguard-tools were installed, or reboot the router"
        )
    shell.refuse_pending(parts, shell.PACKAGES)


def _state_of(parts: Mapping[str, str], name: str) -> State:
    return State(
        sums=parts["sums"],
        closed=parts["mode"] == "------",
        network=parse(parts["network"], "network"),
        firewall=parse(parts["firewall"], "firewall") if parts["firewall"] else None,
        loaded=bool(parts["loaded"]),
        public_key=parts["key"] or None,
        live=parse_live(parts),
        routes=parse_routes(parts["routes"]),
        networks=parse_networks(parts["networks"], name),
        watch=parse_watch(parts["watch"]),
        notes=parts["notes"].splitlines(),
        client=client_of(parts),
        now=int(parts["now"]),
    )
