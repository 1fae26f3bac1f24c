"""WireGuard keys: Curve25519 pairs in base64. Text that is no key is a ValueError that does not repeat it."""

from __future__ import annotations

import base64
import secrets

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


def raw(text: str) -> bytes:
    """The 32 bytes of a key in canonical base64."""
    try:
        key = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        key = b""
    if len(key) != 32 or base64.b64encode(key).decode() != text:
        raise ValueError("not a WireGuard key")
    return key


def private() -> str:
    """A new private key. Not clamped: whether the device clamps is not known (facts 5), so nobody may rely on it."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


preshared = private


def public(private_key: str) -> str:
    """The public key of a private key."""
    return base64.b64encode(
        X25519PrivateKey.from_private_bytes(raw(private_key)).public_key().public_bytes_raw()
    ).decode()
