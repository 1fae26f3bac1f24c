# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A router with GL.iNet's firmware 4.x as a backend of converge.py. See openwrt.py, whose scripts it shares.

What the firmware manages is left to it: the interface, zone, forwardings and ip rules of a tunnel are what rtp2.sh
makes of a peer and a rule. It does not look at what an interface runs with: that is taken up by `ifup`.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils import glinet_client as client
from ansible_collections.homelab.fabric.plugins.module_utils import glinet_own as own
from ansible_collections.homelab.fabric.plugins.module_utils import glinet_redial as redialling
from ansible_collections.homelab.fabric.plugins.module_utils import openwrt_firewall as firewall
from ansible_collections.homelab.fabric.plugins.module_utils import openwrt_shell as shell
from ansible_collections.homelab.fabric.plugins.module_utils.converge import TUNNEL_ARGUMENTS, Command, DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.glinet_advice import advice
from ansible_collections.homelab.fabric.plugins.module_utils.glinet_shell import (
    PACKAGES,
    READ,
    REASONS,
    WIREGUARD_FILE,
)
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_assume import running, written
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_backend import BAD_KEY, RouterBackend
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_live import (
    Live,
    Route,
    Step,
    check_routes,
    client_of,
    parse_live,
    parse_routes,
)
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_network import own_id
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import Line, Section, parse
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_watch import named, parse_watch
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel, parse_tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    Secret,
    TunnelError,
    parse_keepalive,
)
from ansible_collections.homelab.fabric.plugins.module_utils.wg import peer_text

ARGUMENTS: dict[str, Any] = {
    **TUNNEL_ARGUMENTS,
    "kill_switch": {"type": "bool"},
    "handshake_timeout": {"type": "int", "default": 15},
}


class State(NamedTuple):
    """What a script showed of the router. `kinds`: glinet, route_policy, fw4, ipv6, as far as it has them. `user`: the
    address from which this run is connected."""

    sums: str
    closed: bool
    kinds: set[str]
    config: client.Config
    firewall: dict[str, Section]
    public_key: str | None
    live: Live
    routes: list[Route]
    notes: list[str]
    user: str | None
    now: int
    written: str
    marked: str
    redial: redialling.Redial
    advice: list[str]


