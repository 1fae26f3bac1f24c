"""wireguard_check against real sockets and certificates on loopback, and a `wg` that says what the test wants."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from ansible.module_utils import basic
from ansible_collections.homelab.fabric.plugins.module_utils import links
from ansible_collections.homelab.fabric.plugins.modules import wireguard_check

NAME = "jellyfin.example.org"
ROUTER = "UguPyBThx/+xMXeTbRYkKlP0Wh/QZT3vTLPOVaaXTD8="
VPS = "8k2xjAWkVLrJkYm5Zl2i0c0zR0dVt6mPZV3a9C8uXmE="
CONFIG = f"""\
[Interface]
ListenPort = 51820

[Peer]
# homelab.fabric: mikrotik-gw
PublicKey = {ROUTER}
AllowedIPs = 10.100.0.2/32, 127.0.0.0/8

[Peer]
# a neighbour's, not ours
PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
"""
Serve = Callable[[socket.socket], None]
Answer = dict[str, Any]


class Server:
    """Serves connections on a loopback port until the end of the test; IPv6 as well if asked."""

    def __init__(self, serve: Serve, port: int = 0, ipv6: bool = False) -> None:
        self.serve = serve
        self.sockets = [socket.create_server(("127.0.0.1", port))]
        self.port: int = self.sockets[0].getsockname()[1]
        if ipv6:
            self.sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        for listening in self.sockets:
            threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _client = listening.accept()
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self.serve(connection)

    def close(self) -> None:
        for listening in self.sockets:
            # Wakes accept() as well, which close() alone does not.
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()


Listen = Callable[..., int]


@pytest.fixture
def listen() -> Iterator[Listen]:
    servers: list[Server] = []

    def start(serve: Serve, port: int = 0, ipv6: bool = False) -> int:
        servers.append(Server(serve, port, ipv6))
        return servers[-1].port

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls(authority: trustme.CA, name: str = NAME, header: list[bytes] | None = None) -> Serve:
    """A server with a certificate; with `header` it takes a PROXY header first, and puts it there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, common_name=name).configure_cert(context)

    def serve(connection: socket.socket) -> None:
        if header is not None:
            line = b""
            while not line.endswith(b"\n"):
                line += connection.recv(1)
                if not b"PROXY ".startswith(line[:6]):
                    return
            header.append(line)
        with context.wrap_socket(connection, server_side=True):
            pass

    return serve


