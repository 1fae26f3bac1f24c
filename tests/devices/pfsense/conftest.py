"""The module against the strict pfSense double over a folder, in this process; PHP runs in its own."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.common import warnings
from ansible_collections.homelab.fabric.plugins.module_utils import pfsense
from ansible_collections.homelab.fabric.plugins.modules import pfsense_wireguard
from pfsense_double import PfSense

Answer = dict[str, Any]
FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ("PATH", "PFSENSE_DOUBLE_ROOT")


def _key(number: int) -> str:
    return base64.b64encode(number.to_bytes(32, "big")).decode()


def _php(firewall: PfSense, first: str = "") -> Path:
    """What stands for /usr/local/bin/php: nothing follows it but the script on stdin. The folder counts."""
    php = firewall.root / "php"
    lines = ("#!/bin/sh", "[ $# = 0 ] || exit 98", 'echo run >>"$0.log"', first, f"exec {shlex.join(firewall.command)}")
    php.write_text("\n".join(lines) + "\n")
    php.chmod(0o755)
    return php


def _run(
    firewall: PfSense,
    check: bool = False,
    patience: float = 0.2,
    uid: int = 0,
    client: str = "",
    settle: bool = True,
    **given: Any,
) -> Answer:
    arguments = {"name": "tun_wg0", **given, "_ansible_check_mode": check, "_ansible_diff": True}
    php = _php(firewall)
    written = io.StringIO()
    keys = set(re.findall(r"<(?:privatekey|presharedkey)>(.+?)</", firewall.xml))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(written):
        for name in NAMES:
            patch.setenv(name, firewall.environment[name])
        patch.setenv("SSH_CONNECTION", f"{client} 50000 192.168.20.1 22" if client else "")
        patch.setattr(pfsense, "PHP", str(php))
        patch.setattr(pfsense, "PATIENCE", patience)
        patch.setattr("os.geteuid", lambda: uid)
        patch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        patch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)  # ansible-core 2.19 and later
        # Ansible gathers warnings for the life of a process, which is many calls here.
        patch.setattr(warnings, "_global_warnings", type(warnings._global_warnings)())
        # Another test may have made this process a controller, whose warnings go to the screen instead.
        patch.setattr("ansible.module_utils._internal.is_controller", False, raising=False)
        with pytest.raises(SystemExit):
            pfsense_wireguard.main()
    if settle:
        firewall.settle()
    keys |= set(re.findall(r"<(?:privatekey|presharedkey)>(.+?)</", firewall.xml))
    keys |= {peer["preshared_key"] for peer in arguments.get("peers", ()) if peer.get("preshared_key")}
    for secret in keys:
        assert secret not in written.getvalue()
    answer = dict(json.loads(written.getvalue()))
    # Texts in ansible-core 2.18, more than that later.
    said = answer.get("warnings", ())
    answer["warnings"] = [one if isinstance(one, str) else one["event"]["msg"] for one in said]
    return answer


@pytest.fixture(scope="session")
def key() -> Callable[[int], str]:
    """A WireGuard key by its number."""
    return _key


@pytest.fixture(scope="session")
def run() -> Callable[..., Answer]:
    """run(firewall, check=False, **arguments): the module's answer. No key may stand in it.

    uid, client: who runs it, and from which address. settle: whether to wait for the daemon's and the filter's work.
    """
    return _run


@pytest.fixture(scope="session")
def php() -> Callable[..., Path]:
    """php(firewall, first=""): PHP on this firewall, which begins with these words of sh."""
    return _php


@pytest.fixture(scope="session")
def fixture() -> Callable[[str], str]:
    """The text of a file in fixtures."""
    return lambda name: (FIXTURES / name).read_text()


@pytest.fixture(params=["2.7.2", "2.8.0"])
def firewall(request: pytest.FixtureRequest, tmp_path: Path) -> PfSense:
    """A home's firewall as it leaves the setup wizard, with the package installed; of each version."""
    made = PfSense(tmp_path / "fw", request.param, (FIXTURES / "home.xml").read_text())
    made.boot()
    return made


@pytest.fixture(scope="session")
def relay() -> Answer:
    """The home's side of reference network C, with a bit of everything."""
    peer = {"name": "vps-relay", "public_key": _key(1), "endpoint": "203.0.113.10:51820", "persistent_keepalive": "25"}
    second = {"name": "london", "public_key": _key(2), "preshared_key": _key(102)}
    return {
        "addresses": ["172.26.5.1/24", "fd00:26::1/64"],
        "listen_port": 51820,
        "peers": [
            {**peer, "allowed_ips": ["172.26.5.155/32", "fd00:26::155/128", "10.200.0.0/24", "fd00:200::/64"]},
            {**second, "allowed_ips": ["172.26.5.6/32", "192.168.8.0/24"]},
        ],
        "forward_to": ["lan", "10.0.10.0/24", "fd00:10::/64"],
        "masquerade": ["172.26.5.0/24"],
        "open_port": True,
    }
