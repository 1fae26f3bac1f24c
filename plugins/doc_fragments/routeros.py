# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the connection to RouterOS (module_utils/routeros_api.py, CONNECTION_ARGUMENTS).

The names are those of community.routeros, so that one set of variables serves both collections.
"""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  hostname:
    description: Name or address of the router, as the controller reaches it.
    type: str
    required: true
  username:
    description: RouterOS user. Its group needs the policies C(api), C(read) and C(write).
    type: str
    required: true
  password:
    description: Password of the user.
    type: str
    required: true
  port:
    description: Port of the API. V(8728) if not given, V(8729) with O(tls=true).
    type: int
  tls:
    description: Whether to use API-SSL. Without it the password and preshared keys cross the network in clear.
    type: bool
    default: false
    aliases: [ssl]
  force_no_cert:
    description:
      - Connect with TLS to a router whose C(api-ssl) has no certificate, by anonymous Diffie-Hellman.
      - Whoever is in between can read and change everything. Give the router a certificate instead.
    type: bool
    default: false
  validate_certs:
    description: Whether the router's certificate must be valid. Used with O(tls=true).
    type: bool
    default: true
  validate_cert_hostname:
    description:
      - Whether the certificate must be for O(hostname). Used with O(tls=true) and O(validate_certs=true).
      - Unlike in community.routeros this is the default, because without it every valid certificate would do.
    type: bool
    default: true
  ca_path:
    description:
      - PEM file with the certificate of the authority that signed the router's.
      - The authorities that the controller's system trusts, if not given.
    type: path
  encoding:
    description: Encoding of names and comments on the router.
    type: str
    default: utf-8
  timeout:
    description: Seconds to wait for the router.
    type: int
    default: 10
requirements:
  - librouteros >= 3.4 on the controller
"""

    ACTIONGROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/homelab.fabric.routeros) in C(module_defaults) to give the connection once.
    support: full
    membership:
      - homelab.fabric.routeros
"""
