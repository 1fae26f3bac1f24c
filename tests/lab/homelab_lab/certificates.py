"""The lab's certificate authority and the certificates it has signed (trustme), as PEM files in TLS."""

from __future__ import annotations

from pathlib import Path

from .paths import TLS

SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
LAB_CA = TLS / "ca.pem"
BUNDLE = TLS / "ca-certificates.crt"
# File name → the names and addresses the certificate is valid for.
CERTIFICATES = {
    "cloudflare": ("api.cloudflare.com",),
    "mikrotik-gw": ("mikrotik-gw.home.arpa", "10.10.0.1"),
    "jellyfin": ("jellyfin.example.org",),
    "grafana": ("grafana.example.org",),
}


def certificate(name: str) -> Path:
    return TLS / f"{name}.pem"


def key(name: str) -> Path:
    return TLS / f"{name}.key"


def make() -> None:
    # Imported here: it takes longer than all the rest of the lab, and only the first `up` needs it.
    import trustme

    authority = trustme.CA(organization_name="homelab.fabric lab")
    TLS.mkdir(mode=0o700)
    for name, identities in CERTIFICATES.items():
        made = authority.issue_cert(*identities)
        key(name).touch(0o600)
        key(name).write_bytes(made.private_key_pem.bytes())
        certificate(name).write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    authority.cert_pem.write_to_path(str(LAB_CA))
    BUNDLE.write_bytes(SYSTEM_BUNDLE.read_bytes() + LAB_CA.read_bytes())
