"""What the host has already where the tunnel wants to be: refused before anything is written, new tunnel or running.

Written, it would be found out at the start of the interface, which then stays down: at the next boot at the latest.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.linux.hosts import LinuxHost

CONF = "/etc/wireguard/wg0.conf"
TAKEN: dict[str, tuple[dict[str, Any], str]] = {
    "the host's own LAN": ({"allowed_ips": ["10.30.0.0/24"]}, "routes: 10.30.0.0/24 is on eth0 of this host already"),
    "the host's own LAN, IPv6": ({"allowed_ips": ["fd00:30::/64"]}, "routes: fd00:30::/64 is on eth0 of this"),
    "a route of somebody's": ({"allowed_ips": ["10.40.0.0/16"]}, "routes: 10.40.0.0/16 is on eth0 of this host"),
    "the tunnel's own network": ({"addresses": ["10.30.0.9/24"]}, "addresses: 10.30.0.0/24 is on eth0 of this host"),
    "the port": ({"listen_port": 51899}, "listen_port: UDP port 51899 is in use on this host already"),
}


@pytest.fixture
def crowded(hosts: list[LinuxHost]) -> LinuxHost:
    host = hosts[0]
    host.wire(hosts[1], "10.30.0.7/24", "10.30.0.1/24")
    host.run("ip", "address", "add", "fd00:30::7/64", "dev", "eth0", "nodad")
    host.run("ip", "route", "add", "10.40.0.0/16", "via", "10.30.0.1")
    host.run("ip", "route", "add", "10.50.0.0/16", "via", "10.30.0.1", "metric", "500")
    host.apply(name="wg9", addresses=["10.99.0.1/24"], listen_port=51899)
    return host


def everything(host: LinuxHost) -> str:
    commands = (f"cat {CONF}", "ip -brief link", "ip route", "wg show wg0 dump")
    return "".join(host.run(*command.split(), check=False) for command in commands)


def arguments(host: LinuxHost, allowed_ips: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    key = host.run("wg", "show", "wg9", "public-key").strip()  # any key
    peer = {"name": "home", "public_key": key, "allowed_ips": ["10.100.0.2/32", *allowed_ips]}
    return {"name": "wg0", "addresses": ["10.100.0.1/24"], "listen_port": 51820, "peers": [peer], **changes}


@pytest.mark.parametrize("running", [False, True], ids=["new", "running"])
@pytest.mark.parametrize("case", TAKEN)
def test_refused(crowded: LinuxHost, case: str, running: bool) -> None:
    if running:
        crowded.apply(**arguments(crowded))
    before = everything(crowded)
    changes, message = TAKEN[case]
    refused = crowded.module(**arguments(crowded, **changes))
    assert message in refused["msg"]
    assert everything(crowded) == before


def test_a_route_that_only_stands_in_for_the_tunnel_is_none_of_it(crowded: LinuxHost) -> None:
    crowded.apply(**arguments(crowded, ("10.50.0.0/16",)))
    assert crowded.apply(**arguments(crowded, ("10.50.0.0/16",)))["commands"] == []
