"""Rights, the hiding of secrets, and groups (facts 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import librouteros
import pytest
from routeros_double import RouterOS, keys

KEY = keys.public(keys.private())
REFUSED = "not enough permissions (9)"


def user(router: RouterOS, policy: str) -> None:
    router.add("/user/group", name="lab", policy=policy)
    router.add("/user", name="someone", password="a word", group="lab")


@pytest.mark.parametrize(
    ("policy", "reads", "writes"),
    [("api,read,write", True, True), ("api,read", True, False), ("api,write", False, True), ("api", False, False)],
)
def test_rights(router: RouterOS, open_api: Callable[..., Any], policy: str, reads: bool, writes: bool) -> None:
    user(router, policy)
    call = open_api(router, "someone", "a word")
    for command, arguments, allowed in (
        ("/interface/print", {}, reads),
        ("/ip/address/set", {".id": "*1", "comment": "x"}, writes),
        ("/user/set", {".id": "someone", "group": "full"}, False),
    ):
        if allowed:
            call(command, arguments)
        else:
            with pytest.raises(librouteros.exceptions.TrapError) as caught:
                call(command, arguments)
            assert caught.value.message == REFUSED


@pytest.mark.parametrize("policy", ["read,write", "", "read,write,!api"])
def test_without_the_right_api_there_is_no_login(router: RouterOS, open_api: Callable[..., Any], policy: str) -> None:
    user(router, policy)
    with pytest.raises(librouteros.exceptions.TrapError):
        open_api(router, "someone", "a word")


@pytest.mark.parametrize(("policy", "hidden"), [("api,read", True), ("api,read,sensitive", False)])
def test_secrets_need_the_right_sensitive(
    router: RouterOS, open_api: Callable[..., Any], policy: str, hidden: bool
) -> None:
    user(router, policy)
    router.add("/interface/wireguard", name="wg0")
    router.add("/interface/wireguard/peers", interface="wg0", public_key=KEY, preshared_key="auto")
    call = open_api(router, "someone", "a word")
    (link,), (peer,) = call("/interface/wireguard/print"), call("/interface/wireguard/peers/print")
    assert (link["private-key"] == "*****") is hidden
    assert (peer["preshared-key"] == "*****") is hidden
    assert len(link["public-key"]) == 44


def test_a_change_of_policy_acts_at_the_next_login(router: RouterOS, open_api: Callable[..., Any], call: Any) -> None:
    user(router, "api,read")
    before = open_api(router, "someone", "a word")
    call("/user/group/set", {".id": "lab"}, policy="write")
    with pytest.raises(librouteros.exceptions.TrapError, match="not enough permissions"):
        before("/ip/address/set", {".id": "*1"}, comment="x")
    open_api(router, "someone", "a word")("/ip/address/set", {".id": "*1"}, comment="x")


def test_policies_add_up_and_are_withdrawn_by_name(router: RouterOS, call: Callable[..., Any]) -> None:
    def granted() -> set[str]:
        row = next(row for row in router.rows("/user/group") if row["name"] == "lab")
        return {policy for policy in row["policy"].split(",") if not policy.startswith("!")}

    router.add("/user/group", name="lab", policy="api,read,sensitive")
    assert granted() == {"api", "read", "sensitive"}
    call("/user/group/set", {".id": "lab"}, policy="write")
    assert granted() == {"api", "read", "sensitive", "write"}
    call("/user/group/set", {".id": "lab"}, policy="!sensitive")
    assert granted() == {"api", "read", "write"}
    with pytest.raises(librouteros.exceptions.TrapError):
        call("/user/group/set", {".id": "lab"}, policy="everything")


def test_default_groups_include_sensitive_and_api(router: RouterOS) -> None:
    for row in router.rows("/user/group"):
        assert {"sensitive", "api", "read"} <= set(row["policy"].split(","))


def test_no_print_shows_a_password(router: RouterOS, call: Callable[..., Any]) -> None:
    assert all("password" not in row for row in call("/user/print"))
