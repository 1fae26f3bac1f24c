"""Cables: one namespace holds a bridge for each network; every port is a veth from a host's namespace into it.

The first half is pure and says which commands; the second half runs them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

from .network import HOSTS, NETWORKS, Host
from .paths import NETNS

PREFIX = "hf-"
SWITCHES = PREFIX + "switches"


def namespace(host: Host) -> str:
    return PREFIX + host.name


def cable(host: Host, port: int) -> str:
    """The name of a port's far end at the switch; it fits 15 bytes however long the host's name is."""
    return f"h{HOSTS.index(host)}p{port}"


def switch_commands() -> list[str]:
    # mcast_snooping: without a querier it would swallow IPv6 neighbour discovery.
    return [
        line
        for network in NETWORKS
        for line in (
            f"link add {network} type bridge forward_delay 0 mcast_snooping 0",
            f"link set {network} up",
        )
    ]


def cable_commands(host: Host) -> list[str]:
    """For the switches' namespace. The hardware address stays the same over a reboot, as a real card's does."""
    here = namespace(host)
    number = HOSTS.index(host)
    lines = []
    for index, port in enumerate(host.ports):
        far = cable(host, index)
        lines += [
            f"link add {far} type veth peer name {port.name} address 02:00:00:00:{number:02x}:{index:02x} netns {here}",
            f"link set {far} master {port.network} up",
        ]
    return lines


def host_commands(host: Host) -> list[str]:
    """For the host's namespace. nodad: addresses are usable at once, and nobody here has them twice."""
    lines = ["link set lo up"]
    for port in host.ports:
        lines.append(f"link set {port.name} up")
        lines += [f"addr add {a} dev {port.name}{' nodad' if ':' in a else ''}" for a in port.addresses]
    lines += [f"route add default via {gateway}" for gateway in host.gateways]
    return lines


def sysctls(host: Host) -> dict[str, int]:
    values = {}
    if host.routes_packets or host.nat:
        values["net.ipv4.ip_forward"] = 1
    if host.routes_packets:
        values["net.ipv6.conf.all.forwarding"] = 1
    if host.nat:
        values |= udp_timeout_sysctls(host.nat.udp_timeout)
    return values


def udp_timeout_sysctls(seconds: int) -> dict[str, int]:
    return {
        "net.netfilter.nf_conntrack_udp_timeout": seconds,
        "net.netfilter.nf_conntrack_udp_timeout_stream": seconds,
    }


def nat_rules(host: Host) -> str:
    # The input chain matters: a packet that the router itself answered would leave a connection behind, and the next
    # packet from inside would then get another port than the mapping that was forgotten.
    assert host.nat
    return f"""\
table inet nat-router {{
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname != "{host.nat.outside}" accept
    }}
    chain input {{
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iifname != "{host.nat.outside}" accept
        meta l4proto icmp accept
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname "{host.nat.outside}" masquerade
    }}
}}
"""


def run_in(name: str, *command: str, stdin: str | None = None) -> None:
    """Run a program of the machine with a namespace's network. Raises CalledProcessError."""
    subprocess.run(["nsenter", f"--net={NETNS / name}", *command], input=stdin, text=True, check=True)


def ip(lines: Iterable[str], name: str | None = None) -> None:
    where = ["-n", name] if name else []
    subprocess.run(["ip", *where, "-batch", "-"], input="\n".join(lines), text=True, check=True)


def exists(name: str) -> bool:
    return (NETNS / name).exists()


def lay_switches() -> None:
    """A half-made switch (the lab was killed) is made anew: the hosts' cables are gone with it anyway."""
    remove(SWITCHES)
    ip([f"netns add {SWITCHES}"])
    ip(switch_commands(), SWITCHES)


def plug(host: Host) -> None:
    """Give the host a network namespace of its own with its interfaces, as they are after power-on."""
    unplug(host)
    here = namespace(host)
    ip([f"netns add {here}"])
    ip(cable_commands(host), SWITCHES)
    ip(host_commands(host), here)
    if host.nat:
        run_in(here, "nft", "-f", "-", stdin=nat_rules(host))
    if settings := sysctls(host):
        set_sysctls(host, settings)


def set_sysctls(host: Host, settings: dict[str, int]) -> None:
    run_in(namespace(host), "sysctl", "-qw", *(f"{key}={value}" for key, value in settings.items()))


def unplug(host: Host) -> None:
    # A namespace's interfaces vanish some time after it; its cables are cut here, so that plugging in again cannot
    # meet them.
    for index in range(len(host.ports)):
        subprocess.run(["ip", "-n", SWITCHES, "link", "del", cable(host, index)], capture_output=True, check=False)
    remove(namespace(host))


def remove(name: str) -> None:
    if exists(name):
        subprocess.run(["ip", "netns", "del", name], check=True)
