#!/usr/bin/python
# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Road warriors of a Linux hub."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wireguard_client
short_description: Give devices access to a WireGuard network through a Linux host
version_added: 0.1.0
description:
  - Keeps the register of road warriors of a WireGuard interface that M(homelab.fabric.linux_wireguard) made, one call
    for any number of them. Clients that are not in the list stay as they are.
  - Each client's key pair and preshared key are made on the host. They and the client's configuration are in
    C(/etc/wireguard/clients), in C(NAME.key), C(NAME.psk) and C(NAME.conf), readable by root alone.
  - A client gets an address of O(pool) for each IP version and keeps it for life. The address of one that was revoked
    is not used again as long as there are others.
  - Peers are added and removed on the running interface; no packet of the other peers is lost.
  - The host lets a client go where its configuration leads, within its limits, and nowhere else, whatever the device's
    user makes of the configuration. This gets past the default drop of UFW and Docker.
  - Settings that a client in the list leaves out are the module's options of the same name. Its key and its addresses
    stay as they are.
requirements:
  - A host with systemd and Python 3.8 or later.
  - C(wg), C(wg-quick) (package wireguard-tools) and C(ip) (iproute2).
  - C(nft) (nftables) and Linux 5.2 or later.
options:
  interface:
    description: Name of the WireGuard interface on this host.
    type: str
    required: true
  clients:
    description:
      - The clients to add, change or revoke; others stay as they are.
      - With none, the clients are listed, and what is amiss on the host is mended, unless it is run in check mode.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The client's identity, up to 63 letters, digits and C(-_.@), unique on this host.
          - C(wg-quick) and NetworkManager name the device's interface after the configuration's file; for them use up
            to 15.
        type: str
        required: true
      state:
        description: V(absent) revokes the client; it is gone from the interface, the register and the files.
        type: str
        choices: [present, absent]
        default: present
      addresses:
        description:
          - Fixed addresses in O(pool), at most one per IP version.
          - For a version that is not given, a client keeps the address that it has, and a new one gets a free one.
        type: list
        elements: str
      rotate:
        description:
          - Make a new key pair and preshared key. The device needs its new configuration, the old one is refused.
          - It happens at every run in which this is set, so set it for one run.
          - A client that brought its own key gets one made here.
        type: bool
        default: false
      keep:
        description:
          - Settings that are left out of this entry stay as the register has them for a client that is there, instead
            of falling back to the module's options. So its limits and its end survive a run that only names it.
        type: bool
        default: false
      public_key:
        description:
          - The public key of a device that made its own key pair. Then no private key is here, and in the configuration
            a comment names the place for it.
          - If it is not given, a client keeps the key that it has.
        type: str
      preshared_key:
        description: As O(preshared_key), for this client.
        type: bool
      access:
        description: As O(access), for this client.
        type: list
        elements: str
      isolated:
        description: As O(isolated), for this client.
        type: bool
      limits:
        description: As O(limits), for this client.
        type: list
        elements: dict
        suboptions:
          network:
            description: A prefix or an address that the client may go to.
            type: str
            required: true
          protocol:
            description: The protocol it may use there.
            type: str
            choices: [any, tcp, udp]
            default: any
          ports:
            description: TCP and UDP ports, or ranges such as V(8000-8010), that it may use there. If none, all.
            type: list
            elements: str
            default: []
      dns:
        description: As O(dns), for this client.
        type: list
        elements: str
      dns_search:
        description: As O(dns_search), for this client.
        type: list
        elements: str
      mtu:
        description: As O(mtu), for this client.
        type: int
      persistent_keepalive:
        description: As O(persistent_keepalive), for this client.
        type: str
      expires:
        description: As O(expires), for this client. V(never) makes an exception from it.
        type: str
  purge:
    description: Revoke the clients of this interface that are not in O(clients).
    type: bool
    default: false
  endpoint:
    description:
      - Host and port under which clients dial this host, as V(vps.example.org:51820); an IPv6 address stands in
        brackets. Without a port, it is the one on which the interface listens.
      - Needed for the first client. If not given, it stays as the register has it.
    type: str
  pool:
    description:
      - Prefixes from which clients get their addresses, usually the network's own.
      - Needed for the first client. If not given, it stays as the register has it.
    type: list
    elements: str
  reserved:
    description:
      - Addresses and prefixes in O(pool) that no client gets, such as those of the network's nodes.
      - Those of this interface and of its peers are never given away.
      - If not given, they stay as the register has them.
    type: list
    elements: str
  networks:
    description:
      - The networks behind the nodes, which split tunnel leads to.
      - If not given, it stays as the register has it.
    type: list
    elements: str
  masquerade:
    description:
      - Hide the clients behind this host, so that no router behind it needs a route to them.
      - If V(false), only what leaves for the Internet from a full tunnel is hidden.
      - If not given, it stays as the register has it; at first it is V(true).
    type: bool
  access:
    description:
      - What devices send into the tunnel, and where they may go. V(split) is O(networks) and O(pool), V(full) is
        everything, a list of prefixes is these alone. V(split) and prefixes can stand together.
    type: list
    elements: str
    default: [split]
  isolated:
    description: Keep clients from each other. An isolated client reaches no other one, and no other one reaches it.
    type: bool
    default: false
  limits:
    description:
      - If given, clients may only go there, towards this host too. They may always ask their DNS servers.
      - They narrow O(access) and change nothing in the configuration.
    type: list
    elements: dict
    default: []
    suboptions:
      network:
        description: A prefix or an address that the client may go to.
        type: str
        required: true
      protocol:
        description: The protocol it may use there.
        type: str
        choices: [any, tcp, udp]
        default: any
      ports:
        description: TCP and UDP ports, or ranges such as V(8000-8010), that it may use there. If none, all.
        type: list
        elements: str
        default: []
  dns:
    description: Addresses of the DNS servers that devices use while they are connected.
    type: list
    elements: str
    default: []
  dns_search:
    description: Domains in which devices look names up.
    type: list
    elements: str
    default: []
  mtu:
    description: Largest packet in bytes, 1280 to 9000. If not given, it is the MTU in the interface's configuration.
    type: int
  persistent_keepalive:
    description: Seconds between packets with which devices keep the way through a NAT open; V(0) is off.
    type: str
    default: "25"
  preshared_key:
    description: Use a preshared key with each client, against computers that may break Curve25519 one day.
    type: bool
    default: true
  expires:
    description:
      - When the access ends, as V(2026-12-31) (good until the day's end, UTC), V(2026-12-31T18:00:00Z), or a period
        such as V(12h), V(30d) or V(8w).
      - A period counts from the run in which the client was given it, and anew when the key is rotated.
      - A systemd timer then takes the peer from the interface. The client stays in the register, to be extended or
        revoked.
    type: str
  show_config:
    description:
      - Names of clients whose configuration to return in RV(configurations), with its keys. Set C(no_log) on a task
        that does so. The list O(clients) can be empty.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Runs to the end without changing anything. What is not known yet is shown as C((known after apply\)).
  diff_mode:
    support: full
    description: Shows the register before and after; no secret is in it.
seealso:
  - module: homelab.fabric.linux_wireguard
author:
  - homelab.fabric contributors (@homelab-fabric)
"""

EXAMPLES = r"""
- name: Give the phone and the laptop access to the home
  homelab.fabric.wireguard_client:
    interface: wg0
    endpoint: vps.example.org:51820
    pool: [10.100.0.0/24, fd00:100::/64]
    reserved: [10.100.0.2]
    networks: [10.10.0.0/24, 10.20.0.0/24, 10.30.0.0/24]
    dns: [10.10.0.1]
    dns_search: [home.arpa]
    clients:
      - name: phone
      - name: laptop
        addresses: [10.100.0.11]
        access: full

- name: Let a guest see one page for a month, and nobody else
  homelab.fabric.wireguard_client:
    interface: wg0
    clients:
      - name: guest
        expires: 30d
        isolated: true
        limits:
          - network: 10.30.0.200/32
            protocol: tcp
            ports: [443]

- name: The phone was stolen
  homelab.fabric.wireguard_client:
    interface: wg0
    clients:
      - name: phone
        state: absent

- name: Fetch the configuration of the laptop
  homelab.fabric.wireguard_client:
    interface: wg0
    show_config: [laptop]
  register: laptop
  no_log: true
"""

RETURN = r"""
commands:
  description: What was done, or would be done in check mode, without a secret.
  type: list
  elements: str
  returned: always
clients:
  description: All clients of the interface, by name.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The client's name.
      type: str
    addresses:
      description: Its addresses in the tunnel.
      type: list
      elements: str
    public_key:
      description: Its public key.
      type: str
    key:
      description: V(own) if the device made its key pair, V(ours) if this host did.
      type: str
    preshared_key:
      description: Whether there is a preshared key.
      type: bool
    access:
      description: V(split), V(full), or prefixes.
      type: list
      elements: str
    isolated:
      description: Whether it is kept from other clients.
      type: bool
    limits:
      description: The destinations that it is limited to.
      type: list
      elements: dict
    expires:
      description: When its access ends, in UTC; not set if it does not.
      type: str
    expired:
      description: Whether that time is over.
      type: bool
    configuration:
      description: Path of its configuration on this host; not set if its private key was taken away from here.
      type: str
    endpoint:
      description: Where its last packet came from.
      type: str
    handshake_age:
      description: Seconds since the last handshake; not set if there was none.
      type: int
    received:
      description: Bytes received from it.
      type: int
    sent:
      description: Bytes sent to it.
      type: int
revoked:
  description: Names of the clients that were revoked in this run.
  type: list
  elements: str
  returned: always
new_configurations:
  description: Names of the clients whose configuration is new or changed, so that their devices need it.
  type: list
  elements: str
  returned: always
configurations:
  description: The configurations asked for with O(show_config), by name. They hold private keys.
  type: dict
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.linux import LinuxBackend
from ansible_collections.homelab.fabric.plugins.module_utils.linux_clients import ClientRun
from ansible_collections.homelab.fabric.plugins.module_utils.linux_host import Host
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError, parse_interface

STRINGS: dict[str, Any] = {"type": "list", "elements": "str"}
LIMITS: dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "options": {
        "network": {"type": "str", "required": True},
        "protocol": {"type": "str", "choices": ["any", "tcp", "udp"], "default": "any"},
        "ports": {**STRINGS, "default": []},
    },
}
SETTINGS: dict[str, Any] = {
    "access": STRINGS,
    "isolated": {"type": "bool"},
    "limits": LIMITS,
    "dns": STRINGS,
    "dns_search": STRINGS,
    "mtu": {"type": "int"},
    "persistent_keepalive": {"type": "str"},
    "preshared_key": {"type": "bool", "no_log": False},
    "expires": {"type": "str"},
}
DEFAULTS: dict[str, Any] = {
    "access": ["split"],
    "isolated": False,
    "limits": [],
    "dns": [],
    "dns_search": [],
    "persistent_keepalive": "25",
    "preshared_key": True,
}
CLIENT: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "addresses": STRINGS,
    "rotate": {"type": "bool", "default": False},
    "keep": {"type": "bool", "default": False},
    "public_key": {"type": "str", "no_log": False},
    **SETTINGS,
}
ARGUMENTS: dict[str, Any] = {
    "interface": {"type": "str", "required": True},
    "clients": {"type": "list", "elements": "dict", "default": [], "options": CLIENT},
    "purge": {"type": "bool", "default": False},
    "endpoint": {"type": "str"},
    "pool": STRINGS,
    "reserved": STRINGS,
    "networks": STRINGS,
    "masquerade": {"type": "bool"},
    **{name: {**spec, **({"default": DEFAULTS[name]} if name in DEFAULTS else {})} for name, spec in SETTINGS.items()},
    "show_config": {**STRINGS, "default": []},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        interface = parse_interface(module.params["interface"], "interface", "linux")
        run = ClientRun(LinuxBackend(interface, module.check_mode, Host(module.run_command)), module.params)
        result = run.run(module._diff)
    except (TunnelError, DeviceError) as error:
        module.fail_json(msg=str(error))
    for warning in run.warnings:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
