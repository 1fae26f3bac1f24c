"""Order, addressing of rows, unsetting, references (facts 1, 2, 5 and 7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from routeros_double import RouterOS, keys

KEY = keys.public(keys.private())
FILTER = "/ip/firewall/filter"


def order(router: RouterOS) -> str:
    return "".join(row["comment"] for row in router.rows(FILTER) if len(row.get("comment", "")) == 1)


@pytest.fixture
def ids(router: RouterOS) -> dict[str, str]:
    """Rules a to e at the end of the table, in two chains that interleave."""
    chains = {"a": "forward", "b": "input", "c": "forward", "d": "input", "e": "forward"}
    return {name: router.add(FILTER, chain=chain, comment=name) for name, chain in chains.items()}


@pytest.mark.parametrize(
    ("numbers", "destination", "result"),
    [
        ("a", "c", "bacde"),
        ("e", "a", "eabcd"),
        ("e,a", "c", "beacd"),  # in the order given
        ("a", None, "bcdea"),
        ("a", "*FFF", "bcdea"),  # an unknown destination silently means the end
        ("e", "e", "abcde"),
    ],
)
def test_move(
    router: RouterOS, ids: dict[str, str], call: Callable[..., Any], numbers: str, destination: str | None, result: str
) -> None:
    if numbers == destination:
        with pytest.raises(Exception, match="before itself"):
            call(f"{FILTER}/move", numbers=ids[numbers], destination=ids[destination])
    else:
        where = {} if destination is None else {"destination": ids.get(destination, destination)}
        call(f"{FILTER}/move", where, numbers=",".join(ids[name] for name in numbers.split(",")))
    assert order(router) == result
    assert {row["comment"]: row[".id"] for row in router.rows(FILTER) if row.get("comment") in ids} == ids


def test_place_before(router: RouterOS, ids: dict[str, str], call: Callable[..., Any]) -> None:
    (reply,) = call(f"{FILTER}/add", chain="forward", comment="x", place_before=ids["c"])
    assert order(router) == "abxcde"
    assert reply["ret"] == "*D"


def test_remove_takes_a_list_and_ids_never_come_back(
    router: RouterOS, ids: dict[str, str], call: Callable[..., Any]
) -> None:
    call(f"{FILTER}/remove", {".id": f"{ids['b']},{ids['d']}"})
    assert order(router) == "ace"
    assert call(f"{FILTER}/add", chain="forward")[0]["ret"] == "*D"


def test_zero_is_an_id(router: RouterOS, call: Callable[..., Any]) -> None:
    first = router.rows(FILTER)[0]
    assert first[".id"] == "*0"
    call(f"{FILTER}/set", {".id": "*0"}, comment="zero")
    assert router.rows(FILTER)[0]["comment"] == "zero"


@pytest.mark.parametrize(("verb", "state"), [("disable", "true"), ("enable", "false")])
def test_enable_and_disable(router: RouterOS, call: Callable[..., Any], verb: str, state: str) -> None:
    for menu, item in ((FILTER, "*0"), ("/ip/address", "*2"), ("/interface", "ether2")):
        call(f"{menu}/{verb}", {".id": item})
        assert next(row for row in router.rows(menu) if item in (row[".id"], row.get("name")))["disabled"] == state


def test_names_serve_as_ids(router: RouterOS, call: Callable[..., Any]) -> None:
    router.add("/interface/wireguard", name="wg0")
    call("/interface/wireguard/set", {".id": "wg0"}, name="wg-vps")
    call("/interface/wireguard/peers/add", interface="wg-vps", public_key=KEY)
    call("/interface/wireguard/peers/set", {".id": "peer1"}, comment="x")
    call("/interface/wireguard/remove", {".id": "wg-vps"})
    assert not router.rows("/interface/wireguard")


@pytest.mark.parametrize("how", ["set", "unset"])
def test_matchers_are_unset(router: RouterOS, call: Callable[..., Any], how: str) -> None:
    item = router.add(FILTER, chain="forward", in_interface="ether1", protocol="tcp", dst_port="80")
    if how == "set":
        call(f"{FILTER}/set", {".id": item, "!in-interface": "", "!dst-port": ""})
    else:
        call(f"{FILTER}/unset", {".id": item, "value-name": "in-interface"})
        call(f"{FILTER}/unset", {".id": item, "value-name": "dst-port"})
    row = router.rows(FILTER)[-1]
    assert "in-interface" not in row
    assert "dst-port" not in row
    assert row["protocol"] == "tcp"


def test_references_follow_a_new_name_and_keep_the_id_of_what_is_gone(
    router: RouterOS, call: Callable[..., Any]
) -> None:
    wg = router.add("/interface/wireguard", name="wg0")
    router.add("/interface/wireguard/peers", interface="wg0", public_key=KEY)
    router.add("/ip/address", address="10.100.0.2/30", interface="wg0")
    router.add("/ip/route", dst_address="10.3.0.0/24", gateway="wg0", comment="via")
    router.add(FILTER, chain="forward", in_interface="!wg0")
    router.add("/interface/list/member", list="LAN", interface="wg0")

    def named() -> list[str]:
        rows = {menu: router.rows(menu)[-1] for menu in ("/ip/address", "/interface/list/member", FILTER)}
        route = next(row for row in router.rows("/ip/route") if row.get("comment") == "via")
        peer = router.rows("/interface/wireguard/peers")[0]["interface"]
        links = [rows["/ip/address"]["interface"], rows["/interface/list/member"]["interface"]]
        return [*links, rows[FILTER]["in-interface"].removeprefix("!"), route["gateway"], peer]

    call("/interface/wireguard/set", {".id": wg}, name="wg-vps")
    assert named() == ["wg-vps"] * 5
    call("/interface/wireguard/remove", {".id": wg})
    assert named()[:4] == [wg] * 4
    assert router.rows("/ip/address")[-1]["invalid"] == "true"


def test_names_that_the_kernel_could_not_hold(router: RouterOS, call: Callable[..., Any]) -> None:
    call("/interface/wireguard/add", name="wg to the VPS, über everything")
    assert call("/interface/print", {".proplist": "name,type"})[-1] == {
        "name": "wg to the VPS, über everything",
        "type": "wg",
    }
