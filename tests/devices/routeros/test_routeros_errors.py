"""Each failure is one sentence that names the argument and the remedy, and nothing was written before it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_api import Router, Trap
from ansible_collections.homelab.fabric.plugins.modules import routeros_wireguard
from routeros_double import RouterOS

Answer = dict[str, Any]
Run = Callable[..., Answer]
Other = Callable[..., list[Answer]]
Key = Callable[[int], str]

PEERS = "/interface/wireguard/peers"


def peer(**given: Any) -> Answer:
    return {"name": "a", "public_key": "A" * 43 + "=", **given}


# Arguments that are refused, and what is said about them. The router is the double's default one with wg-vps on it.
REFUSED: list[tuple[Answer, str]] = [
    ({"name": ""}, "name: '' cannot be the name of a WireGuard interface on routeros: use up to 64"),
    ({"name": "ether1"}, "name: ether1 is there, but is no WireGuard interface: choose another name"),
    (
        {"addresses": ["10.10.0.1/24"]},
        "addresses: vlan10-lan of this router has 10.10.0.1/24: remove it there, or give",
    ),
    (
        {"addresses": ["10.10.0.1/32"]},
        "addresses: vlan10-lan of this router has 10.10.0.1/24: remove it there, or give",
    ),
    ({"addresses": ["10.100.0.0/24"]}, "addresses: '10.100.0.0/24' is the first or last address of its network"),
    ({"listen_port": 0}, "listen_port: '0' is not a port"),
    ({"listen_port": 4711}, "listen_port: wg-old of this router listens on 4711: give another port"),
    ({"mtu": 100}, "mtu: '100' is not a usable MTU"),
    ({"forward_to": ["vlan30-k8s"]}, "forward_to: this router has no interface vlan30-k8s: name one of bridge-lan, "),
    ({"forward_to": ["vlan 30"]}, "forward_to: 'vlan 30' is neither an interface nor a prefix"),
    ({"masquerade": ["fd00::/64"]}, "masquerade: fd00::/64 is IPv6: give IPv4 prefixes, and IPv6 addresses a route"),
    ({"masquerade": ["10.0.0.1/24"]}, "masquerade: '10.0.0.1/24' has bits set beyond its length"),
    ({"routes": ["all"]}, "routes: 'all' is not an IP prefix"),
    ({"peers": [peer(public_key="short")]}, "peers[0].public_key: 'short' is not a WireGuard key"),
    ({"peers": [peer(preshared_key="hush")]}, "peers[0].preshared_key: the value is not a WireGuard key"),
    ({"peers": [peer(endpoint="vps")]}, "peers[0].endpoint: 'vps' is not host:port"),
    ({"peers": [peer(persistent_keepalive="often")]}, "peers[0].persistent_keepalive: 'often' is not a time"),
    ({"peers": [peer(), peer(name="b")]}, "peers: a and b have the same public key"),
    (
        {"peers": [peer(endpoint="203.0.113.10:51820", allowed_ips=["0.0.0.0/0"])]},
        "routes: 0.0.0.0/0 covers 203.0.113.10, the endpoint of a, which this router would then send into the tunnel",
    ),
    ({"encoding": "latin-one"}, "encoding: Python knows no 'latin-one': leave it at utf-8"),
    ({"encoding": "ascii", "username": "jürgen"}, "encoding: the user's name or password cannot be written in ascii"),
    (
        {"password": "wrong"},
        "username, password: 127.0.0.1:{port} refuses the login (invalid user name or password (6))",
    ),
    ({"username": "nobody"}, "username, password: 127.0.0.1:{port} refuses the login (invalid user name or password"),
    ({"hostname": "no.such.host.invalid"}, "hostname: 'no.such.host.invalid' is not found"),
    ({"port": 1}, "port: nothing listens on 127.0.0.1:1: enable /ip/service api on the router, or give its port"),
    ({"port": 1, "tls": True}, "port: nothing listens on 127.0.0.1:1: enable /ip/service api-ssl on the router"),
    ({"tls": True}, "tls: 127.0.0.1:{port} does not speak TLS ("),
    (
        {"port": "{tls_port}"},
        "port: 127.0.0.1:{tls_port} closed the connection before the login: check that this is the",
    ),
    ({"tls": True, "ca_path": "/no/such/file"}, "ca_path: '/no/such/file' cannot be used (No such file or directory)"),
    ({"tls": True, "ca_path": __file__}, f"ca_path: {__file__!r} cannot be used ("),
    ({"tls": True, "port": "{tls_port}"}, "ca_path: the certificate of 127.0.0.1:{tls_port} is not trusted (self"),
]


@pytest.fixture(scope="module")
def standing() -> Iterator[RouterOS]:
    with RouterOS() as router:
        router.add("/interface/wireguard", name="wg-vps", listen_port="13231")
        router.add("/interface/wireguard", name="wg-old", listen_port="4711")
        yield router


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[f"{row[0]}"[:50] for row in REFUSED])
def test_refused(standing: RouterOS, run: Run, arguments: Answer, message: str, check: bool) -> None:
    ports = {"{tls_port}": standing.tls_port}
    given = {name: ports.get(value, value) if name == "port" else value for name, value in arguments.items()}
    answer = run(standing, check, **given)
    assert answer["failed"]
    assert answer["msg"].startswith(message.format(port=standing.port, tls_port=standing.tls_port))
    assert "\n" not in answer["msg"]
    assert answer["msg"].count(": ") >= 2
    assert standing.writes == 0


@pytest.mark.parametrize("version", ["6.49.10", "7.1", "7.11.3"])
def test_an_old_router(run: Run, version: str) -> None:
    with RouterOS(version, certificate=False) as router:
        answer = run(router, addresses=["10.100.0.2/24"])
        assert answer["msg"].startswith(f"hostname: 127.0.0.1:{router.port} runs RouterOS {version} (stable), and this")
        assert "7.12 or later: upgrade the router" in answer["msg"]


def test_a_user_who_may_not_write(router: RouterOS, run: Run, other: Other) -> None:
    other(router, "/user/group/add", name="watch", policy="api,read")
    other(router, "/user/add", name="watch", password="watch", group="watch")
    other(router, "/user/group/add", name="shell", policy="ssh,read,write")
    other(router, "/user/add", name="shell", password="shell", group="shell")
    refused = run(router, username="watch", password="watch")["msg"]
    assert refused == (
        f"username: 127.0.0.1:{router.port} does not allow this user `/interface/wireguard/add name=wg-vps"
        ' listen-port=13231 comment="homelab.fabric: wg-vps"` (not enough permissions (9)): give the user\'s group the'
        " policies api, read and write"
    )
    assert "policies api, read and write" in run(router, username="shell", password="shell")["msg"]


def test_a_route_over_the_controller(router: RouterOS, run: Run, monkeypatch: pytest.MonkeyPatch, key: Key) -> None:
    def tried(*allowed: str, controller: str) -> str:
        monkeypatch.setattr(Router, "local_address", controller)
        answer = run(router, check=True, addresses=["10.100.0.2/24"], peers=[peer(allowed_ips=list(allowed))])
        return str(answer.get("msg", ""))

    # A remote controller, and one in a network that the router is connected to.
    assert tried("198.51.100.0/24", controller="198.51.100.7").startswith(
        "routes: 198.51.100.0/24 covers 198.51.100.7, the address of this computer, which this router would then send"
    )
    assert tried("10.0.0.0/8", "0.0.0.0/0", controller="10.10.0.5") == ""
    assert tried("10.10.0.0/24", controller="10.10.0.5") == ""
    assert tried("10.10.0.0/25", controller="10.10.0.5").startswith("routes: 10.10.0.0/25 covers 10.10.0.5, ")
    assert tried("10.10.0.0/25", controller="127.0.0.1") == ""
    # A route that is there already is none to be afraid of.
    run(router, addresses=["10.100.0.2/24"], peers=[])
    router.add("/ip/route", dst_address="198.51.100.0/24", gateway="wg-vps")
    assert tried("198.51.100.0/24", "198.51.100.7/32", controller="198.51.100.7") == ""


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """Something else that listens; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


