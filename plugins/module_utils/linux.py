# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend of converge.py for a Linux host with wg-quick and systemd. It runs on that host.

/etc/wireguard/NAME.conf is the single source on disk, the private key's only place. It is written first, with notes
of what a crash would make unknowable (peers and routes that must go, endpoints that must be set live); then the live
interface follows; then the notes go. So each step may be the last one, and the next run finishes.

Live, only the peers that differ are touched (`wg addconf`, `wg set … remove`), not the whole list (`wg syncconf`): that
one would take every peer's allowed IPs away for a moment, put roamed endpoints back to what the file
says, and, fed without a private key, drop all sessions. Here no private key travels at all.
"""

from __future__ import annotations

import ipaddress
import shlex
from dataclasses import replace
from typing import Any, Callable, Iterable, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils import wg_quick
from ansible_collections.homelab.fabric.plugins.module_utils.converge import Command, DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.linux_firewall import (
    FORWARDING,
    Firewall,
    firewall_of,
    hooked,
    hooks,
    iptables_rules,
    listed_rules,
    nft_header,
    nft_is_loaded,
    nft_script,
    opened_port,
    switch_on,
)
from ansible_collections.homelab.fabric.plugins.module_utils.linux_host import Host, Link, missing
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel, needed_routes
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    Secret,
    TunnelError,
    covers,
    parse_address,
    parse_key,
    prefix_order,
    sorted_prefixes,
)
from ansible_collections.homelab.fabric.plugins.module_utils.wg_quick import WgQuickFile

NO_PRESHARED_KEY = "A" * 43 + "="
"""The key of zeros, which `wg` takes for none."""


class State(NamedTuple):
    """What `read` found. `file` None: no wg-quick file, `link` None: no interface of that name."""

    file: WgQuickFile | None
    link: Link | None
    script: str | None


class LinuxBackend:
    """converge.Backend for the interface `name` of this host."""

    device = "linux"
    route_foreign = True  # wg-quick does it at every start

    def __init__(self, name: str, check_mode: bool, host: Host | None = None) -> None:
        self.name = name
        self.check_mode = check_mode
        self.host = host or Host()
        self.conf = self.host.path(f"{name}.conf")
        self.nft_file = self.host.path(f"{name}.nft")
        self.unit = f"wg-quick@{name}"
        self.state = State(None, None, None)
        self._notes: list[str] = []
        self._new_key = Secret("")
        self._stale = False

    # What is there

    def read(self) -> Tunnel | None:
        if not self.check_mode and self.host.has("wg"):
            self.host.lock()
        text = self.host.read(self.conf)
        file = None if text is None else wg_quick.parse(text, self.conf)
        link = self.host.link(self.name, _routing_table(file) or "main")
        self.state = State(file, link, self.host.read(self.nft_file))
        if file is None:
            return None
        self._check_keys(file, link)
        forward_to, masquerade = nft_header(self.state.script or "")
        addresses = sorted_prefixes(parse_address(item, f"{self.conf}: Address") for item in file.values("Address"))
        return Tunnel(
            name=self.name,
            addresses=addresses,
            listen_port=_number(file.value("ListenPort")),
            mtu=_number(file.value("MTU")),
            peers=file.peers + self._live_only(file, link),
            routes=_routes_of(file, addresses),
            forward_to=forward_to if hooked(file.own_lines) else (),
            masquerade=masquerade if hooked(file.own_lines) else (),
            open_port=opened_port(file.own_lines),
            public_key=link.public_key if link else self._public_key_of(file),
        )

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

    def _live_only(self, file: WgQuickFile, link: Link | None) -> tuple[Peer, ...]:
        """Peers that somebody added to the running interface alone. They are left alone, routes and all."""
        known = {peer.public_key for peer in file.peers}
        known |= {note[5:] for note in file.pending if note.startswith("peer ")}
        return tuple(Peer(key, key, ours=False) for key in (link.peers if link else ()) if key not in known)

    def _public_key_of(self, file: WgQuickFile) -> str | None:
        shown = self.host.run(["wg", "pubkey"], file.private_key.reveal() + "\n")
        return shown.out.strip() if shown.status == 0 else None

    # What is to do

    def commands(self, current: Tunnel | None, target: Tunnel | None) -> list[Command]:
        if target is None:
            return self._absent()
        if self.state.link and self.state.file is None:
            raise DeviceError(
                f"{self.name} exists, but {self.conf} does not: another tool made it. Remove the interface there, or "
                "choose another name"
            )
        firewall = firewall_of(target)
        if not self.check_mode:
            self._check_ready(target, firewall)
        self._check_default_route(target)
        self._check_way_home(target)
        if self.state.link is None or not self.state.link.private_key:
            steps = self._start(target, firewall)
        else:
            steps = self._adjust(current or target, target, firewall, self.state.link)
        return [Command(step.text, self._tracked(step.run)) for step in steps]

    def _tracked(self, run: Callable[[], object]) -> Callable[[], object]:
        def tracked() -> None:
            self._stale = True
            run()

        return tracked

    def _check_ready(self, target: Tunnel, firewall: Firewall) -> None:
        for tool in ("wg", "wg-quick", "ip", "systemctl", *(("nft",) if firewall.forwards else ())):
            if not self.host.has(tool):
                raise missing(tool)
        unknown = [peer.name for peer in target.peers if peer.public_key == KNOWN_AFTER_APPLY]
        if unknown:
            raise TunnelError(
                "peers", f"the public key of {', '.join(unknown)} is not known", "run the play of that device first"
            )

    def _check_default_route(self, target: Tunnel) -> None:
        """wg-quick routes a /0 by rules and marks, at start only; what is not done live is refused."""
        if self.state.file and _routing_table(self.state.file) is None:
            return
        for peer in target.peers:
            if peer.ours and any(prefix.endswith("/0") for prefix in peer.allowed_ips):
                raise TunnelError(
                    "peers",
                    f"{peer.name} has a default route in its allowed_ips, which would take all traffic of this host",
                    f"list the networks behind it, or set `Table = off` in {self.conf} and route it yourself",
                )

    def _check_way_home(self, target: Tunnel) -> None:
        """No new route may swallow this run's own connection, nor the packets of the tunnel itself."""
        if self.state.file and _routing_table(self.state.file) is None:
            return
        networks = [str(ipaddress.ip_interface(address).network) for address in target.addresses]
        prefixes = [*(target.routes or ()), *networks]
        client = self.host.ssh_client()
        taken = self._taken(client, prefixes) if client else None
        if taken and self.name not in taken[1]:
            raise TunnelError(
                "routes", f"{taken[0]} holds {client}, from which this run is connected: it would cut itself off",
                "leave that prefix out, or run the playbook from within the tunnel",
            )  # fmt: skip
        for peer in target.peers:
            taken = self._taken(peer.endpoint.host, prefixes) if peer.ours and peer.endpoint else None
            if taken:
                raise TunnelError(
                    "peers", f"{taken[0]} holds {peer.name}'s own endpoint {peer.endpoint}: no packet would get there",
                    "leave the endpoint's address out of the allowed_ips, or dial another address",
                )  # fmt: skip

    def _taken(self, address: str, prefixes: Iterable[str]) -> tuple[str, str] | None:
        """The longest of the prefixes that packets to an address would follow, and the device they take now."""
        try:
            ipaddress.ip_address(address)
        except ValueError:
            return None  # a host name: known to nobody before it is asked
        holding = [prefix for prefix in prefixes if covers(prefix, address)]
        way = self.host.way_to(address) if holding else None
        if not way:
            return None
        longest = max(holding, key=lambda prefix: prefix_order(prefix)[2])
        captured = way[0] == self.name or prefix_order(longest)[2] >= way[1]
        return (longest, way[0]) if captured else None

    # An interface that is not there yet

    def _start(self, target: Tunnel, firewall: Firewall) -> list[Command]:
        steps = []
        if self.state.link:  # a start that was killed half-way
            steps.append(self._command(["ip", "link", "delete", "dev", self.name]))
        steps += self._clear_rules(iptables_rules(firewall)) if self._had_firewall() else []
        if self.state.file is None:
            text = f"wg genkey  # the private key of {self.name}; it stays in {self.conf}"
            steps.append(Command(text, self._make_key))
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

    def _service(self, *words: str) -> Command:
        command = ["systemctl", *words, self.unit]
        remedy = f"`journalctl -u {self.unit}` on the host tells why"
        return Command(shlex.join(command), lambda: self.host.demand(command, remedy))

    # An interface that runs

    def _adjust(self, current: Tunnel, target: Tunnel, firewall: Firewall, link: Link) -> list[Command]:
        leaving = self._leaving_routes(current, target, link)
        peers, forced = self._changed_peers(target, link)
        there = {peer.public_key for peer in target.peers}
        gone = [key for key in link.peers if key not in there]
        notes = [f"peer {key}" for key in (*gone, *forced)] + [f"route {prefix}" for prefix in leaving]
        steps = self._files(target, firewall, notes)
        steps += self._firewall(firewall)
        steps += self._addresses_coming(target, link)
        steps += self._settings(target, link)
        steps += self._add_peers(peers, forced)
        steps += self._remove_peers(current, gone)
        steps += self._routes(target, leaving, link)
        steps += self._addresses_leaving(target, link)
        if not self.host.unit(self.unit).enabled:
            steps.append(self._service("enable"))
        if notes or (self.state.file and self.state.file.pending):
            steps.append(self._write_conf(self._wanted(target, firewall, ()), "nothing is pending any more"))
        return steps

    def _changed_peers(self, target: Tunnel, link: Link) -> tuple[list[Peer], list[str]]:
        """Peers of ours that are not live as they shall be, and the keys of those whose endpoint must be set.

        A live endpoint that differs from the file is a peer that roamed; it is not put back unless the file's changed.
        """
        assert self.state.file is not None
        before = {peer.public_key: peer.endpoint for peer in self.state.file.peers}
        changed, forced = [], []
        for peer in target.peers:
            key = str(peer.public_key)
            if not peer.ours:
                continue
            live = link.peers.get(key)
            moved = peer.endpoint is not None and (
                live is None
                or live.endpoint is None
                or f"peer {key}" in self.state.file.pending
                or (key in before and before[key] != peer.endpoint and live.endpoint != str(peer.endpoint))
            )
            if moved:
                forced.append(key)
            wanted = (peer.preshared_key or Secret(""), peer.allowed_ips, peer.keepalive)
            if moved or live is None or wanted != (live.preshared_key, live.allowed_ips, live.keepalive):
                changed.append(peer)
        return changed, forced

    def _add_peers(self, peers: Sequence[Peer], forced: Sequence[str]) -> list[Command]:
        if not peers:
            return []
        text = "\n".join(_peer_text(peer, peer.public_key in forced) for peer in peers)
        command = ["wg", "addconf", self.name, "/dev/stdin"]
        remedy = "If a peer's endpoint is a name, it must resolve on this host"
        names = ", ".join(peer.name for peer in peers)
        return [Command(f"{shlex.join(command)}  # {names}", lambda: self.host.demand(command, remedy, text))]

    def _remove_peers(self, current: Tunnel, gone: Sequence[str]) -> list[Command]:
        if not gone:
            return []
        names = {peer.public_key: peer.name for peer in current.peers}
        command = ["wg", "set", self.name]
        for key in gone:
            command += ["peer", key, "remove"]
        step = self._command(command)
        return [Command(f"{step.text}  # {', '.join(names.get(key, key) for key in gone)}", step.run)]

    def _settings(self, target: Tunnel, link: Link) -> list[Command]:
        steps = []
        if target.mtu and target.mtu != link.mtu:
            steps.append(["ip", "link", "set", "mtu", str(target.mtu), "dev", self.name])
        if not link.up:
            steps.append(["ip", "link", "set", "up", "dev", self.name])
        if target.listen_port and target.listen_port != link.listen_port:
            steps.append(["wg", "set", self.name, "listen-port", str(target.listen_port)])
        return [self._command(step) for step in steps]

    def _addresses_coming(self, target: Tunnel, link: Link) -> list[Command]:
        missing_ones = [address for address in target.addresses if address not in link.addresses]
        return [self._command(["ip", "address", "add", address, "dev", self.name]) for address in missing_ones]

    def _addresses_leaving(self, target: Tunnel, link: Link) -> list[Command]:
        """Linux takes more than the address: its younger ones of the same network unless promote_secondaries is set,
        and every IPv4 route of the interface with its last IPv4 address. Those are put back."""
        leaving = [address for address in link.addresses if _leaves(address, target)]
        steps = [["ip", "address", "delete", address, "dev", self.name] for address in leaving]
        networks = {ipaddress.ip_interface(address).network for address in leaving}
        kept = [a for a in target.addresses if "." in a and ipaddress.ip_interface(a).network in networks]
        steps += [["ip", "address", "replace", address, "dev", self.name] for address in kept]
        if any("." in address for address in leaving) and not any("." in address for address in target.addresses):
            steps += [self._route("replace", prefix) for prefix in self._wanted_routes(target) if "." in prefix]
        return [self._command(step) for step in steps]

    def _wanted_routes(self, target: Tunnel) -> list[str]:
        """Without those of a /0, which wg-quick keeps in a table of its own, and those that `Table = off` forbids."""
        derived = target.routes == _derived_routes(target)
        if derived and self.state.file and _user_table(self.state.file) == "off":
            return []
        return [prefix for prefix in target.routes or () if not prefix.endswith("/0")]

    def _leaving_routes(self, current: Tunnel, target: Tunnel, link: Link) -> list[str]:
        """Live routes of ours that nobody wants any more. What others made (another protocol) stays."""
        assert self.state.file is not None
        ours = set(current.routes or ()) | {note[6:] for note in self.state.file.pending if note.startswith("route ")}
        leaving = ours - set(self._wanted_routes(target))
        return [prefix for prefix in sorted_prefixes(leaving) if link.routes.get(prefix) in ("boot", "static")]

    def _routes(self, target: Tunnel, leaving: Sequence[str], link: Link) -> list[Command]:
        coming = [prefix for prefix in self._wanted_routes(target) if prefix not in link.routes]
        steps = [self._route("add", prefix) for prefix in coming]
        return [self._command(step) for step in steps + [self._route("delete", prefix) for prefix in leaving]]

    def _route(self, verb: str, prefix: str) -> list[str]:
        table = _routing_table(self.state.file)
        return [
            "ip",
            "route",
            verb,
            prefix,
            "dev",
            self.name,
            *(("table", table) if table not in (None, "main") else ()),
        ]

    # Files

    def _wanted(self, target: Tunnel, firewall: Firewall, notes: Iterable[str]) -> WgQuickFile:
        """The file for a target. A new one has no private key yet."""
        file = self.state.file or WgQuickFile()
        if self.state.file is None or sorted_prefixes(file.values("Address")) != target.addresses:
            file = file.with_values("Address", target.addresses)
        for key, value in (("ListenPort", target.listen_port), ("MTU", target.mtu)):
            if _number(file.value(key)) != value:
                file = file.with_values(key, [str(value)])
        own = _route_lines(target, self.name, _user_table(file)) + hooks(firewall, self.nft_file)
        file = file.with_values("SaveConfig", ()).with_own_lines(own).with_pending(notes)
        return file.with_peers(self._peers_for_file(target))

    def _peers_for_file(self, target: Tunnel) -> list[Peer]:
        """Peers that are only live stay so, unless the file said SaveConfig, which would have saved them."""
        old, link = self.state.file, self.state.link
        if old is None or link is None:
            return list(target.peers)
        there = {peer.public_key for peer in old.peers}
        save = old.value("SaveConfig").lower() == "true"
        peers = []
        for peer in target.peers:
            if peer.ours or peer.public_key in there:
                peers.append(peer)
            elif save:
                live = link.peers[str(peer.public_key)]
                peers.append(
                    replace(
                        peer,
                        preshared_key=live.preshared_key or None,
                        endpoint=wg_quick.lenient_endpoint(live.endpoint or ""),
                        allowed_ips=live.allowed_ips,
                        keepalive=live.keepalive,
                    )
                )
        return peers

    def _files(self, target: Tunnel, firewall: Firewall, notes: Iterable[str]) -> list[Command]:
        """Write what differs: the rules before the file that loads them, and away with them after it."""
        steps = self._close(self.host.folder, 0o700)
        script = nft_script(firewall) if firewall.forwards else None
        if script and script != self.state.script:
            steps.append(self._write_script(script))
        elif self.state.script:
            steps += self._close(self.nft_file, 0o600)
        if script is None and self._had_firewall():
            steps += self._clear_rules(iptables_rules(firewall)) + self._clear_table(firewall)
        wanted = self._wanted(target, firewall, notes)
        if wanted != self.state.file:
            steps.append(self._write_conf(wanted, self._summary(wanted)))
        else:
            steps += self._close(self.conf, 0o600)
        if script is None and self.state.script is not None:
            steps.append(Command(f"rm -f {self.nft_file}", lambda: self.host.remove(self.nft_file)))
        return steps

    def _summary(self, wanted: WgQuickFile) -> str:
        """Which peers a new file adds, changes and removes, in words."""
        old = {peer.identity: peer for peer in self.state.file.peers} if self.state.file else {}
        new = {peer.identity: peer for peer in wanted.peers}
        names = {
            "with": [peer.name for identity, peer in new.items() if identity not in old],
            "changed": [peer.name for identity, peer in new.items() if old.get(identity, peer) != peer],
            "without": [peer.name for identity, peer in old.items() if identity not in new],
        }
        words = [f"{word} {', '.join(some)}" for word, some in names.items() if some]
        return "; ".join(words)

    def _close(self, path: str, mode: int) -> list[Command]:
        if not self.host.too_open(path, mode):
            return []
        return [self._command(["chmod", f"{mode:o}", path])]

    def _write_conf(self, file: WgQuickFile, summary: str) -> Command:
        text = f"install -m 600 /dev/stdin {self.conf}" + (f"  # {summary}" if summary else "")

        def write() -> None:
            whole = file if file.private_key else file.with_values("PrivateKey", [self._new_key.reveal()])
            self.host.write(self.conf, whole.render(), self._check_conf)

        return Command(text, write)

    def _check_conf(self, path: str) -> None:
        stripped = self.host.demand(["wg-quick", "strip", path], f"{self.conf} was left as it was")
        if not wg_quick.parse(stripped, path).private_key:
            raise DeviceError(f"the new {self.conf} would have no PrivateKey; it was left as it was")

    def _write_script(self, script: str) -> Command:
        remedy = "nftables 0.9.3 and Linux 5.2 or later are needed for `masquerade` and `forward_to`"

        def write() -> None:
            check = ["nft", "--check", "--file"]
            self.host.write(self.nft_file, script, lambda path: self.host.demand([*check, path], remedy))

        return Command(f"install -m 600 /dev/stdin {self.nft_file}", write)

    # Packet filter

    def _had_firewall(self) -> bool:
        file = self.state.file
        return self.state.script is not None or bool(file and hooked(file.own_lines))

    def _firewall(self, firewall: Firewall) -> list[Command]:
        """Load what is not loaded. New rules come before old ones go."""
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
        return steps + (self._clear_rules(rules) if rules else [])

    def _listed(self, tool: str) -> dict[str, list[str]]:
        return listed_rules(self.name, tool, self.host.run([tool, "-w", "-S"]).out)

    def _clear_rules(self, wanted: Sequence[Any]) -> list[Command]:
        """Remove rules of ours from iptables that are not wanted any more."""
        steps = []
        for tool in ("iptables", "ip6tables"):
            keep = {rule.comment for rule in wanted if rule.tool == tool}
            listed = self._listed(tool) if self.host.has(tool) else {}
            steps += [self._command(delete) for comment, delete in listed.items() if comment not in keep]
        return steps

    def _clear_table(self, firewall: Firewall) -> list[Command]:
        table = ["table", "inet", firewall.table]
        if self.host.run(["nft", "list", *table]).status:
            return []
        return [self._command(["nft", "delete", *table])]

    def _shell(self, script: str) -> Command:
        return Command(script, lambda: self.host.demand(["sh", "-c", script], "The kernel refuses to forward packets"))

    def _command(self, command: list[str]) -> Command:
        remedy = "Nothing after this step was done; the next run goes on from here"
        return Command(shlex.join(command), lambda: self.host.demand(command, remedy))

    # No interface any more

    def _absent(self) -> list[Command]:
        state, unit = self.state, self.host.unit(self.unit)
        steps: list[Command] = []
        if self._had_firewall():
            steps += self._clear_rules(()) + self._clear_table(Firewall(self.name))
        if unit.enabled or unit.active:
            steps.append(self._command(["systemctl", "disable", "--now", self.unit]))
        if state.link and state.file is None:
            steps.append(self._command(["ip", "link", "delete", "dev", self.name]))
        elif state.link and not unit.active:
            steps.append(self._command(["wg-quick", "down", self.name]))
        for path, there in ((self.nft_file, state.script), (self.conf, state.file)):
            if there is not None:
                steps.append(self._remove(path))
        return steps

    def _remove(self, path: str) -> Command:
        return Command(f"rm -f {path}", lambda: self.host.remove(path))

    # What became of it

    def public_key(self) -> str | None:
        link = self._link()
        if link:
            return link.public_key
        return self._public_key_of(self.state.file) if self.state.file else None

    def live(self) -> dict[str, dict[str, Any]]:
        link, now = self._link(), self.host.now()
        return {
            key: {
                "endpoint": peer.endpoint,
                "handshake_age": max(0, now - peer.handshake) if peer.handshake else None,
                "received": peer.received,
                "sent": peer.sent,
            }
            for key, peer in (link.peers.items() if link else ())
        }

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
        return self._notes


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _user_table(file: WgQuickFile | None) -> str:
    return (file.value("Table") if file else "").lower()


