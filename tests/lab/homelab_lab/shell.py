"""`exec`: a command on a host, as if typed there; its input, output, terminal and exit status are the caller's."""

from __future__ import annotations

import os
from collections.abc import Sequence

from . import certificates
from .network import Host
from .paths import CHECKOUT, LAB, STATE
from .programs import openwrt_root

MACHINE_ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "USER": "root",
}


def environment(host: Host) -> dict[str, str]:
    if host.has_disk or host.is_openwrt:
        return MACHINE_ENVIRONMENT | {"TERM": os.environ.get("TERM", "dumb")}
    # In a host's own /etc this file holds the lab's authority too (furniture.py).
    bundle = str(certificates.SYSTEM_BUNDLE)
    trust = dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"), bundle)
    programs = [str(LAB / "bin"), os.environ["PATH"]]
    values = os.environ | trust | {"HOMELAB_LAB_STATE": str(STATE), "HOMELAB_LAB_HOST": host.name}
    if host.name == "controller":
        programs.insert(0, str(CHECKOUT / ".venv/bin"))
        values["ANSIBLE_INVENTORY"] = ",".join(map(str, (CHECKOUT / "inventory", LAB / "inventory")))
        values["VIRTUAL_ENV"] = str(CHECKOUT / ".venv")
        # In the host's own /run: an ssh connection that is kept open must not be found by another network's Ansible.
        values["ANSIBLE_SSH_CONTROL_PATH_DIR"] = "/run/ansible-cp"
    return values | {"PATH": ":".join(programs)}


def command(host: Host, pid: int, words: Sequence[str]) -> list[str]:
    """The command line that runs `words` in the namespaces of the process."""
    namespaces = ["--all"] if host.is_machine else ["--mount", "--uts", "--ipc", "--net", "--pid"]
    directory = "/root" if host.has_disk else str(CHECKOUT)
    if host.is_openwrt:
        return ["nsenter", f"--target={pid}", *namespaces, "--", "setpriv", "--pdeathsig=TERM", *chroot(host, words)]
    # --pdeathsig: when the caller is killed (a test's timeout), the command does not go on without it.
    inner = ["setpriv", "--pdeathsig=TERM", "env", f"--chdir={directory}", *words]
    return ["nsenter", f"--target={pid}", *namespaces, "--", *inner]


def chroot(host: Host, words: Sequence[str]) -> list[str]:
    """A router's programs see its own root only, and OpenWrt's PATH."""
    return ["chroot", str(openwrt_root(host)), "/usr/bin/env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *words]


def replace_with(host: Host, pid: int, words: Sequence[str]) -> None:
    """Become the command; returns never."""
    line = command(host, pid, words)
    os.execvpe(line[0], line, environment(host))
