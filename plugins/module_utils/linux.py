# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend of converge.py for a Linux host with wg-quick and systemd. It runs on that host.

/etc/wireguard/NAME.conf is the single source on disk, the private key's only place. It is written first, with notes
of what a crash would make unknowable (peers and routes that must go, endpoints that must be set live); then the live
interface follows; then the notes go. So each step may be the last one, and the next run finishes.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any, Callable, Collection, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils import (
    client_expiry,
    linux_endpoints,
    linux_expiry,
    wg_quick,
)
from ansible_collections.homelab.fabric.plugins.module_utils.client_access import access_of
from ansible_collections.homelab.fabric.plugins.module_utils.client_register import Register, parse_registers
from ansible_collections.homelab.fabric.plugins.module_utils.converge import Command, DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.linux_checks import (
    check_default_route,
    check_room,
    check_way_home,
)
from ansible_collections.homelab.fabric.plugins.module_utils.linux_file import (
    routing_table,
    summary,
    tunnel_of,
    wanted_file,
)
from ansible_collections.homelab.fabric.plugins.module_utils.linux_firewall import (
    FORWARDING,
    Firewall,
    firewall_of,
    hooked,
    hooks,
    identities,
    iptables_rules,
    listed_rules,
    nft_is_loaded,
    nft_script,
    rules_taken_down,
    switch_on,
    table_taken_down,
)
from ansible_collections.homelab.fabric.plugins.module_utils.linux_host import CLIENTS, Host, Link, missing
from ansible_collections.homelab.fabric.plugins.module_utils.linux_live import (
    Step,
    assumed_link,
    live_change,
)
from ansible_collections.homelab.fabric.plugins.module_utils.linux_timer import Timer
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    Secret,
    TunnelError,
    parse_key,
)
from ansible_collections.homelab.fabric.plugins.module_utils.wg import report
from ansible_collections.homelab.fabric.plugins.module_utils.wg_quick import WgQuickFile


class State(NamedTuple):
    """What `read` found: the wg-quick file, the interface, the nft script; None for what is not there."""

    file: WgQuickFile | None
    link: Link | None
    script: str | None


