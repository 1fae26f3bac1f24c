#!/usr/bin/python
# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wireguard_client_list
short_description: Print the clients of a WireGuard hub as a table
version_added: 0.1.0
description:
  - Prints the road warriors that M(homelab.fabric.wireguard_client) registered, within 80 columns where their names and
    addresses allow it.
  - The columns are the name, the addresses, where the client may go, the age of the last handshake, bytes received
    from it and sent to it, the end of its access, and whose key it is, V(own) if the device made it.
options:
  interface:
    description: Name of the WireGuard interface on the task's host.
    type: str
    required: true
  format:
    description: A table, or the returned RV(clients) as JSON.
    type: str
    choices: [table, json]
    default: table
extends_documentation_fragment:
  - homelab.fabric.reading
seealso:
  - module: homelab.fabric.wireguard_client
author:
  - homelab.fabric contributors (@homelab-fabric)
"""

EXAMPLES = r"""
- name: See who is connected
  homelab.fabric.wireguard_client_list:
    interface: wg0
"""

RETURN = r"""
clients:
  description: The clients, as M(homelab.fabric.wireguard_client) returns them.
  type: list
  elements: dict
  returned: success
"""
