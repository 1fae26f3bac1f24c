"""A ping every 10 ms, and which of its packets were lost."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.relay.lab import LAB

INGRESS = "10.30.0.200"


@contextmanager
def ping_every_10_ms(host: str = "vps-relay", target: str = INGRESS) -> Iterator[list[str]]:
    """Fills the list with ping's output at the end."""
    line: list[str | Path] = [LAB, "exec", host, "--", "ping", "-n", "-i", "0.01", "-W", "2", target]
    output: list[str] = []
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as ping:
        assert ping.stdout
        output.append(ping.stdout.readline())
        try:
            yield output
        finally:
            # To the program itself: nsenter and its child form a process group.
            subprocess.run([LAB, "exec", host, "--", "pkill", "-INT", "-x", "ping"], check=True)
            output += ping.stdout.read().splitlines()
    assert ping.returncode in (0, -signal.SIGINT)


def lost(output: list[str]) -> list[int]:
    """The packets without an answer, but for the last one, which may be on its way at the end."""
    sent = re.search(r"(\d+) packets transmitted", "\n".join(output))
    assert sent
    answered = {int(found[1]) for line in output if (found := re.search(r"icmp_seq=(\d+)", line))}
    return sorted(set(range(1, int(sent[1]))) - answered)
