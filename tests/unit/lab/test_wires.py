"""The commands that lay the cables: what a host's interfaces are before anything runs on it."""

from __future__ import annotations

from homelab_lab import wires
from homelab_lab.network import HOSTS, NETWORKS, Host, Nat, Port

ROUTER = Host(
    "router",
    "",
    ports=(Port("wan", "out", ("192.0.2.2/24",)), Port("lan", "in", ("10.0.0.1/24", "2001:db8::1/64"))),
    gateways=("192.0.2.1",),
    nat=Nat(outside="wan", udp_timeout=7),
)


def test_a_host_has_its_addresses_at_once_and_its_routes_after_them() -> None:
    assert wires.host_commands(ROUTER) == [
        "link set lo up",
        "link set wan up",
        "addr add 192.0.2.2/24 dev wan",
        "link set lan up",
        "addr add 10.0.0.1/24 dev lan",
        "addr add 2001:db8::1/64 dev lan nodad",
        "route add default via 192.0.2.1",
    ]


def test_every_port_is_a_cable_into_its_network() -> None:
    for host in HOSTS:
        commands = wires.cable_commands(host)
        for port in host.ports:
            assert any(
                f"peer name {port.name} " in line and line.endswith(f"netns hf-{host.name}") for line in commands
            )
            assert any(f"master {port.network} " in line for line in commands)


def test_hardware_addresses_differ() -> None:
    lines = [line for host in HOSTS for line in wires.cable_commands(host) if "address" in line]
    addresses = {line.split("address ")[1].split()[0] for line in lines}
    assert len(addresses) == len(lines)


def test_every_network_is_a_bridge() -> None:
    assert [line.split()[2] for line in wires.switch_commands() if " add " in line] == list(NETWORKS)


def test_nat_router_masquerades_and_lets_nothing_in() -> None:
    rules = wires.nat_rules(ROUTER)
    assert 'oifname "wan" masquerade' in rules
    assert "policy drop" in rules
    assert wires.sysctls(ROUTER) == {
        "net.ipv4.ip_forward": 1,
        "net.netfilter.nf_conntrack_udp_timeout": 7,
        "net.netfilter.nf_conntrack_udp_timeout_stream": 7,
    }


def test_a_plain_host_forwards_nothing() -> None:
    assert wires.sysctls(Host("plain", "", ports=())) == {}
