"""Disks, built once and kept in CACHE: a small Debian 12 as a cheap VPS has it when it is rented, and pfSense's.

The lab reaches no package registry, so the packages that roles install lie in the image, in an apt repository of its
own, which is the only one the image knows.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError, tail
from .paths import CACHE

RELEASE = "bookworm"
INSTALLED = (
    # A Debian cloud image; python3-apt comes with its unattended-upgrades.
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "ca-certificates", "python3", "python3-apt"),
    *("iproute2", "iputils-ping", "procps", "kmod", "less", "nano-tiny", "cron"),
    # What the machine's kernel may lack: WireGuard itself. wg-quick falls back to it.
    "wireguard-go",
)
# What the collection's roles install; kept in the repository, not in the image.
INSTALLABLE = ("wireguard-tools", "nftables", "ufw", "iptables", "nginx", "libnginx-mod-stream", "curl")
REPOSITORY = "/opt/apt"
# Programs of other hosts that must not be installed, on this disk or on the machine: unpacked in a layer that is laid
# over the image where they run (tests/lab/network_manager).
UNPACKED = ("network-manager",)
LAYER = "/opt/layer"
SOURCES = f"deb [trusted=yes] file:{REPOSITORY} ./\n"
SETUP = f"""\
set -e
export DEBIAN_FRONTEND=noninteractive
mkdir -p {REPOSITORY}
apt-get -qq -y --no-install-recommends --download-only -o Dir::Cache::archives={REPOSITORY} install {{installable}}
rm -rf {REPOSITORY}/partial {REPOSITORY}/lock
# /bin and the like are links on this disk, and stay links below the layer.
for folder in bin lib sbin; do mkdir -p {LAYER}/usr/$folder; ln -s usr/$folder {LAYER}/$folder; done
mkdir {LAYER}/debs
apt-get -qq -y --no-install-recommends --download-only -o Dir::Cache::archives={LAYER}/debs install {{unpacked}}
for package in {LAYER}/debs/*.deb; do
    dpkg-deb --fsys-tarfile $package | tar --extract --keep-directory-symlink --directory={LAYER}
done
rm -r {LAYER}/debs
# Every machine makes these itself; two labs must not share them.
rm -f /etc/ssh/ssh_host_* /etc/machine-id
touch /etc/machine-id
systemctl -q disable apt-daily.timer apt-daily-upgrade.timer
"""
# pfSense: its programs where FreeBSD has them, its PHP files where pfSense has them (tests/lab/pfsense_double).
PFSENSE_INSTALLED = (
    *("openssh-server", "python3", "php-cli", "php-xml", "wireguard-tools", "wireguard-go", "nftables"),
    *("iproute2", "iputils-ping", "procps", "tcpdump"),
)
PFSENSE_SETUP = f"""\
set -e
mkdir -p {REPOSITORY} /cf/conf/backup /usr/local/bin /usr/local/etc /var/etc /var/double /opt/pfsense_double
ln -s cf/conf /conf
cp /usr/bin/php8.2 /usr/local/bin/php
ln /usr/local/bin/php /usr/local/bin/php_wg
ln -s /usr/bin/python3.11 /usr/local/bin/python3.11
ln -s /opt/pfsense_double/php/inc /etc/inc
ln -s /opt/pfsense_double/php/pkg /usr/local/pkg
for program in route ifconfig service; do ln -sf /opt/pfsense_double/php/sbin/freebsd /usr/sbin/$program; done
echo include_path=.:/etc/inc:/usr/local/pkg >/etc/php/8.2/cli/conf.d/99-pfsense.ini
rm -f /etc/ssh/ssh_host_*
"""
# In process and mount namespaces of its own, the build ends with the lab's command, all of it.
ALONE = (
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
)
STANZA = ("Package", "Version", "Architecture", "Depends", "Pre-Depends", "Provides", "Conflicts", "Breaks", "Replaces")


@dataclass(frozen=True)
class Image:
    """One kind of disk. setup: a shell script that ends the making.

    installable: packages in the repository on it. unpacked: those in its layer.
    """

    name: str
    setup: str
    installed: tuple[str, ...]
    installable: tuple[str, ...] = ()
    unpacked: tuple[str, ...] = ()

    def key(self) -> str:
        """Changes with whatever goes into the image."""
        inputs = (RELEASE, self.installed, self.installable, self.unpacked, SOURCES, self.setup, STANZA)
        return hashlib.sha256(repr(inputs).encode()).hexdigest()[:16]

    def root(self) -> Path:
        return CACHE / f"{self.name}-{self.key()}"


VPS = Image("debian", SETUP, INSTALLED, INSTALLABLE, UNPACKED)
PFSENSE = Image("pfsense", PFSENSE_SETUP, PFSENSE_INSTALLED)
IMAGES = {"debian": VPS, "pfsense_double": PFSENSE}  # by the program of their hosts


def build(image: Image, say: Callable[[str], None]) -> Path:
    """The image's directory; made when it is not there. Raises LabError.

    It is built under another name, so that one that was interrupted is never used, and is removed by the next build.
    """
    finished = image.root()
    if finished.exists():
        return finished
    say(f"making the image {image.name}; this happens once")
    CACHE.mkdir(parents=True, exist_ok=True)
    unfinished = CACHE / "unfinished"
    for old in CACHE.glob(f"{image.name}-*"):
        shutil.rmtree(old)
    if unfinished.exists():
        shutil.rmtree(unfinished)
    install(image, unfinished)
    index_packages(unfinished)
    (unfinished / "etc/apt/sources.list").write_text(SOURCES)
    unfinished.rename(finished)
    return finished


def install(image: Image, directory: Path) -> None:
    # --variant=minbase and no recommended packages, as cloud images are made. force-unsafe-io: a build that dies is
    # thrown away, so nothing needs to reach the disk at once.
    setup = image.setup.format(installable=" ".join(image.installable), unpacked=" ".join(image.unpacked))
    command = [
        *(*ALONE, "mmdebstrap", "--variant=minbase", "--dpkgopt=force-unsafe-io"),
        f"--include={','.join(image.installed)}",
        f"--customize-hook=chroot \"$1\" sh -c '{setup}'",
        *(RELEASE, str(directory)),
    ]
    log = CACHE / "build.log"
    with log.open("w") as output:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False).returncode
    if status:
        raise LabError(f"mmdebstrap could not make the image {image.name}. {log} ends:\n{tail(log)}")


def index_packages(image: Path) -> None:
    """Write the repository's index. dpkg-scanpackages would do, but only comes with a compiler and its friends."""
    repository = image / REPOSITORY.lstrip("/")
    stanzas = []
    for package in sorted(repository.glob("*.deb")):
        control = subprocess.run(
            ["dpkg-deb", "--field", package, *STANZA], text=True, stdout=subprocess.PIPE, check=True
        ).stdout
        content = package.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        stanzas.append(f"{control}Filename: ./{package.name}\nSize: {len(content)}\nSHA256: {digest}\n")
    (repository / "Packages").write_text("\n".join(stanzas))
