# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one flow of wireguard_client on a Linux host: read, plan, (check mode stops here) write, report.

Files first, and what a client cannot do without before what others do with it: keys, register, packet filter and
expiry timer, wg-quick file, live peers, configurations; the files of who was revoked go last. Each step may be the
last one: a register without its peer, a key without its register, a file without its client are all found by the next
run. A key file wins over the register, so a rotation that was cut short is finished, not begun again.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
from dataclasses import replace
from typing import Any, Iterable, Mapping, NamedTuple

from ansible_collections.homelab.fabric.plugins.module_utils.client_config import configuration
from ansible_collections.homelab.fabric.plugins.module_utils.client_expiry import utc
from ansible_collections.homelab.fabric.plugins.module_utils.client_input import Plan, Surroundings, plan_clients
from ansible_collections.homelab.fabric.plugins.module_utils.client_register import (
    Client,
    Register,
    describe_register,
    render_registers,
)
from ansible_collections.homelab.fabric.plugins.module_utils.converge import NEVER, Command
from ansible_collections.homelab.fabric.plugins.module_utils.linux import LinuxBackend
from ansible_collections.homelab.fabric.plugins.module_utils.linux_host import CLIENTS
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel, check_peers, needed_routes
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    Secret,
    TunnelError,
    parse_key,
    parse_name,
)

NOTHING = Secret("")
_TO_COME = Secret(KNOWN_AFTER_APPLY)
DEFAULT_PORT = 51820  # of an interface that check mode finds not made yet
_PUBLIC_KEYS = 'while read -r key; do printf "%s\\n" "$key" | wg pubkey || exit 1; done'


class Secrets(NamedTuple):
    """A client's keys; empty: there is none here."""

    private_key: Secret
    preshared_key: Secret


