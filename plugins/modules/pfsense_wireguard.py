#!/usr/bin/python
# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A WireGuard tunnel on a pfSense firewall."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pfsense_wireguard
short_description: One WireGuard tunnel of a pfSense firewall, with its peers, interface, routes and rules
version_added: 0.1.0
description:
  - Brings a tunnel of pfSense's WireGuard package to the state described, on the firewall, with pfSense's own PHP
    functions. One PHP process reads; a second one writes and applies, if anything has to change.
  - The firewall makes the key pair itself. The private key never leaves it.
  - The tunnel is assigned to an interface of its own, with its addresses and its MTU. What lies behind the peers is
    reached by static routes, through a gateway for each peer that leads somewhere. None of them becomes the default
    gateway; if the firewall's default gateway is I(Automatic), the present one is chosen by name.
  - All that was made for a tunnel has a description that begins with C(homelab.fabric:). What a person made stays.
  - If nothing has to change, nothing is written, and the configuration history does not grow.
  - If what is written does not run afterwards, the previous configuration is written back and applied, and the module
    fails.
requirements:
  - pfSense CE 2.7.1 or later with the package WireGuard 0.2.
  - An ssh login as root or C(admin), and C(ansible_python_interpreter) set to pfSense's Python.
extends_documentation_fragment:
  - homelab.fabric.tunnel
options:
  name:
    description:
      - The tunnel, C(tun_wg) and a number.
      - V(tun_wg) alone is the tunnel with this O(description), or the next free number if there is none.
      - A tunnel that a person made is refused. Put C(homelab.fabric:) and a blank in front of its description to hand
        it over.
  addresses:
    description:
      - Addresses of the interface with their length, one IPv4 and one IPv6 address at most.
  mtu:
    description: Largest packet in bytes, 1280 to 9000; V(1420) if neither this nor the firewall says.
  forward_to:
    description:
      - Where traffic from the tunnel may go, each a pass rule on the tunnel's interface. An interface is given by key
        (V(lan), V(opt1)), description or device, and means its own network. For the Internet give V(0.0.0.0/0) and
        V(::/0); an interface with an upstream gateway is refused.
  masquerade:
    description:
      - Source prefixes whose traffic leaves under the firewall's own address, each an outbound NAT rule for each
        interface of O(nat_interfaces). Outbound NAT is switched from automatic to hybrid for it.
  open_port:
    description: Whether others dial this firewall. Makes a pass rule on each of O(wan_interfaces).
  description:
    description: What pfSense's list of tunnels says of it after C(homelab.fabric:); O(name) if not given.
    type: str
  interface_name:
    description:
      - Name of the interface that the tunnel is assigned to, the name of its tab in the firewall's rules.
      - A new one is V(WG0) for V(tun_wg0) if not given; one that is there keeps its name.
    type: str
  wan_interfaces:
    description: Interfaces from which others dial, such as V(wan) and that of an IPv6 tunnel, by key or description.
    type: list
    elements: str
    default: [wan]
  nat_interfaces:
    description:
      - Interfaces by which the sources in O(masquerade) leave.
      - If not given, a prefix on the tunnel's side leaves by O(wan_interfaces) and to where O(forward_to) leads, any
        other by the tunnel.
    type: list
    elements: str
    default: []
  gateways:
    description:
      - The tunnel addresses of peers, by the peer's name, each a list with at most one address for each IP version.
      - If not given, it is the first single address among the peer's allowed IPs that lies in the tunnel's network.
    type: dict
    default: {}
notes:
  - Where to see it in the web interface - I(VPN > WireGuard), I(Interfaces > Assignments), I(System > Routing),
    I(Firewall > Rules) on the tunnel's own tab, I(Firewall > NAT > Outbound), I(Diagnostics > Configuration History).
  - A route that holds the address from which Ansible is connected, or a peer's own endpoint, is refused. So is removing
    the tunnel through which Ansible is connected, the peer that leads there, or the rule that lets it in.
  - O(state=absent) is refused while something that a person made leans on the tunnel's interface or gateways, such as a
    rule, a port forward, a route, a gateway group or a DNS server. So is taking away the last route through a gateway
    that such a thing uses. Peers that a person made stay, without a tunnel.
  - WireGuard stays enabled, and the default gateway chosen, when the tunnel is removed.
seealso:
  - module: homelab.fabric.linux_wireguard
  - module: homelab.fabric.routeros_wireguard
"""

EXAMPLES = r"""
- name: Dial the relay, and let it reach the LAN
  homelab.fabric.pfsense_wireguard:
    name: tun_wg0
    addresses: [172.26.5.1/24]
    peers:
      - name: vps-relay
        public_key: 8k2xjAWkVLrJkYm5Zl2i0c0zR0dVt6mPZV3a9C8uXmE=
        endpoint: 203.0.113.10:51820
        allowed_ips: [172.26.5.155/32]
        persistent_keepalive: 25
    forward_to: [lan]

- name: Be the hub of two sites, by IPv4 and by the IPv6 tunnel on opt3
  homelab.fabric.pfsense_wireguard:
    name: tun_wg
    description: sites
    interface_name: SITES
    addresses: [10.3.2.1/24]
    listen_port: 51821
    open_port: true
    wan_interfaces: [wan, opt3]
    peers:
      - name: london
        public_key: "{{ london_public_key }}"
        allowed_ips: [10.3.2.6/32, 192.168.8.0/24, 192.168.9.0/24]
      - name: valchedrym
        public_key: "{{ valchedrym_public_key }}"
        endpoint: valchedrym.example.org:51820
        allowed_ips: [10.3.2.5/32, 192.168.0.0/24]
        persistent_keepalive: 25
    forward_to: [lan, 10.0.20.0/24, 192.168.0.0/24, 192.168.8.0/24, 192.168.9.0/24]

- name: Remove the tunnel and everything that was made for it
  homelab.fabric.pfsense_wireguard:
    name: tun_wg0
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
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense import PfSenseBackend

PFSENSE_ARGUMENTS = {
    "description": {"type": "str"},
    "interface_name": {"type": "str"},
    "wan_interfaces": {"type": "list", "elements": "str", "default": ["wan"]},
    "nat_interfaces": {"type": "list", "elements": "str", "default": []},
    "gateways": {"type": "dict", "default": {}},
}


def main() -> None:
    module = AnsibleModule(argument_spec={**TUNNEL_ARGUMENTS, **PFSENSE_ARGUMENTS}, supports_check_mode=True)
    backend = PfSenseBackend(module.params, module.run_command, module.check_mode)
    converge(module, backend, backend.assume)


if __name__ == "__main__":
    main()
