"""Keeps one host powered: `python -m homelab_lab.keeper HOST LOCK`, a process of the machine.

It plugs the host's cables in and runs its first process in namespaces of its own (inside.py); when the host
restarts itself, it does so again with fresh cables, as a real card forgets its addresses. Killing it is pulling the
plug.

The lock file in the host's directory is held by it and by the host's first process for as long as either lives.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

from . import wires
from .network import BY_NAME, Host
from .paths import NETNS, host_dir

RESTART = 133  # exit status of systemd-nspawn --keep-unit when the machine inside asks for a reboot


def boot(host: Host, lock: int) -> int:
    (host_dir(host.name) / "booted").unlink(missing_ok=True)
    wires.plug(host)
    return subprocess.run(
        # --kill-child and --pdeathsig: whoever dies takes the ones below along, up to the whole host.
        [
            *("setpriv", "--pdeathsig=KILL", "nsenter", f"--net={NETNS / wires.namespace(host)}"),
            *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *(sys.executable, "-m", "homelab_lab.inside", host.name),
        ],
        stdin=subprocess.DEVNULL,
        pass_fds=[lock],
        check=False,
    ).returncode


def main(name: str, lab_lock: str) -> int:
    host = BY_NAME[name]
    lock = os.open(host_dir(name) / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.truncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    # From here on `down` finds us by our own lock; the lab's lock, inherited, kept it from looking too early.
    os.close(int(lab_lock))
    while True:
        status = boot(host, lock)
        if status != RESTART:
            print(f"{name} has stopped with exit status {status}", flush=True)
            return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
