# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a relay is asked for, judged before anything is written: the ports it passes on and those that are open.

Pure: no I/O, no Ansible. The messages name the variables of the role vps_relay.
"""

from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError, parse_host, parse_port

MOST_PORTS = 15
"""A rule of iptables' multiport match, which is what UFW makes of an application profile, holds no more."""


def parse_services(services: Sequence[Mapping[str, Any]], ingress: str) -> list[dict[str, Any]]:
    """Each with port, upstream (`address:port`, as nginx writes it) and proxy_protocol. Raises TunnelError."""
    parsed: dict[int, dict[str, Any]] = {}
    for index, service in enumerate(services):
        where = f"vps_relay_services[{index}]"
        port = parse_port(service["port"], f"{where}.port")
        if port in parsed:
            raise TunnelError(f"{where}.port", f"{port} is there twice", "a port is passed on to one place")
        if service.get("upstream"):
            upstream = parse_upstream(service["upstream"], port, f"{where}.upstream")
        else:
            upstream = parse_upstream(ingress, port, "vps_relay_ingress")
        parsed[port] = {"port": port, "upstream": upstream, "proxy_protocol": bool(service.get("proxy_protocol"))}
    return [parsed[port] for port in sorted(parsed)]


def parse_upstream(value: str, default_port: int, argument: str) -> str:
    """`address:port` as nginx writes it, from an IP address with or without a port. Raises TunnelError."""
    text = str(value).strip()
    match = re.fullmatch(r"\[([^]]*)\](?::(.*))?|([^:]*)(?::([^:]*))?", text)
    address, port = (match[1] or match[3] or "", match[2] or match[4]) if match else (text, None)
    host = parse_ip(address, argument)
    number = default_port if port is None else parse_port(port, argument)
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"


def parse_ip(value: str, argument: str) -> str:
    """An IP address; nginx cannot start with a name while DNS is away. Raises TunnelError."""
    host = parse_host(value, argument)
    if not re.fullmatch(r"[0-9.]+|.*:.*", host):
        raise TunnelError(argument, f"{value!r} is a name", "give the IP address")
    return host


def profile_ports(tcp: Iterable[int], more: Sequence[str]) -> str:
    """The `ports` line of a UFW application profile. `more` holds such as 3478/udp. Raises TunnelError."""
    ports: dict[str, set[str]] = {"tcp": {str(port) for port in tcp}, "udp": set()}
    for index, text in enumerate(more):
        match = re.fullmatch(r"(\d{1,5})(?::(\d{1,5}))?/(tcp|udp)", str(text))
        where = f"vps_relay_open_ports[{index}]"
        if not match:
            raise TunnelError(where, f"{text!r} is not a port", "write it like 3478/udp or 60000:60010/udp")
        numbers = [parse_port(number, where) for number in match.groups()[:2] if number]
        ports[match[3]].add(":".join(str(number) for number in numbers))
    for protocol, numbers_of in ports.items():
        if sum(1 + (":" in text) for text in numbers_of) > MOST_PORTS:
            raise TunnelError(
                "vps_relay_open_ports",
                f"more than {MOST_PORTS} {protocol} ports are to be open (a range counts twice)",
                "put neighbours into one range",
            )
    return "|".join(f"{','.join(_in_order(items))}/{protocol}" for protocol, items in ports.items() if items)


def _in_order(ports: Iterable[str]) -> list[str]:
    return sorted(ports, key=lambda text: [int(number) for number in text.split(":")])
