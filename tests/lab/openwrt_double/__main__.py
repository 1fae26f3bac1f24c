"""The router's first process, in namespaces of its own: `python -m openwrt_double ROOT`. SIGTERM is the power switch.

ROOT is the flash; it is made when it is blank. What a reboot forgets (/tmp and all that runs) lives in memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .rootfs import MACHINE, build

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "USER": "root", "SHELL": "/bin/ash"}


def mount(*arguments: str | Path) -> None:
    # --no-mtab: util-linux would keep its own list in the machine's /run.
    subprocess.run(["mount", "--no-mtab", *map(str, arguments)], check=True)


def mount_root(root: Path) -> None:
    # A slave: what is mounted in here later must not appear in the machine's own tree.
    mount("--make-rslave", "/")
    mount("--rbind", "/", f"{root}{MACHINE}")
    mount("--rbind", "/dev", root / "dev")
    mount("-t", "proc", "proc", root / "proc")
    mount("-t", "sysfs", "sysfs", root / "sys")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "tmp")
    for name in ("run/wireguard", "log", "lock", "resolv.conf.d", "state"):
        (root / "tmp" / name).mkdir(parents=True)
    (root / "tmp/log/messages").touch(0o600)
    if (root / "usr/bin/rtp2.sh").exists():
        (root / "tmp/run/vpn-client-booted").touch()


def environment() -> dict[str, str]:
    return ENVIRONMENT | {name: value for name, value in os.environ.items() if name == "NETIFD_RETRY"}


def start(root: Path, *command: str) -> None:
    subprocess.Popen(["chroot", root, *command], env=environment(), cwd="/", stdin=subprocess.DEVNULL)


def await_ubus(root: Path) -> None:
    deadline = time.monotonic() + 20
    while not (root / "tmp/run/ubus/ubus.sock").exists():
        if time.monotonic() > deadline:
            sys.exit("netifd does not answer")
        time.sleep(0.005)


def make_ports(names: list[str]) -> None:
    """Network cards for a router that stands alone: each with a far end that leads nowhere."""
    for name in names:
        subprocess.run(f"ip link add {name} type veth peer name far-{name}".split(), check=True)
        subprocess.run(["ip", "link", "set", f"far-{name}", "up"], check=True)


def start_ssh(root: Path, host_key: Path) -> None:
    """dropbear as OpenWrt starts it: no sftp, root by key."""
    target = root / "etc/dropbear/dropbear_ed25519_host_key"
    if not target.exists():
        command = ["dropbearconvert", "openssh", "dropbear", str(host_key), str(target)]
        subprocess.run(command, check=True, capture_output=True)
    start(root, "/usr/sbin/dropbear", "-F", "-s", "-p", "22", "-r", "/etc/dropbear/dropbear_ed25519_host_key")


def main() -> None:
    parser = argparse.ArgumentParser(prog="openwrt_double", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--release", default="25.12", help="of a blank router (rootfs.py)")
    parser.add_argument("--config", type=Path, help="folder with the files of a blank router's /etc/config")
    parser.add_argument("--ports", nargs="*", default=[], help="network cards to make; the lab makes its own")
    parser.add_argument("--retry", type=float, help="seconds until netifd tries a failed setup again")
    parser.add_argument("--host-key", type=Path, help="OpenSSH private key; with it dropbear runs")
    parser.add_argument("--authorized-key", type=Path, help="root's, on a blank router")
    options = parser.parse_args()
    root: Path = options.root.resolve()
    if not (root / "etc/openwrt_release").exists():
        files = sorted(options.config.iterdir()) if options.config else []
        build(root, options.release, {path.name: path.read_text() for path in files})
        if options.authorized_key:
            keys = root / "etc/dropbear/authorized_keys"
            shutil.copyfile(options.authorized_key, keys)
            keys.chmod(0o600)
    mount_root(root)
    make_ports(options.ports)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", setting).write_text("1")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if options.retry is not None:
        os.environ["NETIFD_RETRY"] = str(options.retry)
    start(root, "/sbin/netifd")
    await_ubus(root)
    subprocess.run(["chroot", root, "/etc/init.d/firewall", "start"], env=ENVIRONMENT, cwd="/", check=False)
    if (root / "etc/rc.d/S50cron").exists():
        subprocess.run(["chroot", root, "/etc/init.d/cron", "start"], env=ENVIRONMENT, cwd="/", check=False)
    if (root / "usr/bin/rtp2.sh").exists():
        subprocess.run(["chroot", root, "/etc/init.d/vpn-client", "start"], env=ENVIRONMENT, cwd="/", check=False)
    if options.host_key:
        start_ssh(root, options.host_key)
    print("OpenWrt is up", flush=True)
    while True:  # as PID 1, bury whoever dies
        try:
            os.wait()
        except ChildProcessError:
            signal.pause()


if __name__ == "__main__":
    main()
