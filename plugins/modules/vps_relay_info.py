#!/usr/bin/python
# Copyright: (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vps_relay_info
version_added: 0.1.0
short_description: What a relay's host has, and what it lacks
description:
  - Reads in one call what the role P(homelab.fabric.vps_relay#role) needs to know of a Debian or Ubuntu host, so that a
    run with nothing to do costs one task.
  - Refuses what a relay cannot be asked for, before anything is written. The messages name the role's variables.
author:
  - homelab.fabric contributors (@homelab-fabric)
attributes:
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
    description: Changes nothing.
options:
  packages:
    description: Packages that shall be installed.
    type: list
    elements: str
    default: []
  services:
    description: The TCP ports that are passed on.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port.
        type: int
        required: true
      upstream:
        description: IP address, with or without a port, that it is passed on to. As O(ingress) if left out.
        type: str
      proxy_protocol:
        description: Whether the upstream is told the visitor's address in a PROXY protocol header.
        type: bool
        default: false
  ingress:
    description: IP address, with or without a port, for services without O(services[].upstream).
    type: str
    default: ""
  open_ports:
    description: Further ports that shall be open, such as V(3478/udp).
    type: list
    elements: str
    default: []
  ssh_ports:
    description: TCP ports of SSH besides those that are found.
    type: list
    elements: int
    default: []
  profile:
    description: Name of the UFW application profile.
    type: str
    required: true
  nginx_config:
    description: The file of nginx's configuration that holds the services.
    type: path
    required: true
  sysctls:
    description: Kernel settings and the values that they shall have.
    type: dict
    default: {}
  sysctl_file:
    description: The file that keeps them.
    type: path
    required: true
  files:
    description: Files whose checksums are wanted.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: See what the relay's host has
  homelab.fabric.vps_relay_info:
    packages: [nginx, ufw]
    services:
      - port: 443
        upstream: 10.30.0.200
    open_ports: [51820/udp]
    profile: homelab-fabric
    nginx_config: /etc/nginx/modules-enabled/90-homelab-fabric.conf
    sysctl_file: /etc/sysctl.d/60-homelab-fabric.conf
  register: found
"""

RETURN = r"""
missing_packages:
  description: Packages that are not installed.
  type: list
  elements: str
  returned: success
services:
  description: The services in order of their ports, each with C(port), C(upstream) and C(proxy_protocol).
  type: list
  elements: dict
  returned: success
  sample: [{"port": 443, "upstream": "10.30.0.200:443", "proxy_protocol": false}]
ssh_ports:
  description: The port of this connection, those that sshd is set to listen on, and O(ssh_ports).
  type: list
  elements: int
  returned: success
ports:
  description: All ports that shall be open, as a UFW application profile has them.
  type: str
  returned: success
  sample: 22,443/tcp|51820/udp
ipv6:
  description: Whether the kernel has IPv6 switched on.
  type: bool
  returned: success
firewall_set_up:
  description: Whether UFW is enabled and its files say to accept RV(ports) and nothing else by default.
  type: bool
  returned: success
firewall_loaded:
  description: Whether the kernel has these rules.
  type: bool
  returned: success
nginx_loaded:
  description: Whether nginx is enabled and runs, and read O(nginx_config) after it was changed.
  type: bool
  returned: success
default_site:
  description: Whether the distribution's default site, which holds port 80, is enabled.
  type: bool
  returned: success
sysctls_differing:
  description: As C(name=value), the kernel settings that do not hold now or would not hold after a boot.
  type: list
  elements: str
  returned: success
files:
  description: SHA-256 by path, empty for a file that is not there.
  type: dict
  returned: success
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.homelab.fabric.plugins.module_utils import relay_host
from ansible_collections.homelab.fabric.plugins.module_utils.relay_services import parse_services, profile_ports
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError, parse_port

SERVICE = {
    "port": {"type": "int", "required": True},
    "upstream": {"type": "str"},
    "proxy_protocol": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "services": {"type": "list", "elements": "dict", "default": [], "options": SERVICE},
            "ingress": {"type": "str", "default": ""},
            "open_ports": {"type": "list", "elements": "str", "default": []},
            "ssh_ports": {"type": "list", "elements": "int", "default": []},
            "profile": {"type": "str", "required": True},
            "nginx_config": {"type": "path", "required": True},
            "sysctls": {"type": "dict", "default": {}},
            "sysctl_file": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    if os.geteuid():
        module.fail_json(msg="this needs root: log in as root, or set ansible_become: true for this host")
    if not module.get_bin_path("dpkg-query"):
        module.fail_json(msg="this host has no dpkg: the relay is made for Debian 12 and later and for Ubuntu")
    wanted = module.params
    host = relay_host.Host(module.run_command, wanted["packages"])
    try:
        services = parse_services(wanted["services"], wanted["ingress"])
        given = {parse_port(port, f"vps_relay_ssh_ports[{i}]") for i, port in enumerate(wanted["ssh_ports"])}
        ssh_ports = given | host.ssh_ports
        ports = profile_ports(ssh_ports | {service["port"] for service in services}, wanted["open_ports"])
    except TunnelError as error:
        module.fail_json(msg=str(error))
    if not ssh_ports:
        module.fail_json(
            msg="vps_relay_ssh_ports: no SSH port was found on this host, and a firewall without it would lock you "
            "out: list the port you log in at, such as [22]"
        )
    for service in services:
        holder = host.holder(service["port"])
        if holder:
            module.fail_json(
                msg=f"vps_relay_services: {holder} listens on port {service['port']} of this host, so nginx cannot: "
                "stop it, or move it to another port"
            )
    set_up, loaded = host.firewall(wanted["profile"], ports)
    module.exit_json(
        changed=False,
        missing_packages=host.missing_packages,
        services=services,
        ssh_ports=sorted(ssh_ports),
        ports=ports,
        ipv6=relay_host.has_ipv6(),
        firewall_set_up=set_up,
        firewall_loaded=loaded,
        nginx_loaded=host.nginx_loaded(wanted["nginx_config"]),
        default_site=os.path.lexists("/etc/nginx/sites-enabled/default"),
        sysctls_differing=relay_host.sysctls_differing(wanted["sysctls"], wanted["sysctl_file"]),
        files={path: relay_host.checksum(path) for path in wanted["files"]},
    )


if __name__ == "__main__":
    main()