class GlinetBackend(RouterBackend[State]):
    """converge.Backend for a client of such a router."""

    device = "glinet"

    def __init__(self, params: dict[str, Any], execute: shell.Execute) -> None:
        for peer in params["peers"]:
            # The firmware takes none for 25, so that is what was asked for.
            with contextlib.suppress(TunnelError):
                if not parse_keepalive(peer["persistent_keepalive"], "persistent_keepalive"):
                    peer["persistent_keepalive"] = str(client.KEEPALIVE)
        super().__init__(params, execute)
        self._dialled: Peer | None = None
        self._assumed = False

    # What is there

    def read(self) -> Tunnel | None:
        wanted = parse_tunnel(self._params, self.device)
        parts = shell.ask(self._execute, self._name, READ)
        check_router(parts, PACKAGES)
        self._state = state = _state_of(parts, self._name)
        if state.public_key == BAD_KEY:
            raise DeviceError(
                f"the private key of {self._name} in {WIREGUARD_FILE} is no WireGuard key. Remove that tunnel in the "
                "router's web interface, to have a new one made"
            )
        if self._params["state"] == "absent" and not self._ours():
            return None
        if not parts["mode"]:
            raise DeviceError(
                f"this router has no {WIREGUARD_FILE}, where GL.iNet's firmware keeps its clients: "
                f"`touch {WIREGUARD_FILE}` there, and run the playbook again"
            )
        current = client.tunnel_of(state.config, state.firewall, wanted, state.public_key)
        if current and current.peers and not state.config.newer:
            rules = firewall.policy_of(state.firewall, state.config.network, self._name, wanted.forward_to)
            return replace(current, **rules._asdict())
        return current

    def assume(self, tunnel: Tunnel) -> None:
        """Take a tunnel for what is there, in check mode: everything that a run and the firmware would make of it."""
        state, plan, marks = self._read, self._plan_present(tunnel), self._own(tunnel)
        made = client.plan(state.config, tunnel, self._params["kill_switch"])
        network = written(state.config.network, "network", plan.lines)
        zones = written(state.firewall, "firewall", plan.lines)
        policy = written(state.config.policy, "route_policy" if state.config.newer else "vpnpolicy", plan.lines)
        config = state.config._replace(
            network=network,
            wireguard=written(state.config.wireguard, "wireguard", plan.lines),
            policy=own.moved(policy, made.move) if made.move else policy,
            lists={**state.config.lists, **({made.list_name: made.prefixes} if made.list_name else {})},
        )
        if tunnel.peers and state.config.newer:
            section = client.peer_section(config, self._name)
            network[self._name] = Section(self._name, "interface", {"config": (section.id if section else "",)})
            zones[self._name] = Section(self._name, "zone")
        key = state.public_key or KNOWN_AFTER_APPLY
        self._assumed = True
        self._state = state._replace(
            closed=True,
            config=config,
            firewall=zones,
            public_key=key,
            live=running(state.live, tunnel, key) if tunnel.peers else state.live,
            notes=[],
            written=marks.text,
            marked="\n".join(marks.loaded),
            redial=redialling.Redial(True, True, True) if plan.watch else state.redial,
        )

    def _ours(self) -> bool:
        section = client.peer_section(self._read.config, self._name)
        return bool(section and client.is_ours(section, self._name))

    # What is to do

    def commands(self, current: Tunnel | None, target: Tunnel | None) -> list[Command]:
        plan = self._plan_present(target) if target else self._plan_absent()
        return shell.commands(plan, partial(self._apply, plan))

    def _plan_present(self, target: Tunnel) -> shell.Plan:
        state, name = self._read, self._name
        client.check(state.config, target, bool(self._params["purge"]))
        check_routes(target, state.live, state.routes, state.user)
        peer = self._dialled = target.peers[0] if target.peers else None
        made = client.plan(state.config, target, self._params["kill_switch"])
        rules = self._plan_firewall(target)
        files = self._files(target, made)
        new_key = state.public_key is None
        stops = peer is None and (made.stops or "policy" in state.notes)
        policy = stops or (peer is not None and state.config.newer and self._policy_due(made, bool(files)))
        lines = [line for package in made.lines.values() for line in package]
        set_up = peer is not None and (
            new_key or bool(made.lines["wireguard"]) or "setup" in state.notes or not self._runs(target, peer)
        )
        steps = [self._firmware()] if policy else []
        if set_up and name in state.config.network:
            steps.append(Step(["ifup", name]))
        elif set_up and not state.config.newer:
            steps.append(Step(["ubus", "call", "network", "reload"]))
        reload = bool(rules or steps) or "firewall" in state.notes or not self._marked(target)
        packages = [p for p, some in made.lines.items() if some or (made.move and p == "route_policy")]
        if new_key and "wireguard" not in packages:
            packages.insert(0, "wireguard")
        watch = self._redial(target)
        if _by_name(target) and not state.redial.script:
            files.append(own.write(redialling.SCRIPT, redialling.TEXT, "looks up a hub's name again"))
        left = (("policy", policy), ("setup", set_up), ("firewall", reload), ("watch", watch))
        return shell.Plan(
            name=name,
            sums=state.sums,
            lines=[*lines, *rules],
            key=made.key if new_key else "",
            packages=[*packages, *(["firewall"] if rules else [])],
            peers=peer_text(peer, True) if peer and set_up else "",
            close="" if state.closed else WIREGUARD_FILE,
            notes=[note for note, some in left if some],
            steps=steps,
            watch=watch,
            wait="gone" if stops else "answer" if steps else "",
            reload_firewall=reload,
            files=files,
            undo=f"rm -f {own.table_file(name)}",
        )

    def _firmware(self) -> Step:
        """What has the firmware look which clients it shall run."""
        newer = ["/etc/init.d/vpn-client", "restart"]
        return Step(newer if self._read.config.newer else ["ubus", "call", "network", "reload"])

    def _policy_due(self, made: client.ClientPlan, files: bool) -> bool:
        """Whether rtp2.sh has something to do: it alone makes interface, zone, marks and ip rules."""
        state = self._read
        interface = state.config.network.get(self._name)
        section = client.peer_section(state.config, self._name)
        return (
            bool(made.lines["route_policy"])
            or files
            or "policy" in state.notes
            or interface is None
            or (section is not None and interface.get("config") != section.id)
            or interface.get("disabled") == "1"
            or self._name not in state.firewall
        )

    def _runs(self, target: Tunnel, peer: Peer) -> bool:
        """Whether the interface and its peer are as they are configured; that the peer answers is another matter."""
        live = self._read.live
        there = live.peers.get(str(peer.public_key))
        wanted = (peer.preshared_key or Secret(""), peer.allowed_ips, peer.keepalive)
        return (
            live.known
            and live.exists
            and there is not None
            and live.public_key == self._read.public_key
            and live.listen_port == (target.listen_port or live.listen_port)
            and live.mtu == (target.mtu or live.mtu)
            and wanted == (there.preshared_key, there.allowed_ips, there.keepalive)
        )

    def _marked(self, target: Tunnel) -> bool:
        """Whether the firewall has our rules for the router's own packets."""
        wanted = self._own(target)
        return all(text in self._read.marked for text in wanted.loaded)

    def _own(self, target: Tunnel) -> own.Own:
        """Up to 4.7 the routes are the main table's."""
        prefixes = [prefix for peer in target.peers for prefix in peer.allowed_ips]
        config = self._read.config
        targets = own.marked(prefixes, config.near) if config.newer else ()
        return own.own_packets(self._name, targets, config.near.lans, "fw4" in self._read.kinds)

    def _files(self, target: Tunnel, made: client.ClientPlan) -> list[Line]:
        state = self._read
        lines = [own.remove_list(made.old_list)] if made.old_list else []
        if made.list_name and state.config.lists.get(made.list_name) != made.prefixes:
            lines.append(own.write_list(made.list_name, made.prefixes))
        lines += [own.move_rule(*made.move)] if made.move else []
        wanted = self._own(target)
        if wanted.text != state.written:
            lines.append(own.write_own(self._name, wanted, "fw4" in state.kinds))
        return lines

    def _redial(self, target: Tunnel | None) -> list[str]:
        state = self._read
        return redialling.redial_steps(state.redial, self._name, _by_name(target), "watch" in state.notes)

    def _plan_firewall(self, target: Tunnel) -> list[Line]:
        state = self._read
        if not target.peers:
            return firewall.plan_gone(state.firewall, self._name)
        if not state.config.newer:
            return firewall.plan_firewall(state.firewall, state.config.network, target)
        others = [s for s in state.firewall.values() if s.id != own_id("include", self._name)]
        included = any(s.type == "include" and s.get("path") == "/etc/firewall.user" for s in others)
        includes = not included and "fw4" not in state.kinds and bool(self._own(target).text)
        wanted = client.firewall_sections(target, includes)
        return firewall.plan_sections(state.firewall, self._name, wanted)

    def _plan_absent(self) -> shell.Plan:
        state, name = self._read, self._name
        made, listed = client.plan_gone(state.config, name)
        rules = firewall.plan_gone(state.firewall, name)
        files = [own.remove_list(listed)] if listed else []
        if state.written:
            files.append(own.write_own(name, own.Own("", []), "fw4" in state.kinds))
        going = bool(made) or "policy" in state.notes
        reload = bool(rules or files or going)
        watch = self._redial(None)
        return shell.Plan(
            name=name,
            sums=state.sums,
            lines=[*(line for package in made.values() for line in package), *rules],
            key="",
            packages=[*made, *(["firewall"] if rules else [])],
            peers="",
            close="",
            notes=[*(["policy"] if reload else []), *(["watch"] if watch else [])],
            steps=[self._firmware()] if going else [],
            watch=watch,
            wait="gone" if going else "",
            reload_firewall=reload,
            files=files,
            undo=f"rm -f {own.table_file(name)}",
        )

    def _apply(self, plan: shell.Plan) -> None:
        limit = int(self._params["handshake_timeout"]) if plan.wait == "answer" else shell.UP_TIMEOUT
        parts = shell.apply(self._execute, plan, READ, PACKAGES, REASONS, limit)
        self._state = _state_of(parts, self._name)

    # What became of it

    def warnings(self) -> list[str]:
        return advice(self._name, None if self._assumed else self._dialled, self._read) if self._state else []


