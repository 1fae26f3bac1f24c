"""wg_quick.py: what it reads, what it writes, and what it must not touch."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer
from ansible_collections.homelab.fabric.plugins.module_utils.values import Endpoint, Secret, TunnelError
from ansible_collections.homelab.fabric.plugins.module_utils.wg_quick import TAG, WgQuickFile, new_block, parse
from hypothesis import given
from hypothesis import strategies as st


def key(seed: object) -> str:
    return base64.b64encode(hashlib.sha256(str(seed).encode()).digest()).decode()


SAMPLE = f"""# Made at home
[Interface]
privatekey={key("private")}
Address = 10.100.0.1/24,fd00:100::1/64
ListenPort = 51820 # as everybody
PostUp = iptables -A FORWARD -p tcp -m multiport --dports 80,443 -j ACCEPT
PostUp = nft -f /etc/wireguard/wg0.nft # homelab.fabric

# Bob's phone
# (the old one)
[Peer]
PublicKey = {key("bob")}
AllowedIPs = 10.100.0.77/24
AllowedIPs = 10.77.0.0/16,10.78.0.0/16
Endpoint = Bob.Example.ORG:https

[peer] # ours
# homelab.fabric: mikrotik-gw
# it stands in the cellar
PublicKey = {key("gw")}
PresharedKey = {key("psk")}
Endpoint = [2001:DB8::1]:51820
AllowedIPs = 10.100.0.2/32, 10.30.0.0/24
PersistentKeepalive = 25

