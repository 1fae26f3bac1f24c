"""What the devices hold, so that a test can say that nothing was written, and who their peers are."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.integration.relay.lab import STATE, attempt

HOSTS = STATE / "hosts"
ROUTER = HOSTS / "mikrotik-gw/state"
CLOUDFLARE = HOSTS / "cloudflare/state"
DISK = HOSTS / "vps-relay/disk/upper"  # all that the VPS wrote since it was new
PEERS = "/interface/wireguard/peers"

# What a machine writes on its own account, and a login.
BUSY = ("var/log/", "var/lib/systemd/", "tmp/", "var/tmp/")
UNITS = ("nginx", "wg-quick@wg0", "ufw", "nftables", "ssh", "systemd-sysctl")
LIVE = r"""
systemctl show --property=Id,ActiveState,InvocationID,ExecMainPID,UnitFileState UNITS
pgrep --list-full nginx
cat /sys/class/net/wg0/ifindex /sys/class/net/wg0/mtu
wg show wg0 public-key; wg show wg0 allowed-ips; wg show wg0 persistent-keepalive
ip -o address show scope global; ip route; ip -6 route
nft --stateless list ruleset
(iptables-save; ip6tables-save) | sed '/^#/d; s/\[.*\]//'
sysctl net.ipv4.conf.all.rp_filter net.ipv4.tcp_mtu_probing net.ipv4.ip_forward net.ipv6.conf.all.forwarding
""".replace("UNITS", " ".join(UNITS))


def vps() -> dict[str, str]:
    """Every file on the VPS's disk by inode, time, size and mode, and every line of what its kernel and units do."""
    found = {}
    for folder, _folders, names in os.walk(DISK):
        for name in names:
            path = Path(folder, name)
            inside = str(path.relative_to(DISK))
            if not inside.startswith(BUSY):
                stat = path.lstat()
                found[f"/{inside}"] = f"{stat.st_ino} {stat.st_mtime_ns} {stat.st_size} {stat.st_mode:o}"
    shown = Counter(attempt("vps-relay", "sh", "-c", LIVE).stdout.splitlines())
    return found | {f"live: {line}": str(number) for line, number in shown.items()}


def sentences() -> Iterator[dict[str, Any]]:
    """All that was ever asked of the router (routeros_double/record.py)."""
    path = ROUTER / "sentences.jsonl"
    yield from map(json.loads, path.read_text().splitlines() if path.exists() else ())


def router() -> dict[str, str]:
    """How often it was written to, and its configuration."""
    state = ROUTER / "state.json"
    writes = sum(sentence["write"] is not None for sentence in sentences())
    return {"writes": str(writes), "state": state.read_text() if state.exists() else ""}


def cloudflare() -> dict[str, str]:
    """How many records it was ever asked to change, and the zone."""
    log, zones = CLOUDFLARE / "requests.jsonl", CLOUDFLARE / "zones.json"
    asked = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    changes = sum(request["changes"] for request in asked)
    return {"changes": str(changes), "zone": zones.read_text() if zones.exists() else ""}


def everything() -> dict[str, dict[str, str]]:
    return {"vps": vps(), "router": router(), "cloudflare": cloudflare()}


def differences(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[str]:
    """What was written between two looks; nothing of it holds a secret's value."""
    return [
        f"{device}: {name}"
        for device in before
        for name in sorted({*before[device], *after[device]})
        if before[device].get(name) != after[device].get(name)
    ]


# -- peers


def vps_peers() -> dict[str, str]:
    """Key → allowed IPs, as the VPS's kernel has them."""
    lines = attempt("vps-relay", "wg", "show", "wg0", "allowed-ips").stdout.splitlines()
    return {key: " ".join(sorted(ips.split())) for key, tab, ips in (line.partition("\t") for line in lines)}


def router_rows(menu: str) -> list[dict[str, str]]:
    """A menu's rows as the router keeps them."""
    path = ROUTER / "state.json"
    tables = json.loads(path.read_text())["tables"] if path.exists() else {}
    return [dict(row) for row in tables.get(menu, {}).get("rows", [])]


def router_peers() -> dict[str, dict[str, str]]:
    """Comment → row."""
    return {row.get("comment", row["public-key"]): row for row in router_rows(PEERS)}