class ClientRun:
    """One call of the module. `params` are its arguments."""

    def __init__(self, backend: LinuxBackend, params: Mapping[str, Any]) -> None:
        self.backend = backend
        self.host = backend.host
        self.check_mode = backend.check_mode
        self.params = params
        self.warnings: list[str] = []

    def run(self, with_diff: bool) -> dict[str, Any]:
        """The module's result. Raises TunnelError or DeviceError, before anything is written if the input is bad."""
        backend, params = self.backend, self.params
        current = backend.read()
        old = backend.clients
        self._check_interface(current)
        plan = plan_clients(old, params, self._surroundings(current))
        secrets, register = self._keys(plan, current)
        wanted = self._configurations(register, secrets, current)
        shown = self._shown(register, wanted)
        steps, renewed = self._steps(plan, register, secrets, wanted, current)
        result: dict[str, Any] = {"changed": bool(steps), "commands": [step.text for step in steps]}
        if with_diff:
            result["diff"] = {"before": describe_register(old), "after": describe_register(register)}
            header = f"clients of {backend.name}"
            result["diff"].update(before_header=header, after_header=header)
        if not self.check_mode:
            for step in steps:
                step.run()
        self.warnings += backend.warnings()
        live = backend.live() if current else {}
        result["clients"] = [
            self._report(client, live.get(client.public_key, NEVER), _is_complete(client, secrets[client.name]))
            for client in sorted(register.clients.values(), key=lambda client: client.name)
        ]
        result.update(revoked=list(plan.revoked), new_configurations=renewed, configurations=shown)
        return result

    # What is there

    def _check_interface(self, current: Tunnel | None) -> None:
        backend, name = self.backend, self.backend.name
        wanted = self.params["show_config"] or any(item["state"] == "present" for item in self.params["clients"])
        if current is None and wanted:
            if not self.check_mode:
                raise TunnelError(
                    "interface", f"{name} is not on this host", "make it with homelab.fabric.linux_wireguard first"
                )
            self.warnings.append(f"{name} is not on this host yet: homelab.fabric.linux_wireguard makes it")
        lost = [peer.name for peer in (current.peers if current else ()) if peer.client]
        if lost and name not in backend.registers and not self.params["purge"]:
            raise TunnelError(
                backend.register_file,
                f"it does not know the clients {', '.join(lost)} of {name}",
                "restore it from a backup, or set `purge: true` to revoke them",
            )

    def _surroundings(self, current: Tunnel | None) -> Surroundings:
        name = self.backend.name
        others = [peer for peer in (current.peers if current else ()) if not peer.client]
        addresses = {
            prefix.partition("/")[0]: peer.name
            for peer in others
            for prefix in peer.allowed_ips
            if prefix.endswith("/128" if ":" in prefix else "/32")
        }
        addresses.update({address.partition("/")[0]: name for address in (current.addresses if current else ())})
        keys = {str(peer.public_key): peer.name for peer in others}
        if current and current.public_key:
            keys[current.public_key] = name
        names = {
            client: interface
            for interface, register in self.backend.registers.items()
            if interface != name
            for client in register.clients
        }
        port = current.listen_port if current else DEFAULT_PORT
        return Surroundings(addresses, keys, names, port, self.host.now())

    # Keys

    def _keys(self, plan: Plan, current: Tunnel | None) -> tuple[dict[str, Secrets], Register]:
        """Every client's secrets, and the register with the public keys that belong to them."""
        live = {peer.name: peer.preshared_key for peer in (current.peers if current else ()) if peer.client}
        secrets: dict[str, Secrets] = {}
        unknown: list[str] = []
        for name, client in plan.register.clients.items():
            fresh = name in plan.fresh
            if client.own_key:
                private = NOTHING
            else:
                private = self._new_private_key() if fresh else self._read_key(name, "key")
                if fresh or (private and client.key_check != _check(private)):
                    unknown.append(name)
            preshared = NOTHING
            if client.preshared_key and not fresh:
                preshared = self._read_key(name, "psk") or live.get(name) or NOTHING
            if client.preshared_key and not preshared:
                preshared = _TO_COME if self.check_mode else Secret(_encoded(os.urandom(32)))
            secrets[name] = Secrets(private, preshared)
        made = [name for name in unknown if secrets[name].private_key != _TO_COME]
        keys = dict(zip(made, self._public_keys([secrets[name].private_key for name in made])))
        clients = dict(plan.register.clients)
        for name, key in keys.items():
            clients[name] = replace(clients[name], public_key=key, key_check=_check(secrets[name].private_key))
        return secrets, replace(plan.register, clients=clients)

    def _read_key(self, name: str, kind: str) -> Secret:
        path = self._path(name, kind)
        text = self.host.read(path)
        return NOTHING if text is None else Secret(parse_key(text, path, secret=True))

    def _new_private_key(self) -> Secret:
        """As `wg genkey` makes it: random bytes, clamped for Curve25519 (RFC 7748, section 5)."""
        if self.check_mode:
            return _TO_COME
        key = bytearray(os.urandom(32))
        key[0] &= 248
        key[31] = key[31] & 127 | 64
        return Secret(_encoded(bytes(key)))

    def _public_keys(self, private: list[Secret]) -> list[str]:
        """By `wg` itself, in one shell: a Curve25519 of our own would have to be as right, and as constant in time."""
        if not private:
            return []
        text = "".join(f"{key.reveal()}\n" for key in private)
        return self.host.demand(["sh", "-c", _PUBLIC_KEYS], "Install the package wireguard-tools", text).split()

    # Configurations

    def _configurations(
        self, register: Register, secrets: Mapping[str, Secrets], current: Tunnel | None
    ) -> dict[str, str]:
        """By client. None for one whose private key somebody took away from here after the device had it, and none
        without an interface."""
        if current is None and not self.check_mode:
            return {}
        hub = (current.public_key if current else None) or KNOWN_AFTER_APPLY
        mtu = current.mtu if current else None
        return {
            name: configuration(register, client, hub, mtu, *secrets[name])
            for name, client in register.clients.items()
            if _is_complete(client, secrets[name])
        }

    def _shown(self, register: Register, texts: Mapping[str, str]) -> dict[str, str]:
        shown = {}
        for name in self.params["show_config"]:
            parse_name(name, "show_config")
            if name not in register.clients:
                raise TunnelError("show_config", f"{name} is no client of {self.backend.name}", "add it to `clients`")
            if name not in texts:
                raise TunnelError(
                    "show_config",
                    f"the private key of {name} is not here any more ({self._path(name, 'key')})",
                    "`rotate: true` makes a new one",
                )
            if KNOWN_AFTER_APPLY not in texts[name]:
                shown[name] = texts[name]
        return shown

    # What is to do

    def _steps(
        self,
        plan: Plan,
        register: Register,
        secrets: Mapping[str, Secrets],
        texts: Mapping[str, str],
        current: Tunnel | None,
    ) -> tuple[list[Command], list[str]]:
        """The steps, and the names of the clients whose devices need their new configuration."""
        target = self._target(register, secrets, current)
        files, leaving = self._key_files(register, secrets)
        configs = {self._path(name, "conf"): text for name, text in texts.items()}
        kept = self._there(register.clients)
        renewed = [name for name, text in texts.items() if self.host.read(self._path(name, "conf")) != text]
        for name in (*plan.revoked, *self._absent(register)):
            leaving += [path for path in self._paths(name) if path not in leaving]
        leaving = [path for path in leaving if os.path.exists(path)]
        steps = self._folder() if register.clients else []
        steps += self._write(files)
        closed = [path for path in kept if path not in leaving and self.host.too_open(path, 0o600)]
        steps += [self._command(["chmod", "600", *closed])] if closed else []
        steps += self._write_register(plan, register)
        self.backend.clients = register
        if current and target:
            steps += self.backend.commands(current, target)
        elif texts:
            steps.append(Command(f"wg addconf {self.backend.name} /dev/stdin  # {', '.join(texts)}", lambda: None))
        steps += self._write({path: configs[path] for path in (self._path(name, "conf") for name in renewed)})
        if leaving:
            steps.append(Command(shlex.join(["rm", "-f", *leaving]), lambda: self.host.remove(*leaving)))
        return steps, sorted(renewed)

    def _target(self, register: Register, secrets: Mapping[str, Secrets], current: Tunnel | None) -> Tunnel | None:
        """The tunnel as it is, but with the peers of these clients."""
        if current is None:
            return None
        now = self.host.now()
        clients = [
            client.peer(secrets[client.name].preshared_key or None)
            for client in register.clients.values()
            if not client.expired(now)
        ]
        others = [peer for peer in current.peers if not peer.client]
        peers = sorted([*others, *clients], key=lambda peer: (not peer.ours, peer.client, peer.name))
        check_peers(peers)
        own = set(_prefixes(peer for peer in current.peers if peer.client)) - set(_prefixes(others))
        kept = [route for route in current.routes or () if route not in own]
        routes = needed_routes(current.addresses, _prefixes(clients))
        return replace(current, peers=tuple(peers), routes=tuple(needed_routes((), (*kept, *routes))))

    def _key_files(self, register: Register, secrets: Mapping[str, Secrets]) -> tuple[dict[str, str], list[str]]:
        """The key files to write, and those that must go: a device's own key, a preshared key that is not wanted."""
        files: dict[str, str] = {}
        leaving: list[str] = []
        for name, client in register.clients.items():
            private, preshared = secrets[name]
            for kind, key, gone in (
                ("key", private, client.own_key),
                ("psk", preshared, not client.preshared_key),
            ):
                path = self._path(name, kind)
                if key and self.host.read(path) != f"{key.reveal()}\n":
                    files[path] = f"{key.reveal()}\n"
                elif gone:
                    leaving.append(path)
        return files, leaving

    def _absent(self, register: Register) -> list[str]:
        """Names that a run which was cut short may have left files of."""
        elsewhere = {name for other in self.backend.registers.values() for name in other.clients}
        listed = [str(item["name"]).strip() for item in self.params["clients"] if item["state"] == "absent"]
        return [name for name in listed if name not in register.clients and name not in elsewhere]

    def _there(self, names: Iterable[str]) -> list[str]:
        return [path for name in names for path in self._paths(name)]

    def _folder(self) -> list[Command]:
        folder = self.host.path(CLIENTS)
        if not os.path.isdir(folder):
            return [self._command(["install", "-d", "-m", "700", folder])]
        return [self._command(["chmod", "700", folder])] if self.host.too_open(folder, 0o700) else []

    def _write(self, files: Mapping[str, str]) -> list[Command]:
        if not files:
            return []
        names = [os.path.basename(path) for path in files]
        text = shlex.join(["install", "-m", "600", "-t", self.host.path(CLIENTS), *names])
        return [Command(text, lambda: self.host.write_all(files))]

    def _write_register(self, plan: Plan, register: Register) -> list[Command]:
        path = self.backend.register_file
        text = render_registers({**self.backend.registers, self.backend.name: register})
        if (self.host.read(path) or render_registers({})) == text:
            return [self._command(["chmod", "600", path])] if self.host.too_open(path, 0o600) else []
        old = self.backend.clients.clients
        names = {
            "with": [name for name in register.clients if name not in old],
            "changed": [name for name, client in register.clients.items() if old.get(name, client) != client],
            "without": plan.revoked,
        }
        about = "; ".join(f"{word} {', '.join(some)}" for word, some in names.items() if some)
        return [
            Command(
                f"install -m 600 /dev/stdin {path}" + (f"  # {about}" if about else ""),
                lambda: self.host.write_all({path: text}),
            )
        ]

    def _command(self, command: list[str]) -> Command:
        return Command(shlex.join(command), lambda: self.host.demand(command, "The next run goes on from here"))

    def _path(self, name: str, kind: str) -> str:
        return self.host.path(f"{CLIENTS}/{name}.{kind}")

    def _paths(self, name: str) -> list[str]:
        return [self._path(name, kind) for kind in ("key", "psk", "conf")]

    # What became of it

    def _report(self, client: Client, live: Mapping[str, Any], has_config: bool) -> dict[str, Any]:
        return {
            "name": client.name,
            "addresses": list(client.addresses),
            "public_key": client.public_key,
            "key": "own" if client.own_key else "ours",
            "preshared_key": client.preshared_key,
            "access": list(client.access),
            "isolated": client.isolated,
            "limits": [{"network": i.network, "protocol": i.protocol, "ports": list(i.ports)} for i in client.limits],
            "expires": None if client.expires is None else utc(client.expires),
            "expired": client.expired(self.host.now()),
            "configuration": self._path(client.name, "conf") if has_config else None,
            **live,
        }


def _is_complete(client: Client, secrets: Secrets) -> bool:
    return client.own_key or bool(secrets.private_key)


def _prefixes(peers: Iterable[Peer]) -> list[str]:
    return [prefix for peer in peers for prefix in peer.allowed_ips]


def _encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _check(private_key: Secret) -> str:
    """Tells keys apart and gives nothing away: their 32 bytes are random."""
    return hashlib.sha256(private_key.reveal().encode()).hexdigest()[:16]
