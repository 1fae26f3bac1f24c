#!/usr/bin/python
# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wireguard_qrcode
short_description: Print clients' configurations as QR codes that a phone can scan
version_added: 0.1.0
description:
  - Prints the QR code of a WireGuard configuration on the controller's terminal, for the WireGuard app to scan, and
    writes it to files if asked to.
  - The code appears once, without quotes, whatever callback plugin prints the rest. It is black on white on dark and
    light terminals, with the quiet zone around it. It takes one column a module and one line for two.
  - Comments and blank lines of a configuration are left out. The code is the smallest that holds the rest. The level of
    error correction is C(M), or C(L) where C(M) would be wider than 80 columns, and it is raised again where that costs
    no larger code.
  - A code of more than 1273 bytes would be too dense to be scanned. It is refused, and so is one that is wider than the
    terminal if no file is asked for.
notes:
  - Who sees the code has the client's private key. The configuration itself is never part of the result, the output,
    the diff or the log.
  - If Ansible writes a log file (E(ANSIBLE_LOG_PATH)), the code is shown on the screen alone, and a warning says so.
  - AWX and ansible-runner keep all output. There, known by the environment variables E(AWX_HOST) or
    E(AWX_ISOLATED_DATA_DIR), the code is not printed, and a warning says so, unless O(force_print=true).
  - The code needs colours, as only these make it black on white everywhere. E(NO_COLOR) and E(ANSIBLE_NOCOLOR) do not
    apply to it. If standard output is a file or a pipe, the code is written there just the same. Set O(print=false)
    where such output is kept, or where a program reads it.
requirements:
  - The Python package C(qrcode[png]), version 8, on the controller.
options:
  content:
    description:
      - The text to encode. A WireGuard configuration begins with C([Interface]); any other text is encoded as it is.
      - This, O(client) or O(clients) is needed.
    type: str
  client:
    description:
      - Name of a client whose configuration is on the task's host. It is read there and goes through no variable.
      - A client that has its own key gets no code, as the configuration holds no key.
    type: str
  clients:
    description:
      - Names of any number of clients, each with a code of its own. All are read at once, so that a hundred take
        seconds.
      - O(png) and O(svg) are folders then, in which pictures are called C(NAME.png) and C(NAME.svg).
    type: list
    elements: str
  config:
    description:
      - Path of the client's configuration on the task's host.
      - If omitted, it is C(/etc/wireguard/clients/CLIENT.conf), where M(homelab.fabric.wireguard_client) puts it.
    type: str
  title:
    description: What to print above the code. If omitted, the name of the client.
    type: str
  png:
    description:
      - Path on the controller of a PNG picture of the code, relative to the playbook.
      - It is written as a whole, with mode 0600. Folders that are missing are made with mode 0700.
    type: str
  svg:
    description: Path on the controller of an SVG picture of the code, written like O(png).
    type: str
  print:
    description: Whether to print the code.
    type: bool
    default: true
  force_print:
    description: Whether to print the code even where AWX or ansible-runner keep the output, or the terminal is narrow.
    type: bool
    default: false
attributes:
  action:
    description: The part that runs on the controller.
    support: full
  check_mode:
    description: Prints no code and writes no file. Tells whether a file would change.
    support: full
  diff_mode:
    description: A picture of a key is never shown.
    support: none
seealso:
  - module: homelab.fabric.wireguard_client
  - plugin: homelab.fabric.qrcode
    plugin_type: filter
author:
  - homelab.fabric contributors (@homelab-fabric)
"""

EXAMPLES = r"""
- name: Show the phone's code
  homelab.fabric.wireguard_qrcode:
    client: phone

- name: Show the codes of the whole family, and keep pictures of them
  homelab.fabric.wireguard_qrcode:
    clients: [phone, tablet, laptop]
    png: ~/vpn

- name: Keep a picture of it, for a run whose output is kept
  homelab.fabric.wireguard_qrcode:
    client: phone
    png: "~/vpn/phone.png"
    print: false

- name: Show how guests get into the wireless network
  homelab.fabric.wireguard_qrcode:
    content: "WIFI:T:WPA;S:guests;P:{{ guest_password }};;"
    title: Wireless network for guests
"""

RETURN = r"""
version:
  description: Version of the code, V(1) to V(25). A side has 17 modules and 4 more for each version.
  type: int
  returned: if a code was made, not with O(clients)
  sample: 11
error_correction:
  description: Level of error correction, one of V(L), V(M), V(Q), V(H).
  type: str
  returned: if a code was made, not with O(clients)
  sample: L
columns:
  description: Width in a terminal, which is also the number of modules in a side with its quiet zone.
  type: int
  returned: if a code was made, not with O(clients)
  sample: 69
files:
  description: Paths of the pictures asked for.
  type: list
  elements: str
  returned: success
  sample: [/home/me/vpn/phone.png]
printed:
  description: Whether the code was printed.
  type: bool
  returned: success
  sample: true
"""
