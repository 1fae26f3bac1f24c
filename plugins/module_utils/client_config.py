# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration that a client's device is given: for wg-quick, the WireGuard apps and NetworkManager. Pure."""

from __future__ import annotations

from ansible_collections.homelab.fabric.plugins.module_utils.client_register import Client, Register
from ansible_collections.homelab.fabric.plugins.module_utils.values import Secret


def configuration(
    register: Register, client: Client, hub_key: str, hub_mtu: int | None, private_key: Secret, preshared_key: Secret
) -> str:
    """The file's text. Without a private key (the device has its own) a comment names the place for it.

    Otherwise it has no comments: it becomes a QR code.
    """
    lines = ["[Interface]"]
    if private_key:
        lines.append(f"PrivateKey = {private_key.reveal()}")
    else:
        lines.append(f"# PrivateKey = the device's own, whose public key is {client.public_key}")
    lines.append(f"Address = {', '.join(client.hosts)}")
    if client.dns or client.dns_search:
        lines.append(f"DNS = {', '.join((*client.dns, *client.dns_search))}")
    mtu = client.mtu or hub_mtu
    if mtu:
        lines.append(f"MTU = {mtu}")
    lines += ["", "[Peer]", f"PublicKey = {hub_key}"]
    if preshared_key:
        lines.append(f"PresharedKey = {preshared_key.reveal()}")
    lines.append(f"AllowedIPs = {', '.join(register.allowed_ips(client))}")
    lines.append(f"Endpoint = {register.endpoint}")
    if client.keepalive:
        lines.append(f"PersistentKeepalive = {client.keepalive}")
    return "\n".join(lines) + "\n"
