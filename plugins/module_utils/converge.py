# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one flow of every device module: read, merge, plan commands, (check mode stops here) run them, report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, NamedTuple, Protocol

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel, describe, merge, parse_tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    TunnelError,
    public_key_fact,
)

TUNNEL_ARGUMENTS: dict[str, Any] = {
    "name": {"type": "str", "required": True, "aliases": ["interface"]},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "listen_port": {"type": "int"},
    "mtu": {"type": "int"},
    "peers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "public_key": {"type": "str", "no_log": False},
            "preshared_key": {"type": "str", "no_log": True},
            "endpoint": {"type": "str"},
            "allowed_ips": {"type": "list", "elements": "str", "default": []},
            "persistent_keepalive": {"type": "str", "default": "0"},
        },
    },
    "routes": {"type": "list", "elements": "str"},
    "forward_to": {"type": "list", "elements": "str", "default": []},
    "masquerade": {"type": "list", "elements": "str", "default": []},
    "open_port": {"type": "bool", "default": False},
    "purge": {"type": "bool", "default": False},
    "waited_for": {"type": "list", "elements": "str"},
}


class DeviceError(Exception):
    """A device refused or could not be reached. The message says what was asked, what it answered, and the remedy."""


class NotAllowedError(DeviceError):
    """The user may not do what only some of this collection needs."""


class OvertakenError(DeviceError):
    """Somebody changed the device after it was read. Nothing was written."""


class Command(NamedTuple):
    """One step on the device: what it is in the device's own language, secrets redacted, and the step itself."""

    text: str
    run: Callable[[], object]


class Backend(Protocol):
    """One device kind. Nothing outside it knows that device."""

    device: str
    """Key into values.DEVICES."""
    route_foreign: bool
    """Whether allowed IPs of peers of others get routes as well."""

    def read(self) -> Tunnel | None:
        """The interface as it is, in normal form; None: there is none. Raises DeviceError."""

    def commands(self, current: Tunnel | None, target: Tunnel | None) -> list[Command]:
        """What brings the device to the target, in order, each safe to be the last one; [] is nothing to do."""

    def public_key(self) -> str | None:
        """The interface's public key after the commands ran."""

    def live(self) -> dict[str, dict[str, Any]]:
        """By public key: endpoint (str or None), handshake_age (seconds or None), received and sent (bytes)."""

    def warnings(self) -> list[str]:
        """What the user should know although nothing failed."""


def converge(module: AnsibleModule, backend: Backend, assume: Callable[[Tunnel], None] | None = None) -> None:
    """Bring the device to the module's arguments and exit the module; a TunnelError or DeviceError is its failure.

    `assume` has the backend take a tunnel for what is there: in check mode, what the task before only announced.
    """
    try:
        result = converged(module.params, backend, module.check_mode, module._diff, assume)
    except (TunnelError, DeviceError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def converged(
    params: dict[str, Any],
    backend: Backend,
    check_mode: bool,
    with_diff: bool,
    assume: Callable[[Tunnel], None] | None = None,
) -> dict[str, Any]:
    """Bring the device to the arguments; the module's result. Raises TunnelError or DeviceError.

    Without `assume`, what the task before announced in check mode is left out of the commands.
    """
    try:
        return _converged(params, backend, check_mode, with_diff, assume)
    except OvertakenError:  # what is there now may need another plan; who goes on changing it is told
        return _converged(params, backend, check_mode, with_diff, assume)


def _converged(
    params: dict[str, Any],
    backend: Backend,
    check_mode: bool,
    with_diff: bool,
    assume: Callable[[Tunnel], None] | None,
) -> dict[str, Any]:
    wanted = parse_tunnel(params, backend.device)
    if not check_mode:
        # What another play only announced in check mode is as unknown as what it never said.
        known = [replace(p, public_key=None) if p.public_key == KNOWN_AFTER_APPLY else p for p in wanted.peers]
        wanted = replace(wanted, peers=tuple(known))
    current = before = backend.read()
    said: set[str] = set()
    if check_mode and params["state"] == "present" and params.get("waited_for") is not None:
        announced = replace(wanted, peers=tuple(p for p in wanted.peers if p.name not in params["waited_for"]))
        before, _waiting = merge(current, announced, params["purge"], backend.route_foreign)
        if assume:
            assume(before)
            current = before
        else:
            said = {command.text for command in backend.commands(current, before)}
    target: Tunnel | None = None
    waiting: list[str] = []
    if params["state"] == "present":
        target, waiting = merge(current, wanted, params["purge"], backend.route_foreign)
    commands = [command for command in backend.commands(current, target) if command.text not in said]
    result: dict[str, Any] = {
        "changed": bool(commands),
        "commands": [command.text for command in commands],
        "waiting_for_key": waiting,
    }
    if with_diff:
        result["diff"] = {"before": describe(before), "after": describe(target)}
        header = f"{wanted.name} ({backend.device})"
        result["diff"].update(before_header=header, after_header=header)
    if commands and not check_mode:
        for command in commands:
            command.run()
    applied = target if not check_mode else current
    live = backend.live() if applied else {}
    if target:
        key = target.public_key if check_mode else backend.public_key()
        result["public_key"] = key or KNOWN_AFTER_APPLY
        result["ansible_facts"] = {public_key_fact(target.name): result["public_key"]}
    warnings = [*_advice(wanted), *backend.warnings()] if target else backend.warnings()
    if warnings:
        result["warnings"] = warnings
    result["peers"] = [
        {"name": peer.name, "public_key": peer.public_key, **live.get(str(peer.public_key), NEVER)}
        for peer in (applied.peers if applied else ())
    ]
    return result


def _advice(wanted: Tunnel) -> list[str]:
    """What works today, and not for long."""
    silent = [peer.name for peer in wanted.peers if peer.endpoint and not peer.keepalive]
    if wanted.open_port or not silent:
        return []
    advice = (
        f"peers: {', '.join(silent)} cannot reach this device once it has been silent for half a minute, if there is a "
        "NAT on the way: give persistent_keepalive 25, or open_port where this device is dialled itself"
    )
    return [advice]


NEVER: dict[str, Any] = {"endpoint": None, "handshake_age": None, "received": 0, "sent": 0}
