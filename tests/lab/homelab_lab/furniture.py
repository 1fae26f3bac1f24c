"""What is in place before the first boot: keys, secrets, and the files that make every host's /etc its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import certificates, image, machine, programs
from .network import BY_NAME, HOSTS, OPENWRT, RESOLVER, SSH_PORT, Host
from .paths import SECRETS, SSH, STATE, TLS, host_dir

USER_KEY = SSH / "id_ed25519"
HOST_KEY = SSH / "ssh_host_ed25519_key"
KNOWN_HOSTS = SSH / "known_hosts"


def furnish_lab(say: Callable[[str], None]) -> None:
    """Once in a lab's life. The last step creates `made`; what was interrupted before that is made anew."""
    made = STATE / "made"
    if made.exists():
        return
    base = image.build(say)
    for directory in (SSH, SECRETS, TLS, STATE / "hosts"):
        shutil.rmtree(directory, ignore_errors=True)
    for directory in (SSH, SECRETS, STATE / "hosts"):
        directory.mkdir(mode=0o700)
    certificates.make()
    for path in (programs.ROUTEROS_PASSWORD, programs.CLOUDFLARE_TOKEN):
        write(path, secrets.token_hex(20) + "\n", mode=0o600)
    for path, comment in ((USER_KEY, "homelab.fabric lab"), (HOST_KEY, "the lab's machines and routers")):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], check=True)
    public = " ".join(HOST_KEY.with_suffix(".pub").read_text().split()[:2])
    vps = BY_NAME["vps-relay"]
    names = [vps.name, *(address.partition("/")[0] for address in vps.ports[0].addresses)]
    known = [f"[{name}]:{SSH_PORT}" for name in names] + [*OPENWRT, *OPENWRT.values()]
    write(KNOWN_HOSTS, "".join(f"{name} {public}\n" for name in known))
    for host in HOSTS:
        host_dir(host.name).mkdir()
        if host.is_machine:
            furnish_machine(host, base)
        else:
            furnish_namespace(host)
    made.touch()


def furnish_machine(host: Host, base: Path) -> None:
    """The VPS as its provider hands it over: root's key, and sshd on the port that its owner chose."""
    # A lab keeps its image for life: whoever changes image.py meanwhile does not change a disk that is in use.
    machine.image(host).symlink_to(base)
    root = host_dir(host.name) / "disk/upper"
    common_files(host, root / "etc")
    write(root / "etc/ssh/sshd_config.d/lab.conf", f"Port {SSH_PORT}\nPasswordAuthentication no\n")
    copy(HOST_KEY, root / "etc/ssh" / HOST_KEY.name, mode=0o600)
    (root / "root").mkdir(mode=0o700)
    (root / "root/.ssh").mkdir(mode=0o700)
    copy(USER_KEY.with_suffix(".pub"), root / "root/.ssh/authorized_keys", mode=0o600)


def furnish_namespace(host: Host) -> None:
    etc = host_dir(host.name) / "etc/upper"
    common_files(host, etc)
    copy(certificates.BUNDLE, etc / "ssl/certs" / certificates.SYSTEM_BUNDLE.name)
    (etc / "wireguard").mkdir(mode=0o700)
    # Opaque: overlayfs shows nothing of the machine's own /etc/wireguard.
    os.setxattr(etc / "wireguard", "trusted.overlay.opaque", b"y")
    copy(KNOWN_HOSTS, etc / "ssh/ssh_known_hosts")
    write(
        etc / "ssh/ssh_config.d/lab.conf",
        f"Host vps-relay\n  HostName 203.0.113.10\n  Port {SSH_PORT}\n  User root\n  IdentityFile {USER_KEY}\n"
        + "".join(f"Host {n}\n  HostName {a}\n  User root\n  IdentityFile {USER_KEY}\n" for n, a in OPENWRT.items()),
    )


def common_files(host: Host, etc: Path) -> None:
    write(etc / "resolv.conf", f"nameserver {RESOLVER}\n")
    write(etc / "hostname", f"{host.name}\n")
    known = (("127.0.0.1", "localhost"), ("::1", "localhost"), ("127.0.1.1", host.name), *host.knows)
    write(etc / "hosts", "".join(f"{address} {names}\n" for address, names in known))


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode)
    path.write_text(text)


def copy(source: Path, target: Path, mode: int = 0o644) -> None:
    write(target, source.read_text(), mode)
