#!/usr/bin/python
# Copyright: (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: wireguard_check
version_added: 0.1.0
short_description: Which link of the way to a service behind a relay is broken
description:
  - On the relay, with O(interface), waits for the handshakes, connects to the ingress through the tunnel, and then
    through nginx. Both have to show the same certificate, byte for byte, which proves that the relay reads nothing.
  - Anywhere else, without O(interface), connects to the relay's public addresses and looks up the names.
  - The first broken link of each way fails the module with a message that says what to look at.
  - Changes nothing. In check mode it looks once, and what does not hold (yet) skips the task instead of failing.
author:
  - homelab.fabric contributors (@homelab-fabric)
attributes:
  check_mode:
    support: full
    description: Changes nothing. A link that does not hold skips the task instead of failing.
  diff_mode:
    support: none
    description: Changes nothing.
options:
  interface:
    description: The WireGuard interface of this host.
    type: str
  peers:
    description:
      - Names of the peers to wait for, as C(# homelab.fabric:) comments of the wg-quick file name them.
      - If left out, all that are named there.
      - Only those are waited for whose allowed IPs hold an upstream, if there are such.
    type: list
    elements: str
  services:
    description: The TCP ports that are passed on.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port on the relay. Port 80 is asked in HTTP, others in TLS.
        type: int
        required: true
      upstream:
        description: IP address, with or without a port, that it is passed on to. As O(ingress) if left out.
        type: str
      proxy_protocol:
        description: Whether the upstream expects a PROXY protocol header.
        type: bool
        default: false
  ingress:
    description: IP address, with or without a port, for services without O(services[].upstream).
    type: str
    default: ""
  server_names:
    description: Names to ask the services for (TLS server name). If left out, they are asked without a name.
    type: list
    elements: str
    default: []
  addresses:
    description:
      - Addresses of the relay to connect to.
      - With O(interface) its own, C(127.0.0.1) and C(::1), if left out.
      - An IPv6 address is not tried from where there is no IPv6.
    type: list
    elements: str
  certificates:
    description: The ingress's certificates, as RV(certificates) of an earlier call on the relay.
    type: dict
    default: {}
  dns:
    description:
      - Whether O(server_names) have to resolve to O(addresses).
      - Private addresses alone are let through, as a home's own DNS may know a shorter way.
    type: bool
    default: false
  verify:
    description: Whether this computer has to trust the certificates.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for all of it. It is over as soon as every link holds.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Check the way from the relay to the ingress
  homelab.fabric.wireguard_check:
    interface: wg0
    peers: [mikrotik-gw]
    ingress: 10.30.0.200
    services:
      - port: 443
    server_names: [jellyfin.example.org]
  register: inside

- name: Check the way from here to the relay
  homelab.fabric.wireguard_check:
    addresses: [203.0.113.10]
    services:
      - port: 443
    server_names: [jellyfin.example.org]
    certificates: "{{ inside.certificates }}"
    dns: true
  delegate_to: localhost
"""

RETURN = r"""
links:
  description: The links that hold, in the order of the way.
  type: list
  elements: dict
  returned: always
  contains:
    link:
      description: What it is.
      type: str
      sample: handshake with mikrotik-gw
    milliseconds:
      description: How long the try that succeeded took; not set for a link that cannot be tried from here.
      type: int
    detail:
      description: What was seen.
      type: str
      sample: 4 s ago, from 203.0.113.77:40112
certificates:
  description: SHA-256 of the ingress's certificates, by C(name:port).
  type: dict
  returned: always
  sample: {"jellyfin.example.org:443": "5c9e…"}
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterable, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.homelab.fabric.plugins.module_utils import links
from ansible_collections.homelab.fabric.plugins.module_utils.relay_services import parse_ip, parse_services
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    TunnelError,
    parse_host,
    parse_interface,
    parse_port,
)
from ansible_collections.homelab.fabric.plugins.module_utils.wireguard_live import Interface

CONFIG_FOLDER = "/etc/wireguard"
SERVICE = {
    "port": {"type": "int", "required": True},
    "upstream": {"type": "str"},
    "proxy_protocol": {"type": "bool", "default": False},
}


def targets(wanted: dict[str, Any]) -> list[links.Target]:
    """Every service under every name. Raises TunnelError."""
    names = [parse_host(name, f"server_names[{i}]") for i, name in enumerate(wanted["server_names"])] or [""]
    if not wanted["interface"]:
        ports = [parse_port(s["port"], f"services[{i}].port") for i, s in enumerate(wanted["services"])]
        return [links.Target(name, port, None, False) for port in ports for name in names]
    found = []
    for service in parse_services(wanted["services"], wanted["ingress"]):
        address, _colon, port = service["upstream"].rpartition(":")
        upstream = (address.strip("[]"), int(port))
        found += [links.Target(name, service["port"], upstream, service["proxy_protocol"]) for name in names]
    return found


