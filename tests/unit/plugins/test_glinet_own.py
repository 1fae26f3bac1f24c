"""Which packets of a GL.iNet's owner get a mark: by the router's routes as busybox shows them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from ansible_collections.homelab.fabric.plugins.module_utils.glinet_own import Near, marked, own_packets, parse_near

PPPOE = """4
default dev pppoe-wan scope link
10.64.0.1 dev pppoe-wan scope link  src 10.64.3.4
10.3.2.0/24 dev wgclient scope link  src 10.3.2.6
10.9.0.0/16 via 192.168.8.2 dev br-lan
192.168.8.0/24 dev br-lan scope link  src 192.168.8.1
203.0.113.7 dev pppoe-wan scope link
6
fd00:8::/64 dev br-lan metric 1024
fe80::/64 dev br-lan metric 256
"""


def test_the_router_is_where_it_has_an_address() -> None:
    assert parse_near(PPPOE) == Near(("10.64.0.1/32", "192.168.8.0/24"), ("192.168.8.0/24",))


def test_the_routers_own_networks_are_holes_in_what_is_marked() -> None:
    found = marked(["10.0.0.0/8", "192.168.1.0/24", "fd00::/16"], Near(("10.0.0.0/24", "10.1.0.0/16"), ()))
    assert "192.168.1.0/24" in found
    assert not any(":" in prefix for prefix in found)
    for address, inside in (("10.0.0.1", False), ("10.1.2.3", False), ("10.0.1.0", True), ("10.255.0.1", True)):
        assert any(ip_address(address) in ip_network(prefix) for prefix in found) == inside, address
    # What leads everywhere stays whole, and so does what the router is in only with a part of it.
    whole = ["0.0.0.0/0", "10.0.0.0/24", "10.0.1.0/25"]
    assert marked(whole, Near(("10.0.0.0/24", "10.0.1.0/24"), ())) == tuple(whole)
    assert marked(["10.0.0.0/23"], Near(("10.0.0.0/24", "10.0.1.0/24"), ())) == ("10.0.0.0/23",)


def test_a_default_route_marks_nothing_of_the_router() -> None:
    assert own_packets("wgclient1", ["0.0.0.0/0"], [], newer_firewall=True).text == ""
