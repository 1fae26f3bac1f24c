# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RouterOS's rows of a tunnel's peers, and the sentences that bring them to a target. Pure: rows in, sentences out."""

from __future__ import annotations

from typing import Any, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.routeros_rows import (
    Row,
    Sentence,
    is_on,
    prefixes,
    seconds,
)
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER, Peer, Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    UNREADABLE,
    Endpoint,
    Secret,
    TunnelError,
    parse_host,
)

PEERS = "/interface/wireguard/peers"


def plan_peers(rows: Sequence[Row], target: Tunnel) -> list[Sentence]:
    """`rows`: the interface's peers. Those that leave come first, so that their prefixes are free.

    A row is paired by its public key, and only then by its name: no sentence ever gives a row a key that another row
    has, and a peer that is adopted or whose key moves is never missing. Raises TunnelError for a key that is there
    twice, which leaves open what is meant.
    """
    static = [row for row in rows if not is_on(row, "dynamic")]
    by_key = {row["public-key"]: row for row in static}
    kept = {peer.public_key for peer in target.peers if not peer.ours}
    ours = [peer for peer in target.peers if peer.ours]
    if ours:
        _check_keys(static, target.name)
    pairs = {peer.name: by_key[key] for peer in ours for key in [str(peer.public_key)] if key in by_key}
    taken = {row[".id"] for row in pairs.values()}
    named = {row["comment"]: row for row in static if row[".id"] not in taken and row.get("comment")}
    for peer in ours:
        if peer.name not in pairs and MARKER + peer.name in named:
            pairs[peer.name] = named[MARKER + peer.name]
    taken |= {row[".id"] for row in pairs.values()}
    leaving = [row for row in static if row[".id"] not in taken and row["public-key"] not in kept]
    steps = [Sentence(PEERS, "remove", {}, row[".id"], _peer_finder(row)) for row in leaving]
    steps += [
        Sentence(PEERS, "set", wrong, row[".id"], _peer_finder(row))
        for row, peer in _givers_first([(pairs[peer.name], peer) for peer in ours if peer.name in pairs])
        for wrong in [_wrong(peer, row)]
        if wrong
    ]
    steps += [_add_peer(target.name, peer) for peer in ours if peer.name not in pairs]
    return steps


def _check_keys(rows: Sequence[Row], name: str) -> None:
    seen: dict[str, Row] = {}
    for row in rows:
        key = row["public-key"]
        if key and seen.setdefault(key, row) is not row:
            raise TunnelError(
                "peers", f"{name} has two peers with the public key {key}", f"remove one of them in {PEERS} by hand"
            )


def _givers_first(pairs: list[tuple[Row, Peer]]) -> list[tuple[Row, Peer]]:
    """A peer that gives a prefix away comes before the one that takes it.

    Two peers may hold one prefix at a time, but RouterOS does not document which of them then has the traffic.
    """
    holder = {prefix: i for i, (row, _peer) in enumerate(pairs) for prefix in prefixes(row.get("allowed-address", ""))}
    pending = {
        i: {holder[prefix] for prefix in peer.allowed_ips if holder.get(prefix, i) != i}
        for i, (_row, peer) in enumerate(pairs)
    }
    order: list[int] = []
    while pending:
        # In a circle one has to be the first.
        ready = [i for i, waits_for in pending.items() if waits_for.isdisjoint(pending)] or [next(iter(pending))]
        order += ready
        for i in ready:
            del pending[i]
    return [pairs[i] for i in order]


def _peer_fields(peer: Peer) -> dict[str, str | Secret]:
    endpoint = peer.endpoint or Endpoint("", 0)
    return {
        "public-key": str(peer.public_key),
        "allowed-address": ",".join(peer.allowed_ips),
        "endpoint-address": endpoint.host,
        "endpoint-port": str(endpoint.port),
        "persistent-keepalive": str(peer.keepalive),
        "preshared-key": peer.preshared_key or Secret(""),
        "comment": MARKER + peer.name,
        "disabled": "no",
    }


def _row_fields(row: Row) -> dict[str, str | Secret]:
    return {
        "public-key": row["public-key"],
        "allowed-address": ",".join(prefixes(row.get("allowed-address", ""))),
        "endpoint-address": _host(row),
        "endpoint-port": row.get("endpoint-port", "0"),
        "persistent-keepalive": str(seconds(row.get("persistent-keepalive", "")) or 0),
        "preshared-key": Secret(row.get("preshared-key", "")),
        "comment": row.get("comment", ""),
        "disabled": "yes" if is_on(row, "disabled") else "no",
    }


def _host(row: Row) -> str:
    """The host that a peer is dialled at, in normal form; empty for none."""
    text = row.get("endpoint-address", "")
    try:
        return parse_host(text, "endpoint-address") if text else ""
    except TunnelError:
        return text


def _wrong(peer: Peer, row: Row) -> dict[str, str | Secret]:
    there, wanted = _row_fields(row), _peer_fields(peer)
    return {key: value for key, value in wanted.items() if value != there[key] and value != UNREADABLE}


def _add_peer(name: str, peer: Peer) -> Sentence:
    """A new peer; what stands at its default is not sent."""
    fields = {
        key: value for key, value in _peer_fields(peer).items() if value not in ("", "0", "no", UNREADABLE, _NO_KEY)
    }
    return Sentence(PEERS, "add", {"interface": name, **fields})


_NO_KEY = Secret("")


def _peer_finder(row: Row) -> dict[str, str]:
    return {"interface": row["interface"], "public-key": row["public-key"]}


def peer_of(row: Row) -> Peer:
    """The peer that a row holds, in normal form."""
    comment, key, host = row.get("comment", ""), row["public-key"], _host(row)
    ours = comment.startswith(MARKER)
    # A peer that somebody else switched off claims no address.
    resting = not ours and is_on(row, "disabled")
    psk = row.get("preshared-key", "")
    return Peer(
        name=comment[len(MARKER) :] if ours else comment or key,
        public_key=key,
        preshared_key=Secret(psk) if psk else None,
        endpoint=Endpoint(host, int(row.get("endpoint-port") or 0)) if host else None,
        allowed_ips=() if resting else prefixes(row.get("allowed-address", "")),
        keepalive=seconds(row.get("persistent-keepalive", "")) or 0,
        ours=ours,
    )


def live_of(row: Row) -> dict[str, Any]:
    """How the peer is: see converge.Backend.live."""
    host, port = row.get("current-endpoint-address", ""), row.get("current-endpoint-port") or "0"
    return {
        "endpoint": str(Endpoint(host, int(port))) if host else None,
        "handshake_age": seconds(row.get("last-handshake", "")),
        "received": int(row.get("rx") or 0),
        "sent": int(row.get("tx") or 0),
    }
