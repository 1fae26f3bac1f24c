"""What /proc tells about a host: its first process, what listens, who is still there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from . import wires
from .network import Host
from .paths import NETNS

PROC = Path("/proc")
LISTEN = "0A"  # net/tcp.c's number of this state


def inhabitants(namespace: str) -> Iterator[int]:
    """Processes with this network namespace, in ascending order."""
    with suppress(OSError):
        wanted = (NETNS / namespace).stat().st_ino
        for pid in sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()):
            with suppress(OSError):
                if (PROC / str(pid) / "ns/net").stat().st_ino == wanted:
                    yield pid


def ids(pid: int) -> list[int]:
    """The process's number in every nested process namespace, ours first; empty when it is gone."""
    with suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return [int(word) for word in line.split()[1:]]
    return []


def leader(host: Host) -> int | None:
    """The process whose namespaces are the host's: PID 1 in them; a machine's systemd is one level further in."""
    depth = 3 if host.is_machine else 2
    for pid in inhabitants(wires.namespace(host)):
        numbers = ids(pid)
        if len(numbers) == depth and numbers[-1] == 1:
            return pid
    return None


def listening(pid: int) -> set[int]:
    """TCP ports that are listened on in the process's network namespace."""
    ports = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / str(pid) / "net" / table).read_text().splitlines()[1:]:
                _slot, local, _remote, state, *_rest = line.split()
                if state == LISTEN:
                    ports.add(int(local.rpartition(":")[2], 16))
    return ports


def ancestors(pid: int) -> set[int]:
    """The process, its parent and so on."""
    family = set()
    while pid and pid not in family:
        family.add(pid)
        # Field 4 of stat; the name in field 2 is in parentheses and may hold anything.
        stat = (PROC / str(pid) / "stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])
    return family


def own_family() -> set[int]:
    return ancestors(os.getpid())
