"""What benchmarks share: times taken in turns, since the machine is noisy, and one table of medians against limits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Work = Callable[[], object]


def medians(works: Mapping[str, Work], rounds: int, before: Work = lambda: None) -> dict[str, float]:
    """Seconds of each, the median of `rounds`; one after the other in every round. `before` is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            before()
            started = time.perf_counter()
            work()
            if number:  # the first round fills caches
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in taken.items()}


def show(what: str, measured: float, limit: float, unit: str = "", about: str = "") -> None:
    """A line of the table. Nothing fails here: no test may depend on how busy a machine is."""
    verdict = "" if measured <= limit else "  OVER THE LIMIT"
    print(f"\n  {what:54} {measured:6.2f} / {limit:g}{unit}{verdict}{'  ' * bool(about)}{about}", end="", flush=True)
