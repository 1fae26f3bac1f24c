"""routeros_wireguard against the strict double: what a user sees, what the router then has, and what was sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from routeros_double import Live, RouterOS

Answer = dict[str, Any]
Run = Callable[..., Answer]
Other = Callable[..., list[Answer]]
Key = Callable[[int], str]

FILTER, FILTER6, NAT = "/ip/firewall/filter", "/ipv6/firewall/filter", "/ip/firewall/nat"
WIREGUARD, PEERS = "/interface/wireguard", "/interface/wireguard/peers"
MENUS = (WIREGUARD, PEERS, "/ip/address", "/ipv6/address", "/ip/route", "/ipv6/route", FILTER, FILTER6, NAT)
# What a row shows only if it was written, although it is the default.
DEFAULTS = {("disabled", "false"), ("persistent-keepalive", "0s")}


def configuration(router: RouterOS) -> dict[str, list[dict[str, str]]]:
    return {menu: [dict(row.items() - DEFAULTS) for row in router.rows(menu)] for menu in MENUS}


def row_of(router: RouterOS, menu: str, **wanted: str) -> Mapping[str, str]:
    """The only row of a menu with these properties (`_` stands for `-`)."""
    items = {(name.replace("_", "-"), text) for name, text in wanted.items()}
    (found,) = [row for row in router.rows(menu) if items <= set(row.items())]
    return found


@pytest.mark.parametrize("version", ["7.12.2", "7.15", "7.17", "7.18.2", "7.20.8", "7.22.3", "7.24"])
def test_a_blank_router_is_brought_to_the_state_and_then_left_alone(
    run: Run, relay: Answer, key: Key, version: str
) -> None:
    with RouterOS(version, certificate=False) as router:
        foreseen = run(router, check=True, **relay)
        assert (router.writes, foreseen["changed"], foreseen["public_key"]) == (0, True, "(known after apply)")
        done = run(router, **relay)
        assert done["commands"] == foreseen["commands"]
        assert router.writes == len(done["commands"]) == 14
        assert done["public_key"] == row_of(router, WIREGUARD)["public-key"]
        assert done["waiting_for_key"] == []
        again = run(router, **relay)
        assert (again["changed"], again["commands"], router.writes) == (False, [], 14)
        assert again["diff"]["before"] == again["diff"]["after"]
        assert [peer["name"] for peer in again["peers"]] == ["phone", "vps-relay"]
        peer = row_of(router, PEERS, comment="homelab.fabric: vps-relay")
        assert set(peer["allowed-address"].split(",")) == {"10.100.0.1/32", "10.200.0.0/24", "fd00:200::/64"}
        assert (peer["endpoint-address"], peer["endpoint-port"]) == ("203.0.113.10", "51820")
        assert row_of(router, PEERS, comment="homelab.fabric: phone")["preshared-key"] == key(102)


def test_a_check_leaves_out_what_the_task_before_announced(router: RouterOS, run: Run, relay: Answer) -> None:
    keyless = {**relay, "peers": [{**relay["peers"][0], "public_key": None}, relay["peers"][1]]}
    first = run(router, check=True, **keyless)
    later = run(router, check=True, **relay, waited_for=first["waiting_for_key"])
    assert run(router, **keyless)["commands"] == first["commands"]
    done = run(router, **relay)
    assert later["commands"] == done["commands"] != []


def test_the_sentences_are_shown_as_one_would_type_them(router: RouterOS, run: Run, relay: Answer, key: Key) -> None:
    vps, phone = relay["peers"]
    assert run(router, **{**relay, "mtu": 1412})["commands"] == [
        '/interface/wireguard/add name=wg-vps listen-port=51820 mtu=1412 comment="homelab.fabric: wg-vps"',
        '/ip/address/add address=10.100.0.2/24 network=10.100.0.0 interface=wg-vps comment="homelab.fabric: wg-vps"',
        '/ipv6/address/add address=fd00:100::2/64 interface=wg-vps advertise=no comment="homelab.fabric: wg-vps"',
        (
            f'/interface/wireguard/peers/add interface=wg-vps public-key="{phone["public_key"]}"'
            ' allowed-address=10.100.0.10/32 preshared-key=(redacted) comment="homelab.fabric: phone"'
        ),
        (
            f'/interface/wireguard/peers/add interface=wg-vps public-key="{vps["public_key"]}"'
            " allowed-address=10.100.0.1/32,10.200.0.0/24,fd00:200::/64 endpoint-address=203.0.113.10"
            ' endpoint-port=51820 persistent-keepalive=25 comment="homelab.fabric: vps-relay"'
        ),
        '/ip/route/add dst-address=10.200.0.0/24 gateway=wg-vps comment="homelab.fabric: wg-vps"',
        '/ipv6/route/add dst-address=fd00:200::/64 gateway=wg-vps comment="homelab.fabric: wg-vps"',
        (
            "/ip/firewall/filter/add chain=forward action=accept in-interface=wg-vps dst-address=10.10.0.0/24"
            " comment=fw-wg-vps-fwd place-before=*7"
        ),
        (
            "/ip/firewall/filter/add chain=forward action=accept in-interface=wg-vps out-interface=vlan30-kubernetes"
            " comment=fw-wg-vps-fwd place-before=*7"
        ),
        (
            "/ip/firewall/filter/add chain=input action=accept protocol=udp dst-port=51820 comment=fw-wg-vps-in"
            " place-before=*5"
        ),
        (
            "/ipv6/firewall/filter/add chain=forward action=accept in-interface=wg-vps dst-address=fd00:10::/64"
            " comment=fw-wg-vps-fwd"
        ),
        (
            "/ipv6/firewall/filter/add chain=forward action=accept in-interface=wg-vps out-interface=vlan30-kubernetes"
            " comment=fw-wg-vps-fwd"
        ),
        "/ipv6/firewall/filter/add chain=input action=accept protocol=udp dst-port=51820 comment=fw-wg-vps-in",
        (
            "/ip/firewall/nat/add chain=srcnat action=masquerade src-address=10.200.0.0/24 dst-address=!10.200.0.0/24"
            " comment=fw-wg-vps-nat"
        ),
    ]
    changed = {**relay, "peers": [{**vps, "public_key": key(3)}, {**phone, "preshared_key": ""}], "masquerade": []}
    assert run(router, **changed)["commands"] == [
        f'/interface/wireguard/peers/set [find interface=wg-vps public-key="{key(2)}"] preshared-key=""',
        f'/interface/wireguard/peers/set [find interface=wg-vps public-key="{key(1)}"] public-key="{key(3)}"',
        "/ip/firewall/nat/remove [find comment=fw-wg-vps-nat dst-address=!10.200.0.0/24 src-address=10.200.0.0/24]",
    ]


def test_absent_removes_what_was_made_and_nothing_else(router: RouterOS, run: Run, relay: Answer) -> None:
    blank = configuration(router)
    run(router, **relay)
    gone = run(router, state="absent")
    menus = [command.split(" ")[0] for command in gone["commands"]]
    # Peers before their interface: RouterOS does not document what becomes of them else.
    assert menus[-1] == f"{WIREGUARD}/remove"
    assert menus.index(f"{PEERS}/remove") < len(menus) - 1
    assert configuration(router) == blank
    writes = router.writes
    assert not run(router, state="absent")["changed"]
    assert router.writes == writes


def test_it_asks_for_what_it_needs_and_never_for_a_private_key(router: RouterOS, run: Run, relay: Answer) -> None:
    run(router, **relay)
    before = len(router.sentences)
    run(router, **relay)
    idle = [sentence.words for sentence in router.sentences[before:]]
    assert len(idle) == 11
    assert idle[-1][0] == f"{NAT}/print"
    for sentence in router.sentences:
        asked = [word for word in sentence.words if word.startswith("=.proplist=")]
        assert "private-key" not in " ".join(asked)
        if sentence.words[0].endswith("/print"):
            assert asked or "/firewall/" in sentence.words[0]


def test_peers_of_others_are_theirs(router: RouterOS, run: Run, relay: Answer, key: Key) -> None:
    run(router, **relay)
    router.add(PEERS, interface="wg-vps", public_key=key(50), allowed_address="10.100.0.50/32", comment="by hand")
    router.add(PEERS, interface="wg-vps", public_key=key(51), allowed_address="10.100.0.10/32", disabled="yes")
    before = configuration(router)
    same = run(router, **relay)
    assert not same["changed"]
    assert configuration(router) == before
    assert {peer["name"] for peer in same["peers"]} >= {"by hand", key(51)}
    assert run(router, **relay, purge=True)["commands"] == [
        f'/interface/wireguard/peers/remove [find interface=wg-vps public-key="{key(number)}"]' for number in (50, 51)
    ]


def test_a_peer_made_by_hand_is_adopted_by_its_key(router: RouterOS, run: Run, relay: Answer, key: Key) -> None:
    run(router, **{**relay, "peers": []})
    router.add(PEERS, interface="wg-vps", public_key=key(2), allowed_address="10.100.0.10/32", disabled="yes")
    adopted = run(router, **{**relay, "peers": [relay["peers"][1]]})
    assert adopted["commands"] == [
        (
            f'/interface/wireguard/peers/set [find interface=wg-vps public-key="{key(2)}"] preshared-key=(redacted)'
            ' comment="homelab.fabric: phone" disabled=no'
        )
    ]


def test_keys_that_change_places_never_stand_twice(router: RouterOS, run: Run, relay: Answer, key: Key) -> None:
    run(router, **relay)
    vps, phone = relay["peers"]
    swapped = [{**vps, "public_key": key(2)}, {**phone, "public_key": key(1)}]
    run(router, **{**relay, "peers": swapped})
    names = {row["public-key"]: row["comment"] for row in router.rows(PEERS)}
    assert names == {key(2): "homelab.fabric: vps-relay", key(1): "homelab.fabric: phone"}
    assert not run(router, **{**relay, "peers": swapped})["changed"]


def test_a_prefix_leaves_one_peer_before_another_takes_it(router: RouterOS, run: Run, key: Key) -> None:
    def chain(first: int) -> list[Answer]:
        return [
            {"name": f"peer{i}", "public_key": key(i), "allowed_ips": [f"10.100.0.{first + i}/32"]} for i in range(1, 6)
        ]

    run(router, addresses=["10.100.0.1/24"], peers=chain(10))
    moved = run(router, addresses=["10.100.0.1/24"], peers=chain(11))
    assert [command.split('"')[1] for command in moved["commands"]] == [key(i) for i in (5, 4, 3, 2, 1)]


def test_the_key_of_a_device_that_is_away_stays(router: RouterOS, run: Run, relay: Answer, key: Key) -> None:
    run(router, **relay)
    vps, phone = relay["peers"]
    unknown = [{**vps, "public_key": None}, phone, {"name": "new", "allowed_ips": ["10.100.0.77/32"]}]
    answer = run(router, **{**relay, "peers": unknown})
    assert (answer["changed"], answer["waiting_for_key"]) == (False, ["new"])


def test_check_mode_shows_a_key_that_is_not_known_yet(router: RouterOS, run: Run, relay: Answer) -> None:
    vps = {**relay["peers"][0], "public_key": "(known after apply)"}
    commands = run(router, check=True, **{**relay, "peers": [vps]})["commands"]
    assert any('public-key="(known after apply)"' in command for command in commands)


# What another person does to the router; what the next run then says, in full. `{…}` is the id of a row.
MENDED: list[tuple[str, str, dict[str, str], dict[str, str], list[str]]] = [
    (
        "the interface is switched off",
        WIREGUARD,
        {"name": "wg-vps"},
        {"disabled": "yes"},
        ["/interface/wireguard/set [find name=wg-vps] disabled=no"],
    ),
    (
        "another port",
        WIREGUARD,
        {"name": "wg-vps"},
        {"listen-port": "9"},
        ["/interface/wireguard/set [find name=wg-vps] listen-port=51820"],
    ),
    (
        "an address is switched off",
        "/ip/address",
        {"interface": "wg-vps"},
        {"disabled": "yes"},
        ["/ip/address/set [find address=10.100.0.2/24 interface=wg-vps] disabled=no"],
    ),
    (
        "another length",
        "/ip/address",
        {"interface": "wg-vps"},
        {"address": "10.100.0.2/30", "network": "10.100.0.0"},
        ["/ip/address/set [find address=10.100.0.2/30 interface=wg-vps] address=10.100.0.2/24 network=10.100.0.0"],
    ),
    (
        "another address",
        "/ip/address",
        {"interface": "wg-vps"},
        {"address": "10.100.0.3/24"},
        [
            (
                "/ip/address/add address=10.100.0.2/24 network=10.100.0.0 interface=wg-vps"
                ' comment="homelab.fabric: wg-vps"'
            ),
            "/ip/address/remove [find address=10.100.0.3/24 interface=wg-vps]",
        ],
    ),
    (
        "a peer is switched off",
        PEERS,
        {"comment": "homelab.fabric: phone"},
        {"disabled": "yes"},
        ['/interface/wireguard/peers/set [find interface=wg-vps public-key="{phone}"] disabled=no'],
    ),
    (
        "a peer has another endpoint, keepalive and prefix",
        PEERS,
        {"comment": "homelab.fabric: phone"},
        {
            "endpoint-address": "a.example.org",
            "endpoint-port": "5",
            "persistent-keepalive": "1m",
            "allowed-address": "",
        },
        [
            (
                '/interface/wireguard/peers/set [find interface=wg-vps public-key="{phone}"]'
                ' allowed-address=10.100.0.10/32 endpoint-address="" endpoint-port=0 persistent-keepalive=0'
            )
        ],
    ),
    (
        "a peer has lost its preshared key",
        PEERS,
        {"comment": "homelab.fabric: phone"},
        {"preshared-key": ""},
        ['/interface/wireguard/peers/set [find interface=wg-vps public-key="{phone}"] preshared-key=(redacted)'],
    ),
    (
        "a peer has lost its name",
        PEERS,
        {"comment": "homelab.fabric: phone"},
        {"comment": "Ümläut"},
        ['/interface/wireguard/peers/set [find interface=wg-vps public-key="{phone}"] comment="homelab.fabric: phone"'],
    ),
    (
        "a route is switched off",
        "/ip/route",
        {"dst-address": "10.200.0.0/24"},
        {"disabled": "yes"},
        ['/ip/route/set [find dst-address=10.200.0.0/24 gateway=wg-vps comment="homelab.fabric: wg-vps"] disabled=no'],
    ),
    (
        "a route goes elsewhere",
        "/ipv6/route",
        {"dst-address": "fd00:200::/64"},
        {"gateway": "ether1"},
        [
            (
                '/ipv6/route/set [find dst-address=fd00:200::/64 gateway=ether1 comment="homelab.fabric: wg-vps"]'
                " gateway=wg-vps"
            )
        ],
    ),
    (
        "a route to elsewhere",
        "/ip/route",
        {"dst-address": "10.200.0.0/24"},
        {"dst-address": "10.201.0.0/24"},
        [
            '/ip/route/add dst-address=10.200.0.0/24 gateway=wg-vps comment="homelab.fabric: wg-vps"',
            '/ip/route/remove [find dst-address=10.201.0.0/24 gateway=wg-vps comment="homelab.fabric: wg-vps"]',
        ],
    ),
    (
        "a rule is switched off",
        FILTER,
        {"out-interface": "vlan30-kubernetes"},
        {"disabled": "yes"},
        ["/ip/firewall/filter/set [find comment=fw-wg-vps-fwd out-interface=vlan30-kubernetes] disabled=no"],
    ),
    (
        "a rule has become narrower, and drops",
        FILTER,
        {"out-interface": "vlan30-kubernetes"},
        {"protocol": "tcp", "action": "drop"},
        [
            (
                "/ip/firewall/filter/set [find comment=fw-wg-vps-fwd out-interface=vlan30-kubernetes] action=accept"
                " !protocol"
            )
        ],
    ),
    (
        "a rule goes elsewhere",
        FILTER,
        {"out-interface": "vlan30-kubernetes"},
        {"out-interface": "vlan20-iot"},
        [
            (
                "/ip/firewall/filter/set [find comment=fw-wg-vps-fwd out-interface=vlan20-iot]"
                " out-interface=vlan30-kubernetes"
            )
        ],
    ),
    (
        "a rule stands in another chain",
        FILTER,
        {"comment": "fw-wg-vps-in"},
        {"chain": "output"},
        ["/ip/firewall/filter/set [find comment=fw-wg-vps-in dst-port=51820] chain=input"],
    ),
    (
        "a rule counts and logs",
        FILTER,
        {"comment": "fw-wg-vps-in"},
        {"log": "yes", "log-prefix": "dialled"},
        [],
    ),
    (
        "masquerade has another destination",
        NAT,
        {"comment": "fw-wg-vps-nat"},
        {"dst-address": "1.1.1.1"},
        [
            (
                "/ip/firewall/nat/set [find comment=fw-wg-vps-nat dst-address=1.1.1.1 src-address=10.200.0.0/24]"
                " dst-address=!10.200.0.0/24"
            )
        ],
    ),
]


@pytest.mark.parametrize(
    ("menu", "wanted", "done", "commands"), [row[1:] for row in MENDED], ids=[r[0] for r in MENDED]
)
def test_what_another_person_changed_is_mended(
    router: RouterOS,
    run: Run,
    other: Other,
    relay: Answer,
    menu: str,
    wanted: dict[str, str],
    done: dict[str, str],
    commands: list[str],
) -> None:
    run(router, **relay)
    before = configuration(router)
    other(router, f"{menu}/set", **{".id": row_of(router, menu, **wanted)[".id"], **done})
    expected = [command.replace("{phone}", relay["peers"][1]["public_key"]) for command in commands]
    assert run(router, **relay)["commands"] == expected
    assert run(router, **relay)["commands"] == []
    if all("/set " in command for command in commands) and commands:
        assert configuration(router) == before


def test_rules_that_came_to_stand_after_a_drop_are_moved(
    router: RouterOS, run: Run, other: Other, relay: Answer
) -> None:
    run(router, **relay)
    for row in router.rows(FILTER):
        if row.get("comment", "").startswith("fw-"):
            other(router, f"{FILTER}/move", numbers=row[".id"])
    moved = run(router, **relay)
    assert [command.split(" ")[0] for command in moved["commands"]] == [f"{FILTER}/move"] * 3
    assert "vlan30-kubernetes" not in moved["diff"]["before"]
    assert "open_port" not in moved["diff"]["before"]
    order = [row.get("comment", "") for row in router.rows(FILTER)]
    assert order.index("fw-wg-vps-in") < order.index("drop all not from LAN")
    assert order.index("fw-wg-vps-fwd") < order.index("drop everything else")
    assert not run(router, **relay)["changed"]


def test_one_rule_for_each_need_and_none_for_no_need(router: RouterOS, run: Run, relay: Answer) -> None:
    run(router, **relay)
    router.add(FILTER, chain="forward", action="accept", comment="fw-wg-vps-fwd", out_interface="ether1")
    fewer = {**relay, "forward_to": ["vlan20-iot"], "open_port": False, "addresses": ["10.100.0.2/24"]}
    run(router, **fewer)
    ours = [row for menu in (FILTER, FILTER6) for row in router.rows(menu) if row.get("comment", "").startswith("fw-")]
    assert [(row["chain"], row["out-interface"]) for row in ours] == [("forward", "vlan20-iot")]
    assert not run(router, **fewer)["changed"]


def test_a_route_of_somebody_else_serves_and_stays(router: RouterOS, run: Run, relay: Answer) -> None:
    run(router, **{**relay, "routes": []})
    router.add("/ip/route", dst_address="10.200.0.0/24", gateway="wg-vps", comment="mine")
    router.add("/ip/route", dst_address="10.222.0.0/24", gateway="wg-vps")
    assert [c.split(" ")[0] for c in run(router, **relay)["commands"]] == ["/ipv6/route/add"]
    answer = run(router, **relay)
    assert (answer["changed"], answer["diff"]["before"] == answer["diff"]["after"]) == (False, True)
    run(router, state="absent")
    assert {row["dst-address"] for row in router.rows("/ip/route")} >= {"10.200.0.0/24", "10.222.0.0/24"}


def test_an_existing_interface_keeps_what_was_not_asked_for(router: RouterOS, run: Run, relay: Answer) -> None:
    router.add(WIREGUARD, name="wg-vps", listen_port="4711", mtu="1300", comment="123")
    answer = run(router, **{**relay, "listen_port": None})
    row = row_of(router, WIREGUARD)
    assert (row["listen-port"], row["mtu"], row["comment"]) == ("4711", "1300", "123")
    assert row_of(router, FILTER, comment="fw-wg-vps-in")["dst-port"] == "4711"
    assert answer["public_key"] == row["public-key"]
    assert run(router, **{**relay, "listen_port": None})["commands"] == []


def test_names_that_look_like_something_else(router: RouterOS, run: Run, other: Other, key: Key) -> None:
    for name in ("yes", "123", "007"):
        peers = [{"name": name, "public_key": key(1), "allowed_ips": ["10.9.0.2/32"]}]
        given = {"name": name, "addresses": ["10.9.0.1/24"], "peers": peers}
        assert run(router, **given)["changed"]
        assert not run(router, **given)["changed"]
        other(router, f"{PEERS}/set", **{".id": row_of(router, PEERS)[".id"], "comment": name})
        assert len(run(router, **given)["commands"]) == 1
        run(router, name=name, state="absent")


def test_live_state_of_peers(router: RouterOS, run: Run, relay: Answer, key: Key) -> None:
    run(router, **relay)
    router.handshake("wg-vps", key(1), Live(1000, 2000, time.time() - 93, ("2001:db8::5", 51820)))
    alive = {peer["name"]: peer for peer in run(router, **relay)["peers"]}
    assert alive["vps-relay"]["handshake_age"] in (93, 94)
    assert (alive["vps-relay"]["received"], alive["vps-relay"]["sent"]) == (1000, 2000)
    assert alive["vps-relay"]["endpoint"] == "[2001:db8::5]:51820"
    assert alive["phone"]["handshake_age"] is None


def test_a_preshared_key_that_may_not_be_read_is_left_alone(
    router: RouterOS, run: Run, other: Other, relay: Answer, key: Key
) -> None:
    run(router, **relay)
    other(router, "/user/group/add", name="few", policy="api,read,write")
    other(router, "/user/add", name="few", password="few", group="few")
    answer = run(router, **relay, username="few", password="few")
    assert (answer["changed"], len(answer["warnings"])) == (False, 1)
    assert "The preshared keys of phone were left" in str(answer["warnings"][0])
    assert row_of(router, PEERS, comment="homelab.fabric: phone")["preshared-key"] == key(102)
