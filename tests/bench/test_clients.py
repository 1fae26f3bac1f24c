"""A hundred road warriors against one: the module alone, without Ansible's own part of a run, which is the same."""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.integration.linux.hosts import LinuxHost

COMMON: dict[str, Any] = {
    "interface": "wg0",
    "endpoint": "203.0.113.10:51820",
    "pool": ["10.100.0.0/24", "fd00:100::/64"],
    "networks": ["10.10.0.0/24", "10.30.0.0/24"],
}
ROUNDS = 5


def seconds(host: LinuxHost, **arguments: Any) -> float:
    started = time.perf_counter()
    host.apply("--module=wireguard_client", **COMMON | arguments)
    return time.perf_counter() - started


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_hundred_clients_against_one(capsys: pytest.CaptureFixture[str]) -> None:
    host = LinuxHost()
    many = [{"name": f"c{number}"} for number in range(100)]
    times: dict[str, list[float]] = {"1 new": [], "1 idle": [], "100 new": [], "100 idle": []}
    try:
        host.apply(name="wg0", addresses=["10.100.0.1/24", "fd00:100::1/64"], listen_port=51820)
        for _ in range(ROUNDS):
            for items, count in ((many[:1], 1), (many, 100)):
                times[f"{count} new"].append(seconds(host, clients=items))
                times[f"{count} idle"].append(seconds(host, clients=items))
                host.apply("--module=wireguard_client", interface="wg0", purge=True)
    finally:
        host.end()
    median = {what: statistics.median(several) for what, several in times.items()}
    with capsys.disabled():
        for what in ("new", "idle"):
            one, hundred = median[f"1 {what}"], median[f"100 {what}"]
            ratio = f"{hundred / one:.2f} times"
            print(f"\nwireguard_client, {what}: 100 clients {hundred:.2f} s, 1 client {one:.2f} s: {ratio}")
