"""One module call with 200 peers against one with 2, by device: converging from nothing, and idle."""

from __future__ import annotations

import base64
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.homelab.fabric.plugins.module_utils.converge import TUNNEL_ARGUMENTS, converged
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt import OpenWrtBackend
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_shell import Answer
from openwrt_double.router import Router
from pfsense_double import PfSense
from routeros_double import RouterOS

from tests.bench.ratios import show
from tests.integration.linux.hosts import ROOT, LinuxHost

ROUNDS = 5
FEW, MANY = 2, 200
LIMITS = {"converge": 3.0, "idle": 1.5}

HOME = ROOT / "tests/devices/pfsense/fixtures/home.xml"

Call = Callable[[dict[str, Any]], dict[str, Any]]


def tunnel(peers: int) -> dict[str, Any]:
    """A hub's tunnel: each peer with an address and a network behind it."""
    return {
        "name": "wg0",
        "addresses": ["10.100.0.1/16"],
        "listen_port": 51820,
        "open_port": True,
        "peers": [
            {
                "name": f"peer{number}",
                "public_key": base64.b64encode(os.urandom(32)).decode(),
                "allowed_ips": [f"10.100.{number // 250 + 1}.{number % 250 + 1}/32", f"172.20.{number}.0/24"],
            }
            for number in range(peers)
        ],
    }


def on_routeros(call: Callable[[Call], None]) -> None:
    with RouterOS(certificate=False) as router:
        connection = {
            "hostname": router.host,
            "port": router.port,
            "username": router.user,
            "password": router.password,
        }

        def run(arguments: dict[str, Any]) -> dict[str, Any]:
            return in_a_process("routeros_wireguard", arguments | connection, os.environ)

        call(run)


def on_pfsense(call: Callable[[Call], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        firewall = PfSense(Path(folder), "2.8.0", HOME.read_text())
        firewall.boot()
        php = Path(folder, "php")
        php.write_text(f"#!/bin/sh\nexec {shlex.join(firewall.command)}\n")
        php.chmod(0o755)

        def run(arguments: dict[str, Any]) -> dict[str, Any]:
            environment = {**firewall.environment, "HOMELAB_PHP": str(php)}
            return in_a_process("pfsense_wireguard", {**arguments, "name": "tun_wg0"}, environment)

        call(run)
        firewall.settle()


def in_a_process(module: str, arguments: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "run_module.py"), module],
        input=json.dumps(arguments),
        env={**environment, "PYTHONPATH": f"{ROOT / '.build'}"},
        text=True,
        capture_output=True,
        check=False,
    )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def on_openwrt(call: Callable[[Call], None]) -> None:
    """What the action plugin does, and its scripts on the router, without ssh."""
    with tempfile.TemporaryDirectory() as folder, Router(Path(folder)) as router:

        def execute(script: str) -> Answer:
            done = router.run("/bin/sh", text=script)
            return Answer(done.returncode, done.stdout, done.stderr)

        def run(arguments: dict[str, Any]) -> dict[str, Any]:
            params = ArgumentSpecValidator(TUNNEL_ARGUMENTS).validate(arguments).validated_parameters
            return converged(params, OpenWrtBackend(params, execute), check_mode=False, with_diff=False)

        call(run)


def on_linux(call: Callable[[Call], None]) -> None:
    host = LinuxHost()
    try:
        call(lambda arguments: host.module(**arguments))
    finally:
        host.end()


def measured(device: Callable[[Callable[[Call], None]], None], wanted: dict[str, Any]) -> dict[str, float]:
    """Seconds of one call that makes the peers, and of one that finds them."""
    taken = {}

    def measure(run: Call) -> None:
        run({**wanted, "peers": []})  # the interface is there
        for what, changed in (("converge", True), ("idle", False)):
            started = time.perf_counter()
            result = run(wanted)
            taken[what] = time.perf_counter() - started
            assert result.get("changed") is changed, result

    device(measure)
    return taken


@pytest.mark.skipif(os.geteuid() != 0, reason="hosts in namespaces need root")
@pytest.mark.parametrize("device", [on_routeros, on_linux, on_pfsense, on_openwrt])
def test_peers(device: Callable[[Callable[[Call], None]], None]) -> None:
    taken: dict[tuple[str, int], list[float]] = {(what, peers): [] for what in LIMITS for peers in (FEW, MANY)}
    for number in range(ROUNDS + 1):
        for peers in (FEW, MANY):
            for what, seconds in measured(device, tunnel(peers)).items():
                if number:  # the first round fills caches
                    taken[what, peers].append(seconds)
    name = device.__name__.removeprefix("on_")
    for what, limit in LIMITS.items():
        few, many = (statistics.median(taken[what, peers]) for peers in (FEW, MANY))
        show(f"{name}: {what}, {MANY} peers / {FEW} peers", many / few, limit, about=f"{many:.2f} s / {few:.2f} s")
