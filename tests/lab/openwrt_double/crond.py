"""busybox's `crond`, which Debian lacks: `crond -f -c /etc/crontabs -l 5`. It reads the crontabs at its start.

The device looks for changes once an hour as well; nobody may count on that.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

LENGTH = Path("/rom/minute")  # seconds of a minute, for tests that do not wait for one
FIELDS = (("tm_min", 60), ("tm_hour", 24), ("tm_mday", 32), ("tm_mon", 13), ("tm_wday", 7))


def matches(field: str, value: int, end: int) -> bool:
    """Whether a field such as `*`, `*/5`, `1-5` or `0,30` holds the value."""
    for part in field.split(","):
        span, _slash, step = part.partition("/")
        first, _dash, last = span.partition("-")
        low, high = (0, end) if span == "*" else (int(first), int(last or first))
        if low <= value <= high and (value - low) % int(step or 1) == 0:
            return True
    return False


def is_due(line: str, moment: time.struct_time) -> bool:
    values = [getattr(moment, name) for name, _end in FIELDS]
    values[4] = (values[4] + 1) % 7  # cron's weeks begin on Sunday
    return all(
        matches(field, value, end) for field, value, (_n, end) in zip(line.split(), values, FIELDS, strict=False)
    )


def lines(folder: Path) -> list[str]:
    """What can be a job: five fields and a command. The rest is passed over."""
    texts = [path.read_text() for path in sorted(folder.iterdir()) if path.is_file()]
    return [line for text in texts for line in text.splitlines() if not line.startswith("#") and len(line.split()) > 5]


def main() -> int:
    words = sys.argv[1:]
    jobs = lines(Path(words[words.index("-c") + 1] if "-c" in words else "/var/spool/cron/crontabs"))
    length = float(LENGTH.read_text()) if LENGTH.exists() else 60.0
    minute = int(time.time() // 60)
    while True:
        time.sleep(length - time.time() % length)
        minute += 1
        for job in jobs:
            if is_due(job, time.localtime(minute * 60)):
                command = job.split(maxsplit=5)[5]
                subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
