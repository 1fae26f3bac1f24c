"""A packet that a router with RouterOS is asked to send."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_api import NotAllowed, Router
from routeros_double import RouterOS


def connected(router: RouterOS, user: str, password: str) -> Router:
    found = Router(
        {
            "hostname": router.host,
            "port": router.port,
            "username": user,
            "password": password,
            "tls": False,
            "timeout": 10,
            "encoding": "utf-8",
        }
    )
    found.connect()
    return found


def test_a_packet_comes_back_or_does_not() -> None:
    with RouterOS(certificate=False) as router:
        router.plane.answering["10.0.10.20"] = 12.345
        api = connected(router, router.user, router.password)
        assert api.ping("10.0.10.20", "10.10.0.1") == (12.345, "")
        assert api.ping("10.0.10.21") == (None, "timeout")
        api.close()
    assert router.writes == 0


def test_without_the_policy_test_nothing_is_sent_and_the_remedy_is_named() -> None:
    with RouterOS(certificate=False) as router:
        router.add("/user/group", name="ansible", policy="api,read,write")
        router.add("/user", name="someone", password="a word", group="ansible")
        api = connected(router, "someone", "a word")
        with pytest.raises(NotAllowed, match="give the user's group the policy test"):
            api.ping("10.0.10.20")
        api.close()
