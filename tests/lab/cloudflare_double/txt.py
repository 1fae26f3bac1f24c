"""The content of a TXT record: quoted "character strings" (RFC 1035) or bare text, and the strings it stands for."""

from __future__ import annotations

import re

from cloudflare_double.errors import invalid

LONGEST_STRING = 255  # RFC 1035; longer ones "are automatically split" (Cloudflare's API schema of TXTRecord)
LONGEST_RECORD = 4096  # bytes in wire format: Cloudflare's page "DNS record types"

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\s+|$)')


def strings(content: str) -> tuple[bytes, ...]:
    """The character strings of ``content``, each at most 255 bytes. Raises ApiError."""
    if any(ord(character) < 32 for character in content):
        raise invalid(9051, "Content for TXT record is invalid.")  # line breaks: Cloudflare-CNAME-Setup issue 17
    texts = _unquote(content) if content.startswith('"') else [content]
    if not any(texts):
        raise invalid(9051, "Content for TXT record is invalid.")
    parts: list[bytes] = []
    for text in texts:
        raw = text.encode()
        parts += [raw[start : start + LONGEST_STRING] for start in range(0, len(raw), LONGEST_STRING)] or [b""]
    if sum(len(part) + 1 for part in parts) > LONGEST_RECORD:
        raise invalid(9015, f"Record content exceeds the allowed length of {LONGEST_RECORD} wire format bytes.")
    return tuple(parts)


def quoted(parts: tuple[bytes, ...]) -> str:
    """``parts`` as one presentation text, every string in quotation marks."""
    return " ".join(
        '"' + part.decode(errors="replace").replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts
    )


def _unquote(content: str) -> list[str]:
    texts, position = [], 0
    while position < len(content):
        found = _QUOTED.match(content, position)
        if not found:
            raise invalid(9051, "Content for TXT record is invalid.")
        texts.append(re.sub(r"\\(.)", r"\1", found.group(1)))
        position = found.end()
    return texts
