"""Rate limits (facts, section 4): so many requests in a window, and whoever asks for more is kept out for a window."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloudflare_double.errors import throttled


@dataclass
class Limit:
    """``quota`` requests in ``window`` seconds."""

    quota: int
    window: float
    _start: float = field(default=-math.inf, repr=False)
    _used: int = field(default=0, repr=False)
    _blocked_since: float = field(default=-math.inf, repr=False)

    def take(self, now: float) -> bool:
        """Counts a request; False if it is one too many."""
        if now < self._blocked_since + self.window:
            return False
        if now >= self._start + self.window or self._blocked_since >= self._start:
            self._start, self._used = now, 0
        self._used += 1
        if self._used > self.quota:
            self._blocked_since = now
            return False
        return True

    def remaining(self) -> int:
        return max(0, self.quota - self._used)

    def reset_in(self, now: float) -> int:
        """Seconds until the full quota is there again."""
        # In this order: in floating point, (now + window) - now may be more than the window.
        return max(0, math.ceil(self.window - (now - max(self._start, self._blocked_since))))


def documented() -> list[Limit]:
    """1,200 requests in 5 minutes a user, all tokens together; 200 a second an address."""
    return [Limit(1200, 300), Limit(200, 1)]


class RateLimiter:
    """Several limits at once (the documented ones by default, none if empty); the headers show the first."""

    def __init__(self, limits: Sequence[Limit] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = list(limits if limits is not None else documented())
        self._clock = clock
        self._lock = threading.Lock()

    def take(self) -> dict[str, str]:
        """Counts a request and gives the headers of its answer. Raises ApiError 429, with Retry-After."""
        with self._lock:
            now = self._clock()
            exceeded = [limit for limit in self.limits if not limit.take(now)]
            if not self.limits:
                return {}
            shown = self.limits[0]
            headers = {
                "Ratelimit": f'"default";r={shown.remaining()};t={shown.reset_in(now)}',
                "Ratelimit-Policy": f'"default";q={shown.quota};w={math.ceil(shown.window)}',
            }
            if exceeded:
                error = throttled(max(1, *(limit.reset_in(now) for limit in exceeded)))
                error.headers.update(headers)
                raise error
            return headers