def passing_on(port: int, header: bytes = b"") -> Serve:
    """nginx's stream passthrough."""

    def serve(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            upstream.sendall(header)
            back = threading.Thread(target=pump, args=(upstream, connection))
            back.start()
            pump(connection, upstream)
            back.join()

    return serve


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


def closing(connection: socket.socket) -> None:
    connection.recv(1)


def silent(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.recv(65536)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


class Wg:
    """A `wg` on PATH that prints files, and an `ip` whose routes lead into the tunnel."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        script = '#!/bin/sh\n[ "$2" = wg0 ] || { echo "Unable to access interface: No such device" >&2; exit 1; }\n'
        self._program("wg", script + f'cat "{folder}/$3"\n')
        self.route("wg0")
        self.says("latest-handshakes", f"{ROUTER}\t{int(time.time()) - 4}\n")
        self.says("endpoints", f"{ROUTER}\t203.0.113.77:40112\n")
        self.says("allowed-ips", f"{ROUTER}\t10.100.0.2/32 127.0.0.0/8\n")
        self.says("listen-port", "51820\n")
        self.says("public-key", f"{VPS}\n")

    def _program(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def says(self, what: str, text: str) -> None:
        # Replaced at once, as the module may be reading.
        (self.folder / "new").write_text(text)
        (self.folder / "new").replace(self.folder / what)

    def route(self, device: str) -> None:
        self._program("ip", f'#!/bin/sh\necho "$5 dev {device} src 10.100.0.1 uid 0"\n')


@pytest.fixture
def wg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wg:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(wireguard_check, "CONFIG_FOLDER", str(tmp_path))
    monkeypatch.setattr(links, "PATIENCE", 0.5)
    (tmp_path / "wg0.conf").write_text(CONFIG)
    return Wg(tmp_path)


Run = Callable[..., Answer]


@pytest.fixture
def run(wg: Wg, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the module in this process."""

    def run_module(check: bool = False, **arguments: Any) -> Answer:
        given = {"timeout": 0, **arguments, "_ansible_check_mode": check}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)  # ansible-core 2.19 and later
        with pytest.raises(SystemExit):
            wireguard_check.main()
        answer: Answer = json.loads(capsys.readouterr().out)
        return answer

    return run_module


def relay(port: int, upstream: int, **more: Any) -> dict[str, Any]:
    """The arguments on the relay."""
    service = {"port": port, "upstream": f"127.0.0.1:{upstream}", **more}
    return {"interface": "wg0", "services": [service], "server_names": [NAME]}


def test_the_whole_way_holds(run: Run, listen: Listen, authority: trustme.CA) -> None:
    ingress = listen(tls(authority))
    port = listen(passing_on(ingress), ipv6=True)
    answer = run(peers=["mikrotik-gw"], **relay(port, ingress))
    assert "failed" not in answer, answer["msg"]
    assert [link["link"] for link in answer["links"]] == [
        "handshake with mikrotik-gw",
        f"127.0.0.1:{ingress} through wg0",
        f"{NAME} through nginx at 127.0.0.1:{port}",
        f"{NAME} through nginx at [::1]:{port}",
    ]
    assert re.fullmatch(r"[4-9] s ago, from 203\.0\.113\.77:40112", answer["links"][0]["detail"])
    (digest,) = answer["certificates"].values()
    assert answer["links"][1]["detail"].startswith("the certificate O=trustme")
    assert answer["links"][1]["detail"].endswith(f"CN={NAME}, SHA-256 {digest[:16]}…")

    afar = {"services": [{"port": port}], "server_names": [NAME], "certificates": answer["certificates"]}
    answer = run(addresses=["127.0.0.1", "::1"], **afar)
    assert [link["link"] for link in answer["links"]] == [
        f"{NAME} from outside at 127.0.0.1:{port}",
        f"{NAME} from outside at [::1]:{port}",
    ]


def test_a_site_that_is_off_breaks_no_way_that_does_not_lead_through_it(
    run: Run, wg: Wg, listen: Listen, authority: trustme.CA, tmp_path: Path
) -> None:
    site = VPS
    (tmp_path / "wg0.conf").write_text(f"{CONFIG}\n[Peer]\n# homelab.fabric: cabin\nPublicKey = {site}\n")
    wg.says("allowed-ips", f"{ROUTER}\t10.100.0.2/32 127.0.0.0/8\n{site}\t10.40.0.0/24\n")
    ingress = listen(tls(authority))
    port = listen(passing_on(ingress), ipv6=True)
    answer = run(peers=["cabin", "mikrotik-gw"], **relay(port, ingress))
    assert "failed" not in answer, answer["msg"]
    wg.says("allowed-ips", f"{ROUTER}\t10.100.0.2/32\n{site}\t127.0.0.0/8\n")
    assert "no handshake with cabin" in run(peers=["cabin", "mikrotik-gw"], **relay(port, ingress))["msg"]


def test_a_link_that_comes_up_in_time_is_waited_for(run: Run, wg: Wg, listen: Listen, authority: trustme.CA) -> None:
    wg.says("latest-handshakes", f"{ROUTER}\t0\n")
    ingress, port = listen(tls(authority)), free_port()

    def come_up() -> None:
        wg.says("latest-handshakes", f"{ROUTER}\t{int(time.time())}\n")
        time.sleep(0.3)
        listen(passing_on(ingress), port, ipv6=True)

    timer = threading.Timer(0.5, come_up)
    timer.start()
    started = time.monotonic()
    answer = run(timeout=20, **relay(port, ingress))
    timer.join()
    assert "failed" not in answer, answer["msg"]
    assert time.monotonic() - started < 10
    assert answer["links"][0]["milliseconds"] is not None


def test_proxy_protocol_is_spoken_to_the_ingress_alone(run: Run, listen: Listen, authority: trustme.CA) -> None:
    headers: list[bytes] = []
    ingress = listen(tls(authority, header=headers))
    port = listen(passing_on(ingress, b"PROXY TCP4 198.51.100.20 203.0.113.10 40000 443\r\n"), ipv6=True)
    answer = run(**relay(port, ingress, proxy_protocol=True))
    assert "failed" not in answer, answer["msg"]
    assert headers[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
    assert headers[0].endswith(b" %d\r\n" % ingress)


def test_a_service_without_tls_is_passed_on_as_well(run: Run, listen: Listen) -> None:
    def greeting(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
        connection.recv(1)

    ingress = listen(greeting)
    answer = run(**relay(listen(passing_on(ingress), ipv6=True), ingress))
    assert "failed" not in answer, answer["msg"]
    assert [link["detail"] for link in answer["links"][1:]] == ["an answer that is not TLS"] * 3


HANDSHAKE_END = f"is {VPS} the key it has of this host, and {ROUTER} still its own?"


@pytest.mark.parametrize(
    ("handshake", "endpoint", "message"),
    [
        (
            "0",
            "(none)",
            (
                "no handshake with mikrotik-gw on wg0 after 1 s (there has never been one). Look at: does UDP 51820 "
                "reach this "
                "host (the provider's firewall, `ufw status`)? does mikrotik-gw dial this host's address and port "
                "51820, with a "
                f"keepalive (after a restart of this host it calls within two minutes)? {HANDSHAKE_END}"
            ),
        ),
        (
            "long ago",
            "198.51.100.64:51820",
            (
                "no handshake with mikrotik-gw on wg0 after 1 s (the last one was 100000 s ago). Look at: is "
                f"mikrotik-gw switched on, and can 198.51.100.64:51820 by UDP be reached from here? {HANDSHAKE_END}"
            ),
        ),
    ],
)
def test_no_handshake(run: Run, wg: Wg, monkeypatch: Any, handshake: str, endpoint: str, message: str) -> None:
    monkeypatch.setattr(time, "time", lambda: 1800000000.0)
    wg.says("latest-handshakes", f"{ROUTER}\t{1800000000 - 100000 if handshake == 'long ago' else 0}\n")
    wg.says("endpoints", f"{ROUTER}\t{endpoint}\n")
    answer = run(timeout=1, **relay(free_port(), free_port()))
    assert answer["failed"]
    # What lies behind is not tried: it cannot hold, and would only hide the cause.
    assert answer["msg"] == message


def test_interface_or_peer_that_is_not_there(run: Run, wg: Wg) -> None:
    assert run(interface="wg9")["msg"] == (
        "wg9 is not up on this host (Unable to access interface: No such device). Look at: systemctl status "
        "wg-quick@wg9"
    )
    assert run(interface="wg0", peers=["openwrt"])["msg"] == (
        "openwrt is not a peer of wg0: its public key was not known when the tunnel was set up. Look at: the "
        "run on that "
        "host, then run the whole playbook again without --limit"
    )
    (wg.folder / "wg0.conf").unlink()
    config = f"{wg.folder}/wg0.conf"
    assert run(interface="wg0")["msg"] == f"{config} cannot be read: No such file or directory. Look at: ls -l {config}"


def test_the_ingress_does_not_answer_through_the_tunnel(run: Run, wg: Wg, listen: Listen) -> None:
    closed = free_port()
    where = f"{NAME}: the handshake is there, but 127.0.0.1"
    assert run(**relay(443, closed))["msg"] == (
        f"{where}:{closed} refuses the connection through wg0. Look at: is the ingress running, and does it "
        "listen on this "
        "port?"
    )
    mute = listen(silent)
    assert run(**relay(443, mute))["msg"] == (
        f"{where}:{mute} does not answer within 0.5 s through wg0. Look at: the forward rule on the home's "
        "router (before "
        "its drop rule, towards the ingress's network); is 127.0.0.1 up? does it answer to this host's "
        "tunnel address "
        "through that router?"
    )
    gone = listen(closing)
    assert run(**relay(443, gone))["msg"] == (
        f"{where}:{gone} closes the connection without an answer through wg0. Look at: the ingress's log; whether it "
        f"speaks TLS on this port, and knows {NAME}"
    )
    assert (
        "whether it expects a PROXY protocol header from this host on"
        in run(**relay(443, gone, proxy_protocol=True))["msg"]
    )


def test_packets_to_the_ingress_go_elsewhere(run: Run, wg: Wg) -> None:
    closed = free_port()
    look = "Look at: `networks` of the home's node in wireguard_networks, which has to hold it"
    wg.route("eth0")
    assert f"packets to 127.0.0.1 leave by eth0 instead of wg0. {look}" in run(**relay(443, closed))["msg"]
    wg.says("allowed-ips", f"{ROUTER}\t10.100.0.2/32\n")
    assert f"127.0.0.1 is in no peer's allowed IPs on wg0. {look}" in run(**relay(443, closed))["msg"]


def test_nginx_does_not_pass_it_on(run: Run, listen: Listen, authority: trustme.CA) -> None:
    ingress = listen(tls(authority))
    closed = free_port()
    start = f"{NAME}: the ingress answers directly, but not through nginx: 127.0.0.1"
    assert run(**relay(closed, ingress))["msg"] == (
        f"{start}:{closed} refuses the connection. Look at: is nginx running and listening there? systemctl "
        "status nginx; "
        "nginx -t; journalctl -u nginx"
    )
    stranded = listen(closing)
    assert run(**relay(stranded, ingress))["msg"] == (
        f"{start}:{stranded} closes the connection without an answer. Look at: /var/log/nginx/error.log; whether "
        "proxy_protocol of this service is what the ingress expects"
    )


def test_somebody_on_the_way_ends_tls(run: Run, listen: Listen, authority: trustme.CA) -> None:
    ingress, other = listen(tls(authority)), listen(tls(authority, "default.example.net"))
    answer = run(**relay(other, ingress))
    assert f"{NAME}: 127.0.0.1:{other} shows the certificate O=trustme" in answer["msg"]
    assert "CN=default.example.net, SHA-256 " in answer["msg"]
    assert "…; the ingress itself shows the certificate " in answer["msg"]
    assert answer["msg"].endswith(
        f"Look at: what else has port {other} in nginx (`nginx -T | grep listen`), and nginx's upstream"
    )
    afar = {"services": [{"port": other}], "server_names": [NAME]}
    answer = run(addresses=["127.0.0.1"], certificates={f"{NAME}:{other}": "ab" * 32}, **afar)
    assert answer["msg"].endswith(
        "Look at: whether this address is the VPS's, and no proxy or other machine answers for it"
    )


def test_the_relay_cannot_be_reached_from_afar(run: Run, listen: Listen) -> None:
    afar: dict[str, Any] = {"addresses": ["127.0.0.1"], "server_names": [NAME]}
    start = f"{NAME}: nginx answers on the VPS, but not from here: 127.0.0.1"
    mute, closed = listen(silent), free_port()
    assert run(services=[{"port": mute}], **afar)["msg"] == (
        f"{start}:{mute} does not answer within 0.5 s. Look at: the provider's firewall, which has to let TCP "
        f"{mute} in; "
        "`ufw status` on the VPS; the address"
    )
    assert run(services=[{"port": closed}], **afar)["msg"] == (
        f"{start}:{closed} refuses the connection. Look at: whether this address is the VPS's; UFW (`ufw "
        "status`) and the "
        "provider's firewall"
    )


def test_an_ipv6_address_is_not_tried_from_where_there_is_no_ipv6(run: Run, monkeypatch: Any) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    started = time.monotonic()
    answer = run(timeout=60, addresses=["2001:db8:113::10"], services=[{"port": 443}])
    assert time.monotonic() - started < 5
    assert answer["links"] == [
        {
            "link": "the ingress from outside at [2001:db8:113::10]:443",
            "milliseconds": None,
            "detail": "not tried: there is no IPv6 here",
        }
    ]
    answer = run(addresses=["203.0.113.10"], services=[{"port": 443}])
    assert "203.0.113.10:443 cannot be reached (network is unreachable). Look at: the provider's" in answer["msg"]


def test_port_80_is_asked_in_http(run: Run, monkeypatch: Any, listen: Listen) -> None:
    asked: list[bytes] = []

    def redirect(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://x/\r\n\r\n")

    port, connect = listen(redirect), socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda _, patience: connect(("127.0.0.1", port), patience))
    answer = run(addresses=["203.0.113.10"], services=[{"port": 80}], server_names=[NAME])
    assert asked == [f"HEAD / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode()]
    assert answer["links"][0]["detail"] == "HTTP/1.1 308 Permanent Redirect"


def test_trust(run: Run, listen: Listen, authority: trustme.CA, monkeypatch: Any, tmp_path: Path) -> None:
    good, bad = listen(tls(authority)), listen(tls(authority, "other.example.org"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    afar: dict[str, Any] = {"addresses": ["127.0.0.1"], "server_names": [NAME], "verify": True}
    assert run(services=[{"port": good}], **afar)["links"][1]["link"] == f"trust in {NAME}"
    message = run(services=[{"port": bad}], **afar)["msg"]
    assert message.startswith(f"{NAME}: the certificate at 127.0.0.1:{bad} is not trusted here: Hostname mismatch")
    assert message.endswith(f"Look at: how the ingress gets its certificate for {NAME}")


VPS_ADDRESS = "203.0.113.10"


@pytest.mark.parametrize(
    ("found", "detail", "message"),
    [
        ([VPS_ADDRESS], VPS_ADDRESS, ""),
        (["10.30.0.200"], "10.30.0.200 (the home's own DNS)", ""),
        (
            [],
            "",
            (
                f"DNS knows no address of {NAME} (Name or service not known). Look at: its A record, which has to be "
                f"{VPS_ADDRESS}; whether the zone's name servers are Cloudflare's; a DNS cache, which forgets within "
                "the hour"
            ),
        ),
        (
            [VPS_ADDRESS, "2001:db8::dead"],
            "",
            (
                f"DNS of {NAME} points to 2001:db8::dead instead of {VPS_ADDRESS}. Look at: its A and AAAA records; "
                "whether "
                "they are proxied; a DNS cache, which forgets an old record after its TTL"
            ),
        ),
    ],
)
def test_names(run: Run, monkeypatch: Any, found: list[str], detail: str, message: str) -> None:
    def resolve(name: str, *_: Any, **__: Any) -> list[Any]:
        assert name == NAME
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in found]

    monkeypatch.setattr(wireguard_check.Check, "_service_way", lambda *_: lambda held: None)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    answer = run(addresses=[VPS_ADDRESS], services=[{"port": 443}], server_names=[NAME], dns=True)
    assert answer.get("msg", "") == message
    assert [link["detail"] for link in answer["links"]] == ([detail] if detail else [])


def test_every_broken_way_has_one_message(run: Run, listen: Listen, authority: trustme.CA) -> None:
    ingress, closed = listen(tls(authority)), [free_port(), free_port()]
    arguments = relay(0, 0)
    arguments["services"] = [{"port": port, "upstream": f"127.0.0.1:{ingress}"} for port in closed]
    answer = run(**arguments)
    assert len(answer["msg"].splitlines()) == 2
    assert len(answer["links"]) == 3  # the handshake and the ingress, twice


def test_check_mode_looks_once_and_skips_what_is_not_there_yet(run: Run, wg: Wg) -> None:
    started = time.monotonic()
    answer = run(check=True, interface="wg9", timeout=60)
    assert answer["skipped"]
    assert not answer["changed"]
    assert answer["msg"].startswith("wg9 is not up on this host")
    wg.says("latest-handshakes", f"{ROUTER}\t0\n")
    answer = run(check=True, interface="wg0", timeout=60)
    assert answer["skipped"]
    assert answer["msg"].startswith("no handshake with mikrotik-gw on wg0 (there has never been one). Look at:")
    assert time.monotonic() - started < 5


def test_check_mode_on_a_blank_host_without_wg(run: Run, wg: Wg, monkeypatch: Any) -> None:
    def nowhere(*_: Any, **__: Any) -> str:
        raise ValueError("not found")

    monkeypatch.setattr(basic, "get_bin_path", nowhere)
    missing = "wg is not installed on this host. Look at: the package wireguard-tools"
    assert run(check=True, interface="wg0")["skipped"]
    assert run(interface="wg0")["msg"] == missing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of the following is required: interface, addresses"),
        ({"interface": "a/b"}, "interface: 'a/b' cannot be the name of a WireGuard interface on linux"),
        ({"addresses": ["vps.example.org"]}, "addresses[0]: 'vps.example.org' is a name: give the IP address"),
        ({"addresses": ["x y"]}, "addresses[0]: 'x y' is neither a host name nor an IP address"),
        ({"addresses": ["192.0.2.1"], "services": [{"port": 0}]}, "services[0].port: '0' is not a port"),
        ({"addresses": ["192.0.2.1"], "server_names": ["a b"]}, "server_names[0]: 'a b' is neither a host name nor"),
        ({"interface": "wg0", "services": [{"port": 443}]}, "vps_relay_ingress: '' is neither a host name nor"),
        (
            {"interface": "wg0", "services": [{"port": 443, "upstream": "home.example.org"}]},
            "vps_relay_services[0].upstream: 'home.example.org' is a name: give the IP address",
        ),
    ],
)
def test_bad_input_is_refused_by_name(run: Run, arguments: dict[str, Any], message: str) -> None:
    answer = run(**arguments)
    assert answer["failed"]
    assert message in answer["msg"]
