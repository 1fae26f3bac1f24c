"""Looks for secrets byte by byte, also in other clothes."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

LARGEST = 64 << 20  # bytes of a file that is looked at


def disguises(secret: str) -> Iterator[bytes]:
    """The secret as text, in base64 at each of the three places in a group of three bytes, in hex, and as raw bytes."""
    text = secret.encode()
    yield text
    yield text.hex().encode()
    for lead in range(3):
        # The first and the last digits depend on the neighbours.
        yield base64.b64encode(b"x" * lead + text)[4 if lead else 0 : -4]
    if secret.endswith("="):
        yield base64.b64decode(secret)
        yield base64.b64decode(secret).hex().encode()


def found_in(places: Iterable[tuple[str, bytes]], secrets: dict[str, str]) -> list[str]:
    """Which secret stands where."""
    patterns = [(what, pattern) for what, secret in secrets.items() for pattern in disguises(secret)]
    return [f"{what} in {where}" for where, content in places for what, pattern in patterns if pattern in content]


def files_below(*folders: Path, without: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes]]:
    for top in folders:
        for folder, folders_below, names in os.walk(top):
            folders_below[:] = [name for name in folders_below if not name.startswith(without)]
            for name in names:
                path = Path(folder, name)
                try:
                    if path.is_file() and not path.is_symlink() and path.stat().st_size < LARGEST:
                        yield str(path), path.read_bytes()
                except OSError:
                    continue  # it was there for a moment
