"""Watches the whole machine while playbooks run: command lines, environments and temporary files, to be searched later.

A secret that shows for milliseconds may be missed once; over three runs with dozens of processes each it is not.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PAUSE = 0.02  # seconds between two looks
LARGEST = 4 << 20  # bytes of a temporary file
TEMPORARY = ("tmp/ansible*/**/*", "var/tmp/ansible*/**/*", "root/.ansible/tmp/**/*", "dev/shm/*")


class Watch:
    """Use as a context; then `processes` has what was seen of each process, `files` each temporary file's content.

    `roots`: the root folders whose temporary files count. The processes of every host are the machine's too.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = roots
        self.processes: set[bytes] = set()
        self.files: dict[tuple[str, int, int], bytes] = {}
        self._seen: dict[str, bytes] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(PAUSE):
            for entry in os.scandir("/proc"):
                if entry.name.isdigit():
                    self._look_at(entry.path)
            for root in self.roots:
                for pattern in TEMPORARY:
                    with suppress(OSError):  # folders come and go
                        for path in root.glob(pattern):
                            self._keep(path)

    def _look_at(self, process: str) -> None:
        """A process's command line, and its environment whenever that line is a new one."""
        with suppress(OSError):
            line = Path(process, "cmdline").read_bytes()
            if self._seen.get(process) != line:
                self._seen[process] = line
                self.processes.add(line + b"\0\0" + Path(process, "environ").read_bytes())

    def _keep(self, path: Path) -> None:
        with suppress(OSError):
            found = path.lstat()
            seen = (str(path), found.st_mtime_ns, found.st_size)
            if stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST and seen not in self.files:
                self.files[seen] = path.read_bytes()
