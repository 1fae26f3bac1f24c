"""A phone or a laptop of the lab, with wg-quick as its WireGuard app."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass

from tests.integration.relay.lab import LAB, attempt, on

NAME = "home"  # the tunnel's on the device
INGRESS = "10.30.0.200"
PAGE = "<h1>Jellyfin at home</h1>"


@dataclass(frozen=True)
class Device:
    """A host of the lab."""

    host: str

    def connect(self, configuration: str) -> None:
        """As if the app had scanned it. Nothing has to answer yet."""
        self.disconnect()
        path = f"/etc/wireguard/{NAME}.conf"
        self.feed(configuration, "sh", "-c", f"mkdir -p /etc/wireguard; umask 077; cat > {path}")
        on(self.host, "wg-quick", "up", NAME)

    def disconnect(self) -> None:
        attempt(self.host, "wg-quick", "down", NAME)

    def feed(self, text: str, *words: str) -> str:
        """The output of a command that reads a text."""
        line = [LAB, "exec", self.host, "--", *words]
        done = subprocess.run(line, input=text, text=True, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def network_manager_reads(self, configuration: str) -> str:
        """What NetworkManager on the device has understood of it, as a configuration again."""
        program = ["env", "PYTHONPATH=tests/lab", sys.executable, "-m", "network_manager"]
        return self.feed(configuration, *program)

    def page(self, port: int = 443, patience: float = 10) -> str:
        """The home's page at its inner address, as nobody from outside gets it. Empty if nothing answers."""
        return attempt(self.host, *self._curl(port, patience), f"https://jellyfin.example.org:{port}/").stdout

    def is_at_home(self, patience: float = 3) -> bool:
        return PAGE in self.page(patience=patience)

    def download(self, size: int, rate: str) -> subprocess.Popen[str]:
        """Under way: prints how many bytes arrived. It is broken off when nearly nothing comes for three seconds."""
        words = [
            *self._curl(443, 120),
            "--speed-limit",
            "10000",
            "--speed-time",
            "3",
            "--limit-rate",
            rate,
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
        ]
        url = f"https://jellyfin.example.org/download?bytes={size}"
        line = [LAB, "exec", self.host, "--", *words, url]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def _curl(self, port: int, patience: float) -> list[str]:
        to = f"jellyfin.example.org:{port}:{INGRESS}"
        return ["curl", "-sS", "--max-time", str(patience), "--resolve", to]

    def pings(self, address: str) -> bool:
        return attempt(self.host, "ping", "-c", "2", "-i", "0.2", "-W", "1", address).returncode == 0

    def shakes_hands(self) -> bool:
        """Whether a new handshake works, within the time that WireGuard takes for three attempts at most."""
        on(self.host, "wg-quick", "down", NAME)
        on(self.host, "wg-quick", "up", NAME)
        self.pings("10.100.0.1")
        return self.handshake() > 0

    def handshake(self) -> int:
        """When the last one was, in seconds since 1970; 0 for never."""
        shown = on(self.host, "wg", "show", NAME, "latest-handshakes")
        return max(int(number) for number in re.findall(r"\t(\d+)$", shown, re.MULTILINE))
