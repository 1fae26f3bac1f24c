"""The lab's own error, and what a log has to say about one."""

from __future__ import annotations

from pathlib import Path


class LabError(Exception):
    """What went wrong and what to do about it, for a person."""


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log, indented for an error message."""
    words = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join(f"    {line}" for line in words) or "    (nothing)"
