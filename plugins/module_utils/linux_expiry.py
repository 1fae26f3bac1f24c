# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer that ends the access of a Linux host's clients: there when a client's time ends one day, else not."""

from __future__ import annotations

from ansible_collections.homelab.fabric.plugins.module_utils import client_expiry
from ansible_collections.homelab.fabric.plugins.module_utils.client_expiry import Expiry
from ansible_collections.homelab.fabric.plugins.module_utils.client_register import Register


def hooks(register: Register, script: str) -> list[str]:
    """wg-quick's file may still hold the expired: they go as soon as the interface is up."""
    return [f"PostUp = /bin/sh {script} || true"] if register.expiring else []


def texts(interface: str, register: Register, script: str) -> dict[str, str]:
    """What linux_timer.Timer installs; `script`: where."""
    if not register.expiring:
        return {}
    expiring = [Expiry(client.expires or 0, client.public_key, client.name) for client in register.expiring]
    return {
        "script": client_expiry.script(interface, expiring),
        "service": client_expiry.service(interface, script),
        "timer": client_expiry.timer(interface, expiring),
    }
