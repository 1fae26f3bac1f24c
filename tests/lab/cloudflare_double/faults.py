"""Mishaps that a test orders: the next requests are answered wrongly, late, or not at all."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass
class Fault:
    """What happens to the next ``times`` requests, after ``skip`` have been let through.

    ``status`` answers with that HTTP status (429 with ``retry_after`` seconds), ``html`` with a page instead of JSON;
    ``drop`` closes the connection without an answer. ``executed`` carries the request out first, so that only its
    answer is lost. ``delay`` (seconds) holds the answer back and may stand alone. ``writes_only`` leaves GETs alone.
    """

    status: int | None = None
    html: bool = False
    retry_after: int | None = None
    drop: bool = False
    executed: bool = False
    delay: float = 0
    writes_only: bool = False
    times: int = 1
    skip: int = 0

    def __post_init__(self) -> None:
        if self.status is None and not self.drop and not self.delay:
            raise ValueError("a fault needs status, drop or delay")
        if self.html and self.status is None:
            raise ValueError("html needs a status")

    @property
    def replaces_answer(self) -> bool:
        return self.drop or self.status is not None


class Faults:
    """The ordered mishaps, first ordered, first met."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._pending.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._pending.clear()

    def pending(self) -> list[dict[str, object]]:
        with self._lock:
            return [asdict(fault) for fault in self._pending]

    def meet(self, method: str) -> Fault | None:
        """The mishap of a request with this method, if it is its turn."""
        with self._lock:
            for fault in self._pending:
                if fault.writes_only and method not in WRITES:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    return None
                fault.times -= 1
                if fault.times <= 0:
                    self._pending.remove(fault)
                return fault
            return None
