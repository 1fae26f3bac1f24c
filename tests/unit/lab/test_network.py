"""The description of the lab holds together, and says what the other parts of the project count on."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import ip_address, ip_interface

import pytest
from homelab_lab import wires
from homelab_lab.network import BY_NAME, CASES, HOSTS, NETWORKS, Host, with_routers

AS_HOST = pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)


def test_names_and_addresses_are_used_once() -> None:
    assert len(BY_NAME) == len(HOSTS)
    addresses = [address for host in HOSTS for port in host.ports for address in port.addresses]
    assert len(set(addresses)) == len(addresses)


def test_hosts_on_a_network_share_its_prefixes() -> None:
    prefixes = defaultdict(set)
    for host in HOSTS:
        for port in host.ports:
            for address in map(ip_interface, port.addresses):
                prefixes[port.network, address.version].add(address.network)
    assert all(len(found) == 1 for found in prefixes.values())


@AS_HOST
def test_gateways_are_neighbours(host: Host) -> None:
    neighbours = [ip_interface(address).network for port in host.ports for address in port.addresses]
    assert all(any(ip_address(gateway) in network for network in neighbours) for gateway in host.gateways)


@AS_HOST
def test_every_host_is_connected_to_the_internet_by_the_hosts_it_names(host: Host) -> None:
    if host.behind is None:
        assert host.name == "inet"
        return
    router = BY_NAME[host.behind]
    assert {port.network for port in host.ports} & {port.network for port in router.ports}


def test_names_fit_the_kernel() -> None:
    names = [port.name for host in HOSTS for port in host.ports] + list(NETWORKS)
    names += [wires.cable(host, index) for host in HOSTS for index in range(len(host.ports))]
    assert [name for name in names if len(name.encode()) > 15] == []


@pytest.mark.parametrize(
    ("name", "port", "address"),
    [
        ("inet", "servers", "203.0.113.1/24"),
        ("vps-relay", "eth0", "203.0.113.10/24"),
        ("vps-relay", "eth0", "2001:db8:113::10/64"),
        ("cloudflare", "eth0", "2001:db8:113::53/64"),
        ("visitor", "eth0", "198.51.100.20/24"),
        ("isp", "customers", "100.64.0.1/10"),
        ("ingress", "eth0", "10.30.0.200/24"),
        ("controller", "eth0", "10.10.0.5/24"),
        ("openwrt-pc", "eth0", "192.168.0.10/24"),
    ],
)
def test_well_known_addresses(name: str, port: str, address: str) -> None:
    assert address in next(each for each in BY_NAME[name].ports if each.name == port).addresses


@pytest.mark.parametrize(
    ("asked", "started"),
    [
        ((), {"inet", "cloudflare"}),
        (("visitor",), {"inet", "cloudflare", "visitor"}),
        (("controller",), {"inet", "cloudflare", "isp", "mikrotik-gw", "controller"}),
        (("pf-lan",), {"inet", "cloudflare", "pfsense", "pf-lan"}),
        (("phone", "laptop"), {"inet", "cloudflare", "friend", "phone", "cafe", "laptop"}),
        (("openwrt-pc",), {"inet", "cloudflare", "openwrt", "openwrt-pc"}),
    ],
)
def test_a_part_of_the_lab_has_its_routers_and_the_resolver(asked: tuple[str, ...], started: set[str]) -> None:
    assert {host.name for host in with_routers(asked)} == started


def test_a_network_starts_no_host_of_another_but_those_it_names() -> None:
    relay = {host.name for host in with_routers(CASES["relay"])}
    assert not relay & {"pfsense", "openwrt"}
    assert "laptop" in relay
    assert {host.name for host in HOSTS} == {host.name for case in CASES.values() for host in with_routers(case)}
