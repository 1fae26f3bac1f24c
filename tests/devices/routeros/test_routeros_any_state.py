"""Whatever a router looks like and whatever is wanted: one run does it, and what others made is as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from routeros_double import RouterOS

Answer = dict[str, Any]
Run = Callable[..., Answer]

FILTER, FILTER6, NAT = "/ip/firewall/filter", "/ipv6/firewall/filter", "/ip/firewall/nat"
WIREGUARD, PEERS = "/interface/wireguard", "/interface/wireguard/peers"
MENUS = (WIREGUARD, PEERS, "/ip/address", "/ipv6/address", "/ip/route", "/ipv6/route", FILTER, FILTER6, NAT)

KEYS = [f"{letter}" * 42 + "A=" for letter in "BCDEFG"]
NAMES = ["vps", "phone", "tablet", "hub"]
PREFIXES = ["10.100.0.1/32", "10.100.0.10/32", "10.200.0.0/24", "10.201.0.0/24", "fd00:200::/64", "fd00:201::1/128"]
ADDRESSES = ["10.100.0.2/24", "10.100.0.2/30", "10.101.0.2/32", "fd00:100::2/64", "fd00:100::2/128"]
INTERFACES = ["ether1", "vlan20-iot", "vlan30-kubernetes", "wg-vps"]
OURS = ["homelab.fabric: wg-vps", "fw-wg-vps-fwd", "fw-wg-vps-in", "fw-wg-vps-nat"]


@st.composite
def wanted_peers(draw: st.DrawFn) -> list[Answer]:
    """Peers with different names, keys and prefixes."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    keys = draw(st.permutations(KEYS))
    shares: list[list[str]] = [[] for name in names]
    for prefix in draw(st.lists(st.sampled_from(PREFIXES), unique=True)) if names else []:
        shares[draw(st.integers(0, len(names) - 1))].append(prefix)
    optional = st.fixed_dictionaries(
        {},
        optional={
            "endpoint": st.sampled_from(["203.0.113.10:51820", "vps.example.org:1", "[2001:db8::1]:51820"]),
            "persistent_keepalive": st.sampled_from(["0", "25", "90s", "1h"]),
            "preshared_key": st.sampled_from(["", KEYS[0]]),
        },
    )
    return [
        {"name": name, "public_key": key, "allowed_ips": share, **draw(optional)}
        for name, key, share in zip(names, keys, shares, strict=False)
    ]


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), unique=True, max_size=3)


WANTED = st.fixed_dictionaries(
    {
        "addresses": some(ADDRESSES).filter(lambda chosen: len({a.split("/")[0] for a in chosen}) == len(chosen)),
        "peers": wanted_peers(),
        "forward_to": some([*INTERFACES[:3], "10.10.0.0/24", "10.30.0.200/32", "fd00:10::/64"]),
        "masquerade": some(["10.200.0.0/24", "10.100.0.0/24"]),
        "open_port": st.booleans(),
        "purge": st.booleans(),
    },
    optional={
        "listen_port": st.sampled_from([51820, 51821]),
        "mtu": st.sampled_from([1280, 1420]),
        "routes": some(PREFIXES),
    },
)


def row(*comments: str, **given: Any) -> st.SearchStrategy[dict[str, str]]:
    """Arguments of `add`, whose comment may be one of `comments`; `_` in names stands for `-`; it may be off."""
    arguments = {"comment": st.sampled_from([*comments, "by hand", ""])}
    for name, value in given.items():
        arguments[name.replace("_", "-")] = value if isinstance(value, st.SearchStrategy) else st.just(value)
    return st.fixed_dictionaries(arguments, optional={"disabled": st.just("yes")})


@st.composite
def existing_peers(draw: st.DrawFn) -> list[tuple[str, dict[str, str]]]:
    peer = row(
        *(f"homelab.fabric: {name}" for name in NAMES),
        interface="wg-vps",
        allowed_address=st.lists(st.sampled_from(PREFIXES), unique=True, max_size=2).map(",".join),
        endpoint_address=st.sampled_from(["", "203.0.113.10", "vps.example.org"]),
        endpoint_port=st.sampled_from(["0", "51820"]),
        persistent_keepalive=st.sampled_from(["0", "25", "1m30s"]),
        preshared_key=st.sampled_from(["", KEYS[0], KEYS[1]]),
    )
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True))
    return [(PEERS, {**draw(peer), "public-key": key}) for key in keys]


