"""The lab as data: its networks, and the hosts plugged into them. A new host is a new entry of HOSTS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

RESOLVER = "203.0.113.53"
SSH_PORT = 2222
# Of routers that set their addresses themselves, as their factories have them.
OPENWRT = {"openwrt": "198.51.100.50", "glinet": "198.51.100.60"}
PFSENSE = {"pfsense": "203.0.113.90", "sofia": "203.0.113.91"}
# A name by which others dial, outside of Cloudflare's zone.
NAMES = {"sofia.example.net": (PFSENSE["sofia"], "2001:db8:91::91")}


@dataclass(frozen=True)
class Port:
    """A network interface: its kernel name, the network it is plugged into, its addresses with prefix lengths."""

    name: str
    network: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Nat:
    """A NAT router towards `outside`: masquerade for IPv4, nothing comes in, no IPv6.

    udp_timeout: seconds after which an idle UDP mapping is forgotten.
    """

    outside: str
    udp_timeout: int = 30


@dataclass(frozen=True)
class Host:
    """One computer or router.

    behind: the host that connects it to the Internet. gateways: its default routes. listens: TCP ports that tell it
    is up. program: the package that runs on it (programs.py), "debian" for a machine with a disk and systemd, or none.
    knows: names in its /etc/hosts, by address. case: the reference network it belongs to (CASES).
    """

    name: str
    about: str
    ports: tuple[Port, ...]
    behind: str | None = None
    gateways: tuple[str, ...] = ()
    routes_packets: bool = False
    nat: Nat | None = None
    program: str | None = None
    listens: tuple[int, ...] = ()
    knows: tuple[tuple[str, str], ...] = ()
    case: str = "relay"

    @property
    def is_machine(self) -> bool:
        return self.program == "debian"

    @property
    def has_disk(self) -> bool:
        """Whether all its files are its own, on an image, instead of the machine's with an /etc of its own."""
        return self.program in ("debian", "pfsense_double")

    @property
    def is_openwrt(self) -> bool:
        return self.program == "openwrt_double"


SERVERS_GATEWAYS = ("203.0.113.1", "2001:db8:113::1")
VISITORS_GATEWAYS = ("198.51.100.1", "2001:db8:51::1")

