#!/usr/bin/python
# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wireguard_matrix
short_description: Print which sites of a network reach each other
version_added: 0.1.0
description:
  - Prints what M(homelab.fabric.wireguard_ping) has found on every site as a table of at most 80 columns, unless a name
    alone is wider.
  - Fails if a site does not reach another one. The message names the link that is broken, and what to look at.
  - What needs a site that this run has not reached is shown as V(off) and is no failure. In check mode nothing is.
options:
  networks:
    description: The document C(wireguard_networks) of the inventory.
    type: dict
    required: true
  network:
    description: Name of the network in it.
    type: str
    required: true
  registered:
    description:
      - Names of the variables in which the sites' hosts have registered the result of M(homelab.fabric.wireguard_ping).
      - A site whose host has none of them was not reached in this run.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - homelab.fabric.reading
seealso:
  - module: homelab.fabric.wireguard_ping
author:
  - homelab.fabric contributors (@homelab-fabric)
"""

EXAMPLES = r"""
- name: Show who reaches whom
  homelab.fabric.wireguard_matrix:
    networks: "{{ wireguard_networks }}"
    network: sites
    registered: [sent]
  run_once: true
"""

RETURN = r"""
broken:
  description: The ways that do not hold, as C(one -> other).
  type: list
  elements: str
  returned: always
problems:
  description: What is wrong, and what to look at.
  type: list
  elements: str
  returned: always
"""
