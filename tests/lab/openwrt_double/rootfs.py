"""The router's flash: a folder with what OpenWrt has, made once and written to by whoever logs in.

Files of `files/` are copied, programs of the machine are links into MACHINE, where run.py shows the machine's own root.
Python is among these, outside of every PATH of the router.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

MACHINE = "/rom/machine"
HERE = Path(__file__).resolve().parent
RELEASES = {"21.02": "21.02.7", "23.05": "23.05.5", "25.12": "25.12.0"}
#: GL.iNet's firmware → the release that it is made of.
GL_RELEASES = {"gl-4.7": "21.02", "gl-4.8": "21.02", "gl-4.8-op24": "23.05"}

#: OpenWrt's default build of busybox (its package/utils/busybox/Config-defaults.in). It has no timeout, stat, base64,
#: setsid, nohup, od, install, diff, realpath, getopt or truncate: a script that uses one works on a bench alone.
APPLETS = {
    "bin": "ash busybox cat chgrp chmod chown cp date dd df dmesg echo egrep false fgrep fsync grep gunzip gzip kill "
    "ln login ls mkdir mknod mktemp mount mv netstat nice pidof ping ping6 ps pwd rm rmdir sed sh sleep sync tar "
    "touch true umount uname vi zcat",
    "sbin": "brctl halt hwclock ifconfig mkswap pivot_root poweroff reboot route start-stop-daemon swapoff swapon "
    "switch_root sysctl udhcpc",
    "usr/bin": "[ [[ awk basename bunzip2 bzcat clear cmp cut dirname du env expr find free head hexdump id "
    "killall less md5sum mkfifo nc nslookup passwd printf readlink reset resize seq sha256sum sort strings "
    "tail taskset tee test time top tr traceroute traceroute6 uniq uptime wc which xargs yes",
    "usr/sbin": "chroot",
}
FOLDERS = (
    "dev",
    "etc/config",
    "etc/crontabs",
    "etc/dropbear",
    "etc/rc.d",
    "lib",
    "proc",
    "rom/machine",
    "root",
    "sys",
    "tmp",
    "usr/lib",
    "usr/share",
)
#: What OpenWrt's busybox has and Debian's lacks, and real programs: the router's path → the machine's program.
PROGRAMS = {
    "usr/bin/flock": "flock",
    "usr/bin/pgrep": "pgrep",
    "usr/sbin/nft": "nft",
    "usr/libexec/wg": "wg",
    "usr/libexec/ip": "ip",
    "usr/libexec/busybox": "busybox",
    "usr/libexec/wireguard-go": "wireguard-go",
    "usr/sbin/dropbear": "dropbear",
    "usr/bin/dropbearkey": "dropbearkey",
}
#: The double's own programs: the router's path → module with a main().
DOUBLES = {
    "sbin/uci": "uci_cli",
    "bin/ubus": "ubus_cli",
    "sbin/netifd": "netifd",
    "sbin/fw4": "fw4",
    "usr/bin/jsonfilter": "jsonfilter",
    "usr/bin/wireguard_watchdog": "watchdog",
    "usr/sbin/crond": "crond",
    "usr/libexec/wireguard-proto": "wireguard_proto",
}
#: On GL.iNet's firmware besides.
GL_PROGRAMS = {"usr/sbin/iptables": "iptables", "usr/sbin/iptables-restore": "iptables-restore"}
GL_DOUBLES = {"usr/libexec/wgclient-proto": "gl_proto", "usr/libexec/wgserver-proto": "gl_server"}
RTP2_DOUBLES = {"usr/libexec/rtp2": "gl_rtp2", "usr/libexec/setup-instance": "gl_rtp2"}
_LAUNCHER = """\
#!{python} -SI
import sys
sys.path[:0] = [{lab!r}]
from openwrt_double.{module} import {main} as main
sys.exit(main())
"""


def build(root: Path, release: str = "25.12", config: dict[str, str] | None = None) -> None:
    """Make a blank router in `root`, an empty or missing folder. `config`: texts for /etc/config by name."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var").symlink_to("tmp")
    # OpenWrt's dropbear reads root's keys in /etc/dropbear, Debian's where everybody does.
    _link(root / "root/.ssh", "/etc/dropbear")
    _link(root / "etc/rc.d/S50cron", "../init.d/cron")
    for name in ("root", "etc/dropbear"):
        (root / name).chmod(0o700)
    shutil.copytree(HERE / "files", root, dirs_exist_ok=True)
    _link_libraries(root)
    for folder, names in APPLETS.items():
        for name in names.split():
            _link(root / folder / name, "/usr/libexec/busybox")
    _install(root, PROGRAMS, DOUBLES)
    _tell_release(root, GL_RELEASES.get(release, release))
    if release in GL_RELEASES:
        _make_gl(root, release)
    _link(root / "etc/resolv.conf", "/tmp/resolv.conf.d/resolv.conf.auto")
    for name, text in (config or {}).items():
        # GL.iNet's file with the clients' keys: what its mode is on the device is not known, so anybody may read it.
        _write(root / "etc/config" / name, text, 0o644 if name == "wireguard" else 0o600)


