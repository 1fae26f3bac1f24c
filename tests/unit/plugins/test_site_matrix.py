"""Who reaches whom: the table within 80 columns, and the link that a message names."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.network import Network
from ansible_collections.homelab.fabric.plugins.module_utils.network_document import read_networks
from ansible_collections.homelab.fabric.plugins.module_utils.site_matrix import judge, table, wrapped

NODES: dict[str, Any] = {
    "sofia": {"address": "10.3.2.1", "endpoint": "sofia.example.org", "networks": ["10.0.10.0/24"]},
    "london": {"device": "glinet", "address": "10.3.2.6", "networks": ["192.168.8.0/24"]},
    "valchedrym": {"device": "openwrt", "address": "10.3.2.5", "networks": ["192.168.0.0/24"]},
}
GOOD = {"address": "192.0.2.1", "source": "", "milliseconds": 12.3, "problem": "", "carried": True, "handshake_age": 5}
LOST = {**GOOD, "milliseconds": None, "problem": "no answer"}


def sites(**network: Any) -> Network:
    return read_networks({"sites": {"prefix": "10.3.2.0/24", "nodes": NODES, **network}})[0]


def results(**broken: dict[str, dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Everything works, but for what is given: from, to, and what differs from a good result."""
    return {one: {other: GOOD | broken.get(one, {}).get(other, {}) for other in NODES if other != one} for one in NODES}


def test_all_is_well() -> None:
    verdict = judge(sites(), results())
    assert verdict.table.splitlines() == [
        "from             sofia      london  valchedrym",
        "sofia                -       12 ms       12 ms",
        "london           12 ms           -       12 ms",
        "valchedrym       12 ms       12 ms           -",
    ]
    assert (verdict.broken, verdict.problems) == ([], [])


def test_a_link_without_a_handshake_is_named_once_for_all_that_it_breaks() -> None:
    dead = {**LOST, "handshake_age": None}
    verdict = judge(
        sites(),
        results(sofia={"london": dead}, london={"sofia": dead, "valchedrym": dead}, valchedrym={"london": LOST}),
    )
    assert verdict.broken == ["sofia -> london", "london -> sofia", "london -> valchedrym", "valchedrym -> london"]
    problems = " ".join(verdict.problems)
    assert "the link sofia - london has never had a handshake" in problems
    assert "sofia.example.org:51820 (sofia) by UDP" in problems
    assert "sofia - valchedrym" not in problems
    assert len(verdict.problems) == 2


def test_a_session_too_old_to_carry_anything_is_a_broken_link() -> None:
    verdict = judge(sites(), results(london={"sofia": {**LOST, "handshake_age": 200}}))
    assert "the link london - sofia had its last handshake 200 s ago" in verdict.problems[0]


def test_where_all_links_hold_the_address_itself_is_to_blame() -> None:
    verdict = judge(sites(), results(london={"valchedrym": LOST}))
    assert verdict.problems[0].startswith("london -> valchedrym: 192.0.2.1 does not answer (no answer) from london")
    assert "handshakes on london - sofia and sofia - valchedrym" in verdict.problems[0]


def test_a_prefix_that_no_peer_carries() -> None:
    verdict = judge(sites(), results(sofia={"valchedrym": {**LOST, "carried": False}}, london={"valchedrym": LOST}))
    assert "on sofia no peer's allowed IPs hold valchedrym's address" in " ".join(verdict.problems)


def test_a_hub_that_could_not_send_is_not_blamed() -> None:
    lost = {"london": {"valchedrym": LOST}, "valchedrym": {"london": {**LOST, "handshake_age": None}}}
    first, second = judge(sites(), {**results(**lost), "sofia": {}}).problems
    assert "(no answer) from london, though there are handshakes on london - sofia" in first
    assert "not known of sofia - valchedrym, as sofia could not send: `wg show` there" in first
    assert "the link valchedrym - sofia has never had a handshake" in second


@pytest.mark.parametrize("off", ["valchedrym", "sofia"])
def test_what_needs_a_site_that_is_off_is_no_failure(off: str) -> None:
    seen = results(**{one: dict.fromkeys(NODES, LOST) for one in NODES})
    del seen[off]
    verdict = judge(sites(), seen)
    rows = {line.split()[0]: line.split()[1:] for line in verdict.table.splitlines()[1:]}
    assert rows[off].count("off") == 2
    assert not any(off in pair for pair in verdict.broken)
    assert (verdict.broken == []) == (off == "sofia")


def test_a_site_that_cannot_send() -> None:
    verdict = judge(sites(), {**results(), "london": {}})
    assert verdict.table.splitlines()[2].split() == ["london", "?", "-", "?"]
    assert verdict.broken == []


def test_in_a_mesh_no_hub_is_asked() -> None:
    nodes = {name: {**node, "endpoint": f"{name}.example.org"} for name, node in NODES.items()}
    seen = results(london={"valchedrym": {**LOST, "handshake_age": None}})
    del seen["sofia"]
    assert "the link london - valchedrym" in judge(sites(nodes=nodes), seen).problems[0]


@pytest.mark.parametrize("count", [2, 6, 12, 51])
def test_every_table_fits_80_columns(count: int) -> None:
    names = [f"site-number-{number}" for number in range(count)]
    cells = {(one, other): "999 ms" for one in names for other in names if one != other}
    lines = table(names, cells).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("999 ms") for line in lines) == count * (count - 1)
    assert all(any(name in line for line in lines) for name in names)


def test_problems_are_wrapped_without_breaking_a_name() -> None:
    text = wrapped(["mikrotik-gw -> " * 10])
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("mikrotik-gw") == 10
