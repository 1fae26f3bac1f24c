"""Linux hosts in namespaces of their own, with folders of their own where the modules write."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
INSIDE = """
mount --make-rprivate /
for folder in /etc/wireguard /etc/systemd/system /run; do
    mkdir -p $folder
    mount -t tmpfs -o mode=0755 tmpfs $folder
done
chmod 700 /etc/wireguard
ip link set lo up
echo ready
exec sleep infinity
"""


class LinuxHost:
    """One host; everything run on it is in its namespaces."""

    def __init__(self) -> None:
        self.keeper = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", INSIDE], stdout=subprocess.PIPE, text=True
        )
        assert self.keeper.stdout
        assert self.keeper.stdout.readline() == "ready\n"

    @property
    def environment(self) -> dict[str, str]:
        path = f"{HERE / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "PYTHONPATH": f"{ROOT / '.build'}", "LC_ALL": "C", "HOME": "/root"}

    def command(self, *words: str) -> list[str]:
        return ["nsenter", f"--target={self.keeper.pid}", "--net", "--mount", *words]

    def run(self, *words: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run(
            self.command(*words), input=stdin, env=self.environment, text=True, capture_output=True, check=False
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command(*words), env=self.environment, text=True, **options)

    def module(self, *options: str, environment: dict[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
        """The module's result; ``{"died": True}`` where --die-at killed it."""
        done = subprocess.run(
            self.command(sys.executable, str(HERE / "run_module.py"), *options),
            input=json.dumps(arguments),
            env=self.environment | (environment or {}),
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode == 99:
            return {"died": True}
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def apply(self, *options: str, **arguments: Any) -> dict[str, Any]:
        """A run that must succeed."""
        result = self.module(*options, **arguments)
        assert "failed" not in result, result
        return result

    def read(self, path: str) -> str:
        return self.run("cat", path)

    def wire(self, other: LinuxHost, mine: str, its: str, name: str = "eth0") -> None:
        """A cable to another host, with an address at each end."""
        self.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(other.keeper.pid))
        for host, address, device in ((self, mine, name), (other, its, "eth0")):
            host.run("ip", "address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
            host.run("ip", "link", "set", device, "up")

    def end(self) -> None:
        for name in self.run("wg", "show", "interfaces", check=False).split():
            self.run("ip", "link", "delete", "dev", name, check=False)
        self.keeper.send_signal(signal.SIGKILL)
        self.keeper.wait()


def wait_for(what: Any, seconds: float = 10.0) -> None:
    """Until a function answers true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
