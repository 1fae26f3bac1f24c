"""A network that speaks IPv6 as well: devices get an address of each version, and by both they get home and out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.clients.device import Device
from tests.integration.clients.hub import clients, configuration, give
from tests.integration.clients.test_access import everywhere, fetches, web_server
from tests.integration.relay.inventory import example
from tests.integration.relay.lab import on, play, until

VISITOR = "2001:db8:51::20"
INGRESS = "fd00:30::200"
# The phone's own network has no IPv6 at all, so whatever arrives by it came through the tunnel.
BOTH = example(
    network={"prefix": ["10.100.0.0/24", "fd00:100::/64"]},
    nodes={
        "vps-relay": {"address": ["10.100.0.1", "fd00:100::1"]},
        "mikrotik-gw": {
            "address": ["10.100.0.2", "fd00:100::2"],
            "networks": ["10.30.0.0/24", "fd00:30::/64"],
        },
    },
)
# What the home's owner has set, by host: interface and address.
HOME = {"mikrotik-gw": ("vlan30-k8s", "fd00:30::1/64"), "ingress": ("eth0", f"{INGRESS}/64")}


@pytest.fixture
def both(hub: None) -> Iterator[dict[str, Any]]:
    """The relay with IPv6, up to the home's ingress; its variables."""
    try:
        for host, (interface, address) in HOME.items():
            on(host, "ip", "address", "replace", address, "dev", interface, "nodad")
        on("ingress", "ip", "route", "replace", "default", "via", "fd00:30::1")
        play(variables=BOTH).ok()
        yield BOTH
    finally:
        play().ok()
        on("ingress", "ip", "route", "delete", "default", "via", "fd00:30::1")
        for host, (interface, address) in HOME.items():
            on(host, "ip", "address", "delete", address, "dev", interface)


def test_both_versions_lead_home_and_out(both: dict[str, Any], phone: Device, laptop: Device) -> None:
    more = {"access": "full", "dns": ["10.10.0.1", "fd00:30::53"], "dns_search": ["home.arpa"], "mtu": 1380}
    run = give(vpn_clients=["phone", {"name": "laptop", **more}], vpn_client_qr=False, **both).ok()
    given = {name: client["addresses"] for name, client in clients(run).items()}
    assert {name: [":" in address for address in several] for name, several in given.items()} == {
        "phone": [False, True],
        "laptop": [False, True],
    }
    assert "-P FORWARD DROP" in on("vps-relay", "ip6tables", "-S", "FORWARD")
    phone.connect(configuration("phone"))
    until(lambda: phone.pings(INGRESS), 10, "the phone reaches the ingress by IPv6")
    assert phone.is_at_home()
    assert phone.pings("fd00:100::1")
    # With a server that all may ask, only the hub can keep the phone from it.
    with web_server(VISITOR) as asked:
        phone.connect(everywhere(configuration("phone")))
        assert phone.pings(INGRESS)
        assert not fetches("phone", VISITOR)
        laptop.connect(configuration("laptop"))
        assert fetches("laptop", VISITOR)
    assert asked[-1] == "2001:db8:113::10"
    assert laptop.pings(INGRESS)
    assert laptop.pings(given["phone"][1])
    for name in given:
        read = laptop.network_manager_reads(configuration(name))
        assert read == configuration(name), "NetworkManager reads something else"