class LinuxBackend:
    """converge.Backend for the interface `name` of this host.

    `registers` has the road warriors of each interface; `clients` is this one's, and what `commands` makes the packet
    filter and the expiry timer for. So `linux_wireguard` keeps what `wireguard_client` made.
    """

    device = "linux"
    route_foreign = True  # wg-quick does it at every start

    def __init__(self, name: str, check_mode: bool, host: Host) -> None:
        self.name = name
        self.check_mode = check_mode
        self.host = host
        self.conf = self.host.path(f"{name}.conf")
        self.nft_file = self.host.path(f"{name}.nft")
        self.unit = f"wg-quick@{name}"
        self.register_file = self.host.path(f"{CLIENTS}/register.json")
        self.registers: dict[str, Register] = {}
        self.clients = Register()
        self.expiry = Timer(self.host, f"{name}.expiry", client_expiry.unit_name(name))
        self.endpoints = Timer(self.host, f"{name}.endpoints", linux_endpoints.unit_name(name))
        self.state = State(None, None, None)
        self._assumed: Firewall | None = None
        self._warnings: list[str] = []
        self._new_key = Secret("")
        self._stale = False

    # What is there

    def read(self) -> Tunnel | None:
        if not self.check_mode and self.host.has("wg"):
            self.host.lock()
        self.registers = parse_registers(self.host.read(self.register_file), self.register_file)
        self.clients = self.registers.get(self.name, self.clients)
        text = self.host.read(self.conf)
        file = None if text is None else wg_quick.parse(text, self.conf)
        link = self.host.link(self.name, routing_table(file) or "main")
        self.state = State(file, link, self.host.read(self.nft_file))
        if file is None:
            return None
        self._check_keys(file, link)
        public_key = link.public_key if link else self._public_key_of(file)
        tunnel = tunnel_of(self.name, file, self.state.script, link, self.conf)
        peers = tuple(peer for peer in tunnel.peers if not self._is_over(peer))
        return replace(tunnel, peers=peers, public_key=public_key)

    def assume(self, tunnel: Tunnel) -> None:
        """Take a tunnel for what is there, in check mode: everything that a run would make of it, and nothing else."""
        firewall = firewall_of(tunnel, access_of(self.clients))
        file = self._wanted_file(tunnel, firewall, ())
        file = file if file.private_key else file.with_private_key(Secret(KNOWN_AFTER_APPLY))
        link = assumed_link(file, tunnel, self.state.link)
        self.state = State(file, link, nft_script(firewall) if firewall.forwards else None)
        self.endpoints.assume(self._endpoints(tunnel))
        self._assumed = firewall

    def _is_over(self, peer: Peer) -> bool:
        """Whether it is a client that has expired, or was revoked by a run that did not get further."""
        if not peer.client or self.name not in self.registers:
            return False
        client = self.clients.clients.get(peer.name)
        return client is None or client.expired(self.host.now())

    def _check_keys(self, file: WgQuickFile, link: Link | None) -> None:
        key = file.private_key
        if not key:
            raise DeviceError(
                f"{self.conf} has no PrivateKey, so nothing can be changed safely. Put the key into its [Interface] "
                "section, or remove the file, to have a new key made"
            )
        parse_key(key.reveal(), f"{self.conf}: PrivateKey", secret=True)
        if link and link.private_key and link.private_key != key:
            raise DeviceError(
                f"the PrivateKey in {self.conf} is not the one that {self.name} runs with (public key "
                f"{link.public_key}). Restart the interface with `systemctl restart {self.unit}` if the file is right, "
                "else put the running key into the file"
            )

    def _public_key_of(self, file: WgQuickFile) -> str | None:
        shown = self.host.run(["wg", "pubkey"], file.private_key.reveal() + "\n")
        return shown.out.strip() if shown.status == 0 else None

    # What is to do

    def commands(self, current: Tunnel | None, target: Tunnel | None) -> list[Command]:
        state = self.state
        if target is None:
            return self._absent(state)
        if state.link and state.file is None:
            raise DeviceError(
                f"{self.name} exists, but {self.conf} does not: another tool made it. Remove the interface there, or "
                "choose another name"
            )
        firewall = firewall_of(target, access_of(self.clients))
        if not self.check_mode:
            self._check_ready(target, firewall)
        if state.file is None or routing_table(state.file) is not None:
            check_default_route(target, self.conf)
            check_way_home(self.host, target)
        check_room(self.host, state.file, state.link, target)
        if state.file and state.file.value("SaveConfig"):
            self._warnings.append(f"SaveConfig is removed from {self.conf}: it would overwrite the file at every stop")
        if state.file and state.link and state.link.private_key:
            return self._adjust(state.file, state.link, current or target, target, firewall)
        return self._start(target, firewall)

    def _check_ready(self, target: Tunnel, firewall: Firewall) -> None:
        for tool in ("wg", "wg-quick", "ip", "systemctl", *(("nft",) if firewall.forwards else ())):
            if not self.host.has(tool):
                raise missing(tool)
        unknown = [peer.name for peer in target.peers if peer.public_key == KNOWN_AFTER_APPLY]
        if unknown:
            raise TunnelError(
                "peers", f"the public key of {', '.join(unknown)} is not known", "run the play of that device first"
            )

    def _start(self, target: Tunnel, firewall: Firewall) -> list[Command]:
        """For an interface that is not there: wg-quick does the rest."""
        steps = []
        if self.state.link:  # left by a start that was killed half-way
            steps.append(self._command(["ip", "link", "delete", "dev", self.name]))
        steps += self._clear_rules(identities(iptables_rules(firewall))) if self._had_firewall() else []
        if self.state.file is None:
            text = f"wg genkey  # the private key of {self.name}; it stays in {self.conf}"
            steps.append(self._step(text, self._make_key))
        steps += self._files(target, firewall, ())
        unit = self.host.unit(self.unit)
        if unit.active:  # its interface was taken away under it
            steps.append(self._service("restart"))
        if not unit.enabled:
            steps.append(self._service("enable", *(() if unit.active else ("--now",))))
        elif not unit.active:
            steps.append(self._service("start"))
        return steps

    def _make_key(self) -> None:
        self._new_key = Secret(self.host.demand(["wg", "genkey"], "").strip())

    def _adjust(
        self, file: WgQuickFile, link: Link, current: Tunnel, target: Tunnel, firewall: Firewall
    ) -> list[Command]:
        """For an interface that runs."""
        change = live_change(file, current, target, link)
        steps = self._files(target, firewall, change.notes) + self._firewall(firewall)
        steps += [self._live_step(step) for step in change.steps]
        if self._assumed is None and not self.host.unit(self.unit).enabled:
            steps.append(self._service("enable"))
        if change.notes:
            final = self._wanted_file(target, firewall, ())
            steps.append(self._write_conf(final, "nothing is pending any more"))
        return steps

    # Files

    def _files(self, target: Tunnel, firewall: Firewall, notes: Sequence[str]) -> list[Command]:
        """Write what differs: the rules before the file that loads them, and away with them after it."""
        steps = self._close(self.host.folder, 0o700)
        script = nft_script(firewall) if firewall.forwards else None
        if script and script != self.state.script:
            steps.append(self._write_script(script))
        elif self.state.script:
            steps += self._close(self.nft_file, 0o600)
        if script is None and self._had_firewall():
            steps += self._clear_rules(identities(iptables_rules(firewall))) + self._clear_table(firewall)
        expiry = linux_expiry.texts(self.name, self.clients, self.expiry.script)
        endpoints = self._endpoints(target)
        steps += self.expiry.install(expiry) + self.endpoints.install(endpoints)
        file = self._wanted_file(target, firewall, notes)
        if file != self.state.file:
            steps.append(self._write_conf(file, summary(self.state.file, file)))
        else:
            steps += self._close(self.conf, 0o600)
        if script is None and self.state.script is not None:
            steps.append(self._remove(self.nft_file))
        steps += [] if expiry else self.expiry.remove()
        return steps + ([] if endpoints else self.endpoints.remove())

    def _endpoints(self, target: Tunnel) -> dict[str, str]:
        return linux_endpoints.texts(target, self.host.folder, self.endpoints.script)

    def _wanted_file(self, target: Tunnel, firewall: Firewall, notes: Sequence[str]) -> WgQuickFile:
        own = hooks(firewall, self.nft_file) + linux_expiry.hooks(self.clients, self.expiry.script)
        return wanted_file(self.state.file, target, own, notes)

    def _close(self, path: str, mode: int) -> list[Command]:
        if not self.host.too_open(path, mode):
            return []
        return [self._command(["chmod", f"{mode:o}", path])]

    def _write_conf(self, file: WgQuickFile, about: str) -> Command:
        def write() -> None:
            whole = file if file.private_key else file.with_private_key(self._new_key)
            self.host.write(self.conf, whole.render(), self._check_conf)

        return self._step(f"install -m 600 /dev/stdin {self.conf}" + (f"  # {about}" if about else ""), write)

    def _check_conf(self, path: str) -> None:
        stripped = self.host.demand(["wg-quick", "strip", path], f"{self.conf} was left as it was")
        if not wg_quick.parse(stripped, path).private_key:
            raise DeviceError(f"the new {self.conf} would have no PrivateKey; it was left as it was")

    def _write_script(self, script: str) -> Command:
        remedy = "nftables 0.9.3 and Linux 5.2 or later are needed for `masquerade` and `forward_to`"

        def check(path: str) -> None:
            self.host.demand(["nft", "--check", "--file", path], remedy)

        return self._step(
            f"install -m 600 /dev/stdin {self.nft_file}", lambda: self.host.write(self.nft_file, script, check)
        )

    def _remove(self, path: str) -> Command:
        return self._step(f"rm -f {path}", lambda: self.host.remove(path))

    # Packet filter

    def _had_firewall(self) -> bool:
        file = self.state.file
        return self.state.script is not None or bool(file and hooked(file.own_lines))

    def _firewall(self, firewall: Firewall) -> list[Command]:
        """Load what is not loaded. New rules come before old ones go."""
        if firewall == self._assumed:
            return []
        steps = []
        if firewall.forwards:
            listed = self.host.run(["nft", "-j", "list", "table", "inet", firewall.table])
            if not nft_is_loaded(firewall, listed.out if listed.status == 0 else ""):
                steps.append(self._command(["nft", "-f", self.nft_file]))
            off = [version for version in sorted(firewall.versions) if self.host.switch(FORWARDING[version]) == "0"]
            steps += [self._shell(switch_on(version)) for version in off]
        rules = iptables_rules(firewall)
        there = {tool: self._listed(tool) for tool in sorted({rule.tool for rule in rules}) if self.host.has(tool)}
        lost = [rule for rule in rules if rule.tool in there and rule.comment not in there[rule.tool]]
        steps += [self._command(rule.command("-I")) for rule in lost]
        cleared = self._had_firewall() and not firewall.forwards  # by _files, with the table
        return steps + (self._clear_rules(identities(rules)) if rules and not cleared else [])

    def _listed(self, tool: str) -> dict[str, list[str]]:
        return listed_rules(self.name, tool, self.host.run([tool, "-w", "-S"]).out)

    def _clear_rules(self, keep: Collection[tuple[str, str]]) -> list[Command]:
        """Remove rules of ours from iptables but these: tool and comment of each."""
        steps = []
        for tool in ("iptables", "ip6tables"):
            listed = self._listed(tool) if self.host.has(tool) else {}
            steps += [self._command(delete) for comment, delete in listed.items() if (tool, comment) not in keep]
        return steps

    def _clear_table(self, firewall: Firewall) -> list[Command]:
        table = ["table", "inet", firewall.table]
        if self.host.run(["nft", "list", *table]).status:
            return []
        return [self._command(["nft", "delete", *table])]

    # No interface any more

    def _absent(self, state: State) -> list[Command]:
        unit = self.host.unit(self.unit)
        steps: list[Command] = []
        # The stop takes along what the file says, the interface first; this is for what it would leave.
        goes_along = state.file.own_lines if state.file and state.link else ()
        if self._had_firewall():
            steps += self._clear_rules(rules_taken_down(goes_along))
            steps += [] if table_taken_down(goes_along) else self._clear_table(Firewall(self.name))
        if unit.enabled or unit.active:
            steps.append(self._command(["systemctl", "disable", "--now", self.unit]))
        if state.link and state.file is None:
            steps.append(self._command(["ip", "link", "delete", "dev", self.name]))
        elif state.link and not unit.active:
            steps.append(self._command(["wg-quick", "down", self.name]))
        steps += self.expiry.remove() + self.endpoints.remove()
        # The file goes last: as long as it is there, a run that was cut short is known to be unfinished.
        for path, there in ((self.nft_file, state.script), (self.conf, state.file)):
            if there is not None:
                steps.append(self._remove(path))
        return steps

    # Steps

    def _step(self, text: str, run: Callable[[], object]) -> Command:
        def tracked() -> None:
            self._stale = True
            run()

        return Command(text, tracked)

    def _command(self, command: list[str]) -> Command:
        return self._live_step(Step(command))

    def _live_step(self, step: Step) -> Command:
        remedy = "Nothing after this step was done; the next run goes on from here"
        if step.command[:2] == ["wg", "addconf"]:
            remedy = "If a peer's endpoint is a name, it must resolve on this host"
        return self._step(step.text, lambda: self.host.demand(step.command, remedy, step.stdin))

    def _service(self, *words: str) -> Command:
        command = ["systemctl", *words, self.unit]
        remedy = f"`journalctl -u {self.unit}` on the host tells why"
        return self._step(shlex.join(command), lambda: self.host.demand(command, remedy))

    def _shell(self, script: str) -> Command:
        return self._step(script, lambda: self.host.demand(["sh", "-c", script], "The kernel refuses to forward"))

    # What became of it

    def public_key(self) -> str | None:
        link = self._link()
        if link:
            return link.public_key
        return self._public_key_of(self.state.file) if self.state.file else None

    def live(self) -> dict[str, dict[str, Any]]:
        link = self._link()
        return report(link.peers if link else {}, self.host.now())

    def _link(self) -> Link | None:
        """The interface as the commands left it; its key must be the one that it had."""
        if self._stale:
            before = self.state.link
            link = self.host.link(self.name, "main")
            if before and before.private_key and link and link.public_key != before.public_key:
                raise DeviceError(f"{self.name} had the public key {before.public_key} and has {link.public_key} now")
            self.state = self.state._replace(link=link)
            self._stale = False
        return self.state.link

    def warnings(self) -> list[str]:
        return self._warnings
