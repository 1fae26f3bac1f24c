#!/usr/bin/python
# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: routeros_wireguard
short_description: One WireGuard interface of a MikroTik router, with its addresses, peers, routes and firewall rules
version_added: 0.1.0
description:
  - Brings a WireGuard interface of RouterOS to the state described, over one connection to RouterOS's API.
  - The router makes the key pair itself. The private key never leaves it and is never asked for.
  - The module runs on the controller. Use C(connection=local) or C(delegate_to=localhost).
  - A peer made by this module carries the comment C(homelab.fabric:) and its name. Peers without it are left alone,
    unless O(purge=true).
  - If nothing has to change, nothing is written. If the connection breaks, every peer is in its old or its new state,
    and the next run finishes the work.
notes:
  - Needs RouterOS 7.12 or later, and a user whose group has the policies C(api), C(read), C(write), and C(sensitive) if
    preshared keys are used.
  - O(listen_port) becomes V(13231), RouterOS's own default, if a new interface is given none.
  - O(forward_to) makes a rule with the comment C(fw-INTERFACE-fwd) in the chain C(forward), which accepts what comes
    from the tunnel. It is placed before the first rule that could drop it. The answers must be accepted by a rule of
    yours for established connections, as RouterOS's default firewall has one. An interface gets a rule in the IPv6
    firewall too if O(addresses) holds an IPv6 address.
  - O(open_port) makes a rule with the comment C(fw-INTERFACE-in) in the chain C(input), for IPv4 and IPv6.
  - O(masquerade) makes a rule with the comment C(fw-INTERFACE-nat) in the chain C(srcnat), for traffic from the prefix
    to anywhere outside of it. It takes IPv4 prefixes alone.
  - A route to the same prefix through the same interface that somebody else made is used and left alone.
  - A new route that would take the connection to the router, or the packets of a peer's own endpoint, into the tunnel
    is refused.
extends_documentation_fragment:
  - homelab.fabric.tunnel
  - homelab.fabric.routeros
  - homelab.fabric.routeros.actiongroup
seealso:
  - module: homelab.fabric.linux_wireguard
  - module: community.routeros.api_modify
"""

EXAMPLES = r"""
- name: Dial the relay, and let it reach the Kubernetes network
  homelab.fabric.routeros_wireguard:
    hostname: 10.10.0.1
    username: ansible
    password: "{{ routeros_password }}"
    tls: true
    ca_path: home-ca.pem
    name: wg-vps
    addresses: [10.100.0.2/30]
    peers:
      - name: vps-relay
        public_key: 8k2xjAWkVLrJkYm5Zl2i0c0zR0dVt6mPZV3a9C8uXmE=
        endpoint: 203.0.113.10:51820
        allowed_ips: [10.100.0.1/32]
        persistent_keepalive: 25
    forward_to: [vlan30-kubernetes]
  delegate_to: localhost
  register: tunnel

- name: Remove the interface and everything that was made for it
  homelab.fabric.routeros_wireguard:
    hostname: 10.10.0.1
    username: ansible
    password: "{{ routeros_password }}"
    name: wg-vps
    state: absent
  delegate_to: localhost

- name: Give the connection once for a whole play
  hosts: routers
  connection: local
  module_defaults:
    group/homelab.fabric.routeros:
      hostname: "{{ ansible_host }}"
      username: ansible
      password: "{{ routeros_password }}"
      tls: true
  tasks:
    - name: Listen for others
      homelab.fabric.routeros_wireguard:
        name: wg-home
        addresses: [10.3.2.1/24, fd00:3:2::1/64]
        listen_port: 51821
        open_port: true
        peers: "{{ home_peers }}"
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

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.homelab.fabric.plugins.module_utils.converge import TUNNEL_ARGUMENTS, converge
from ansible_collections.homelab.fabric.plugins.module_utils.routeros import RouterOSBackend
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_api import CONNECTION_ARGUMENTS, LIBRARY_PROBLEM


def main() -> None:
    module = AnsibleModule(argument_spec={**TUNNEL_ARGUMENTS, **CONNECTION_ARGUMENTS}, supports_check_mode=True)
    if LIBRARY_PROBLEM:
        module.fail_json(msg=missing_required_lib("librouteros"), exception=LIBRARY_PROBLEM)
    backend = RouterOSBackend(module.params)
    try:
        converge(module, backend)
    finally:
        backend.close()


if __name__ == "__main__":
    main()
