"""Who asks: API tokens and what each may do (facts, sections 1 and 3)."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cloudflare_double import errors

RIGHTS = ("dns_read", "dns_write", "zone_read")

_BEARER = re.compile(r"Bearer ([A-Za-z0-9_.-]+)")


class Headers(Protocol):
    """A request's headers."""

    def get(self, name: str, /) -> str | None:
        """The value of a header under any spelling of its name; None without it."""


@dataclass(frozen=True)
class Token:
    """An API token. ``zones`` are names; None = all zones of the account. ``label`` stands for it in the log."""

    secret: str = field(repr=False)
    rights: frozenset[str] = frozenset({"dns_write"})
    zones: frozenset[str] | None = None
    label: str = "token"

    def __post_init__(self) -> None:
        unknown = self.rights - set(RIGHTS)
        if unknown:
            raise ValueError(f"rights of {self.label}: {', '.join(sorted(unknown))} is none of {', '.join(RIGHTS)}")

    def sees(self, zone: str) -> bool:
        return self.zones is None or zone in self.zones

    def may(self, right: str, zone: str) -> bool:
        """DNS Write includes DNS Read."""
        held = self.rights | ({"dns_read"} if "dns_write" in self.rights else set())
        return right in held and self.sees(zone)


def identify(headers: Headers, tokens: Sequence[Token]) -> Token:
    """The token of a request. Raises ApiError."""
    given = headers.get("Authorization")
    if given is None:
        if headers.get("X-Auth-Key") or headers.get("X-Auth-Email"):
            raise errors.bad_key()
        raise errors.no_credentials()
    form = _BEARER.fullmatch(given)
    if not form:
        raise errors.bad_authorization()
    for token in tokens:
        if hmac.compare_digest(token.secret, form.group(1)):
            return token
    raise errors.unknown_token()


def read_tokens(path: Path) -> list[Token]:
    """The tokens of a file: a line each, ``SECRET [RIGHT,RIGHT…] [ZONE,ZONE…]``; ``#`` begins a comment line.

    A secret alone may write DNS records of every zone and nothing else: it cannot look a zone up by its name.
    """
    tokens = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        secret, *rest = line.split() or [""]
        if not secret or secret.startswith("#"):
            continue
        rights = frozenset(rest[0].split(",")) if rest else frozenset({"dns_write"})
        zones = frozenset(rest[1].split(",")) if len(rest) > 1 else None
        tokens.append(Token(secret, rights, zones, label=f"line {number} ({','.join(sorted(rights))})"))
    if not tokens:
        raise ValueError(f"{path} holds no token")
    return tokens
