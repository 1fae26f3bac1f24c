"""What was asked: the log of the requests, without their tokens."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One request. ``status`` is what the client got, None for a closed connection; ``changes`` counts records that
    were really created, changed or deleted; ``token`` is a label, never the secret."""

    method: str
    path: str
    query: str
    token: str | None
    body: Any
    status: int | None
    changes: int


class Journal:
    """The entries in memory and, given a ``path``, in a file (0600) with one JSON object a line."""

    def __init__(self, path: Path | None = None) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()
        self._file = None
        if path:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(handle, "a", buffering=1)

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)
            if self._file:
                self._file.write(json.dumps(asdict(entry)) + "\n")

    @property
    def entries(self) -> list[Entry]:
        with self._lock:
            return list(self._entries)

    @property
    def writes(self) -> int:
        """How many requests changed something."""
        return sum(1 for entry in self.entries if entry.changes)

    def close(self) -> None:
        if self._file:
            self._file.close()
