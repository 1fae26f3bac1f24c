#!/usr/bin/python
# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: glinet_wireguard
short_description: One WireGuard tunnel of a router with GL.iNet's firmware 4.x, in the firmware's own terms
version_added: 0.1.0
description:
  - Brings a WireGuard client of GL.iNet's firmware (V(wgclient1) to V(wgclient5)) or its server (V(wgserver)) to the
    state described, over the host's own ssh connection. The web interface shows what was made and can switch it on and
    off.
  - The router needs neither Python nor sftp. One shell script reads its state, and if something has to change, one
    more changes it.
  - The router makes the key pair itself. The private key never leaves it and is never asked for.
  - If nothing has to change, nothing is written. If connection or router break half-way, the next run finishes.
  - A client is up once its peer has answered. If it does not within O(handshake_timeout), that is a warning, not a
    failure, for the configuration may be right and the peer be switched off.
options:
  kill_switch:
    description:
      - Whether what belongs into the tunnel is dropped while the peer does not answer, instead of being sent to the
        Internet. For a client.
      - With allowed IPs such as V(0.0.0.0/0) that is the whole LAN's Internet.
      - Not given, it is off from firmware 4.8 on.
      - Up to firmware 4.7 this is one setting for the whole router, which stays as it is where this is not given, and
        where the tunnel goes.
    type: bool
  handshake_timeout:
    description: Seconds to wait for the peer's answer after a change. V(0) does not wait. For a client.
    type: int
    default: 15
notes:
  - Needs firmware 4.0 or later, and the user root.
  - The play needs C(gather_facts=false), for the router has no Python.
  - A client dials exactly one peer. A network's hub is that peer for every other node.
  - The server (V(wgserver)) answers and never dials, and has no keepalive, so an endpoint and a keepalive of its peers
    are not looked at. Whenever it runs, its port is open, whatever O(open_port) says.
  - The server knows a peer by an address within its own network, so a peer's allowed IPs have to hold one as V(/32).
    What else they hold becomes the firmware's route rules.
  - Anything in O(forward_to) lets the server's peers reach the LAN and each other. O(masquerade) is as on OpenWrt.
  - Phones and other peers that the web interface gave the server stay, and keep the address, port and key by which
    they know it. Other ones are refused, unless O(purge) removes those peers. With O(state=absent) the server goes on
    for them.
  - The firmware gives a new tunnel the lowest free number, so O(name) has to be that one. Up to firmware 4.7 the one
    client is V(wgclient).
  - Interface, firewall zone, forwardings and IP rules are the firmware's own, made of a peer (C(wireguard)) and a rule
    (C(route_policy)). From firmware 4.8 on, O(forward_to) means the LAN whatever is named, and O(masquerade) all of it.
  - The firmware sends LAN clients' packets into the tunnel. For the router's own packets this module adds rules to
    C(/etc/firewall.user) or, on firmware with nftables, a file in C(/etc/nftables.d).
  - The configuration is tried by WireGuard on the router before it is committed, because the firmware takes a whole
    interface down for one value that is wrong. So an endpoint's name has to resolve on the router.
  - Changes that somebody made with C(uci) and did not commit are an error, because they would be committed along.
  - A new route that would take the router's own network, or the connection of this run, into the tunnel is refused.
extends_documentation_fragment:
  - homelab.fabric.tunnel
seealso:
  - module: homelab.fabric.openwrt_wireguard
  - module: homelab.fabric.linux_wireguard
"""

EXAMPLES = r"""
- name: The tunnel of a Flint 2 behind NAT
  hosts: glinet
  gather_facts: false
  tasks:
    - name: Dial the hub, and let it reach the LAN
      homelab.fabric.glinet_wireguard:
        name: wgclient1
        addresses: [10.3.2.6/32]
        peers:
          - name: sofia
            public_key: 8k2xjAWkVLrJkYm5Zl2i0c0zR0dVt6mPZV3a9C8uXmE=
            endpoint: sofia.example.org:51821
            allowed_ips: [10.3.2.0/24, 10.0.0.0/8, 192.168.1.0/24]
            persistent_keepalive: 25
        forward_to: [192.168.8.0/24]

    - name: Be the hub, for two homes and a phone
      homelab.fabric.glinet_wireguard:
        name: wgserver
        addresses: [10.3.2.1/24]
        listen_port: 51820
        peers:
          - name: valchedrym
            public_key: 8k2xjAWkVLrJkYm5Zl2i0c0zR0dVt6mPZV3a9C8uXmE=
            allowed_ips: [10.3.2.5/32, 192.168.0.0/24]
          - name: phone
            public_key: mC1VbUzHm7gJcZb8pWl1k2vYq0i4hQx5tTn6s3rEoWA=
            allowed_ips: [10.3.2.10/32]
        forward_to: [lan]

    - name: Remove a tunnel and everything that was made for it
      homelab.fabric.glinet_wireguard:
        name: wgclient2
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