def _by_name(target: Tunnel | None) -> bool:
    """Whether the hub's address may change."""
    return bool(target and named(target.peers))


def check_router(parts: Mapping[str, str], packages: Sequence[str]) -> None:
    """Raises DeviceError for what is no GL.iNet, lacks a tool, or has changes that nobody committed."""
    missing, kinds = parts["missing"].split(), parts["kind"].split()
    if "glinet" not in kinds:
        raise DeviceError("this host has no firmware of GL.iNet. Use the module of its kind of device")
    if missing:
        raise DeviceError(
            f"`{missing[0]}` is not on this router, which GL.iNet's firmware 4.x has. Update the firmware"
        )
    shell.refuse_pending(parts, packages)


def _state_of(parts: Mapping[str, str], name: str) -> State:
    kinds = set(parts["kind"].split())
    newer = "route_policy" in kinds
    config = client.Config(
        newer=newer,
        network=parse(parts["network"], "network"),
        wireguard=parse(parts["wireguard"], "wireguard"),
        policy=parse(parts["policy"], "route_policy" if newer else "vpnpolicy"),
        lists=_lists(parts["lists"]),
        near=own.parse_near(parts["routes"]),
    )
    return State(
        sums=parts["sums"],
        closed=parts["mode"] == "------",
        kinds=kinds,
        config=config,
        firewall=parse(parts["firewall"], "firewall"),
        public_key=parts["key"] or None,
        live=parse_live(parts),
        routes=parse_routes(parts["routes"]),
        notes=parts["notes"].splitlines(),
        user=client_of(parts),
        now=int(parts["now"]),
        written=parts["written"],
        marked=parts["marked"],
        redial=redialling.parse_redial(parts["redial"], name, parse_watch(parts["watch"]).running),
        advice=parts["advice"].split(),
    )


def _lists(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            found[line[2:]] = []
        elif found:
            found[list(found)[-1]].append(line)
    return {name: tuple(lines) for name, lines in found.items()}
