"""RouterOS version numbers, and ranges such as `name[7.15..7.16.2]` of the argument table."""

from __future__ import annotations

import re

Version = tuple[int, ...]

#: The newest version that the argument table was sampled from; a range that ends here is open.
NEWEST_SAMPLED = (7, 24)


def version(text: str) -> Version:
    """`7.15` → (7, 15). ValueError for anything that is not a release number."""
    if not re.fullmatch(r"\d+(\.\d+){1,2}", text):
        raise ValueError(f"{text!r} is no RouterOS version such as 7.22.3")
    return tuple(int(part) for part in text.split("."))


def known(entry: str, running: Version) -> str | None:
    """The name of a table entry if the running version has it, else None."""
    name, _bracket, limits = entry.partition("[")
    if limits:
        low, _dots, high = limits.rstrip("]").partition("..")
        if running < version(low) or (version(high) != NEWEST_SAMPLED and running > version(high)):
            return None
    return name
