"""Bytes from a visitor to the home's ingress and back, with the ingress's own certificate."""

from __future__ import annotations

import hashlib
import re
import ssl

import pytest

from tests.integration.relay.lab import NAMES, STATE, curl, on

ADDRESSES = {4: "203.0.113.10", 6: "2001:db8:113::10"}
VISITOR = {4: "198.51.100.20", 6: "2001:db8:51::20"}
BOTH = [(name, version) for name in NAMES for version in (4, 6)]


def certificate_seen(name: str, version: int, port: int = 443) -> str:
    """SHA-256 of the certificate that the visitor is shown."""
    address = ADDRESSES[version] if version == 4 else f"[{ADDRESSES[version]}]"
    ask = f"openssl s_client -connect {address}:{port} -servername {name}.example.org </dev/null 2>/dev/null"
    digest = on("visitor", "sh", "-c", f"{ask} | openssl x509 -outform DER | sha256sum", timeout=15)
    return digest.split()[0]


def certificate_of(name: str) -> str:
    pem = (STATE / f"tls/{name}.pem").read_text()
    first = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", pem, re.DOTALL)
    assert first
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[0])).hexdigest()


@pytest.mark.parametrize(("name", "version"), BOTH)
def test_a_page_comes_through(relay: None, name: str, version: int) -> None:
    page = curl(name, version)
    assert f"<h1>{name.capitalize()} at home</h1>" in page
    # A passthrough of TCP hides the visitor; the ingress sees the VPS's tunnel address.
    assert "from 10.100.0.1." in page


@pytest.mark.parametrize(("name", "version"), BOTH)
def test_the_certificate_is_the_ingress_s_own(relay: None, name: str, version: int) -> None:
    assert certificate_seen(name, version) == certificate_of(name)


@pytest.mark.parametrize(("name", "version"), BOTH)
def test_the_proxy_protocol_tells_the_ingress_who_visits(relay: None, name: str, version: int) -> None:
    page = curl(name, version, port=8443)
    assert f"You asked for {name}.example.org from {VISITOR[version]}." in page


@pytest.mark.parametrize("version", [4, 6])
def test_port_80_redirects(relay: None, version: int) -> None:
    shown = on("visitor", "curl", "-sS", f"-{version}", "--max-time", "10", "-D", "-", "http://grafana.example.org/x")
    assert "308 Permanent Redirect" in shown
    assert "Location: https://grafana.example.org/x" in shown


def test_a_long_transfer_arrives_whole(relay: None) -> None:
    size = 20_000_000
    words = ["curl", "-sS", "-6", "--max-time", "40", "-o", "/dev/null", "-w", "%{size_download}"]
    assert on("visitor", *words, f"https://jellyfin.example.org/download?bytes={size}") == str(size)
