"""The VPS as a machine: its disk is the image with an overlay on top, and systemd-nspawn boots it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from .network import Host
from .paths import NETNS, host_dir
from .wires import namespace

CGROUPS = Path("/sys/fs/cgroup")


def image(host: Host) -> Path:
    """What lies below the machine's disk (image.py)."""
    return host_dir(host.name) / "image"


def command(host: Host) -> list[str]:
    return [
        # Without it /proc/sys/net is read-only: nspawn does not know that the network namespace is the machine's own.
        *("env", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network"),
        *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe"),
        *(f"--directory={host_dir(host.name) / 'root'}", f"--machine={host.name}"),
        *(f"--network-namespace-path={NETNS / namespace(host)}", "--capability=all", "--bind=/dev/net/tun"),
        *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
    ]


def cgroups(host: Host) -> list[Path]:
    """The machine's own group in every hierarchy that systemd uses, of cgroup v1 and v2."""
    tops = (CGROUPS, CGROUPS / "systemd", CGROUPS / "unified")
    return [top / namespace(host) for top in tops if (top / "cgroup.procs").exists()]


def enter_cgroup(host: Host) -> None:
    """--keep-unit makes nspawn work in the group it was started in, which is somebody else's."""
    for group in cgroups(host):
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()))


def remove_cgroup(host: Host) -> None:
    """The kernel counts the dead as members for a moment; what is still there after that is left for the next call."""
    deadline = time.monotonic() + 2
    for group in cgroups(host):
        while group.exists() and time.monotonic() < deadline:
            for directory, _folders, _files in os.walk(group, topdown=False):
                with suppress(OSError):
                    os.rmdir(directory)
            time.sleep(0.01)
