#!/usr/bin/python
# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A WireGuard interface on a Linux host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: linux_wireguard
short_description: Bring a WireGuard interface of a Linux host to the state that is written down
version_added: 0.1.0
description:
  - Makes the key pair on the host, keeps C(/etc/wireguard/NAME.conf) in the form of C(wg-quick), enables its service,
    and brings the running interface to the same state without a packet of an unchanged peer lost.
  - The private key never leaves the host. Peers, settings and hooks that somebody else wrote into the file stay.
  - What O(forward_to), O(masquerade) and O(open_port) need comes and goes with the interface. Forwarding is decided in
    an nftables table of its own, and gets past the default drop of UFW and Docker by rules at the head of the iptables
    chains.
  - With O(masquerade) alone, its sources may go anywhere. With O(forward_to), what comes from the tunnel may go there,
    and nowhere else.
requirements:
  - A host with systemd and Python 3.8 or later.
  - C(wg), C(wg-quick) (package wireguard-tools) and C(ip) (iproute2).
  - C(nft) (nftables) and Linux 5.2 or later for O(forward_to) and O(masquerade).
extends_documentation_fragment:
  - homelab.fabric.tunnel
options:
  name:
    description: Name of the interface, up to 15 letters, digits and C(_.-), a letter first.
  routes:
    description:
      - Prefixes that are routed into the tunnel.
      - If not given, these are the allowed IPs that the interface's own networks do not cover, as C(wg-quick) does it,
        and C(Table = off) in the file is respected.
      - A prefix that holds the address from which Ansible is connected, or a peer's own endpoint, is refused.
notes:
  - Where a peer of ours is dialled by name, a timer of systemd, C(wireguard-endpoints-INTERFACE), looks the name up
    again when the peer does not answer.
  - C(SaveConfig) is removed from the file, because it would overwrite the file at the next stop.
  - IP forwarding is turned on when it is needed and never turned off.
  - O(state=absent) leaves the keys and the register of road warriors to M(homelab.fabric.wireguard_client), which
    revokes them with an empty list and O(homelab.fabric.wireguard_client#module:purge).
  - A firewall that is reloaded with C(flush ruleset), or UFW with C(MANAGE_BUILTINS=yes), drops the rules; the next run
    or a restart of the interface brings them back.
seealso:
  - module: homelab.fabric.routeros_wireguard
"""

EXAMPLES = r"""
- name: Let the home router dial this VPS
  homelab.fabric.linux_wireguard:
    name: wg0
    addresses: [10.100.0.1/24]
    listen_port: 51820
    open_port: true
    peers:
      - name: mikrotik-gw
        public_key: "{{ hostvars['mikrotik-gw'].ansible_facts.wireguard_public_key_wg_vps }}"
        allowed_ips: [10.100.0.2/32, 10.30.0.0/24]

- name: Let road warriors reach the home through the tunnel, under the address of this VPS
  homelab.fabric.linux_wireguard:
    name: wg0
    addresses: [10.100.0.1/24]
    forward_to: [10.10.0.0/24, 10.30.0.0/24]
    masquerade: [10.100.0.0/24]

- name: Remove the interface and all that was made for it
  homelab.fabric.linux_wireguard:
    name: wg0
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.homelab.fabric.plugins.module_utils.converge import TUNNEL_ARGUMENTS, converge
from ansible_collections.homelab.fabric.plugins.module_utils.linux import LinuxBackend
from ansible_collections.homelab.fabric.plugins.module_utils.linux_host import Host


def main() -> None:
    module = AnsibleModule(argument_spec=TUNNEL_ARGUMENTS, supports_check_mode=True)
    backend = LinuxBackend(module.params["name"], module.check_mode, Host(module.run_command))
    converge(module, backend, backend.assume)


if __name__ == "__main__":
    main()
