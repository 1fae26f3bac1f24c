"""merge() and diff(): what a run knows, joined with what only the device knows."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import (
    Peer,
    Tunnel,
    describe,
    diff,
    merge,
    parse_tunnel,
)
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    UNREADABLE,
    Endpoint,
    Secret,
    TunnelError,
)
from hypothesis import given
from hypothesis import strategies as st


def key(seed: object) -> str:
    return base64.b64encode(hashlib.sha256(str(seed).encode()).digest()).decode()


HOME = Peer("home", key("home"), allowed_ips=("10.30.0.0/24", "10.100.0.2/32"))
LAB = Peer("lab", key("lab"), allowed_ips=("10.100.0.3/32",))
FOREIGN = Peer("by hand", key("hand"), allowed_ips=("10.99.0.0/24",), ours=False)
PHONE = Peer("phone", key("phone"), allowed_ips=("10.100.0.10/32",), client=True)
WANTED = Tunnel("wg0", ("10.100.0.1/24",), 51820, 1420, (HOME, LAB))


def test_a_key_that_this_run_does_not_know_stays_as_the_device_has_it() -> None:
    current = replace(WANTED, routes=("10.30.0.0/24",))
    wanted = replace(WANTED, peers=(replace(HOME, public_key=None), replace(LAB, public_key=None)))
    merged = merge(current, wanted)
    assert (diff(current, merged.target), merged.waiting) == ([], [])


def test_a_peer_whose_key_nobody_knows_waits_and_takes_no_route() -> None:
    merged = merge(None, replace(WANTED, peers=(replace(HOME, public_key=None), LAB)))
    assert merged.waiting == ["home"]
    assert [peer.name for peer in merged.target.peers] == ["lab"]
    assert merged.target.routes == ()


def test_peers_of_others_and_clients_stay_and_purge_drops_only_the_former() -> None:
    current = replace(WANTED, peers=(HOME, LAB, FOREIGN, PHONE), routes=("10.30.0.0/24",))
    assert diff(current, merge(current, WANTED).target) == []
    gone = diff(current, merge(current, WANTED, purge=True).target)
    assert [(change.kind, change.name, change.after) for change in gone] == [("peer", "by hand", None)]


def test_a_peer_that_left_the_list_is_removed() -> None:
    current = replace(WANTED, routes=("10.30.0.0/24",))
    changes = diff(current, merge(current, replace(WANTED, peers=(LAB,))).target)
    assert [(change.kind, change.name, change.after) for change in changes] == [
        ("peer", "home", None),
        ("route", "10.30.0.0/24", None),
    ]


def test_a_peer_made_by_hand_is_adopted_by_its_key_not_doubled() -> None:
    by_hand = Peer("comment", HOME.public_key, Secret(key("psk")), None, HOME.allowed_ips, ours=False)
    current = replace(WANTED, peers=(by_hand, LAB), routes=("10.30.0.0/24",))
    target = merge(current, WANTED).target
    assert target.peers[0] == replace(HOME, preshared_key=Secret(key("psk")))
    assert [(c.kind, c.before, c.after) for c in diff(current, target)] == [("peer", by_hand, target.peers[0])]


def test_a_new_key_changes_the_peer() -> None:
    renewed = replace(HOME, public_key=key("new"))
    changes = diff(WANTED, merge(WANTED, replace(WANTED, peers=(renewed, LAB), routes=())).target)
    assert [(change.kind, change.before, change.after) for change in changes] == [("peer", HOME, renewed)]


@pytest.mark.parametrize(
    ("there", "wanted", "result"),
    [
        (Secret(key(1)), None, Secret(key(1))),
        (Secret(key(1)), Secret(""), None),
        (Secret(key(1)), Secret(key(2)), Secret(key(2))),
        (UNREADABLE, Secret(key(2)), UNREADABLE),
        (None, Secret(key(2)), Secret(key(2))),
        (None, Secret(""), None),
    ],
)
def test_preshared_key(there: Secret | None, wanted: Secret | None, result: Secret | None) -> None:
    current = replace(WANTED, peers=(replace(HOME, preshared_key=there),))
    target = merge(current, replace(WANTED, peers=(replace(HOME, preshared_key=wanted),))).target
    assert target.peers[0].preshared_key == result


def test_routes_are_what_the_own_networks_do_not_cover() -> None:
    assert merge(None, WANTED).target.routes == ("10.30.0.0/24",)
    assert merge(None, replace(WANTED, routes=("10.0.0.0/8",))).target.routes == ("10.0.0.0/8",)
    current = replace(WANTED, peers=(FOREIGN,), routes=())
    assert merge(current, replace(WANTED, peers=())).target.routes == ()
    assert merge(current, replace(WANTED, peers=()), route_foreign=True).target.routes == ("10.99.0.0/24",)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (Peer("other", HOME.public_key), "public key"),
        (Peer("home", key("else")), "name"),
        (Peer("other", key("else"), allowed_ips=("10.30.0.0/24",)), "allowed IP"),
        (Peer("by hand", key("else"), allowed_ips=("10.30.0.0/24",), ours=False), "allowed IP"),
    ],
)
def test_nothing_twice_on_one_interface(other: Peer, what: str) -> None:
    current = replace(WANTED, peers=(other,) if not other.ours else ())
    wanted = replace(WANTED, peers=(HOME, other) if other.ours else (HOME,))
    with pytest.raises(TunnelError, match=f"^peers: .* have the same {what}"):
        merge(current, wanted)


def test_the_keys_of_blank_devices_do_not_clash() -> None:
    peers = (replace(HOME, public_key=KNOWN_AFTER_APPLY), replace(LAB, public_key=KNOWN_AFTER_APPLY))
    assert len(merge(None, replace(WANTED, peers=peers)).target.peers) == 2


def test_description_shows_no_secret() -> None:
    text = describe(replace(WANTED, peers=(replace(HOME, preshared_key=Secret(key("psk"))),)))
    assert key("psk") not in text
    assert "preshared_key: (redacted)" in text


def test_arguments() -> None:
    raw = {
        "name": "wg0",
        "addresses": ["10.100.0.1/24"],
        "listen_port": 51820,
        "mtu": None,
        "peers": [
            {
                "name": "home",
                "public_key": key("home"),
                "preshared_key": None,
                "endpoint": "vps.example.org:51820",
                "allowed_ips": ["10.30.0.0/24", "10.100.0.2"],
                "persistent_keepalive": "25s",
            }
        ],
        "routes": None,
        "forward_to": ["vlan30"],
        "masquerade": [],
        "open_port": False,
    }
    home = replace(HOME, endpoint=Endpoint("vps.example.org", 51820), keepalive=25)
    assert parse_tunnel(raw, "linux") == Tunnel("wg0", ("10.100.0.1/24",), 51820, None, (home,), forward_to=("vlan30",))


names = st.sampled_from("abcdefgh")
prefixes = st.integers(0, 60).map(lambda n: f"10.{n}.0.0/16")


@st.composite
def tunnels(draw: st.DrawFn, foreign: bool = False) -> Tunnel:
    chosen = draw(st.lists(names, unique=True))
    pool = draw(st.permutations([f"10.{n}.0.0/16" for n in range(16)]))
    peers = []
    for index, name in enumerate(chosen):
        allowed = tuple(sorted(pool[index * 2 : index * 2 + draw(st.integers(0, 2))]))
        ours = not foreign or draw(st.booleans())
        salt = draw(st.integers(0, 1)) if ours else "hand"
        peers.append(Peer(name, key((name, salt)), allowed_ips=allowed, keepalive=draw(st.integers(0, 1)), ours=ours))
    return Tunnel("wg0", ("10.200.0.1/16",), 51820, 1420, tuple(peers), routes=() if foreign else None)


@given(tunnels(foreign=True) | st.none(), tunnels(), st.booleans())
def test_a_second_run_changes_nothing(current: Tunnel | None, wanted: Tunnel, purge: bool) -> None:
    try:
        target = merge(current, wanted, purge).target
    except TunnelError:
        return  # a foreign peer holds the prefix: refused, nothing is written
    assert diff(target, merge(target, wanted, purge).target) == []
    assert {peer.name for peer in wanted.peers} == {peer.name for peer in target.peers if peer.ours}
    if current and not purge:
        adopted = {peer.public_key for peer in wanted.peers}
        untouched = {peer for peer in current.peers if not peer.ours and peer.public_key not in adopted}
        assert untouched <= set(target.peers)
