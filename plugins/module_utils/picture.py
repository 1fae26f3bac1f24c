# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drawing of `wireguard_networks`: who dials whom, under which address, and what lies behind.

Pure: no I/O, no Ansible. Nodes that can be dialled stand on the Internet's line, the others below it, behind their NAT.
"""

from __future__ import annotations

from html import escape
from typing import Any, Iterable, Mapping

from ansible_collections.homelab.fabric.plugins.module_utils.network import Network, Node
from ansible_collections.homelab.fabric.plugins.module_utils.network_document import read_networks
from ansible_collections.homelab.fabric.plugins.module_utils.topology import plan
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel

BOX_WIDTH, BOX_HEIGHT, GAP, MARGIN, LINE = 250, 96, 60, 30, 20
UPPER, BETWEEN = 96, 170
STYLE = """
  text { font-family: system-ui, sans-serif; font-size: 14px; fill: #1f2937; }
  .title { font-size: 18px; font-weight: 600; }
  .name { font-size: 16px; font-weight: 600; }
  .small { font-size: 12.5px; fill: #4b5563; }
  .box { fill: #eef2ff; stroke: #4f46e5; stroke-width: 1.5; }
  .lan { fill: #047857; font-size: 13px; }
  .net { stroke: #9ca3af; stroke-width: 6; stroke-linecap: round; }
  .link { stroke: #4f46e5; stroke-width: 2; fill: none; }
  .plate { fill: #ffffff; }
"""


def draw(networks: Mapping[str, Any], name: str) -> str:
    """The network `name` as an SVG document. Raises TopologyError for a document with mistakes."""
    network = next(network for network in read_networks(networks) if network.name == name)
    tunnels = plan(networks)[name]
    upper = [node for node in network.nodes.values() if node.endpoint] or list(network.nodes.values())
    lower = [node for node in network.nodes.values() if node not in upper]
    columns = max(len(upper), len(lower))
    width = max(2 * MARGIN + columns * BOX_WIDTH + (columns - 1) * GAP, 560)
    lowest = UPPER + max(_height(node) for node in upper)
    places = {**_row(upper, UPPER, width), **_row(lower, lowest + BETWEEN, width)}
    bottom = max(places[node.name][1] + _height(node) for node in network.nodes.values())
    body = [*_internet(network, upper, places, width), *_links(network, tunnels, places)]
    for node in network.nodes.values():
        body += _node(node, *places[node.name])
    height = bottom + MARGIN + (BETWEEN // 2 if not lower and len(upper) > 1 else 0)
    label = escape(f"WireGuard network {name}", quote=False)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{label}">\n'
        '<defs><marker id="tip" markerWidth="10" markerHeight="10" refX="8" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#4f46e5"/></marker></defs>\n'
        f'<style>{STYLE}</style>\n<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _height(node: Node) -> int:
    return BOX_HEIGHT + LINE * len(node.networks)


def _row(nodes: list[Node], y: int, width: int) -> dict[str, tuple[int, int]]:
    start = (width - len(nodes) * BOX_WIDTH - (len(nodes) - 1) * GAP) // 2
    return {node.name: (start + index * (BOX_WIDTH + GAP), y) for index, node in enumerate(nodes)}


def _text(x: int, y: int, text: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">{escape(text, quote=False)}</text>'


def _internet(network: Network, upper: list[Node], places: Mapping[str, tuple[int, int]], width: int) -> Iterable[str]:
    yield _text(MARGIN, 34, f"{network.name}: {', '.join(network.prefixes)}", "title", "start")
    yield f'<line class="net" x1="{MARGIN}" y1="64" x2="{width - MARGIN}" y2="64"/>'
    yield _text(width - MARGIN, 52, "Internet", "small", "end")
    for node in upper:
        x = places[node.name][0] + BOX_WIDTH // 2
        yield f'<line class="net" style="stroke-width:2" x1="{x}" y1="64" x2="{x}" y2="{UPPER}"/>'


def _links(network: Network, tunnels: Mapping[str, Tunnel], places: Mapping[str, tuple[int, int]]) -> Iterable[str]:
    """One arrow per pair, from who dials to who is dialled."""
    drawn: set[tuple[str, ...]] = set()
    for name, tunnel in tunnels.items():
        for peer in tunnel.peers:
            pair = tuple(sorted((name, peer.name)))
            if peer.endpoint is None or pair in drawn:
                continue
            drawn.add(pair)
            lines = [f"dials {peer.endpoint}"] + ([f"keepalive {peer.keepalive} s"] if peer.keepalive else [])
            (x, y), (to_x, to_y) = places[name], places[peer.name]
            to_x, to_y = to_x + BOX_WIDTH // 2, to_y + _height(network.nodes[peer.name])
            x += BOX_WIDTH // 2
            if y < to_y:
                y += _height(network.nodes[name])
                # Side by side: an arc below both boxes, and a little off the middle so that arcs that meet stay apart.
                x, to_x = x + (to_x > x) * 60 - 30, to_x - (to_x > x) * 60 + 30
                low = max(y, to_y) + 110
                path, label = f"M{x},{y} C{x},{low} {to_x},{low} {to_x},{to_y}", ((x + to_x) // 2, low - 30)
            else:
                path, label = f"M{x},{y} L{to_x},{to_y + 4}", (x + (to_x - x) // 4, y - (y - to_y) // 4 - 8)
            yield f'<path class="link" marker-end="url(#tip)" d="{path}"/>'
            height = LINE * len(lines)
            yield f'<rect class="plate" x="{label[0] - 100}" y="{label[1] - 16}" width="200" height="{height}"/>'
            yield from (_text(label[0], label[1] + LINE * i - 2, line, "small") for i, line in enumerate(lines))


def _node(node: Node, x: int, y: int) -> Iterable[str]:
    centre = x + BOX_WIDTH // 2
    yield f'<rect class="box" x="{x}" y="{y}" width="{BOX_WIDTH}" height="{_height(node)}" rx="8"/>'
    yield _text(centre, y + 26, node.name, "name")
    yield _text(centre, y + 46, node.device if node.endpoint else f"{node.device}, behind NAT", "small")
    yield _text(centre, y + 66, f"{node.interface}  {', '.join(node.addresses)}")
    yield _text(centre, y + 84, f"UDP {node.listen_port}" if node.endpoint else "cannot be dialled", "small")
    for index, prefix in enumerate(node.networks):
        yield _text(centre, y + BOX_HEIGHT + 10 + LINE * index, f"behind it: {prefix}", "lan")