def sentence(*words: bytes) -> bytes:
    return b"".join(bytes([len(word)]) + word for word in words) + b"\0"


# What another service says before it is asked and after; what the user is told.
OTHERS: list[tuple[str, bytes, bytes, str]] = [
    (
        "ssh",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        "port: {where} is another service (it says 'SSH-2.0-OpenSSH_9.2'): give the",
    ),
    (
        "http",
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        "port: {where} is another service (it says 'HTTP/1.1 400 Bad Requ",
    ),
    ("tls", b"", b"\x15\x03\x03\x00\x02\x02\x32", "tls: {where} speaks TLS: set tls to true, or give the port of"),
    ("noise", b"", b"\xff" * 9, "port: {where} is another service"),
    (
        "silence",
        b"",
        b"",
        "hostname: {where} does not answer as RouterOS's API within 1 s: check that the router is up",
    ),
    ("ends at once", b"", sentence(b"!fatal"), "port: {where} closed the connection before the login: check that"),
    (
        "odd traps",
        b"",
        sentence(b"!trap", b"=odd=x") + sentence(b"!trap") + sentence(b"!done"),
        "username, password: {where} refuses the login (no reason given, no reason given): check both",
    ),
]


@pytest.mark.parametrize(("first", "then", "message"), [row[1:] for row in OTHERS], ids=[row[0] for row in OTHERS])
def test_something_else_listens_there(router: RouterOS, run: Run, first: bytes, then: bytes, message: str) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        connection.recv(999)
        connection.sendall(then)
        connection.recv(999)

    with server(answer) as port:
        said = run(router, port=port, timeout=1)["msg"]
    assert said.startswith(message.format(where=f"127.0.0.1:{port}"))


