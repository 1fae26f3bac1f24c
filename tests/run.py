"""Run the test suite: ``tests/run.py all``, one group of its parts (``lint``, ``sanity`` …) or one part by its name.

``--list`` shows them. They run one after another. A part's output goes to ``.build/logs`` and is shown when it fails.
The last line counts parts. Exit status: 0 when none failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".build" / "logs"
BIN = ROOT / ".venv" / "bin"
PART_TIMEOUT = 45 * 60  # seconds; a part that hangs is ended while CI can still show its log
SHOWN_LINES = 400  # of a failed part's log

# ansible-core → the Pythons its controller runs on (its own documentation's support matrix), the preferred one first.
CORES = {
    "2.18": ("3.11", "3.12", "3.13"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.13", "3.12", "3.14"),
}
OWN_CORE = ".".join(version("ansible-core").split(".")[:2])


@dataclass(eq=False)
class Part:
    """One line of the table: a command, run in the checkout."""

    name: str
    group: str
    command: list[str]
    uses_lab: bool = False
    skip: str = ""  # the reason, where this machine lacks what the part needs
    needs: Part | None = None  # not run when that one failed
    result: str = field(default="not run", init=False)
    seconds: float = field(default=0.0, init=False)
    summary: str = field(default="", init=False)

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"


def find_python(versions: tuple[str, ...]) -> str:
    """The path of the first of these Pythons that this machine has; empty without one."""
    found = subprocess.run([ROOT / "tests/sanity/find-python", *versions], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def parts() -> Iterator[Part]:
    """All parts, in the order in which they run."""
    yield Part("unit", "unit", [f"{BIN}/pytest", "-n", "2", "tests/unit"])
    # By files: some tests go on from each other in one network of routers.
    yield Part("devices", "devices", [f"{BIN}/pytest", "-n", "2", "--dist", "loadfile", "tests/devices"])
    # Hosts in namespaces of their own, and routers in the test's process: two tests may be at work at once.
    apart = ["tests/integration/linux", "tests/integration/sites"]
    yield Part("no-lab", "integration", [f"{BIN}/pytest", "-n", "2", *apart])
    for check in ("ruff", "mypy", "shellcheck", "changelog", "docs", "galaxy", "paths", "ansible-lint"):
        yield Part(check, "lint", ["tests/lint", check])
    for core, versions in CORES.items():
        python = find_python(versions)
        skip = "" if python else f"no Python {', '.join(versions)} at hand"
        venv = Part(f"core-{core}", "sanity", ["tests/sanity/core", core, python, "install"], skip=skip)
        yield venv
        # This venv's own core has run the unit tests already.
        for action in ("sanity",) if core == OWN_CORE else ("unit", "sanity"):
            command = ["tests/sanity/core", core, python, action]
            yield Part(f"core-{core}-{action}", "sanity", command, skip=skip, needs=venv)
    # The scenarios begin with a lab booted afresh and leave it to the integration tests; main() removes it. What
    # molecule remembers of an earlier run, whose lab is gone, would make it skip the boot.
    scenarios = f"{BIN}/molecule reset && exec {BIN}/molecule test --all --destroy=never"
    yield Part("molecule", "molecule", ["bash", "-c", scenarios], uses_lab=True)
    lab = Part("lab-up", "lab", ["tests/lab/lab", "up"], uses_lab=True)
    yield lab
    command = [f"{BIN}/pytest", "tests/integration", *(f"--ignore={folder}" for folder in apart)]
    yield Part("integration", "integration", command, uses_lab=True, needs=lab)
    yield Part("bench", "bench", [f"{BIN}/pytest", "-s", "tests/bench"], uses_lab=True, needs=lab)


class Runner:
    """Runs parts, says when one starts and ends, and shows the log of one that fails."""

    def __init__(self, stream: bool) -> None:
        self.stream = stream
        self.stopped = False
        self.children: set[subprocess.Popen[bytes]] = set()
        self.environment = os.environ | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_NOCOLOR": "1",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def say(self, text: str) -> None:
        print(text, flush=True)

    def run_all(self, several: list[Part]) -> None:
        for part in several:
            if not self.stopped:
                self.run(part)

    def stop(self) -> None:
        self.stopped = True
        for child in list(self.children):
            end(child)

    def run(self, part: Part) -> None:
        if part.skip:
            part.result, part.summary = "skipped", part.skip
            return
        if part.needs and part.needs.result != "ok":
            part.result, part.summary = "failed", f"{part.needs.name} {part.needs.result}"
            return
        self.say(f"{part.name}: {' '.join(part.command).replace(f'{ROOT}/', '')}")
        started = time.monotonic()
        status = self._execute(part)
        part.seconds = time.monotonic() - started
        part.result = "failed" if status else "ok"
        lines = [] if self.stream else part.log.read_text(errors="replace").splitlines()
        part.summary = next((line.strip(" =") for line in reversed(lines) if line.strip(" =")), "") if lines else ""
        if status and lines:
            shown = "\n".join(f"  {line}" for line in lines[-SHOWN_LINES:])
            self.say(f"{part.name}: FAILED (exit status {status}); its log:\n{shown}")
        self.say(f"{part.name}: {part.result}, {part.seconds:.1f} s")

    def _execute(self, part: Part) -> int:
        with part.log.open("wb") as log:
            child = subprocess.Popen(
                part.command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=None if self.stream else log,
                stderr=None if self.stream else subprocess.STDOUT,
                start_new_session=True,
            )
            self.children.add(child)
            try:
                return child.wait(PART_TIMEOUT)
            except subprocess.TimeoutExpired:
                end(child)
                log.write(f"\ntests/run.py: not done after {PART_TIMEOUT} s\n".encode())
                return 124
            finally:
                self.children.discard(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a part with everything it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
            child.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def table(chosen: list[Part]) -> Iterator[str]:
    yield f"{'part':22}{'result':10}{'seconds':>8}  last line"
    for part in chosen:
        yield f"{part.name:22}{part.result:10}{part.seconds:8.1f}  {part.summary[:90]}"


def lab_is_up() -> bool:
    return not subprocess.run([ROOT / "tests/lab/lab", "status"], cwd=ROOT, capture_output=True, check=False).returncode


def choose(wanted: list[str]) -> list[Part]:
    """The parts asked for, with those they need. ``all`` leaves out the benchmarks, which pass no verdict."""
    every = list(parts())
    unknown = set(wanted) - {part.name for part in every} - {part.group for part in every} - {"all"}
    if unknown:
        sys.exit(
            f"tests/run.py: no part or group is called {', '.join(sorted(unknown))}; tests/run.py --list shows them"
        )
    named = [
        part
        for part in every
        if part.name in wanted or part.group in wanted or ("all" in wanted and part.group != "bench")
    ]
    needed = {id(part.needs) for part in named if part.needs}
    return [part for part in every if part in named or id(part) in needed]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", default=["all"], help="a part or a group of parts; all without one")
    parser.add_argument("--list", action="store_true", help="show the parts and what each runs")
    options = parser.parse_args()
    chosen = choose(options.part)
    if options.list:
        for part in chosen:
            print(f"{part.group:12}{part.name:22}{' '.join(part.command).replace(f'{ROOT}/', '')}")
        return 0
    LOGS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    uses_lab = any(part.uses_lab for part in chosen)
    keep_lab = not uses_lab or "all" not in options.part or lab_is_up()
    runner = Runner(stream=len(chosen) == 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        # One after another: beside other work on two cores a ping every 10 ms loses packets by itself.
        runner.run_all(chosen)
    except BaseException:
        runner.stop()
        raise
    finally:
        if not keep_lab:
            subprocess.run([ROOT / "tests/lab/lab", "down"], cwd=ROOT, check=False)
    count = {result: sum(part.result == result for part in chosen) for result in ("ok", "failed", "skipped")}
    print("", *table(chosen), f"{time.monotonic() - started:.0f} s in all; logs in .build/logs", sep="\n")
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    print(f"{count['ok']} passed, {count['failed']} failed{skipped}", flush=True)
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
