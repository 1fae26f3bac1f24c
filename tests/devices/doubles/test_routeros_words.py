"""Query words as a stack machine, and redaction (facts 1 and 4)."""

from __future__ import annotations

from typing import Any

import pytest
from routeros_double import RouterOS
from routeros_double.words import Trap, matches, parse, redacted

ROW = {"name": "wg0", "mtu": "1420", "disabled": "false", "comment": ""}
NO, YES = "?name=none", "?name=wg0"


@pytest.mark.parametrize(
    ("queries", "passes"),
    [
        ([], True),
        (["?name"], True),
        (["?running"], False),
        (["?-running"], True),
        (["?-name"], False),
        (["?name=wg0"], True),
        (["?=name=wg0"], True),
        (["?name=wg1"], False),
        (["?running=true"], False),
        (["?comment="], True),
        (["?disabled=no"], False),  # not known on the device, so it matches nothing here
        (["?<mtu=1500"], True),
        (["?<mtu=200"], False),  # numbers, not text
        (["?>mtu=200"], True),
        (["?>mtu=1420"], False),
        (["?>name=wf"], True),
        (["?<running=1"], False),
        ([YES, NO], False),
        ([NO, "?#!"], True),
        ([YES, "?#!"], False),
        ([YES, NO, "?#|"], True),
        ([YES, NO, "?#&"], False),
        ([NO, NO, "?#|"], False),
        ([NO, NO, "?#&!"], True),
        ([NO, YES, NO, "?#||"], True),
        (["?#!"], False),  # below the bottom lie endless trues
        (["?#&"], True),
        ([NO, YES, "?#0"], True),  # an index at the end keeps only that value
        ([YES, NO, "?#0"], False),
        ([YES, NO, "?#1"], True),
        ([NO, "?#5"], True),
        ([NO, YES, "?#1!|"], False),  # a copy of the NO, inverted, or the YES; but the NO below still stands
        ([YES, NO, "?#1.||"], True),  # the dot after an index does nothing
        ([NO, "?#!."], True),  # the dot after another character copies the top
        ([NO, "?#.!|"], True),
    ],
)
def test_queries(queries: list[str], passes: bool) -> None:
    assert matches(ROW, queries) is passes


def test_unknown_operation_is_refused() -> None:
    with pytest.raises(Trap):
        matches(ROW, ["?#x"])


def test_queries_of_a_print(wire: Any) -> None:
    assert [row["name"] for row in wire.rows("/interface/print", "?type=ether")] == ["ether1", "ether2"]
    either = wire.rows("/interface/print", "?type=ether", "?type=bridge", "?#|", "=.proplist=name")
    assert either == [{"name": "ether1"}, {"name": "ether2"}, {"name": "bridge-lan"}]
    assert [row["name"] for row in wire.rows("/interface/print", "?.id=*1")] == ["ether1"]


def test_queries_are_for_print_only(wire: Any) -> None:
    assert wire.ask("/ip/address/remove", "=.id=*1", "?disabled=true")[0][0] == "!trap"


def test_proplist_returns_these_properties_only(wire: Any) -> None:
    assert wire.rows("/interface/print", "=.proplist=type,name,comment", "?.id=*1") == [
        {"type": "ether", "name": "ether1"}
    ]


def test_count_only(wire: Any) -> None:
    assert wire.ask("/interface/print", "=count-only=") == [["!done", "=ret=7"]]


def test_getall_is_print(wire: Any) -> None:
    assert wire.rows("/interface/getall") == wire.rows("/interface/print")


def test_attributes_are_split_at_the_second_equals_sign() -> None:
    command = parse(["/ip/address/add", "=comment=a=b", ".tag=x=y"])
    assert (command.path, command.verb, command.attributes, command.tag) == (
        "/ip/address",
        "add",
        {"comment": "a=b"},
        "x=y",
    )


@pytest.mark.parametrize("name", ["password", "private-key", "preshared-key"])
def test_no_secret_is_logged(name: str) -> None:
    words = [
        "/x/add",
        f"={name}=secret=",
        f"?{name}=secret",
        f"?={name}=secret",
        f"?>{name}=secret",
        f"={name}=",
        "=a=b",
    ]
    shown = redacted(words)
    assert "secret" not in "".join(shown)
    assert shown[0] == "/x/add"
    assert shown[-2:] == [f"={name}=", "=a=b"]


def test_the_log_holds_no_secret(wire: Any, router: RouterOS) -> None:
    key = "QK9mGzZzZ0Z3YxTqmJrWl6m1p8m2cS1n7Jm0k0aYb3A="
    wire.ask("/interface/wireguard/add", "=name=wg0", f"=private-key={key}")
    logged = repr(router.sentences)
    assert key not in logged
    assert router.password not in logged
    assert "=private-key=*****" in router.sentences[-1].words
