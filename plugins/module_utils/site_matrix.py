# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether every site reaches every other one: as a table for people, and what broke where. Pure.

A site's result is that of `wireguard_ping`: by the names of the other sites, a dict as site_ping.report() makes it.
"""

from __future__ import annotations

import itertools
import textwrap
from typing import Any, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.network import Network, Node

FROM, WIDEST = "from", "999 ms"
ALIVE = 180  # seconds; WireGuard's REJECT_AFTER_TIME, after which a session carries nothing
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


class Verdict(NamedTuple):
    """The table; which pairs are broken, as "one -> other"; and for each thing that is wrong, a text that names it."""

    table: str
    broken: list[str]
    problems: list[str]


def judge(network: Network, results: Results, width: int = 80) -> Verdict:
    """`results`: of the sites that this run has reached. What needs another one is neither whole nor broken.

    Cells: a round trip; LOST; off, where a site on the way was not reached; ? where a site could not send.
    """
    cells: dict[tuple[str, str], str] = {}
    broken: list[str] = []
    causes: dict[str, list[str]] = {}
    for one, other in itertools.permutations(network.nodes, 2):
        result = results.get(one, {}).get(other)
        if result and result["milliseconds"] is not None:
            cells[one, other] = f"{result['milliseconds']:.0f} ms"
        elif any(name not in results for name in _way(network, one, other)):
            cells[one, other] = "off"
        elif not result:
            cells[one, other] = "?"
        else:
            cells[one, other] = "LOST"
            pair = f"{one} -> {other}"
            broken.append(pair)
            causes.setdefault(_cause(network, results, one, other), []).append(pair)
    problems = [f"{', '.join(pairs)}: {cause}" for cause, pairs in causes.items()]
    return Verdict(table(list(network.nodes), cells, width), broken, problems)


def table(names: Sequence[str], cells: Mapping[tuple[str, str], str], width: int = 80) -> str:
    """From each site, a line, to each other one, a column. Where names are too wide for that, columns have numbers.

    What is still too wide becomes several tables below each other.
    """
    labels, heads = list(names), list(names)
    size = max(map(len, [*names, WIDEST]))
    first = max(map(len, [*names, FROM]))
    if first + len(names) * (size + 2) > width:
        heads = [str(number) for number in range(1, len(names) + 1)]
        labels = [f"{number} {name}" for number, name in zip(heads, names)]
        size, first = len(WIDEST), max(map(len, labels))
    room = max(1, (width - first) // (size + 2))
    lines: list[str] = []
    for start in range(0, len(names), room):
        part = range(start, min(start + room, len(names)))
        rows = [(FROM, [heads[index] for index in part])]
        rows += [(label, [cells.get((name, names[i]), "-") for i in part]) for name, label in zip(names, labels)]
        lines += [""] if lines else []
        lines += [label.ljust(first) + "".join(f"  {text:>{size}}" for text in texts) for label, texts in rows]
    return "\n".join(lines)


def _way(network: Network, one: str, other: str) -> list[str]:
    """The nodes that a packet passes, both ends included."""
    start, end = network.nodes[one], network.nodes[other]
    hubs = [(network.hub_of(start) or start).name, (network.hub_of(end) or end).name]
    return list(dict.fromkeys([one, *hubs, other]))


def _cause(network: Network, results: Results, one: str, other: str) -> str:
    """The first link that does not hold on the way, and what to look at."""
    way = _way(network, one, other)
    links = list(zip(way, way[1:]))
    # A router of which the user may not ping knows nothing.
    known = [(here, there) for here, there in links if other in results[here]]
    for here, there in known:
        seen = results[here][other]
        age = seen["handshake_age"]
        if not seen["carried"]:
            return (
                f"on {here} no peer's allowed IPs hold {other}'s address. Look at: `wg show` there; run the whole "
                "playbook once more, without --limit"
            )
        if age is None or age >= ALIVE:
            since = "has never had a handshake" if age is None else f"had its last handshake {age} s ago"
            return f"the link {here} - {there} {since}. Look at: {_dialling(network.nodes[here], network.nodes[there])}"
    result = results[one][other]
    shown = " and ".join(f"{here} - {there}" for here, there in known)
    rest = [link for link in links if link not in known]
    unknown = (f", not known of {here} - {there}, as {here} could not send: `wg show` there" for here, there in rest)
    return (
        f"{result['address']} does not answer ({result['problem']}) from {result['source'] or one}, though there are "
        f"handshakes on {shown}{''.join(unknown)}. Look at: is it up, and does its own firewall let other networks "
        f"ping it (site_to_site_probe of {other} names another address)? `networks` and `forward_to` of {other}"
    )


def _dialling(one: Node, other: Node) -> str:
    dialled = [f"{node.endpoint} ({node.name}) by UDP" for node in (one, other) if node.endpoint]
    return (
        f"does {' or '.join(dialled)} reach it from the other end (port forwarding, the provider's firewall, the "
        f"name's address)? `wg show` on {one.name} and {other.name}: has each the other's public key?"
    )


def wrapped(problems: Sequence[str], width: int = 80) -> str:
    """Problems as a list for the terminal."""
    return "\n".join(
        textwrap.fill(text, width, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        for text in problems
    )
