#!/usr/bin/python
# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wireguard_ping
short_description: Send a packet from a site's LAN to other sites
version_added: 0.1.0
description:
  - Sends a ping to every target at once, from the host's own address in its LAN, again and again until it is answered
    or time is up. That a packet is lost fails nothing, M(homelab.fabric.wireguard_matrix) judges it.
  - Runs shell scripts over the host's connection; Linux, OpenWrt, GL.iNet's firmware and pfSense need no Python for it.
    A router with RouterOS is asked over its API, from the controller.
options:
  device:
    description: The kind of device, as in C(wireguard_networks).
    type: str
    choices: [linux, routeros, openwrt, pfsense, glinet]
    default: linux
  networks:
    description:
      - The networks behind this host. Its own address in one of them is sent from.
      - Without such an address, the system chooses one.
    type: list
    elements: str
    default: []
  targets:
    description: Addresses by the names of their sites, as P(homelab.fabric.wireguard_sites#filter) finds them.
    type: dict
    required: true
  timeout:
    description: Seconds to wait for all answers. In check mode one packet is sent to each.
    type: int
    default: 30
  wait_for:
    description: Names of the targets whose answers are waited for. The others get one packet. Default is all.
    type: list
    elements: str
  routeros:
    description:
      - The connection to a router with RouterOS, as M(homelab.fabric.routeros_wireguard) takes it.
      - The user's group needs the policy C(test). Without it nothing is sent, and a warning says so.
    type: dict
    suboptions:
      hostname:
        description: Address or name of the router.
        type: str
        required: true
      username:
        description: User of the API.
        type: str
        required: true
      password:
        description: The user's password.
        type: str
        required: true
      port:
        description: Port of the API. Default is 8729 with O(routeros.tls), else 8728.
        type: int
      tls:
        description: Use the API over TLS.
        type: bool
        default: false
        aliases: [ssl]
      force_no_cert:
        description: Connect to a router whose API over TLS has no certificate.
        type: bool
        default: false
      validate_certs:
        description: Check the router's certificate.
        type: bool
        default: true
      validate_cert_hostname:
        description: Check that the certificate names this router.
        type: bool
        default: true
      ca_path:
        description: File with the certificate authority that signed the router's certificate.
        type: path
      encoding:
        description: How names and passwords are written.
        type: str
        default: utf-8
      timeout:
        description: Seconds to wait for the router.
        type: int
        default: 10
extends_documentation_fragment:
  - homelab.fabric.reading
seealso:
  - module: homelab.fabric.wireguard_matrix
author:
  - homelab.fabric contributors (@homelab-fabric)
"""

EXAMPLES = r"""
- name: Send a packet to every other site
  homelab.fabric.wireguard_ping:
    device: openwrt
    networks: [192.168.0.0/24]
    targets: "{{ wireguard_networks | homelab.fabric.wireguard_sites(inventory_hostname, hostvars) }}"
  register: sent
"""

RETURN = r"""
sites:
  description: What became of the packets, by the names of the targets.
  type: dict
  returned: success
  contains:
    address:
      description: Where it was sent to.
      type: str
    source:
      description: Where it was sent from; empty where the system chose.
      type: str
    milliseconds:
      description: The round trip; not set if there was no answer.
      type: float
    problem:
      description: What the host said of a packet without an answer.
      type: str
    carried:
      description: Whether there is a peer whose allowed IPs hold the address.
      type: bool
    handshake_age:
      description: Seconds since the last handshake with that peer; not set if there was none.
      type: int
"""
