"""The lab as the tests use it: commands on its hosts, runs of the playbook and what they did, the visitor's view."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
LAB = str(ROOT / "tests/lab/lab")
STATE = Path("/run/homelab-fabric/lab")
CALLBACKS = Path(__file__).parent / "callback"
PLAYBOOK = "playbooks/vps-relay.yml"
NAMES = ("jellyfin", "grafana")


@dataclass(frozen=True)
class Result:
    """One task's outcome on one host (callback/record.py)."""

    task: str
    host: str
    action: str
    status: str
    result: dict[str, Any]

    @property
    def commands(self) -> list[str]:
        return list(self.result.get("commands", ()))


@dataclass(repr=False)
class Run:
    """A run of a playbook: exit status, all that it printed, and its results."""

    status: int
    output: str
    results: list[Result] = field(default_factory=list)

    def with_status(self, *wanted: str) -> list[Result]:
        return [result for result in self.results if result.status in wanted]

    def of(self, action: str) -> list[Result]:
        return [result for result in self.results if result.action.endswith(action)]

    @property
    def changed(self) -> list[str]:
        return [f"{result.host}: {result.task}" for result in self.with_status("changed")]

    def ok(self) -> Run:
        assert self.status == 0, self.output[-2500:]
        return self


def lab(*words: str, timeout: float = 120) -> str:
    """A command of tests/lab/lab."""
    done = subprocess.run([LAB, *words], text=True, capture_output=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"lab {words}: {done.stdout}{done.stderr}"
    return done.stdout


def on(host: str, *words: str, timeout: float = 60) -> str:
    """The output of a command on a host, which must succeed."""
    return lab("exec", host, "--", *words, timeout=timeout)


def attempt(host: str, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """A command on a host that may fail."""
    line = [LAB, "exec", host, "--", *words]
    return subprocess.run(line, text=True, capture_output=True, timeout=timeout, check=False)


@contextmanager
def files_of(host: str) -> Iterator[Path]:
    """The host's root folder as this machine reaches it, with everything that the host has mounted."""
    line = [LAB, "exec", host, "--", "sleep", "infinity"]
    with subprocess.Popen(line, stdin=subprocess.DEVNULL) as guide:
        try:
            until(lambda: len(family(guide.pid)) > 1, 10, f"a process on {host}")
            yield Path(f"/proc/{family(guide.pid)[-1]}/root")
        finally:
            guide.kill()


def until(done: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for it; the value is how many seconds it took."""
    started = time.monotonic()
    while not done():
        assert time.monotonic() < started + seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - started


# -- the playbook


class Playbook:
    """A run that is under way. `variables` become a file of extra variables; `host` is where Ansible runs."""

    def __init__(
        self, *options: str, variables: Mapping[str, Any] | None = None, host: str = "controller", play: str = PLAYBOOK
    ) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="hf-relay-run-")
        self.record = Path(self.folder.name, "record")
        settings = [f"ANSIBLE_CALLBACK_PLUGINS={CALLBACKS}", f"HOMELAB_RECORD={self.record}"]
        if host != "controller":
            settings += [
                f"ANSIBLE_INVENTORY={ROOT / 'inventory'},{ROOT / 'tests/lab/inventory'}",
                "ANSIBLE_SSH_CONTROL_PATH_DIR=/run/ansible-cp",
                f"PATH={ROOT / '.venv/bin'}:{os.environ['PATH']}",
            ]
        extra: list[str] = []
        if variables:
            path = Path(self.folder.name, "variables.json")
            path.write_text(json.dumps(variables))
            extra = ["-e", f"@{path}"]
        self.process = subprocess.Popen(
            [LAB, "exec", host, "--", "env", *settings, "ansible-playbook", play, *options, *extra],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, timeout: float = 180) -> Run:
        try:
            output, _errors = self.process.communicate(timeout=timeout)
            return Run(self.process.returncode, output, list(self._results()))
        finally:
            self.kill()
            self.folder.cleanup()

    def _results(self) -> Iterator[Result]:
        if self.record.exists():
            for line in self.record.read_text().splitlines():
                yield Result(**json.loads(line))

    def kill(self) -> None:
        """SIGKILL for Ansible and everything that it has started here."""
        for pid in family(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def family(pid: int) -> list[int]:
    """A process that lives and its descendants, ssh's connection sharing excepted: it left the family."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid] if Path(f"/proc/{pid}").exists() else []
    for each in found:
        found += children.get(each, [])
    return found


def play(*options: str, timeout: float = 180, **given: Any) -> Run:
    """A run of the playbook from beginning to end."""
    return Playbook(*options, **given).finish(timeout)


# -- the visitor


def curl(name: str, version: int, *options: str, port: int = 443, patience: float = 10) -> str:
    """The page that the visitor gets. Raises AssertionError when there is none."""
    words = ["curl", "-sS", f"-{version}", "--max-time", str(patience), *options]
    return on("visitor", *words, f"https://{name}.example.org:{port}/")


def is_open(patience: float = 2) -> bool:
    """Whether a connection from outside reaches the home, at the first try."""
    words = ["curl", "-sS", "-4", "--max-time", str(patience), "https://jellyfin.example.org/"]
    return attempt("visitor", *words).returncode == 0
