"""The module against the strict RouterOS double, in this process, and another person who works on the same router."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import librouteros
import pytest
from ansible.module_utils import basic
from ansible.module_utils.common import warnings
from ansible_collections.homelab.fabric.plugins.modules import routeros_wireguard
from routeros_double import RouterOS

Answer = dict[str, Any]


def _key(number: int) -> str:
    return base64.b64encode(number.to_bytes(32, "big")).decode()


def _run(router: RouterOS, check: bool = False, **given: Any) -> Answer:
    connection = {"hostname": router.host, "port": router.port, "username": router.user, "password": router.password}
    arguments = {"name": "wg-vps", "timeout": 5, **connection, **given}
    arguments = {name: value for name, value in arguments.items() if value is not None}
    arguments.update(_ansible_check_mode=check, _ansible_diff=True)
    written = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(written):
        patch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        patch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)  # ansible-core 2.19 and later
        # Ansible gathers warnings for the life of a process, which is many calls here.
        patch.setattr(warnings, "_global_warnings", type(warnings._global_warnings)())
        # Another test may have made this process a controller, whose warnings go to the screen instead.
        patch.setattr("ansible.module_utils._internal.is_controller", False, raising=False)
        with pytest.raises(SystemExit):
            routeros_wireguard.main()
    shown = json.loads(written.getvalue())
    # What the module repeats of its own call is censored by Ansible; everything else has to be clean by itself.
    secrets = [router.password, *(peer.get("preshared_key") for peer in arguments.get("peers", ()))]
    for secret in filter(None, secrets):
        assert secret not in written.getvalue()
    return dict(shown)


def _other(router: RouterOS, command: str, **attributes: str) -> list[Answer]:
    api = librouteros.connect(router.host, router.user, router.password, port=router.port, encoding="utf-8")
    try:
        words = (f"={name.replace('_', '-')}={value}" for name, value in attributes.items())
        return list(api.rawCmd(command, *words))
    finally:
        api.close()


@pytest.fixture(scope="session")
def key() -> Callable[[int], str]:
    """A WireGuard key by its number."""
    return _key


@pytest.fixture(scope="session")
def run() -> Callable[..., Answer]:
    """run(router, check=False, **arguments): the module's answer. Arguments that are None are left out."""
    return _run


@pytest.fixture(scope="session")
def other() -> Callable[..., list[Answer]]:
    """other(router, command, **attributes): one sentence by another person (`_` in names stands for `-`)."""
    return _other


@pytest.fixture
def router() -> Iterator[RouterOS]:
    with RouterOS(certificate=False) as router:
        yield router


@pytest.fixture(scope="session")
def relay() -> Answer:
    """The home router's side of reference network A, with a bit of everything."""
    peer = {"name": "vps-relay", "public_key": _key(1), "endpoint": "203.0.113.10:51820", "persistent_keepalive": "25"}
    second = {"name": "phone", "public_key": _key(2), "allowed_ips": ["10.100.0.10/32"], "preshared_key": _key(102)}
    return {
        "addresses": ["10.100.0.2/24", "fd00:100::2/64"],
        "listen_port": 51820,
        "peers": [{**peer, "allowed_ips": ["10.100.0.1/32", "10.200.0.0/24", "fd00:200::/64"]}, second],
        "forward_to": ["vlan30-kubernetes", "10.10.0.0/24", "fd00:10::/64"],
        "masquerade": ["10.200.0.0/24"],
        "open_port": True,
    }
