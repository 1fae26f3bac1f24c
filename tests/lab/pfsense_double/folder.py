"""A pfSense that is a folder: files as on the firewall, and an operating system that only notes what it is told."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

PHP = Path(__file__).parent / "php"
INCLUDE_PATH = f".:{PHP / 'inc'}:{PHP / 'pkg'}"
_DIRECTORIES = ("cf/conf/backup", "tmp", "etc", "var/run", "var/etc", "var/double", "usr/local/etc/wireguard")


class Outcome(NamedTuple):
    """What a PHP script left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


class PfSense:
    """A firewall below `root`, which is made when it is not there.

    version: "2.7.2" or "2.8.0". config: the text of config.xml. interfaces: kernel names of its network cards.
    delay: seconds by which the daemon's and the filter's work begins after the call that asked for it.
    """

    def __init__(
        self,
        root: Path,
        version: str = "2.7.2",
        config: str | None = None,
        interfaces: tuple[str, ...] = ("vtnet0", "vtnet1"),
        delay: float = 0.0,
    ) -> None:
        self.root = root
        if (root / "etc/version").exists():
            return
        for directory in _DIRECTORIES:
            (root / directory).mkdir(parents=True, exist_ok=True)
        (root / "conf").symlink_to("cf/conf")
        (root / "etc/version").write_text(f"{version}-RELEASE\n")
        (root / "var/double/delay").write_text(f"{delay}\n")
        card = {"up": True, "mtu": 1500, "addresses": [], "groups": []}
        state = {"modules": [], "interfaces": dict.fromkeys(interfaces, card), "routes": {}}
        (root / "var/double/os.json").write_text(json.dumps(state))
        if config is not None:
            self.xml = config

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to be on this firewall, besides the include_path."""
        return {**os.environ, "PFSENSE_DOUBLE_ROOT": str(self.root), "PATH": f"{PHP / 'sbin'}:{os.environ['PATH']}"}

    @property
    def command(self) -> list[str]:
        """`php` on this firewall: a script on stdin follows, or words of php."""
        return ["php", "-d", f"include_path={INCLUDE_PATH}"]

    def php(self, script: str, *words: str) -> Outcome:
        """Run a script, without its `<?php`, as the module runs it: on stdin."""
        done = subprocess.run(
            [*self.command, *words],
            input=f"<?php\n{script}",
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def boot(self) -> None:
        """Power on: the interfaces of config.xml get their addresses, WireGuard starts if config.xml says so."""
        done = self.php("", str(PHP / "double/rc.bootup.php"))
        assert done.status == 0, done
        self.settle()

    def value(self, expression: str, *includes: str) -> Any:
        """The value of a PHP expression, through JSON; fails with the script's output."""
        lines = [f"require_once('{include}');" for include in ("config.inc", *includes)]
        done = self.php("\n".join([*lines, f'echo "\\n=====\\n" . json_encode({expression});']))
        assert done.status == 0, done
        return json.loads(done.out.rpartition("\n=====\n")[2])

    def settle(self) -> None:
        """Wait until the daemon's and the filter's work in the background has ended."""
        with (self.root / "var/double/busy").open("a") as busy:
            fcntl.flock(busy, fcntl.LOCK_EX)

    @property
    def xml(self) -> str:
        return (self.root / "cf/conf/config.xml").read_text()

    @xml.setter
    def xml(self, text: str) -> None:
        """As somebody who knows what to do after editing config.xml: the cache goes."""
        (self.root / "cf/conf/config.xml").write_text(text)
        (self.root / "tmp/config.cache").unlink(missing_ok=True)

    @property
    def journal(self) -> list[dict[str, Any]]:
        """All that happened, oldest first."""
        file = self.root / "var/double/journal.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def entries(self, what: str) -> list[dict[str, Any]]:
        return [entry for entry in self.journal if entry["what"] == what]

    @property
    def commands(self) -> list[str]:
        """What the operating system was told, in FreeBSD's words."""
        return [entry["command"] for entry in self.entries("run")]

    @property
    def system(self) -> dict[str, Any]:
        """The operating system: modules, interfaces with their WireGuard peers, routes."""
        state: dict[str, Any] = json.loads((self.root / "var/double/os.json").read_text())
        return state

    @property
    def backups(self) -> list[Path]:
        return sorted((self.root / "cf/conf/backup").glob("config-*.xml"))

    def fault(self, *lines: str) -> None:
        """Faults to come, e.g. "before write 2", "run wg syncconf 1" (README.md)."""
        (self.root / "var/double/fault").write_text("".join(f"{line}\n" for line in lines))
