"""What the lab's commands do. One of them at a time: each holds the lab's lock."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import furniture, machine, processes, programs, wires
from .errors import LabError, tail
from .network import HOSTS, Host, with_routers
from .paths import NETNS, STATE, host_dir

LOCK = STATE.parent / "lock"
PATIENCE = 60.0  # seconds that a host has to come up; a machine takes about two

Say = Callable[[str], None]


@contextmanager
def locked(say: Say) -> Iterator[int]:
    """Hold the lab's lock; the value is its descriptor, which starting keepers inherit."""
    STATE.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another lab command to end")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield lock
    finally:
        os.close(lock)


# -- what is going on


def keeper(host: Host) -> int | None:
    """The process that keeps the host powered, if it is on: its lock tells, as no number that was used twice could."""
    try:
        lock = os.open(host_dir(host.name) / "lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(lock, 32) or 0)
    finally:
        os.close(lock)
    return None


def is_on(host: Host) -> bool:
    return keeper(host) is not None


def first_process(host: Host) -> int | None:
    """The process whose namespaces are the host's, once it has booted."""
    return processes.leader(host) if (host_dir(host.name) / "booted").exists() else None


def is_up(host: Host) -> bool:
    pid = first_process(host)
    return pid is not None and set(host.listens) <= processes.listening(pid)


def log_file(host: Host) -> Path:
    return host_dir(host.name) / "log"


# -- power


def power_on(hosts: Iterable[Host], lab_lock: int, say: Say) -> None:
    """Start those that are off, all at once, and wait until every one is up."""
    started = time.monotonic()
    waiting = {host.name: host for host in hosts if not is_up(host)}
    for host in waiting.values():
        if not is_on(host):
            start_keeper(host, lab_lock)
    while waiting:
        for host in list(waiting.values()):
            if is_up(host):
                settle(host)
                del waiting[host.name]
                say(f"{host.name} is up")
            elif not is_on(host):
                raise LabError(f"{host.name} went off while starting; its log ends:\n{tail(log_file(host))}")
        if time.monotonic() > started + PATIENCE:
            names = ", ".join(waiting)
            raise LabError(f"not up after {PATIENCE:.0f} s: {names}. See: tests/lab/lab logs {next(iter(waiting))}")
        time.sleep(0.05)


def settle(host: Host) -> None:
    """A machine listens before it has started everything."""
    if host.is_machine and (pid := first_process(host)):
        command = ["nsenter", f"--target={pid}", "--all", "systemctl", "is-system-running", "--wait"]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)


def start_keeper(host: Host, lab_lock: int) -> None:
    with log_file(host).open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "homelab_lab.keeper", host.name, str(lab_lock)],
            env=programs.environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lab_lock],
            start_new_session=True,
        )
    # It is on when it holds its own lock: only then does is_on() tell the truth.
    while not is_on(host) and process.poll() is None:
        time.sleep(0.01)


def power_off(host: Host) -> None:
    """Pull the plug: no process of the host is told, none is left."""
    if pid := keeper(host):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # A host that was just starting may have processes that are not in its network namespace yet: they hold its lock.
    wait_until(lambda: not kill_inhabitants(wires.namespace(host)) and not is_on(host), f"{host.name} does not go off")
    wires.unplug(host)
    if host.is_machine:
        machine.remove_cgroup(host)


def kill_inhabitants(namespace: str) -> bool:
    """End what still runs there, but for the command that asked for it; whether there was anything."""
    spared = processes.own_family()
    found = [pid for pid in processes.inhabitants(namespace) if pid not in spared]
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def reboot(host: Host, lab_lock: int, say: Say) -> None:
    """A machine is asked to, and shuts down in order; the others lose power for a moment."""
    before = first_process(host)
    if host.is_machine and before:
        subprocess.run(["nsenter", f"--target={before}", "--all", "systemctl", "reboot"], check=True)
        wait_until(lambda: first_process(host) not in (before, None) or not is_on(host), f"{host.name} does not reboot")
    else:
        power_off(host)
    power_on([host], lab_lock, say)


def wait_until(done: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise LabError(f"{complaint}, after {PATIENCE:.0f} s")
        time.sleep(0.02)


# -- the whole lab


def up(names: Iterable[str], lab_lock: int, say: Say) -> None:
    STATE.mkdir(mode=0o700, exist_ok=True)
    (STATE / "run").mkdir(exist_ok=True)
    furniture.furnish_lab(say)
    if not switches_are_laid():
        for host in HOSTS:
            power_off(host)
        wires.lay_switches()
        (STATE / "switches").write_text(switches_identity())
    power_on(with_routers(names), lab_lock, say)
    say("the lab is up")


def start(host: Host, lab_lock: int, say: Say) -> None:
    if not switches_are_laid():
        raise LabError("there is no lab yet. Try: tests/lab/lab up")
    power_on([host], lab_lock, say)


def switches_identity() -> str:
    return str((NETNS / wires.SWITCHES).stat().st_ino)


def switches_are_laid() -> bool:
    """Whether lay_switches() once ran to its end, for the namespace that is there now."""
    try:
        return (STATE / "switches").read_text() == switches_identity()
    except FileNotFoundError:
        return False


def down(say: Say) -> None:
    """Remove everything, whatever state it is in."""
    for host in HOSTS:
        power_off(host)
    wait_until(lambda: not kill_inhabitants(wires.SWITCHES), "the switches do not go off")
    wires.remove(wires.SWITCHES)
    shutil.rmtree(STATE, ignore_errors=True)
    if STATE.exists():
        shutil.rmtree(STATE)
    # iproute2 made this mount for the first namespace; with none left, nobody needs it.
    if NETNS.exists() and not any(NETNS.iterdir()):
        subprocess.run(["umount", "--quiet", NETNS], capture_output=True, check=False)
    say("the lab is gone")
