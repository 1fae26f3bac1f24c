"""Real packets of clients: their configurations work as they are, and lead where they may and nowhere else."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import pytest

from tests.integration.linux.hosts import LinuxHost, wait_for
from tests.integration.linux.test_clients import FOLDER
from tests.integration.linux.test_packets import HUB_PORT, default_drop, reaches

COMMON: dict[str, Any] = {
    "interface": "wg0",
    "pool": ["10.100.0.0/24"],
    "networks": ["10.30.0.0/24"],
    "persistent_keepalive": "1",
    "dns": [],
}


class Home:
    """The hub with the home as its node, and two devices, each on a wire of its own. 10.30.0.200 is in the home.

    192.0.2.18 is the home's outer address, which stands for the Internet.
    """

    def __init__(self, hosts: list[LinuxHost]) -> None:
        self.hub, self.home, self.phone = hosts
        self.hub.wire(self.home, "192.0.2.17/28", "192.0.2.18/28", "eth2")
        self.hub.wire(self.phone, "192.0.2.1/28", "192.0.2.2/28", "eth1")
        for address in ("10.30.0.200/32", "10.30.0.201/32"):
            self.home.run("ip", "address", "add", address, "dev", "lo")
        for host in (self.hub, self.home):
            host.apply(name="wg0", addresses=[])
        keys = [host.run("wg", "show", "wg0", "public-key").strip() for host in (self.hub, self.home)]
        self.home.apply(
            name="wg0",
            addresses=["10.100.0.2/32"],
            peers=[
                {
                    "name": "hub",
                    "public_key": keys[0],
                    "endpoint": f"192.0.2.17:{HUB_PORT}",
                    "allowed_ips": ["10.100.0.1/32"],
                    "persistent_keepalive": "1",
                }
            ],
        )
        self.tunnel: dict[str, Any] = {
            "name": "wg0",
            "addresses": ["10.100.0.1/24"],
            "listen_port": HUB_PORT,
            "open_port": True,
            "peers": [{"name": "home", "public_key": keys[1], "allowed_ips": ["10.100.0.2/32", "10.30.0.0/24"]}],
        }
        self.hub.apply(**self.tunnel)
        wait_for(lambda: reaches(self.hub, "10.100.0.2"))

    def clients(self, *items: dict[str, Any], **more: Any) -> dict[str, Any]:
        arguments = COMMON | {"endpoint": f"192.0.2.1:{HUB_PORT}"} | more
        return self.hub.apply("--module=wireguard_client", **arguments, clients=list(items))

    def connect(self, name: str, device: LinuxHost, interface: str) -> None:
        """As a person does it with the file, or the app with the code."""
        device.run("wg-quick", "down", interface, check=False)
        device.run("tee", f"/etc/wireguard/{interface}.conf", stdin=self.hub.read(f"{FOLDER}/{name}.conf"))
        device.run("wg-quick", "up", interface)


@pytest.fixture
def home(hosts: list[LinuxHost]) -> Home:
    return Home(hosts)


def serves(host: LinuxHost, address: str, port: int) -> subprocess.Popen[str]:
    return host.start("python3", "-m", "http.server", "--bind", address, str(port), stderr=subprocess.DEVNULL)


def opens(host: LinuxHost, address: str, port: int, source: str | None = None) -> bool:
    """Whether a TCP connection comes about."""
    code = (
        "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1, "
        "source_address=(sys.argv[3], 0) if sys.argv[3] else None)"
    )
    done = subprocess.run(
        host.command("python3", "-c", code, address, str(port), source or ""), capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.mark.parametrize("firewall", ["ufw", "docker", "none"])
def test_a_split_tunnel_leads_home_and_nowhere_else(home: Home, firewall: str) -> None:
    default_drop(home.hub, firewall)
    home.clients({"name": "phone"})
    home.connect("phone", home.phone, "wg0")
    wait_for(lambda: reaches(home.phone, "10.30.0.200"))
    assert reaches(home.phone, "10.100.0.1"), "the hub"
    assert reaches(home.phone, "10.100.0.2"), "a node, which knows of no clients"
    home.phone.run("wg", "set", "wg0", "peer", hub_key(home), "allowed-ips", "0.0.0.0/0")
    home.phone.run("ip", "route", "add", "192.0.2.18", "dev", "wg0")
    assert not reaches(home.phone, "192.0.2.18"), "whatever the device's user makes of its configuration"
    if firewall == "ufw":
        home.hub.run("ufw", "reload")
        assert reaches(home.phone, "10.30.0.200")
    for again in (home.clients(), home.hub.apply(**home.tunnel)):
        assert not again["changed"]


def hub_key(home: Home) -> str:
    return home.hub.run("wg", "show", "wg0", "public-key").strip()


def test_a_full_tunnel_leads_everywhere_with_and_without_masquerade(home: Home) -> None:
    default_drop(home.hub, "docker")
    home.clients({"name": "phone", "access": ["0.0.0.0/1", "128.0.0.0/2", "192.0.2.16/28"]})
    home.connect("phone", home.phone, "wg0")
    wait_for(lambda: reaches(home.phone, "192.0.2.18"))
    assert reaches(home.phone, "10.30.0.200")
    home.clients({"name": "phone", "access": ["full"]}, masquerade=False)
    assert reaches(home.phone, "192.0.2.18"), "the Internet sees the hub in any case"
    assert not reaches(home.phone, "10.30.0.200"), "the home has no route back"
    home.home.run("wg", "set", "wg0", "peer", hub_key(home), "allowed-ips", "10.100.0.0/24")
    home.home.run("ip", "route", "add", "10.100.0.0/24", "dev", "wg0")
    assert reaches(home.phone, "10.30.0.200")


def test_clients_are_kept_apart_and_within_their_limits(home: Home, host: LinuxHost) -> None:
    servers = [serves(home.home, "0.0.0.0", port) for port in (443, 8080)] + [serves(home.hub, "10.100.0.1", 9000)]
    limit = {"network": "10.30.0.200/32", "protocol": "tcp", "ports": [443]}
    home.clients({"name": "phone"}, {"name": "tv"}, {"name": "guest", "limits": [limit], "isolated": True})
    home.hub.wire(host, "192.0.2.33/28", "192.0.2.34/28", "eth3")
    host.run("ip", "route", "add", "default", "via", "192.0.2.33")
    home.connect("tv", host, "wg0")
    address = "10.100.0.4"
    try:
        home.connect("phone", home.phone, "wg0")
        wait_for(lambda: opens(home.phone, "10.30.0.200", 443))
        assert opens(home.phone, "10.30.0.200", 8080)
        assert opens(home.phone, "10.30.0.201", 443)
        wait_for(lambda: opens(home.phone, "10.100.0.1", 9000))
        wait_for(lambda: reaches(home.hub, address))
        assert reaches(home.phone, address), "another client"
        home.connect("guest", home.phone, "wg0")
        wait_for(lambda: opens(home.phone, "10.30.0.200", 443))
        assert not opens(home.phone, "10.30.0.200", 8080)
        assert not opens(home.phone, "10.30.0.201", 443)
        assert not opens(home.phone, "10.100.0.1", 9000), "the hub itself"
        assert not reaches(home.phone, address)
        home.connect("phone", home.phone, "wg0")
        home.clients({"name": "tv", "isolated": True})
        wait_for(lambda: opens(home.phone, "10.30.0.200", 8080))
        assert not reaches(home.phone, address), "the other side is isolated"
    finally:
        for server in servers:
            server.kill()
            server.wait()


def test_who_is_revoked_expired_or_rotated_cannot_shake_hands(home: Home) -> None:
    def works() -> bool:
        return reaches(home.phone, "10.30.0.200")

    home.clients({"name": "phone"}, {"name": "tv"})
    home.connect("phone", home.phone, "wg0")
    wait_for(works)
    home.clients({"name": "phone", "rotate": True})
    assert not works()
    home.connect("phone", home.phone, "wg0")
    wait_for(works)
    home.clients({"name": "phone", "state": "absent"})
    assert not works()
    home.phone.run("wg-quick", "down", "wg0")
    home.phone.run("wg-quick", "up", "wg0")
    assert not works()
    assert "\t0\t0\t" in home.phone.run("wg", "show", "wg0", "dump").splitlines()[1], "no handshake"


def test_coming_and_going_of_others_loses_no_packet(home: Home) -> None:
    home.clients({"name": "phone"})
    home.connect("phone", home.phone, "wg0")
    wait_for(lambda: reaches(home.phone, "10.30.0.200"))
    words = ("ping", "-q", "-i", "0.01", "-c", "100000")
    pings = [
        home.phone.start(*words, "10.30.0.200", stdout=subprocess.PIPE),
        home.hub.start(*words, "10.100.0.2", stdout=subprocess.PIPE),
    ]
    many = [{"name": f"c{number}"} for number in range(30)]
    for items, more in (
        ([{"name": "tv"}], {}),
        ([{"name": "tv", "rotate": True, "expires": "1h"}], {}),
        ([{"name": "tv", "isolated": True, "addresses": ["10.100.0.40"], "access": ["full"]}], {}),
        (many, {}),
        ([{"name": "phone"}], {"purge": True}),
    ):
        assert home.clients(*items, **more)["changed"]
        time.sleep(0.3)
    for ping in pings:
        ping.send_signal(2)
        output = ping.communicate(timeout=10)[0]
        sent, received = (int(word.split()[0]) for word in output.splitlines()[-2].split(",")[:2])
        assert sent > 100, output
        assert sent - received <= 1, output  # one may be under way when ping is stopped


def test_live_state_is_reported(home: Home) -> None:
    home.clients({"name": "phone"}, {"name": "tv"})
    home.connect("phone", home.phone, "wg0")
    wait_for(lambda: reaches(home.phone, "10.30.0.200"))
    phone, tv = home.clients()["clients"]
    assert phone["endpoint"].startswith("192.0.2.2:")
    assert 0 <= phone["handshake_age"] < 60
    assert min(phone["received"], phone["sent"]) > 0
    assert (tv["endpoint"], tv["handshake_age"], tv["received"]) == (None, None, 0)
