"""A host's first process: `python -m homelab_lab.inside HOST`, PID 1 in namespaces that keeper.py has made for it.

It makes the host's own /etc, /run, /proc and /sys, starts the host's program and waits for it. When it ends, however
that happens, the kernel ends everything else on the host and takes its mounts away: that is all that power-off needs.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from . import machine, programs
from .network import BY_NAME, Host
from .paths import LAB, STATE, host_dir


def mount(*arguments: str | Path) -> None:
    # --no-mtab: util-linux would keep its own list in /run, of which the machine's must not hear about these.
    subprocess.run(["mount", "--no-mtab", *map(str, arguments)], check=True)


def overlay(lower: Path | str, layers: Path, target: Path | str) -> None:
    """Writes to `target` go to layers/upper; what lies below stays as it is."""
    for name in ("upper", "work"):
        (layers / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={layers / 'upper'},workdir={layers / 'work'}"
    mount("-t", "overlay", "-o", options, "homelab-fabric", target)


def own_run() -> None:
    """An empty /run in which the lab's state is still found."""
    new = STATE / "run"
    mount("-t", "tmpfs", "-o", "mode=755", "homelab-fabric", new)
    kept = new / STATE.parent.relative_to("/run")
    kept.mkdir()
    mount("--bind", STATE.parent, kept)
    mount("--move", new, "/run")


def furnish(host: Host) -> None:
    directory = host_dir(host.name)
    if host.has_disk:
        root = directory / "root"
        root.mkdir(exist_ok=True)
        overlay(machine.image(host).resolve(), directory / "disk", root)
        if host.is_machine:
            machine.enter_cgroup(host)
        else:
            enter_disk(host, root)
        return
    overlay("/etc", directory / "etc", "/etc")
    mount("-t", "sysfs", "sysfs", "/sys")
    own_run()


def enter_disk(host: Host, root: Path) -> None:
    """Make the host's disk its root, for this process and those to come, with its program's folder on it."""
    mount("--bind", LAB / str(host.program), root / "opt" / str(host.program))
    mount("-t", "proc", "proc", root / "proc")
    mount("-t", "sysfs", "sysfs", root / "sys")
    mount("-t", "tmpfs", "-o", "mode=755", "homelab-fabric", root / "run")
    mount("--rbind", "/dev", root / "dev")
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "mnt"], check=True)
    os.chdir("/")
    subprocess.run(["umount", "--lazy", "/mnt"], check=True)


def wait_for(program: int | None) -> int:
    """Bury the dead, as PID 1 has to, until the host's program ends; its exit status. Without one: forever."""
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            signal.pause()
            continue
        if pid == program:
            return os.waitstatus_to_exitcode(status)


def main(name: str) -> int:
    host = BY_NAME[name]
    # A handler, though it does nothing: without one, PID 1's pause() would not end when an orphan dies.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    socket.sethostname(name)
    command = programs.command(host)
    directory = os.open(host_dir(name), os.O_RDONLY)  # out of reach by its name once the host has a root of its own
    furnish(host)
    program = subprocess.Popen(command, env=programs.environment(), stdin=subprocess.DEVNULL).pid if command else None
    os.close(os.open("booted", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=directory))
    return abs(wait_for(program))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
