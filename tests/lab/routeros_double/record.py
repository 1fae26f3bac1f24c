"""The sentence log and the faults that tests inject: a connection cut before or after the N-th write."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TextIO

from .words import redacted


@dataclass(frozen=True)
class Sentence:
    """One command that arrived. `write` numbers the writes from 1 and is None for everything else.

    `outcome` is `done`, `trap: MESSAGE`, `fatal`, or `cut before` / `cut after` for an injected fault.
    """

    session: int
    user: str
    words: list[str]  # secrets redacted
    write: int | None
    outcome: str


Place = Literal["before", "after"]


class Record:
    """What arrived, and what shall go wrong. With a directory, also `sentences.jsonl` and the control file `fault`."""

    def __init__(self, directory: Path | None) -> None:
        self.sentences: list[Sentence] = []
        self.writes = 0
        self._fault: tuple[Place, int] | None = None
        self._control = directory / "fault" if directory else None
        self._file: TextIO | None = None
        if directory:
            path = os.open(directory / "sentences.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(path, "a", buffering=1)

    def cut(self, place: Place, write: int) -> None:
        """Cut the connection before or after the given write, counted from now (1 = the next one). Happens once."""
        self._fault = (place, self.writes + write)

    def count(self) -> tuple[int, Place | None]:
        """Number the write that arrived, and say whether the connection is to be cut at it."""
        if self._control is not None and self._control.exists():
            place, number = self._control.read_text().split()
            self._control.unlink()
            self.cut("before" if place == "before" else "after", int(number))
        self.writes += 1
        if self._fault is None or self._fault[1] != self.writes:
            return self.writes, None
        place_now, self._fault = self._fault[0], None
        return self.writes, place_now

    def note(self, session: int, user: str, words: list[str], write: int | None, outcome: str) -> None:
        sentence = Sentence(session, user, redacted(words), write, outcome)
        self.sentences.append(sentence)
        if self._file is not None:
            self._file.write(json.dumps(asdict(sentence)) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
