"""Where the lab keeps things. Nothing of it lies in the checkout, and `down` removes STATE."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
LAB = CHECKOUT / "tests/lab"
STATE = Path("/run/homelab-fabric/lab")
CACHE = Path("/var/cache/homelab-fabric")

TLS = STATE / "tls"
SSH = STATE / "ssh"
SECRETS = STATE / "secrets"
NETNS = Path("/run/netns")


def host_dir(host: str) -> Path:
    """What one host has: log, disk or /etc, and its program's state; it outlives a reboot."""
    return STATE / "hosts" / host
