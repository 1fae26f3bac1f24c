"""RouterOS's way to write things, and peers that a double cannot hold. Pure: rows in, sentences out."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_peers import plan_peers
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_rows import Sentence, console, prefixes, seconds
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import Secret, TunnelError


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("25s", 25),
        ("1m33s", 93),
        ("1m", 60),
        ("4w2d", 2592000),
        ("18h12m15s", 65535),
        ("00:00:25", 25),
        ("1d01:00:01", 90001),
        ("93", 93),
        ("0s", 0),
        ("1s500ms", 1),
        ("500ms", 0),
        ("", None),
        ("never", None),
    ],
)
def test_durations(text: str, meant: int | None) -> None:
    assert seconds(text) == meant


@pytest.mark.parametrize(
    ("value", "typed"),
    [
        ("10.0.0.0/24,fd00::/64", "10.0.0.0/24,fd00::/64"),
        ("!10.0.0.0/24", "!10.0.0.0/24"),
        ("", '""'),
        ("homelab.fabric: vps", '"homelab.fabric: vps"'),
        ('a "b" $c \\ d?', '"a \\"b\\" \\$c \\\\ d\\?"'),
        (Secret("key"), "(redacted)"),
        (Secret(""), '""'),
    ],
)
def test_what_one_types(value: str | Secret, typed: str) -> None:
    assert console(value) == typed


def test_a_sentence_sends_its_secret_and_never_shows_it() -> None:
    sentence = Sentence("/menu", "set", {"preshared-key": Secret("hush"), "!protocol": ""}, "*1", {"comment": "a b"})
    assert sentence.words() == ["/menu/set", "=.id=*1", "=preshared-key=hush", "=!protocol="]
    assert str(sentence) == '/menu/set [find comment="a b"] preshared-key=(redacted) !protocol'
    assert "hush" not in repr(sentence)


def test_prefixes_in_any_spelling_and_order() -> None:
    assert prefixes("FD00:0::/64,10.0.0.1/24,10.0.0.9, nonsense") == ("10.0.0.0/24", "10.0.0.9/32", "fd00::/64")
    assert prefixes("") == ()


ROW = {"interface": "wg", "comment": "homelab.fabric: a"}
ROWS = [{**ROW, ".id": "*1", "public-key": "K1"}, {**ROW, ".id": "*2", "public-key": "K1"}]


def test_a_key_that_is_there_twice_is_not_guessed_about() -> None:
    with pytest.raises(TunnelError, match="peers: wg has two peers with the public key K1: remove one of them"):
        plan_peers(ROWS, Tunnel("wg", peers=(Peer("a", "K2"),)))
    # But all of them can go.
    assert [sentence.row for sentence in plan_peers(ROWS, Tunnel("wg"))] == ["*1", "*2"]


def test_a_name_that_is_there_twice_keeps_the_row_with_the_key() -> None:
    rows = [{**ROW, ".id": "*1", "public-key": "K1"}, {**ROW, ".id": "*2", "public-key": "K2"}]
    (removed,) = plan_peers(rows, Tunnel("wg", peers=(Peer("a", "K2"),)))
    assert (removed.verb, removed.row) == ("remove", "*1")


def test_peers_that_the_router_made_itself_are_its_own() -> None:
    rows = [{"interface": "wg", ".id": "*1", "public-key": "K1", "dynamic": "true"}]
    assert plan_peers(rows, Tunnel("wg")) == []


def test_prefixes_that_go_round_in_a_circle() -> None:
    rows = [
        {**ROW, "comment": f"homelab.fabric: {name}", ".id": f"*{name}", "public-key": name, "allowed-address": prefix}
        for name, prefix in (("a", "10.0.0.1/32"), ("b", "10.0.0.2/32"))
    ]
    peers = (Peer("a", "a", allowed_ips=("10.0.0.2/32",)), Peer("b", "b", allowed_ips=("10.0.0.1/32",)))
    assert [sentence.row for sentence in plan_peers(rows, Tunnel("wg", peers=peers))] == ["*a", "*b"]