def of(menu: str, rows: st.SearchStrategy[dict[str, str]]) -> st.SearchStrategy[tuple[str, dict[str, str]]]:
    return rows.map(lambda one: (menu, one))


RULE = row(
    *OURS[1:3],
    chain=st.sampled_from(["forward", "input", "custom"]),
    action=st.sampled_from(["accept", "drop", "jump", "reject"]),
).flatmap(
    lambda rule: st.fixed_dictionaries(
        {name: st.just(text) for name, text in rule.items()},
        optional={
            "in-interface": st.sampled_from([*INTERFACES, "!wg-vps"]),
            "out-interface": st.sampled_from([*INTERFACES, "!ether1"]),
            "connection-state": st.sampled_from(["invalid", "new", "!established,related"]),
            "protocol": st.sampled_from(["udp", "tcp"]),
        },
    )
)
RULE = RULE.filter(lambda rule: rule["chain"] != "input" or "out-interface" not in rule)  # RouterOS refuses that
WHATEVER = st.one_of(
    of(
        "/ip/route",
        row(OURS[0], dst_address=st.sampled_from(PREFIXES[:4]), gateway=st.sampled_from(["wg-vps", "ether1"])),
    ),
    of(
        "/ipv6/route",
        row(OURS[0], dst_address=st.sampled_from(PREFIXES[4:]), gateway=st.sampled_from(["wg-vps", "ether1"])),
    ),
    of(FILTER, RULE),
    of(FILTER6, RULE),
    of(
        NAT, row(OURS[3], chain="srcnat", action=st.sampled_from(["masquerade", "accept"]), src_address="10.200.0.0/24")
    ),
)


@st.composite
def somewhere(draw: st.DrawFn) -> list[tuple[str, dict[str, str]]]:
    """Rows that somebody, or an earlier run that broke off, left on the router."""
    interface = (WIREGUARD, {"name": "wg-vps", "listen-port": draw(st.sampled_from(["13231", "51820"])), "mtu": "1420"})
    chosen = draw(st.lists(st.sampled_from(ADDRESSES), unique_by=lambda address: address.split("/")[0]))
    homes = [
        ("/ipv6/address" if ":" in address else "/ip/address", {"address": address, "interface": "wg-vps"})
        for address in chosen
    ]
    return [interface, *homes, *draw(existing_peers()), *draw(st.lists(WHATEVER, max_size=8))]


def of_others(router: RouterOS, purge: bool, adopted: set[str]) -> list[tuple[str, dict[str, str]]]:
    """Every row that the module has no business with, counters and all."""
    left_out = {"/ip/address", "/ipv6/address", WIREGUARD}
    return [
        (menu, one)
        for menu in MENUS
        if menu not in left_out
        for one in router.rows(menu)
        if one.get("comment") not in OURS
        and one.get("dynamic") != "true"
        and not (
            menu == PEERS
            and (purge or one.get("comment", "").startswith("homelab.fabric: ") or one["public-key"] in adopted)
        )
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.one_of(st.just([]), somewhere()), wanted=WANTED, after=WANTED)
def test_one_run_is_enough(run: Run, rows: list[tuple[str, dict[str, str]]], wanted: Answer, after: Answer) -> None:
    with RouterOS(certificate=False) as router:
        for menu, values in rows:
            gateway_needed = values.get("action") == "jump"
            router.add(menu, **values, **({"jump-target": "custom"} if gateway_needed else {}))
        for goal in (wanted, after):
            adopted = {peer["public_key"] for peer in goal["peers"]}
            before, writes = of_others(router, goal["purge"], adopted), router.writes
            done = run(router, **goal)
            if done.get("failed"):
                # Two peers of others may overlap with ours; that is refused, and nothing was written.
                assert "have the same allowed IP" in done["msg"]
                assert router.writes == writes
                continue
            assert of_others(router, goal["purge"], adopted) == before
            again = run(router, **goal)
            assert again["commands"] == []
            assert again["diff"]["before"] == again["diff"]["after"]
        # Routes of others through the interface lose their gateway with it, but they stay.
        ids = [(menu, one[".id"]) for menu, one in of_others(router, True, set())]
        run(router, state="absent")
        assert [(menu, one[".id"]) for menu, one in of_others(router, True, set())] == ids
        assert not [one for menu in MENUS for one in router.rows(menu) if one.get("comment") in OURS]
        assert not run(router, state="absent")["changed"]
