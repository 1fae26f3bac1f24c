"""The Cloudflare double as the lab runs it: a process with HTTPS, DNS, a state directory and a control socket."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import httpx
import pytest
from cloudflare_double import ZONE_ID
from cloudflare_double.control import main as control
from cloudflare_double.control import send
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

LAB = Path(__file__).parents[2] / "lab"
RECORDS = f"/client/v4/zones/{ZONE_ID}/dns_records"
TOKENS = "# written by the lab\nwrites-dns\nlists-zones zone_read example.org\n"


def certificate(directory: Path) -> None:
    """A self-signed certificate for loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "double")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False).sign(key, hashes.SHA256())
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "key.pem").write_bytes(key.private_bytes(*private))


class Lab:
    """Starts and stops the process over one state directory."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.state = directory, directory / "state"
        self.https, self.dns = free_port(), free_port()
        certificate(directory)
        (directory / "tokens").write_text(TOKENS)
        trust = ssl.create_default_context(cafile=str(directory / "cert.pem"))
        headers = {"Authorization": "Bearer writes-dns"}
        base = f"https://127.0.0.1:{self.https}"
        self.client = httpx.Client(base_url=base, headers=headers, verify=trust, trust_env=False)

    def start(self) -> None:
        command = [sys.executable, "-m", "cloudflare_double", "--state", self.state, "--zone", "example.org"]
        command += ["--zone-id", ZONE_ID, "--cert", self.directory / "cert.pem", "--key", self.directory / "key.pem"]
        command += ["--token-file", self.directory / "tokens", "--address", "127.0.0.1", "--address", "::1"]
        command += ["--static", "api.cloudflare.com=203.0.113.53", "--https-port", str(self.https)]
        command += ["--dns-port", str(self.dns)]
        log = (self.directory / "log").open("ab")
        environment = {**os.environ, "PYTHONPATH": str(LAB)}
        self.process = subprocess.Popen(list(map(str, command)), env=environment, stderr=log)
        for _attempt in range(200):
            try:
                send(self.state, {"order": "status"})
                return
            except OSError:
                assert self.process.poll() is None, (self.directory / "log").read_text()
                time.sleep(0.05)
        pytest.fail((self.directory / "log").read_text())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    running = Lab(tmp_path_factory.mktemp("cloudflare"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _blank(lab: Lab) -> None:
    send(lab.state, {"order": "clear"})
    send(lab.state, {"order": "reset"})


def create(lab: Lab, name: str) -> httpx.Response:
    return lab.client.post(RECORDS, json={"name": name, "type": "A", "ttl": 60, "content": "203.0.113.10"})


def resolve(lab: Lab, name: str, server: str) -> list[str]:
    query = dns.message.make_query(name, "A")
    reply = dns.query.udp(query, server, port=lab.dns, timeout=5)
    return [str(data) for group in reply.answer for data in group]


def test_what_is_written_by_https_is_answered_by_dns(lab: Lab) -> None:
    assert create(lab, "www").status_code == 200
    for server in ("127.0.0.1", "::1"):
        assert resolve(lab, "www.example.org", server) == ["203.0.113.10"]
        assert resolve(lab, "api.cloudflare.com", server) == ["203.0.113.53"]


def test_tokens_have_the_rights_of_their_line(lab: Lab) -> None:
    zones = "/client/v4/zones?name=example.org"
    assert lab.client.get(zones).status_code == 403
    found = lab.client.get(zones, headers={"Authorization": "Bearer lists-zones"})
    assert [zone["id"] for zone in found.json()["result"]] == [ZONE_ID]


def test_records_outlive_the_process_in_files_of_their_owner(lab: Lab) -> None:
    create(lab, "kept")
    lab.stop()
    lab.start()
    assert resolve(lab, "kept.example.org", "127.0.0.1") == ["203.0.113.10"]
    assert {path.name: path.stat().st_mode & 0o777 for path in lab.state.iterdir()} == {
        "zones.json": 0o600,
        "requests.jsonl": 0o600,
        "control": 0o600,
    }
    assert lab.state.stat().st_mode & 0o777 == 0o700


def test_faults_by_the_control_command(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    def order(*words: str) -> Any:
        assert control(["--state", str(lab.state), *words]) == 0
        return json.loads(capsys.readouterr().out)

    before = order("status")["writes"]
    order("fail", "--status", "502", "--html", "--writes-only")
    assert create(lab, "a").headers["Content-Type"] == "text/html"
    order("fail", "--drop", "--executed")
    with pytest.raises(httpx.RemoteProtocolError):
        create(lab, "b")
    order("limit", "--quota", "1", "--window", "300")
    assert [create(lab, name).status_code for name in "cd"] == [200, 429]
    after = order("clear")
    assert (after["writes"] - before, after["records"], after["faults"]) == (2, {"example.org": 2}, [])
    assert order("reset")["records"] == {"example.org": 0}


@pytest.mark.parametrize("order", [{"order": "explode"}, {"order": "fail"}, {"order": "fail", "oops": 1}, {}])
def test_orders_that_are_none(lab: Lab, order: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError):
        send(lab.state, order)


def test_control_without_a_double(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert control(["--state", str(tmp_path), "status"]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_the_request_log_holds_no_token(lab: Lab) -> None:
    create(lab, "logged")
    text = (lab.state / "requests.jsonl").read_text()
    last = json.loads(text.splitlines()[-1])
    assert (last["method"], last["path"], last["status"], last["changes"]) == ("POST", RECORDS, 200, 1)
    assert last["token"] == "line 2 (dns_write)"
    for secret in ("writes-dns", "lists-zones"):
        assert secret not in text + (lab.directory / "log").read_text()
