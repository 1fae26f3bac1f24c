"""A router for tests, over a folder: `with Router(folder) as router: router.sh("uci show network")`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from .__main__ import ENVIRONMENT
from .factory import DEFAULTS
from .gl_factory import defaults
from .rootfs import GL_RELEASES

LAB = Path(__file__).resolve().parent.parent


def unavailable() -> str:
    """Why no router can run here; empty when one can. For root always: there a test fails, and is never skipped."""
    if os.geteuid() == 0:
        return ""
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    done = subprocess.run([*_namespaces(), "true"], capture_output=True, text=True, check=False)
    return "needs root or unprivileged user namespaces" if done.returncode else ""


def _namespaces() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]


class Router:
    """`config`: /etc/config of a blank router, by name; DEFAULTS without one. The folder outlives the router.

    `retry`: seconds until netifd tries a failed setup again, 5 on the device; `minute`: seconds of a minute of cron's.
    Its network cards, eth0 and lan1, lead nowhere.
    """

    def __init__(
        self,
        folder: Path,
        release: str = "25.12",
        config: dict[str, str] | None = None,
        retry: float | None = None,
        minute: float | None = None,
    ) -> None:
        self.root = folder / "root"
        self._release = release
        self._retry = retry
        self._minute = minute
        self._config = (defaults(release) if release in GL_RELEASES else DEFAULTS) if config is None else config
        self._process: subprocess.Popen[str] | None = None
        self.pid = 0

    def __enter__(self) -> Router:
        self.boot()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.power_off()

    def boot(self) -> None:
        """Raises RuntimeError with what it said when it does not come up."""
        texts = self.root.parent / "defaults"
        texts.mkdir(parents=True, exist_ok=True)
        for name, text in self._config.items():
            (texts / name).write_text(text)
        if self._minute is not None:
            (self.root / "rom").mkdir(parents=True, exist_ok=True)
            (self.root / "rom/minute").write_text(str(self._minute))
        command = [*_namespaces(), sys.executable, "-m", "openwrt_double", str(self.root), "--ports", "eth0", "lan1"]
        command += ["--release", self._release, "--config", str(texts)]
        command += [] if self._retry is None else ["--retry", str(self._retry)]
        self._process = subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": str(LAB)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        assert self._process.stderr
        if self._process.stdout.readline() != "OpenWrt is up\n":
            raise RuntimeError(self._process.stderr.read())
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self.pid = int(children.split()[0])

    def power_off(self) -> None:
        if self._process:
            self._process.kill()  # --kill-child takes all along
            self._process.communicate()
            self._process = None

    def reboot(self) -> None:
        """The flash stays, /tmp goes."""
        self.power_off()
        self.boot()

    def uplink(self, other: Router, address: str) -> None:
        """Plug this router's eth0 into another one, where it appears as uplink with `address`. For root only."""
        enter = ["nsenter", f"--target={self.pid}", "--net"]
        subprocess.run([*enter, "ip", "link", "set", "far-eth0", "netns", str(other.pid), "name", "uplink"], check=True)
        enter[1] = f"--target={other.pid}"
        subprocess.run([*enter, "ip", "address", "add", address, "dev", "uplink"], check=True)
        subprocess.run([*enter, "ip", "link", "set", "uplink", "up"], check=True)

    def command(self, *words: str) -> list[str]:
        """What the machine runs for a command on the router; with ENVIRONMENT."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        namespaces = ["--net", "--mount", "--uts", "--ipc", "--pid"]
        return ["nsenter", f"--target={self.pid}", *user, *namespaces, "chroot", str(self.root), *words]

    def run(self, *words: str, text: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A command on the router, as a login runs it."""
        return subprocess.run(
            self.command(*words),
            input=text,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def sh(self, script: str, text: str = "") -> str:
        """What a script prints; its errors behind it, and its status unless that is 0."""
        done = self.run("/bin/ash", "-c", script, text=text)
        return done.stdout + done.stderr + (f"status {done.returncode}\n" if done.returncode else "")

    def wait(self, script: str, wanted: str, patience: float = 10) -> str:
        """Repeat the script until it prints what is wanted, or patience ends; what it printed last."""
        deadline = time.monotonic() + patience
        while wanted not in (said := self.sh(script)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return said
