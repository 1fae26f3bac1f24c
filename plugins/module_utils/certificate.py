# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose certificate this is, for people to read. Python's own library tells it only of certificates it trusts."""

from __future__ import annotations

from typing import Iterator

# Attribute types of a name (RFC 5280, appendix A.1) that tell something.
_KNOWN = {b"\x55\x04\x03": "CN", b"\x55\x04\x0a": "O", b"\x55\x04\x0b": "OU"}


def subject(der: bytes) -> str:
    """The subject of an X.509 certificate, such as ``CN=jellyfin.example.org``; ``(no subject)`` if it is empty.

    RFC 5280, section 4.1: Certificate { TBSCertificate { [version], serial, algorithm, issuer, validity, subject …
    """
    try:
        certificate = next(_contents(der))
        signed = next(_contents(certificate))
        fields = [content for tag, content in _items(signed) if tag != 0xA0]
        return ", ".join(_attributes(fields[4])) or "(no subject)"
    except (IndexError, StopIteration, ValueError):
        return "(unreadable)"


def _attributes(name: bytes) -> Iterator[str]:
    for one in _contents(name):
        for attribute in _contents(one):
            (_oid, kind), (tag, value) = _items(attribute)
            if kind in _KNOWN:
                yield f"{_KNOWN[kind]}={value.decode('utf-16-be' if tag == 0x1E else 'utf-8', 'replace')}"


def _contents(der: bytes) -> Iterator[bytes]:
    return (content for tag, content in _items(der))


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of a DER sequence's items (X.690, section 8.1)."""
    at = 0
    while at < len(der):
        tag, size, at = der[at], der[at + 1], at + 2
        if size & 0x80:
            length = size & 0x7F
            size, at = int.from_bytes(der[at : at + length], "big"), at + length
        yield tag, der[at : at + size]
        at += size