def _routing_table(file: WgQuickFile | None) -> str | None:
    """The table that this file's routes are in; None if its owner does the routing himself."""
    table = _user_table(file)
    return "main" if table in ("", "auto") else None if table == "off" else table


def _derived_routes(tunnel: Tunnel) -> tuple[str, ...]:
    return needed_routes(tunnel.addresses, (prefix for peer in tunnel.peers for prefix in peer.allowed_ips))


def _route_lines(target: Tunnel, name: str, table: str) -> list[str]:
    """For routes other than those wg-quick makes of the allowed IPs: it makes none, and these are added instead."""
    if target.routes == _derived_routes(target):
        return []
    into = "" if table in ("", "auto", "off") else f" table {table}"
    return ["Table = off", *(f"PostUp = ip route add {prefix} dev {name}{into}" for prefix in target.routes or ())]


def _routes_of(file: WgQuickFile, addresses: Sequence[str]) -> tuple[str, ...]:
    """The routes that an interface started with this file has."""
    if "Table = off" in file.own_lines:
        added = [line.split() for line in file.own_lines if line.startswith("PostUp = ip route add ")]
        return sorted_prefixes(words[5] for words in added)
    if _user_table(file) == "off":
        return ()
    return needed_routes(addresses, (prefix for peer in file.peers for prefix in peer.allowed_ips))


def _leaves(address: str, target: Tunnel) -> bool:
    """Whether a live address goes. IPv6 makes link-local ones by itself; they stay."""
    return address not in target.addresses and not ipaddress.ip_interface(address).is_link_local


def _peer_text(peer: Peer, with_endpoint: bool) -> str:
    """A peer for `wg addconf`, everything said: what is left out there stays as it is."""
    lines = [
        "[Peer]",
        f"PublicKey = {peer.public_key}",
        f"PresharedKey = {peer.preshared_key.reveal() if peer.preshared_key else NO_PRESHARED_KEY}",
        f"AllowedIPs = {', '.join(peer.allowed_ips)}",
        f"PersistentKeepalive = {peer.keepalive or 'off'}",
    ]
    if with_endpoint and peer.endpoint:
        lines.append(f"Endpoint = {peer.endpoint}")
    return "\n".join(lines) + "\n"
