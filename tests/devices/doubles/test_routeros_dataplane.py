"""Two doubles as processes with a data plane, in network namespaces of their own: packets through the tunnel or none.

vps (192.0.2.1) ── ether1 (192.0.2.2) home (10.30.0.1) ── ingress (10.30.0.200)
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from routeros_double import keys

LAB = Path(__file__).parents[2] / "lab"
PEERS, FILTER = "/interface/wireguard/peers", "/ip/firewall/filter"
LONG = "wg-vps-with-a-long-name"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nft", "ping", "wireguard-go"))),
    reason="needs root, iproute2, nftables, ping and wireguard-go",
)


def run(*words: object) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def inside(namespace: str, action: Callable[[], Any]) -> Any:
    """Do something in a thread that is in the namespace; sockets made there stay there."""
    result: list[Any] = []

    def work() -> None:
        with open(f"/run/netns/{namespace}") as file:
            assert ctypes.CDLL(None).setns(file.fileno(), 0) == 0
        result.append(action())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return result[0]


class Host:
    """A double in a namespace, with a client that is logged in."""

    def __init__(self, name: str, directory: Path, links: dict[str, str], open_wire: Any) -> None:
        self.namespace = f"hf-{os.getpid()}-{name}"
        self.directory = directory / name
        self.directory.mkdir()
        self._links = links
        self._open_wire = open_wire
        (self.directory / "hosts").write_text("127.0.0.1 localhost\n")
        factory: dict[str, Any] = {
            "/user": [{"name": "ansible", "password": "a word", "group": "full"}],
            "/interface": [{"name": link, "type": "ether"} for link in links],
            "/interface/vlan": [],
            "/interface/list/member": [],
            "/ip/address": [{"address": address, "interface": link} for link, address in links.items()],
            "/ip/route": [],
            "/ip/firewall/filter": [
                {"chain": "forward", "action": "accept", "connection-state": "established,related"},
                {"chain": "forward", "action": "drop", "comment": "the rest"},
            ],
            "/ip/firewall/nat": [],
        }
        (self.directory / "factory.json").write_text(json.dumps(factory))

    def boot(self) -> None:
        script = 'mount -t tmpfs none /var/run/wireguard; mount --bind "$1" /etc/hosts; shift; exec "$@"'
        names = ",".join(f"{name}={name}" for name in self._links)
        command = ["ip", "netns", "exec", self.namespace, "sh", "-c", script, "sh", str(self.directory / "hosts")]
        command += [sys.executable, "-m", "routeros_double", "--state", str(self.directory / "state")]
        command += ["--interface-map", names, "--factory", str(self.directory / "factory.json")]
        environment = {**os.environ, "PYTHONPATH": str(LAB), "PYTHONUNBUFFERED": "1"}
        with open(self.directory / "log", "a") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        router = SimpleNamespace(host="127.0.0.1", port=8728, user="ansible", password="a word")
        eventually(self.listens)
        self.wire = inside(self.namespace, lambda: self._open_wire(router))

    def listens(self) -> bool:
        log = (self.directory / "log").read_text()
        assert self.process.poll() is None, log
        return "answers on" in log

    def end(self, how: signal.Signals) -> None:
        (self.directory / "log").write_text("")
        self.process.send_signal(how)
        self.process.wait(10)

    def do(self, command: str, **arguments: str) -> str:
        """A write; the new id if there is one."""
        words = [f"={'.id' if name == 'id' else name.replace('_', '-')}={value}" for name, value in arguments.items()]
        reply = self.wire.ask(command, *words)
        assert reply[0][0] == "!done", reply
        return "".join(reply[0][1:]).removeprefix("=ret=")

    def rows(self, path: str) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = self.wire.rows(f"{path}/print")
        return rows

    def pings(self, address: str) -> bool:
        command = ["ip", "netns", "exec", self.namespace, "ping", "-c1", "-W0.5", address]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def eventually(condition: Callable[[], Any]) -> None:
    for _attempt in range(100):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("not within ten seconds")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, open_wire: Any) -> Iterator[tuple[Host, Host]]:
    directory = tmp_path_factory.mktemp("hosts")
    Path("/var/run/wireguard").mkdir(exist_ok=True)
    vps = Host("vps", directory, {"eth0": "192.0.2.1/24"}, open_wire)
    home = Host("home", directory, {"ether1": "192.0.2.2/24", "ether2": "10.30.0.1/24"}, open_wire)
    ingress = f"hf-{os.getpid()}-ingress"
    namespaces = [vps.namespace, home.namespace, ingress]
    try:
        for namespace in namespaces:
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        run(*f"ip link add eth0 netns {vps.namespace} type veth peer name ether1 netns {home.namespace}".split())
        run(*f"ip link add ether2 netns {home.namespace} type veth peer name eth0 netns {ingress}".split())
        run(*f"ip -n {ingress} address add 10.30.0.200/24 dev eth0".split())
        run(*f"ip -n {ingress} link set eth0 up".split())
        run(*f"ip -n {ingress} route add default via 10.30.0.1".split())
        for host in (vps, home):
            host.boot()
        connect(vps, home)
        yield vps, home
    finally:
        for host in (vps, home):
            if hasattr(host, "process"):
                host.end(signal.SIGTERM)
        for namespace in namespaces:
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


def connect(vps: Host, home: Host) -> None:
    """The tunnel of reference network A, the home dialling. Every test leaves it as it is here."""
    vps.do("/interface/wireguard/add", name="wg0", listen_port="51820")
    home.do("/interface/wireguard/add", name=LONG, listen_port="13231")
    vps.do("/ip/address/add", address="10.100.0.1/30", interface="wg0")
    home.do("/ip/address/add", address="10.100.0.2/30", interface=LONG)
    key = {host: host.rows("/interface/wireguard")[0]["public-key"] for host in (vps, home)}
    shared = keys.preshared()
    allowed = "10.100.0.2/32,10.30.0.0/24"
    add = f"{PEERS}/add"
    vps.do(add, interface="wg0", public_key=key[home], allowed_address=allowed, preshared_key=shared)
    home.do(add, interface=LONG, public_key=key[vps], allowed_address="10.100.0.1/32", preshared_key=shared)
    to_vps = {"endpoint_address": "192.0.2.1", "endpoint_port": "51820", "persistent_keepalive": "1"}
    home.do(f"{PEERS}/set", id="*1", **to_vps)
    vps.do("/ip/route/add", dst_address="10.30.0.0/24", gateway="wg0")
    drop = home.rows(FILTER)[-1][".id"]
    words = {"chain": "forward", "in_interface": LONG, "out_interface": "ether2", "comment": "fw"}
    home.do(f"{FILTER}/add", place_before=drop, **words)


def test_a_rule_acts_where_it_stands(hosts: tuple[Host, Host]) -> None:
    vps, home = hosts
    eventually(lambda: vps.pings("10.30.0.200"))
    ids = {row.get("comment"): row[".id"] for row in home.rows(FILTER)}
    home.do(f"{FILTER}/move", numbers=ids["fw"])
    assert not vps.pings("10.30.0.200"), "the rule stands behind the drop"
    home.do(f"{FILTER}/move", numbers=ids["fw"], destination=ids["the rest"])
    assert vps.pings("10.30.0.200")
    home.do(f"{FILTER}/disable", id=ids["fw"])
    assert not vps.pings("10.30.0.200"), "the rule is disabled"
    home.do(f"{FILTER}/enable", id=ids["fw"])
    assert vps.pings("10.30.0.200")


def test_ipv6_runs_through_the_same_tunnel(hosts: tuple[Host, Host]) -> None:
    vps, home = hosts
    for host, link, own, other in (
        (vps, "wg0", "fd00:100::1", "fd00:100::2"),
        (home, LONG, "fd00:100::2", "fd00:100::1"),
    ):
        host.do("/ipv6/address/add", address=f"{own}/64", interface=link)
        allowed = host.rows(PEERS)[0]["allowed-address"]
        host.do(f"{PEERS}/set", id="*1", allowed_address=f"{allowed},{other}/128")
    home.do("/ipv6/address/add", address="fd00:30::1/64", interface="ether2")
    vps.do(f"{PEERS}/set", id="*1", allowed_address=f"{vps.rows(PEERS)[0]['allowed-address']},fd00:30::/64")
    vps.do("/ipv6/route/add", dst_address="fd00:30::/64", gateway="fd00:100::2")
    eventually(lambda: vps.pings("fd00:30::1"))
    rule = home.do("/ipv6/firewall/filter/add", chain="input", action="drop", protocol="icmpv6", in_interface=LONG)
    assert not vps.pings("fd00:30::1")
    home.do("/ipv6/firewall/filter/remove", id=rule)
    assert vps.pings("fd00:30::1")


def test_live_state_comes_from_the_tunnel(hosts: tuple[Host, Host]) -> None:
    vps, home = hosts
    eventually(lambda: vps.pings("10.30.0.200"))
    for host, endpoint in ((vps, ("192.0.2.2", "13231")), (home, ("192.0.2.1", "51820"))):
        (peer,) = host.rows(PEERS)
        assert int(peer["rx"]) > 0
        assert int(peer["tx"]) > 0
        assert re.fullmatch(r"(\d+m)?\d+s", peer["last-handshake"])
        assert (peer["current-endpoint-address"], peer["current-endpoint-port"]) == endpoint


def test_changing_peers_loses_no_packet_of_another(hosts: tuple[Host, Host]) -> None:
    vps, home = hosts
    eventually(lambda: vps.pings("10.30.0.200"))
    ping = subprocess.Popen(
        ["ip", "netns", "exec", vps.namespace, "ping", "-q", "-i", "0.01", "-c", "100", "-W1", "10.30.0.200"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for number in range(20):
        for host, link in ((vps, "wg0"), (home, LONG)):
            key = keys.public(keys.private())
            peer = host.do(f"{PEERS}/add", interface=link, public_key=key, allowed_address=f"10.101.{number}.0/24")
            host.do(f"{PEERS}/set", id=peer, allowed_address=f"10.102.{number}.0/24", preshared_key="auto")
            host.do(f"{PEERS}/disable", id=peer)
            host.do(f"{PEERS}/remove", id=peer)
        home.do("/ip/route/remove", id=home.do("/ip/route/add", dst_address="10.9.0.0/16", gateway=LONG))
    said, _errors = ping.communicate(timeout=10)
    assert "100 received" in said


def test_a_disabled_peer_leaves_the_tunnel(hosts: tuple[Host, Host]) -> None:
    vps, home = hosts
    home.do(f"{PEERS}/disable", id="*1")
    assert not vps.pings("10.30.0.200")
    assert "last-handshake" not in home.rows(PEERS)[0]
    home.do(f"{PEERS}/enable", id="*1")
    eventually(lambda: vps.pings("10.30.0.200"))


def test_a_new_name_keeps_the_session(hosts: tuple[Host, Host]) -> None:
    vps, home = hosts
    eventually(lambda: vps.pings("10.30.0.200"))
    home.do("/interface/wireguard/set", id=LONG, name="short")
    assert vps.pings("10.30.0.200")
    home.do("/interface/wireguard/set", id="short", name=LONG)
    assert vps.pings("10.30.0.200")


def test_a_host_name_is_tried_until_it_resolves(hosts: tuple[Host, Host]) -> None:
    vps, home = hosts
    home.do(f"{PEERS}/set", id="*1", endpoint_address="vps.example.org")
    assert not vps.pings("10.30.0.200")
    with open(home.directory / "hosts", "a") as file:  # the same file, which is mounted there
        file.write("192.0.2.1 vps.example.org\n")
    eventually(lambda: vps.pings("10.30.0.200"))
    assert home.rows(PEERS)[0]["endpoint-address"] == "vps.example.org"
    home.do(f"{PEERS}/set", id="*1", endpoint_address="192.0.2.1")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_path_returns_after_a_power_cut(hosts: tuple[Host, Host], how: signal.Signals) -> None:
    vps, home = hosts
    eventually(lambda: vps.pings("10.30.0.200"))
    home.end(how)
    if how == signal.SIGTERM:
        assert set(re.findall(r"^\d+: (\w+)", run("ip", "-n", home.namespace, "link"), re.MULTILINE)) == {
            "lo",
            "ether1",
            "ether2",
        }
        assert not vps.pings("192.0.2.2")
    home.boot()
    eventually(lambda: vps.pings("10.30.0.200"))


def test_removing_the_interface_removes_the_device(hosts: tuple[Host, Host]) -> None:
    vps, _home = hosts
    link = vps.do("/interface/wireguard/add", name="wg9")
    vps.do("/ip/address/add", address="10.109.0.1/24", interface="wg9")
    assert "10.109.0.1/24" in run("ip", "-n", vps.namespace, "address", "show", "wg9")
    vps.do("/interface/wireguard/remove", id=link)
    eventually(lambda: "wg9" not in run("ip", "-n", vps.namespace, "link"))
    assert "10.109" not in run("ip", "-n", vps.namespace, "route")
    assert vps.pings("10.100.0.2")
