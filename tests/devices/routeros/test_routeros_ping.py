"""A packet that a router with RouterOS is asked to send."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.converge import NotAllowedError
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_api import Router
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_ping import send
from routeros_double import RouterOS


def login(router: RouterOS, user: str, password: str) -> dict[str, Any]:
    where = {"hostname": router.host, "port": router.port, "username": user, "password": password}
    return {**where, "tls": False, "timeout": 10, "encoding": "utf-8"}


def connected(router: RouterOS, user: str, password: str) -> Router:
    found = Router(login(router, user, password))
    found.connect()
    return found


def test_a_packet_comes_back_or_does_not() -> None:
    with RouterOS(certificate=False) as router:
        router.plane.answering["10.0.10.20"] = 12.345
        api = connected(router, router.user, router.password)
        assert api.ping("10.0.10.20", "10.10.0.1") == (12.345, "")
        assert api.ping("10.0.10.21") == (None, "timeout")
        assert api.ping("10.0.10.20", seconds=0.012) == (None, "timeout")
        api.close()
    assert router.writes == 0


def test_a_site_that_is_far_away_is_asked_again_with_more_patience() -> None:
    with RouterOS(certificate=False) as router:
        router.plane.answering.update({"10.0.10.20": 12.0, "10.0.20.20": 390.0})
        targets = {"sofia": "10.0.10.20", "far": "10.0.20.20", "off": "10.0.30.20"}
        sites = send(login(router, router.user, router.password), [], targets, {"sofia": 5, "far": 5, "off": 2})
        assert {name: site["milliseconds"] for name, site in sites.items()} == {"sofia": 12, "far": 390, "off": None}
        assert sites["off"]["problem"] == "timeout"


def test_without_the_policy_test_nothing_is_sent_and_the_remedy_is_named() -> None:
    with RouterOS(certificate=False) as router:
        router.add("/user/group", name="ansible", policy="api,read,write")
        router.add("/user", name="someone", password="a word", group="ansible")
        api = connected(router, "someone", "a word")
        with pytest.raises(NotAllowedError, match="give the user's group the policy test"):
            api.ping("10.0.10.20")
        api.close()
