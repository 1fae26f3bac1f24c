# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the arguments that every tunnel module shares (module_utils/converge.py, TUNNEL_ARGUMENTS)."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  name:
    description: Name of the WireGuard interface on the device.
    type: str
    required: true
    aliases: [interface]
  state:
    description: V(absent) removes the interface and everything that was made for it.
    type: str
    choices: [present, absent]
    default: present
  addresses:
    description:
      - Addresses of the interface with their length, such as V(10.100.0.1/24).
      - These are all the addresses that the interface shall have; others are removed.
    type: list
    elements: str
    default: []
  listen_port:
    description: UDP port that the interface listens on. Left as the device has it if not given.
    type: int
  mtu:
    description: Largest packet in bytes, 1280 to 9000. Left as the device has it if not given.
    type: int
  peers:
    description:
      - The peers of this interface. A peer that an earlier run made and that is not in the list any more is removed.
      - Peers that somebody else put there, and the road warriors of M(homelab.fabric.wireguard_client), stay.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The peer's identity. It is kept on the device in a comment, and survives a change of the key.
        type: str
        required: true
      public_key:
        description:
          - The peer's public key.
          - If it is not given, the key that the device knows stays. A peer that is not there yet waits, and is named in
            RV(waiting_for_key).
        type: str
      preshared_key:
        description: An additional symmetric key. If not given, it stays as the device has it; an empty one is removed.
        type: str
      endpoint:
        description:
          - Where the peer is dialled, as V(host:port); an IPv6 address stands in brackets.
          - A name is looked up again when the peer does not answer any more, as far as the device can.
        type: str
      allowed_ips:
        description: Prefixes that may come from this peer and are sent to it.
        type: list
        elements: str
        default: []
      persistent_keepalive:
        description: Seconds between packets that keep the way through a NAT open; V(25) suits all, V(0) is off.
        type: str
        default: "0"
  routes:
    description:
      - Prefixes that are routed into the tunnel.
      - If not given, these are the allowed IPs that the interface's own networks do not cover.
    type: list
    elements: str
  forward_to:
    description: Interfaces or prefixes of the device that traffic from the tunnel may be forwarded to.
    type: list
    elements: str
    default: []
  masquerade:
    description: Source prefixes whose traffic leaves this device under the device's own address.
    type: list
    elements: str
    default: []
  open_port:
    description: Whether others dial this device, so that its firewall must let them in.
    type: bool
    default: false
  purge:
    description: Remove the peers that somebody else put on this interface.
    type: bool
    default: false
  waited_for:
    description:
      - For check mode, the RV(waiting_for_key) of an earlier task with the same interface and the same arguments.
      - What that task announced is taken as done, so this one lists what a real run adds at this point. A real run
        does not look at it.
    type: list
    elements: str
attributes:
  check_mode:
    support: full
    description: Runs to the end without changing anything. What is not known yet is shown as C((known after apply\)).
  diff_mode:
    support: full
    description: Shows the interface before and after, every secret redacted.
author:
  - homelab.fabric contributors (@homelab-fabric)
"""