[Peer]
# homelab.fabric client: phone
PublicKey = {key("phone")}
AllowedIPs = 10.100.0.10/32
PersistentKeepalive = off
"""
GATEWAY = Peer(
    "mikrotik-gw",
    key("gw"),
    Secret(key("psk")),
    Endpoint("2001:db8::1", 51820),
    ("10.30.0.0/24", "10.100.0.2/32"),
    25,
)
PHONE = Peer("phone", key("phone"), allowed_ips=("10.100.0.10/32",), client=True)
BOB = Peer(key("bob"), key("bob"), allowed_ips=("10.77.0.0/16", "10.78.0.0/16", "10.100.0.0/24"), ours=False)
FILE = parse(SAMPLE, "wg0.conf")


def test_reads_what_wg_reads() -> None:
    assert FILE.peers == (BOB, GATEWAY, PHONE)
    assert FILE.private_key.reveal() == key("private")
    assert FILE.values("Address") == ("10.100.0.1/24", "fd00:100::1/64")
    assert FILE.value("ListenPort") == "51820"
    assert FILE.value("MTU") == ""
    assert FILE.own_lines == ("PostUp = nft -f /etc/wireguard/wg0.nft",)


def test_writes_back_every_byte() -> None:
    assert FILE.render() == SAMPLE


def changed_lines(after: WgQuickFile) -> tuple[list[str], list[str]]:
    """Lines gone from the sample and lines new in it."""
    old, new = SAMPLE.splitlines(), after.render().splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def with_gateway(**changes: object) -> WgQuickFile:
    return FILE.with_peers([BOB, replace(GATEWAY, **changes), PHONE])  # type: ignore[arg-type]


CHANGES: dict[str, tuple[dict[str, object], list[str], list[str]]] = {
    "nothing": ({}, [], []),
    "a new key": (
        {"public_key": key("new")},
        [f"PublicKey = {key('gw')}"],
        [f"PublicKey = {key('new')}"],
    ),
    "no keepalive": ({"keepalive": 0}, ["PersistentKeepalive = 25"], []),
    "no preshared key": ({"preshared_key": None}, [f"PresharedKey = {key('psk')}"], []),
    "another endpoint": (
        {"endpoint": Endpoint("vps.example.org", 1)},
        ["Endpoint = [2001:DB8::1]:51820"],
        ["Endpoint = vps.example.org:1"],
    ),
    "more prefixes": (
        {"allowed_ips": ("10.30.0.0/24", "10.100.0.2/32", "fd00::/64")},
        ["AllowedIPs = 10.100.0.2/32, 10.30.0.0/24"],
        ["AllowedIPs = 10.30.0.0/24, 10.100.0.2/32, fd00::/64"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_peer_changes_its_lines_alone(change: str) -> None:
    changes, gone, new = CHANGES[change]
    assert changed_lines(with_gateway(**changes)) == (gone, new)


def test_equal_peers_give_an_equal_file() -> None:
    assert FILE.with_peers([PHONE, GATEWAY, BOB]) == FILE
    assert FILE.with_own_lines(FILE.own_lines) == FILE
    assert FILE.with_pending(()) == FILE
    assert FILE.with_values("Address", ["10.100.0.1/24", "fd00:100::1/64"]) == FILE


def test_a_removed_peer_takes_its_comments_along() -> None:
    text = FILE.with_peers([GATEWAY, PHONE]).render()
    assert "Bob" not in text
    assert "old one" not in text
    assert text == SAMPLE.replace(SAMPLE[SAMPLE.index("\n# Bob") : SAMPLE.index("\n[peer]")], "")


def test_a_new_peer_follows() -> None:
    text = FILE.with_peers([BOB, GATEWAY, PHONE, Peer("office", key("office"), allowed_ips=("10.40.0.0/24",))]).render()
    block = f"\n[Peer]\n# homelab.fabric: office\nPublicKey = {key('office')}\nAllowedIPs = 10.40.0.0/24\n"
    assert text == SAMPLE + block


def test_a_peer_made_by_hand_is_adopted_in_place() -> None:
    bob = replace(BOB, name="bob", ours=True)
    lost, added = changed_lines(FILE.with_peers([bob, GATEWAY, PHONE]))
    assert (lost, added) == ([], ["# homelab.fabric: bob"])
    assert parse(FILE.with_peers([bob]).render(), "x").peers == (bob,)


def test_a_named_peer_takes_the_key_of_one_made_by_hand() -> None:
    """The name is the identity: the other section, with the same key, goes."""
    file = FILE.with_peers([replace(GATEWAY, public_key=key("bob")), PHONE])
    assert [peer.name for peer in file.peers] == ["mikrotik-gw", "phone"]
    assert file.render().count(key("bob")) == 1


def test_settings_of_the_interface() -> None:
    lost, added = changed_lines(FILE.with_values("Address", ["10.100.0.9/24"]).with_values("MTU", ["1380"]))
    assert lost == ["Address = 10.100.0.1/24,fd00:100::1/64"]
    assert added == ["Address = 10.100.0.9/24", "MTU = 1380"]
    lines = FILE.with_values("MTU", ["1380"]).interface
    assert lines.index("MTU = 1380") < next(i for i, line in enumerate(lines) if line.endswith(TAG))


def test_own_lines_are_replaced_and_others_kept() -> None:
    lost, added = changed_lines(FILE.with_own_lines(["PostUp = true"]))
    assert lost == ["PostUp = nft -f /etc/wireguard/wg0.nft # homelab.fabric"]
    assert added == ["PostUp = true # homelab.fabric"]


def test_notes_of_pending_work() -> None:
    noted = FILE.with_pending(["peer x", "route 10.0.0.0/8"])
    assert parse(noted.render(), "x").pending == {"peer x", "route 10.0.0.0/8"}
    assert noted.with_pending(()).render() == SAMPLE
    assert parse(WgQuickFile().with_pending(["peer x"]).with_peers([GATEWAY]).render(), "x").pending == {"peer x"}


REFUSED = {
    "": "no [Interface] section",
    "[Peer]\n": "is not a WireGuard key",
    f"[Interface]\n[Peer]\nPublicKey = {key(1)}\nAllowedIPs = 10.0.0.0.0\n": "is not an IP prefix",
    f"[Interface]\n[Peer]\nPublicKey = {key(1)}\nPresharedKey = hunter2\n": "PresharedKey of the peer",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refuses_what_wg_could_not_load(text: str) -> None:
    with pytest.raises(TunnelError) as error:
        parse(text, "/etc/wireguard/wg0.conf")
    assert REFUSED[text] in str(error.value) or "no [Interface] section" in str(error.value)
    assert "wg0.conf" in str(error.value)
    assert "hunter2" not in str(error.value)


endpoints = st.none() | st.builds(Endpoint, st.sampled_from(["2001:db8::1", "a.example.org"]), st.integers(1, 65535))


@st.composite
def peers(draw: st.DrawFn) -> list[Peer]:
    several = []
    for seed in draw(st.lists(st.integers(1, 30), unique=True, max_size=6)):
        ours = draw(st.booleans())
        several.append(
            Peer(
                f"peer{seed}" if ours else key(seed),
                key(seed),
                draw(st.none() | st.just(Secret(key("psk")))),
                draw(endpoints),
                (f"10.0.{seed}.0/24", f"fd00:{seed:x}::/64")[: draw(st.integers(0, 2))],
                draw(st.sampled_from([0, 25, 65535])),
                ours,
                ours and draw(st.booleans()),
            )
        )
    return several


@given(peers())
def test_what_is_written_is_read(some: list[Peer]) -> None:
    file = WgQuickFile(("[Interface]", f"PrivateKey = {key(0)}")).with_peers(some)
    again = parse(file.render(), "x")
    assert again.peers == tuple(some)
    assert again.render() == file.render()


@given(peers(), peers())
def test_from_any_peers_to_any_others(before: list[Peer], after: list[Peer]) -> None:
    """An edited file means the same as one written anew, and asking again changes nothing."""
    file = WgQuickFile(blocks=tuple(map(new_block, before))).with_peers(after)
    assert {peer.identity: peer for peer in file.peers} == {peer.identity: peer for peer in after}
    assert {peer.identity: peer for peer in parse(file.render(), "x").peers} == {peer.identity: peer for peer in after}
    assert file.with_peers(after) == file


lines = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n\r[]"), max_size=30)


@given(st.lists(lines, max_size=10))
def test_lines_of_others_stay(others: list[str]) -> None:
    """Whatever stands in a section, a change of something else keeps it, byte for byte."""
    mine = [line for line in others if not line.lower().strip().startswith(("mtu", "# homelab", "#homelab"))]
    mine = [line for line in mine if not line.endswith(TAG)]
    text = "\n".join(["[Interface]", *mine]) + "\n"
    file = parse(text, "x").with_values("MTU", ["1400"]).with_own_lines(["PostUp = true"])
    kept = file.render().split("\n")
    kept.remove("MTU = 1400")
    kept.remove("PostUp = true" + TAG)
    assert "\n".join(kept) == text
