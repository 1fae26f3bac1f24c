"""What is in place before the first boot: keys, secrets, and the files that make every host's /etc its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from pfsense_double import sofia

from . import certificates, image, machine, programs
from .network import BY_NAME, HOSTS, OPENWRT, PFSENSE, RESOLVER, SSH_PORT, Host
from .paths import LAB, SECRETS, SSH, STATE, TLS, host_dir

USER_KEY = SSH / "id_ed25519"
HOST_KEY = SSH / "ssh_host_ed25519_key"
PFSENSE_KEY = SSH / "pfsense_ssh_host_ed25519_key"
KNOWN_HOSTS = SSH / "known_hosts"

PFSENSE_CONFIG = LAB / "pfsense_double/factory.xml"
PFSENSE_VERSION = "2.7.2-RELEASE"


def furnish_lab(say: Callable[[str], None]) -> None:
    """Once in a lab's life. The last step creates `made`; what was interrupted before that is made anew."""
    made = STATE / "made"
    if made.exists():
        return
    for directory in (SSH, SECRETS, TLS, STATE / "hosts"):
        shutil.rmtree(directory, ignore_errors=True)
    for directory in (SSH, SECRETS, STATE / "hosts"):
        directory.mkdir(mode=0o700)
    certificates.make()
    for path in (programs.ROUTEROS_PASSWORD, programs.CLOUDFLARE_TOKEN):
        write(path, secrets.token_hex(20) + "\n", mode=0o600)
    for path, comment in (
        (USER_KEY, "homelab.fabric lab"),
        (HOST_KEY, "the lab's machines and routers"),
        (PFSENSE_KEY, "the lab's pfSense"),
    ):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], check=True)
    vps = BY_NAME["vps-relay"]
    names = [vps.name, *(address.partition("/")[0] for address in vps.ports[0].addresses)]
    known = [(f"[{name}]:{SSH_PORT}", HOST_KEY) for name in names]
    known += [(name, HOST_KEY) for name in (*OPENWRT, *OPENWRT.values())]
    known += [(name, PFSENSE_KEY) for name in (*PFSENSE, *PFSENSE.values(), "2001:db8:113::90")]
    write(KNOWN_HOSTS, "".join(f"{name} {public_key(key)}\n" for name, key in known))
    for host in HOSTS:
        host_dir(host.name).mkdir()
        if host.is_machine:
            furnish_machine(host)
        elif host.has_disk:
            furnish_pfsense(host)
        else:
            furnish_namespace(host)
    made.touch()


def public_key(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def give_image(host: Host, say: Callable[[str], None]) -> None:
    """What lies below the host's disk, when it is switched on for the first time."""
    # A lab keeps its image for life: whoever changes image.py meanwhile does not change a disk that is in use.
    if not machine.image(host).is_symlink():
        machine.image(host).symlink_to(image.build(image.IMAGES[str(host.program)], say))


def furnish_machine(host: Host) -> None:
    """The VPS as its provider hands it over: root's key, and sshd on the port that its owner chose."""
    root = host_dir(host.name) / "disk/upper"
    common_files(host, root / "etc")
    admit_root(root, HOST_KEY, f"Port {SSH_PORT}\n")


def furnish_pfsense(host: Host) -> None:
    """pfSense after its first setup by hand: interfaces, the WireGuard package, and ssh for its administrator."""
    root = host_dir(host.name) / "disk/upper"
    common_files(host, root / "etc")
    write(root / "etc/version", f"{PFSENSE_VERSION}\n")
    config = PFSENSE_CONFIG.read_text()
    write(root / "cf/conf/config.xml", sofia.configuration(config) if host.name == "sofia" else config)
    # The image has Debian's ping, which means other things by the same flags.
    (root / "usr/sbin").mkdir(parents=True)
    (root / "usr/sbin/ping").symlink_to("/opt/pfsense_double/php/sbin/freebsd")
    admit_root(root, PFSENSE_KEY, "")


def admit_root(root: Path, key: Path, settings: str) -> None:
    """root's key, and sshd with a key that the other hosts know."""
    write(root / "etc/ssh/sshd_config.d/lab.conf", f"{settings}PasswordAuthentication no\n")
    copy(key, root / "etc/ssh" / HOST_KEY.name, mode=0o600)
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
        + "".join(
            f"Host {name}\n  HostName {address}\n  User root\n  IdentityFile {USER_KEY}\n"
            for name, address in {**PFSENSE, **OPENWRT}.items()
        ),
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