class Check:
    """All ways, walked side by side; along each way the first broken link ends it."""

    def __init__(self, wanted: dict[str, Any], interface: Interface | None, wait: links.Wait) -> None:
        self.wanted, self.interface, self.wait = wanted, interface, wait
        self.addresses = wanted["addresses"] or (["127.0.0.1", "::1"] if interface else [])
        self.links: list[links.Link] = []
        self.broken: list[str] = []
        self.certificates: dict[str, str] = dict(wanted["certificates"])

    def run(self, ways: Sequence[links.Target]) -> None:
        if self.interface:
            upstreams = {target.upstream[0] for target in ways if target.upstream}
            self._walk([self._peer_way(self.interface, name) for name in self._peers(upstreams)])
        if not self.broken:
            names = [target.server_name for target in ways if target.server_name]
            walks = [self._service_way(target) for target in ways]
            walks += [self._name_way(name) for name in dict.fromkeys(names)] if self.wanted["dns"] else []
            self._walk(walks)

    def _peers(self, upstreams: Iterable[str]) -> list[str]:
        """Those through which the upstreams are reached: another site that is off breaks no link of this way."""
        if not self.interface:
            return []
        try:
            self.interface.show("listen-port")
            named = list(self.interface.named())
            wanted = named if self.wanted["peers"] is None else self.wanted["peers"]
            carriers = self.interface.carriers(upstreams)
        except links.Broken as broken:
            self.broken.append(str(broken))
            return []
        return [name for name in wanted if name in carriers] or wanted

    def _walk(self, ways: Sequence[Callable[[list[links.Link]], None]]) -> None:
        def walk(way: Callable[[list[links.Link]], None]) -> tuple[list[links.Link], str]:
            held: list[links.Link] = []
            try:
                way(held)
            except links.Broken as broken:
                return held, str(broken)
            return held, ""

        with ThreadPoolExecutor(max_workers=8) as pool:
            for held, broken in pool.map(walk, ways):
                self.links += held
                if broken and broken not in self.broken:
                    self.broken.append(broken)

    def _peer_way(self, interface: Interface, name: str) -> Callable[[list[links.Link]], None]:
        def way(held: list[links.Link]) -> None:
            key = interface.named().get(name)
            if key is None:
                raise links.Broken(
                    f"{name} is not a peer of {interface.name}: its public key was not known when the tunnel was "
                    "set up. Look at: the run on that host, then run the whole playbook again without --limit"
                )
            held.append(interface.check_peer(name, key, self.wait))

        return way

    def _service_way(self, target: links.Target) -> Callable[[list[links.Link]], None]:
        def way(held: list[links.Link]) -> None:
            digest = self.certificates.get(target.key)
            expected = links.Answer(digest, f"the certificate with SHA-256 {digest[:16]}…") if digest else None
            if self.interface:
                link, expected = links.check_upstream(target, self.interface.name, self.interface.why_not, self.wait)
                held.append(link)
                self.certificates[target.key] = expected.identity
            for address in self.addresses:
                held.append(links.check_relay(target, address, expected, bool(self.interface), self.wait))
                if (
                    self.wanted["verify"]
                    and target.server_name
                    and target.port != 80
                    and held[-1].milliseconds is not None
                ):
                    held.append(links.check_trust(target, address, self.wait))

        return way

    def _name_way(self, name: str) -> Callable[[list[links.Link]], None]:
        return lambda held: held.append(links.check_name(name, self.addresses, self.wait))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "interface": {"type": "str"},
            "peers": {"type": "list", "elements": "str"},
            "services": {"type": "list", "elements": "dict", "default": [], "options": SERVICE},
            "ingress": {"type": "str", "default": ""},
            "server_names": {"type": "list", "elements": "str", "default": []},
            "addresses": {"type": "list", "elements": "str"},
            "certificates": {"type": "dict", "default": {}},
            "dns": {"type": "bool", "default": False},
            "verify": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 30},
        },
        required_one_of=[["interface", "addresses"]],
        supports_check_mode=True,
    )
    wanted, name = module.params, module.params["interface"]
    try:
        ways = targets(wanted)
        if name:
            parse_interface(name, "interface", "linux")
        addresses = [parse_ip(address, f"addresses[{i}]") for i, address in enumerate(wanted["addresses"] or [])]
    except TunnelError as error:
        module.fail_json(msg=str(error))
    wanted["addresses"] = addresses
    interface = None
    if name:
        wg = module.get_bin_path("wg")
        if not wg:
            missing = "wg is not installed on this host. Look at: the package wireguard-tools"
            if module.check_mode:
                module.exit_json(changed=False, skipped=True, msg=missing, links=[], certificates={})
            module.fail_json(msg=missing, links=[], certificates={})
        interface = Interface(module.run_command, name, wg, f"{CONFIG_FOLDER}/{name}.conf")
    check = Check(wanted, interface, links.Wait(0 if module.check_mode else wanted["timeout"]))
    check.run(ways)
    result: dict[str, Any] = {"links": links.as_dicts(check.links), "certificates": check.certificates}
    if not check.broken:
        module.exit_json(changed=False, **result)
    message = "\n".join(check.broken)
    if module.check_mode:
        module.exit_json(changed=False, skipped=True, msg=message, **result)
    module.fail_json(msg=message, **result)


if __name__ == "__main__":
    main()
