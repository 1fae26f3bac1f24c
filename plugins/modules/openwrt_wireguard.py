#!/usr/bin/python
# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: openwrt_wireguard
short_description: One WireGuard interface of a router with OpenWrt, with its addresses, peers, routes and firewall
version_added: 0.1.0
description:
  - Brings a WireGuard interface of OpenWrt to the state described, over the host's own ssh connection.
  - The router needs neither Python nor sftp. One shell script reads its state, and if something has to change, one
    more changes it.
  - The router makes the key pair itself. The private key never leaves it and is never asked for.
  - A peer made by this module carries the description C(homelab.fabric:) and its name. Peers without it are left alone,
    unless O(purge=true).
  - If nothing has to change, nothing is written. If connection or router break half-way, the next run finishes.
notes:
  - Needs OpenWrt 21.02 or later with the package C(wireguard-tools), and the user root.
  - The play needs C(gather_facts=false), for the router has no Python.
  - The configuration is tried by WireGuard on the router before it is committed, because OpenWrt takes a whole
    interface down for one peer that is wrong. So an endpoint's name has to resolve on the router.
  - Peers and their routes are changed live, without touching others. A changed address, port or MTU sets the
    interface up again, which renews every session.
  - Where a peer of ours is dialled by name, cron calls the package's C(wireguard_watchdog) every minute. It looks
    after peers with a keepalive.
  - Changes that somebody made with C(uci) and did not commit are an error, because they would be committed along.
  - O(forward_to) takes networks of OpenWrt such as V(lan), whose whole firewall zone is meant, names of zones, devices,
    and prefixes. Traffic is let through both ways.
  - The interface gets a firewall zone of its own, which answers to ping and nothing else. If it is in a zone that
    somebody else made, that zone is used and left alone.
  - O(masquerade) makes C(nat) sections, for traffic from the prefix to anywhere outside of it. It takes IPv4 prefixes
    alone.
  - A new route that would take the router's own network, or the connection of this run, into the tunnel is refused.
extends_documentation_fragment:
  - homelab.fabric.tunnel
seealso:
  - module: homelab.fabric.linux_wireguard
  - module: homelab.fabric.routeros_wireguard
"""

EXAMPLES = r"""
- name: The tunnel of a router behind NAT
  hosts: openwrt
  gather_facts: false
  tasks:
    - name: Dial the hub, and let it reach the LAN
      homelab.fabric.openwrt_wireguard:
        name: wg0
        addresses: [10.3.2.5/24]
        peers:
          - name: sofia
            public_key: 8k2xjAWkVLrJkYm5Zl2i0c0zR0dVt6mPZV3a9C8uXmE=
            endpoint: sofia.example.org:51821
            allowed_ips: [10.3.2.1/32, 10.0.10.0/24, 192.168.1.0/24]
            persistent_keepalive: 25
        forward_to: [lan]

    - name: Remove an interface and everything that was made for it
      homelab.fabric.openwrt_wireguard:
        name: wg1
        state: absent
"""

RETURN = r"""
public_key:
  description: The interface's public key, which its peers need.
  type: str
  returned: when O(state=present)
  sample: 8k2xjAWkVLrJkYm5Zl2i0c0zR0dVt6mPZV3a9C8uXmE=
ansible_facts:
  description: The public key as C(wireguard_public_key_INTERFACE), for P(homelab.fabric.wireguard_tunnel#filter).
  type: dict
  returned: when O(state=present)
commands:
  description: What was done, or would be done in check mode, in the device's own language with every secret redacted.
  type: list
  elements: str
  returned: always
waiting_for_key:
  description: Names of peers that are not on the device yet because their public key is not known in this run.
  type: list
  elements: str
  returned: always
peers:
  description: The peers of the interface and how they are.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The peer's name.
      type: str
    public_key:
      description: The peer's public key.
      type: str
    endpoint:
      description: Where its last packet came from, or where it is dialled.
      type: str
    handshake_age:
      description: Seconds since the last handshake; not set if there was none.
      type: int
    received:
      description: Bytes received.
      type: int
    sent:
      description: Bytes sent.
      type: int
"""