def test_a_router_that_ends_the_session_in_the_middle(router: RouterOS, run: Run) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(999)
        connection.sendall(sentence(b"!done"))
        connection.recv(999)
        connection.sendall(sentence(b"!fatal", b"going down"))
        connection.recv(999)

    with server(answer) as port:
        said = run(router, port=port, timeout=1)["msg"]
    where = f"127.0.0.1:{port}"
    assert said.startswith(
        f"hostname: the connection to {where} was lost at `/system/resource/print` (going down): run"
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[..., tuple[Path, Path]]]:
    """A certificate authority: its file, and issue(names…) → the files of a certificate and its key."""
    folder = tmp_path_factory.mktemp("ca")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")

    def issue(*names: str) -> tuple[Path, Path]:
        certificate = ca.issue_cert(*names)
        files = folder / f"{names[0]}.pem", folder / f"{names[0]}.key"
        certificate.private_key_pem.write_to_path(files[1])
        files[0].write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        return files

    return folder / "ca.pem", issue


def test_tls(run: Run, authority: tuple[Path, Callable[..., tuple[Path, Path]]]) -> None:
    trusted, issue = authority
    tls: Answer = {"tls": True, "addresses": ["10.100.0.2/24"]}
    with RouterOS(certificate=issue("127.0.0.1")) as router:
        tls["port"] = router.tls_port
        assert run(router, **tls, ca_path=str(trusted))["changed"]
        untrusted = run(router, **tls)["msg"]
        assert "is not trusted (unable to get local issuer certificate): give the certificate of the" in untrusted
        assert not run(router, **tls, validate_certs=False)["changed"]
        mixed = run(router, **tls, force_no_cert=True)["msg"]
        assert mixed.endswith("it has a certificate, so set force_no_cert to false")
    with RouterOS(certificate=issue("mikrotik-gw.home.arpa")) as router:
        tls["port"] = router.tls_port
        said = run(router, **tls, ca_path=str(trusted))["msg"]
        assert said.startswith(f"hostname: the certificate of 127.0.0.1:{router.tls_port} is for another name (")
        assert said.endswith("use a name that is in the certificate, or set validate_cert_hostname to false")
        assert run(router, **tls, ca_path=str(trusted), validate_cert_hostname=False)["changed"]
        assert run(router, **tls, ca_path=str(trusted), hostname="localhost")["failed"]


def test_tls_without_a_certificate(run: Run) -> None:
    with RouterOS(certificate=False) as router:
        given: Answer = {"tls": True, "port": router.tls_port, "addresses": ["10.100.0.2/24"]}
        refused = run(router, **given)["msg"]
        assert refused.startswith(f"tls: 127.0.0.1:{router.tls_port} refuses the TLS handshake (")
        assert "give /ip/service api-ssl a certificate" in refused
        assert run(router, **given, force_no_cert=True)["changed"]
        assert ssl.HAS_TLSv1_2


def test_a_controller_without_librouteros(router: RouterOS, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routeros_wireguard, "LIBRARY_PROBLEM", "No module named librouteros")
    assert "Failed to import the required Python library (librouteros)" in run(router)["msg"]


def test_what_the_router_refuses_is_passed_on_with_the_sentence(
    router: RouterOS, run: Run, monkeypatch: pytest.MonkeyPatch, key: Key
) -> None:
    def refuse(asked: Router, *words: str) -> list[dict[str, str]]:
        if words[0] == f"{PEERS}/add":
            raise Trap(f"invalid value for argument preshared-key: {key(9)}")
        return talk(asked, *words)

    talk = Router._talk
    monkeypatch.setattr(Router, "_talk", refuse)
    answer = run(router, peers=[peer(preshared_key=key(9))])
    assert answer["msg"] == (
        f'127.0.0.1:{router.port} refuses `{PEERS}/add interface=wg-vps public-key="{peer()["public_key"]}"'
        ' preshared-key=(redacted) comment="homelab.fabric: a"` (invalid value for argument preshared-key: (redacted)):'
        " correct the argument that this is about; if it is right, look whether somebody else is changing the router"
    )
