"""The VPS's disk: a small Debian 12 as a cheap VPS has it when it is rented, built once and kept in CACHE.

The lab reaches no package registry, so the packages that roles install lie in the image, in an apt repository of its
own, which is the only one the image knows.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
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
# In process and mount namespaces of its own, the build ends with the lab's command, all of it.
ALONE = (
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
)
STANZA = ("Package", "Version", "Architecture", "Depends", "Pre-Depends", "Provides", "Conflicts", "Breaks", "Replaces")


def key() -> str:
    """Changes with whatever goes into the image."""
    inputs = (RELEASE, INSTALLED, INSTALLABLE, UNPACKED, SOURCES, SETUP, STANZA)
    return hashlib.sha256(repr(inputs).encode()).hexdigest()[:16]


def root() -> Path:
    return CACHE / f"debian-{key()}"


def build(say: Callable[[str], None]) -> Path:
    """The image's directory; made when it is not there. Raises LabError.

    It is built under another name, so that one that was interrupted is never used, and is removed by the next build.
    """
    finished = root()
    if finished.exists():
        return finished
    say("making the VPS's Debian image; this happens once")
    CACHE.mkdir(parents=True, exist_ok=True)
    unfinished = CACHE / "unfinished"
    for old in CACHE.glob("debian-*"):
        shutil.rmtree(old)
    if unfinished.exists():
        shutil.rmtree(unfinished)
    install(unfinished)
    index_packages(unfinished)
    (unfinished / "etc/apt/sources.list").write_text(SOURCES)
    unfinished.rename(finished)
    return finished


def install(image: Path) -> None:
    # --variant=minbase and no recommended packages, as cloud images are made. force-unsafe-io: a build that dies is
    # thrown away, so nothing needs to reach the disk at once.
    setup = SETUP.format(installable=" ".join(INSTALLABLE), unpacked=" ".join(UNPACKED))
    command = [
        *(*ALONE, "mmdebstrap", "--variant=minbase", "--dpkgopt=force-unsafe-io", f"--include={','.join(INSTALLED)}"),
        f"--customize-hook=chroot \"$1\" sh -c '{setup}'",
        *(RELEASE, str(image)),
    ]
    log = CACHE / "build.log"
    with log.open("w") as output:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False).returncode
    if status:
        raise LabError(f"mmdebstrap could not make the VPS's image. {log} ends:\n{tail(log)}")


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
