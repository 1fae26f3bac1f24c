"""The module's backend against the strict OpenWrt double, a router over a folder, and another person at its shell."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.homelab.fabric.plugins.module_utils.converge import TUNNEL_ARGUMENTS, converged
from ansible_collections.homelab.fabric.plugins.module_utils.glinet import ARGUMENTS
from ansible_collections.homelab.fabric.plugins.module_utils.glinet_hub import backend_of
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt import OpenWrtBackend
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_shell import Answer
from openwrt_double.router import Router, unavailable

Result = dict[str, Any]


class Owner:
    """One who runs the module against a router: every script goes to its shell as the action plugin sends it."""

    def __init__(self, router: Router, glinet: bool = False) -> None:
        self.router = router
        self.name, self.arguments = ("wgclient1", ARGUMENTS) if glinet else ("wg0", TUNNEL_ARGUMENTS)
        self.backend: Callable[..., Any] = backend_of if glinet else OpenWrtBackend
        self.warnings: list[str] = []  # of the last run
        self.scripts: list[str] = []
        self.answers: list[str] = []

    def execute(self, script: str) -> Answer:
        self.scripts.append(script)
        done: subprocess.CompletedProcess[str] = self.router.run("/bin/sh", "-c", "/bin/sh", text=script)
        self.answers.append(done.stdout + done.stderr)
        return Answer(done.returncode, done.stdout, done.stderr)

    def configuration(self) -> dict[str, str]:
        """The files that the module of OpenWrt writes."""
        return {name: (self.router.root / "etc/config" / name).read_text() for name in ("network", "firewall")}

    def uci(self, *lines: str, commit: bool = True) -> None:
        """What another person types."""
        script = "\n".join(f"uci {line}" for line in (*lines, *(["commit"] if commit else [])))
        assert self.router.sh(script).replace("cfg", "").strip(" \n0123456789abcdef") == ""

    def run(self, check: bool = False, **given: Any) -> Result:
        """The module's result; arguments that are None are left out."""
        arguments = {"name": self.name, **given}
        arguments = {name: value for name, value in arguments.items() if value is not None}
        validated = ArgumentSpecValidator(self.arguments).validate(arguments)
        assert not validated.error_messages
        backend = self.backend(validated.validated_parameters, self.execute)
        result = converged(validated.validated_parameters, backend, check, True, backend.assume)
        self.warnings = backend.warnings()
        for peer in given.get("peers", ()):
            assert not peer.get("preshared_key") or peer["preshared_key"] not in str(result)
        return result


@pytest.fixture(scope="session")
def key() -> Callable[[int], str]:
    """A WireGuard key by its number."""
    return lambda number: base64.b64encode(number.to_bytes(32, "big")).decode()


@pytest.fixture(params=["25.12"])
def router(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Router]:
    """A blank router; indirect parametrisation chooses the release."""
    if reason := unavailable():
        pytest.skip(reason)
    with Router(tmp_path, release=request.param) as router:
        yield router


@pytest.fixture(scope="session")
def own() -> Callable[[Router], Owner]:
    return Owner


@pytest.fixture(scope="session")
def computer() -> Callable[[], AbstractContextManager[int]]:
    """A computer for a router's LAN, while the context lasts: the PID that has its namespace. Root is never skipped."""

    @contextmanager
    def plugged() -> Iterator[int]:
        if os.geteuid():
            pytest.skip("needs root, to plug routers together")  # for root a skip fails: tests/conftest.py
        keeper = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE
        )
        assert keeper.stdout
        keeper.stdout.readline()
        try:
            yield keeper.pid
        finally:
            keeper.kill()
            keeper.communicate()

    return plugged


@pytest.fixture
def owner(router: Router) -> Owner:
    return Owner(router)


@pytest.fixture(params=["gl-4.8"])
def flint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Owner]:
    """The owner of a blank router with GL.iNet's firmware; indirect parametrisation chooses which."""
    if reason := unavailable():
        pytest.skip(reason)
    with Router(tmp_path, release=request.param, retry=0.3) as router:
        owner = Owner(router, glinet=True)
        if request.param == "gl-4.7":
            owner.name = "wgclient"
        yield owner


@pytest.fixture(scope="session")
def london(key: Callable[[int], str]) -> Result:
    """The GL.iNet spoke of reference network B, whose hub does not answer."""
    hub = {"name": "sofia", "public_key": key(1), "endpoint": "198.51.100.7:51821", "persistent_keepalive": "25"}
    return {
        "addresses": ["10.3.2.6/24"],
        "listen_port": 51820,
        "mtu": 1380,
        "peers": [{**hub, "allowed_ips": ["10.3.2.0/24", "10.0.0.0/8", "192.168.1.0/24"], "preshared_key": key(101)}],
        "forward_to": ["192.168.8.0/24"],
        "handshake_timeout": 0,
    }


@pytest.fixture(scope="session")
def spoke(key: Callable[[int], str]) -> Result:
    """The OpenWrt spoke of reference network B, with a bit of everything."""
    hub = {"name": "sofia", "public_key": key(1), "endpoint": "198.51.100.7:51821", "persistent_keepalive": "25"}
    second = {"name": "phone", "public_key": key(2), "allowed_ips": ["10.3.2.10/32"], "preshared_key": key(102)}
    return {
        "addresses": ["10.3.2.5/24", "fd00:3:2::5/64"],
        "listen_port": 51820,
        "peers": [{**hub, "allowed_ips": ["10.3.2.1/32", "10.0.10.0/24", "fd00:10::/64"]}, second],
        "forward_to": ["lan", "192.168.0.0/24"],
        "open_port": True,
    }