def _install(root: Path, programs: dict[str, str], doubles: dict[str, str]) -> None:
    for target, program in programs.items():
        _link(root / target, _on_machine(program))
    for target, module in doubles.items():
        main = "setup_instance_main" if target.endswith("setup-instance") else "main"
        text = _LAUNCHER.format(python=_python(), lab=MACHINE + str(HERE.parent), module=module, main=main)
        _write(root / target, text, 0o755)


def _make_gl(root: Path, release: str) -> None:
    shutil.copytree(HERE / "files_gl", root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".keep"))
    _install(root, GL_PROGRAMS, GL_DOUBLES)
    if release == "gl-4.7":
        # Before route_policy came, nothing of what works on it.
        for name in ("usr/bin/rtp2.sh", "usr/bin/setup_instance"):
            (root / name).unlink()
    else:
        _install(root, {}, RTP2_DOUBLES)


def _tell_release(root: Path, release: str) -> None:
    number = RELEASES[release]
    _write(
        root / "etc/openwrt_release",
        f"DISTRIB_ID='OpenWrt'\nDISTRIB_RELEASE='{number}'\nDISTRIB_TARGET='x86/64'\nDISTRIB_ARCH='x86_64'\n"
        f"DISTRIB_DESCRIPTION='OpenWrt {number}'\n",
    )
    _write(root / "etc/os-release", f'NAME="OpenWrt"\nVERSION="{number}"\nID="openwrt"\nVERSION_ID="{number}"\n')
    if release == "21.02":
        # Its firewall is fw3: no `fw4`, which is how the two are told apart.
        (root / "sbin/fw4").rename(root / "sbin/fw3")
    handler = root / "lib/netifd/proto/wireguard.sh"
    if release != "25.12":
        text = handler.read_text()
        handler.write_text("".join(line for line in text.splitlines(True) if line != "renew_handler=1\n"))


def _link_libraries(root: Path) -> None:
    """The loader finds shared libraries where it looks by itself; Python's own lie beside it."""
    for folder in ("lib", "lib64", "usr/lib", "usr/lib64"):
        machine = Path("/", folder)
        if not machine.is_dir():
            continue
        (root / folder).mkdir(parents=True, exist_ok=True)
        for entry in machine.iterdir():
            if "-linux-gnu" in entry.name or entry.name.startswith("ld-linux"):
                _link(root / folder / entry.name, f"{MACHINE}/{folder}/{entry.name}")
    home = Path(sys.base_prefix).resolve()
    if home != Path("/usr"):
        _link(root / str(home).lstrip("/"), MACHINE + str(home))


def _python() -> str:
    return MACHINE + os.path.realpath(sys.executable)


def _on_machine(program: str) -> str:
    path = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        raise FileNotFoundError(f"the machine has no {program}, which a router with OpenWrt needs: see packages.txt")
    return MACHINE + os.path.realpath(path)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