HOSTS: tuple[Host, ...] = (
    Host(
        "inet",
        "the Internet",
        ports=(
            Port("servers", "servers", ("203.0.113.1/24", "2001:db8:113::1/64")),
            Port("visitors", "visitors", ("198.51.100.1/24", "2001:db8:51::1/64")),
            Port("broker", "broker", ("2001:db8:91::1/64",)),
        ),
        routes_packets=True,
    ),
    Host(
        "vps-relay",
        "a rented VPS: Debian 12 with systemd",
        behind="inet",
        ports=(Port("eth0", "servers", ("203.0.113.10/24", "2001:db8:113::10/64")),),
        gateways=SERVERS_GATEWAYS,
        program="debian",
        listens=(SSH_PORT,),
    ),
    Host(
        "cloudflare",
        "Cloudflare's API and DNS, the resolver of all hosts",
        behind="inet",
        ports=(Port("eth0", "servers", ("203.0.113.53/24", "2001:db8:113::53/64")),),
        gateways=SERVERS_GATEWAYS,
        program="cloudflare_double",
        listens=(53, 443),
    ),
    Host(
        "visitor",
        "somebody anywhere",
        behind="inet",
        ports=(Port("eth0", "visitors", ("198.51.100.20/24", "2001:db8:51::20/64")),),
        gateways=VISITORS_GATEWAYS,
    ),
    Host(
        "isp",
        "the home's ISP: CGNAT",
        behind="inet",
        ports=(
            Port("wan", "servers", ("203.0.113.77/24",)),
            Port("customers", "customers", ("100.64.0.1/10",)),
        ),
        gateways=SERVERS_GATEWAYS[:1],
        nat=Nat(outside="wan"),
    ),
    Host(
        "mikrotik-gw",
        "the home's router: RouterOS, which sets its addresses and routes itself",
        behind="isp",
        ports=(
            Port("ether1", "customers"),
            Port("vlan10-lan", "vlan10"),
            Port("vlan20-iot", "vlan20"),
            Port("vlan30-k8s", "vlan30"),
        ),
        program="routeros_double",
        listens=(8728, 8729),
    ),
    Host(
        "ingress",
        "the home's ingress: TLS for jellyfin.example.org and grafana.example.org",
        behind="mikrotik-gw",
        ports=(Port("eth0", "vlan30", ("10.30.0.200/24",)),),
        gateways=("10.30.0.1",),
        program="ingress",
        listens=(80, 443, 8443),
    ),
    Host(
        "controller",
        "a computer in the home's LAN that runs Ansible",
        behind="mikrotik-gw",
        ports=(Port("eth0", "vlan10", ("10.10.0.5/24",)),),
        gateways=("10.10.0.1",),
        knows=(("10.10.0.1", "mikrotik-gw mikrotik-gw.home.arpa"), ("203.0.113.10", "vps-relay")),
    ),
    Host(
        "friend",
        "a friend's home router, with the phone behind it",
        behind="inet",
        ports=(
            Port("wan", "visitors", ("198.51.100.64/24",)),
            Port("lan", "friend-lan", ("192.168.188.1/24",)),
        ),
        gateways=VISITORS_GATEWAYS[:1],
        nat=Nat(outside="wan"),
    ),
    Host(
        "phone",
        "a phone in a friend's home",
        behind="friend",
        ports=(Port("eth0", "friend-lan", ("192.168.188.20/24",)),),
        gateways=("192.168.188.1",),
    ),
    Host(
        "cafe",
        "a café's router, with the laptop behind it",
        behind="inet",
        ports=(
            Port("wan", "visitors", ("198.51.100.128/24",)),
            Port("lan", "cafe-lan", ("172.20.10.1/28",)),
        ),
        gateways=VISITORS_GATEWAYS[:1],
        nat=Nat(outside="wan"),
    ),
    Host(
        "laptop",
        "a laptop in a café",
        behind="cafe",
        ports=(Port("eth0", "cafe-lan", ("172.20.10.5/28",)),),
        gateways=("172.20.10.1",),
    ),
    Host(
        "pfsense",
        "a home's firewall: pfSense, which sets its addresses and routes itself",
        behind="inet",
        ports=(Port("vtnet0", "servers"), Port("vtnet1", "pf-lan"), Port("vtnet2", "pf-servers")),
        routes_packets=True,
        program="pfsense_double",
        listens=(22,),
        case="pfsense",
    ),
    Host(
        "pf-lan",
        "the ingress of the home behind pfSense, for the same names as ingress",
        behind="pfsense",
        ports=(Port("eth0", "pf-lan", ("192.168.8.20/24",)),),
        gateways=("192.168.8.1",),
        program="ingress",
        listens=(80, 443, 8443),
        case="pfsense",
    ),
    Host(
        "sofia",
        "the hub of sites: pfSense with three LANs, and IPv6 by a broker's interface of its own",
        behind="inet",
        ports=(
            Port("vtnet0", "servers"),
            Port("vtnet1", "sofia-lan"),
            Port("vtnet2", "sofia-servers"),
            Port("vtnet3", "sofia-old"),
            Port("vtnet4", "broker"),
        ),
        routes_packets=True,
        program="pfsense_double",
        listens=(22,),
        case="site-to-site",
    ),
    Host(
        "sofia-pc",
        "a computer in the LAN of the hub",
        behind="sofia",
        ports=(Port("eth0", "sofia-lan", ("10.0.10.20/24",)),),
        gateways=("10.0.10.1",),
        case="site-to-site",
    ),
    Host(
        "openwrt",
        "a router with OpenWrt, the spoke valchedrym, which sets its addresses and routes itself",
        behind="inet",
        ports=(Port("eth0", "visitors"), Port("lan1", "openwrt-lan")),
        program="openwrt_double",
        listens=(22,),
        case="site-to-site",
    ),
    Host(
        "openwrt-pc",
        "a computer in the LAN of the router with OpenWrt",
        behind="openwrt",
        ports=(Port("eth0", "openwrt-lan", ("192.168.0.10/24",)),),
        gateways=("192.168.0.1",),
        case="site-to-site",
    ),
    Host(
        "glinet",
        "a GL.iNet Flint 2, the spoke london, which sets its addresses and routes itself",
        behind="inet",
        ports=(Port("eth0", "visitors"), Port("lan1", "glinet-lan")),
        program="openwrt_double",
        listens=(22,),
        case="site-to-site",
    ),
    Host(
        "glinet-pc",
        "a computer in the LAN of the Flint 2",
        behind="glinet",
        ports=(Port("eth0", "glinet-lan", ("192.168.8.10/24",)),),
        gateways=("192.168.8.1",),
        case="site-to-site",
    ),
)

BY_NAME = {host.name: host for host in HOSTS}
# Even a lab of few hosts has its resolver: without one, every look-up would wait for a timeout.
ALWAYS = ("cloudflare",)
# What `lab up` starts, and what `lab up --network NAME` starts, by name; the routers come along.
CASES = {
    "relay": tuple(host.name for host in HOSTS if host.case == "relay"),
    "pfsense": ("vps-relay", "visitor", "controller", "pfsense", "pf-lan"),
    "site-to-site": ("controller", "sofia", "sofia-pc", "openwrt", "openwrt-pc", "glinet", "glinet-pc"),
}
NETWORKS = tuple(dict.fromkeys(port.network for host in HOSTS for port in host.ports))


def with_routers(names: Iterable[str]) -> tuple[Host, ...]:
    """The named hosts, the routers between them and the Internet, and the resolver; in the order of HOSTS."""
    wanted: set[str] = set()
    for name in (*names, *ALWAYS):
        step: str | None = name
        while step:
            wanted.add(step)
            step = BY_NAME[step].behind
    return tuple(host for host in HOSTS if host.name in wanted)
