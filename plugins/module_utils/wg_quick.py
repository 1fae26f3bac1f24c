# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wg-quick file (wg-quick(8)): read it, change what must change, keep every other line as its owner wrote it.

Pure: no I/O. What is ours in a file: peers with a comment ``# homelab.fabric: NAME`` (a road warrior's:
``# homelab.fabric client: NAME``) below ``[Peer]``, lines that end in ``# homelab.fabric``, and notes
``# homelab.fabric pending: …`` of work that must still be done on the live interface.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Iterable, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER, Peer
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    Endpoint,
    Secret,
    TunnelError,
    parse_endpoint,
    parse_keepalive,
    parse_key,
    parse_prefix,
    sorted_prefixes,
)

CLIENT_MARKER = "homelab.fabric client: "
TAG = " # homelab.fabric"
_PENDING = "# homelab.fabric pending: "
_MARK = re.compile(r"\s*#\s*homelab\.fabric( client)?:\s*(\S+)\s*")


def _key(line: str) -> str:
    """The lower-case name of the setting in a line, as wg-quick finds it; empty for comments and blank lines."""
    name, equals, _rest = line.split("#", 1)[0].partition("=")
    return name.strip().lower() if equals else ""


def _value(line: str) -> str:
    return line.split("#", 1)[0].partition("=")[2].strip()


def _header(line: str) -> str:
    """``interface``, ``peer`` … if the line begins a section."""
    text = line.split("#", 1)[0].strip().lower()
    return text[1:-1] if text.startswith("[") and text.endswith("]") else ""


def _read(lines: Iterable[str], key: str) -> tuple[str, ...]:
    """All values of a setting, repeated or comma-separated, in their order; hooks are never split."""
    return tuple(
        item.strip() for line in lines if _key(line) == key.lower() for item in _value(line).split(",") if item.strip()
    )


def _write(lines: Sequence[str], key: str, values: Iterable[str]) -> tuple[str, ...]:
    """The lines with these values of a setting alone, one a line, where the first of it stood, else at the end."""
    places = [i for i, line in enumerate(lines) if _key(line) == key.lower() and not line.endswith(TAG)]
    kept = [line for i, line in enumerate(lines) if i not in places]
    end = len(kept)
    while end and (not kept[end - 1].strip() or kept[end - 1].endswith(TAG)):
        end -= 1
    at = places[0] if places else end
    return (*kept[:at], *(f"{key} = {value}" for value in values), *kept[at:])


@dataclass(frozen=True)
class PeerBlock:
    """One ``[Peer]`` section: its lines with the blank and comment lines that lead it, and the peer they mean."""

    lines: tuple[str, ...]
    peer: Peer

    def updated(self, peer: Peer) -> PeerBlock:
        """The same section for a changed peer; settings and comments that did not change stay as they are written."""
        lines = self.lines
        if (peer.ours, peer.client, peer.name) != (self.peer.ours, self.peer.client, self.peer.name):
            lines = _marked(lines, peer)
        before, after = _settings(self.peer), _settings(peer)
        for key, values in after.items():
            if values != before[key]:
                lines = _write(lines, key, values)
        return PeerBlock(lines, peer)


def _marked(lines: Sequence[str], peer: Peer) -> tuple[str, ...]:
    kept = [line for line in lines if not _MARK.fullmatch(line)]
    at = next(i for i, line in enumerate(kept) if _header(line) == "peer") + 1
    mark = [f"# {CLIENT_MARKER if peer.client else MARKER}{peer.name}"] if peer.ours else []
    return (*kept[:at], *mark, *kept[at:])


def _settings(peer: Peer) -> dict[str, tuple[str, ...]]:
    """The settings of a peer in the order in which a new section shows them; an empty one is no line."""
    one = {
        "PublicKey": peer.public_key,
        "PresharedKey": peer.preshared_key.reveal() if peer.preshared_key else None,
        "Endpoint": str(peer.endpoint) if peer.endpoint else None,
        "AllowedIPs": ", ".join(peer.allowed_ips),
        "PersistentKeepalive": str(peer.keepalive) if peer.keepalive else None,
    }
    return {key: (value,) if value else () for key, value in one.items()}


def new_block(peer: Peer) -> PeerBlock:
    """A section for a peer that the file does not have."""
    lines = _marked(("", "[Peer]"), peer)
    for key, values in _settings(peer).items():
        lines = _write(lines, key, values) if values else lines
    return PeerBlock(lines, peer)


def parse_block(lines: Sequence[str], source: str) -> PeerBlock:
    """A section as it stands in a file. A setting that only `wg` understands is kept and not looked into."""
    mark = next((match for match in map(_MARK.fullmatch, lines) if match), None)
    first = {key: next(iter(_read(lines, key)), "") for key in ("PublicKey", "PresharedKey", "PersistentKeepalive")}
    key = parse_key(first["PublicKey"], f"{source}: PublicKey of a peer")
    psk = first["PresharedKey"]
    try:
        keepalive = parse_keepalive(first["PersistentKeepalive"] or 0, "")
    except TunnelError:
        keepalive = 0
    peer = Peer(
        name=mark.group(2) if mark else key,
        public_key=key,
        preshared_key=Secret(parse_key(psk, f"{source}: PresharedKey of the peer {key}", True)) if psk else None,
        endpoint=lenient_endpoint(next(iter(_read(lines, "Endpoint")), "")),
        allowed_ips=sorted_prefixes(
            parse_prefix(item, f"{source}: AllowedIPs of the peer {key}", strict=False)
            for item in _read(lines, "AllowedIPs")
        ),
        keepalive=keepalive,
        ours=mark is not None,
        client=bool(mark and mark.group(1)),
    )
    return PeerBlock(tuple(lines), peer)


def lenient_endpoint(text: str) -> Endpoint | None:
    """None for nothing, and for what only `wg` understands."""
    try:
        return parse_endpoint(text, "") if text else None
    except TunnelError:
        return None


@dataclass(frozen=True)
class WgQuickFile:
    """A whole file: the lines of ``[Interface]`` (and before it), and the peers in their order."""

    interface: tuple[str, ...] = ("[Interface]",)
    blocks: tuple[PeerBlock, ...] = ()

    def render(self) -> str:
        """The file's text. It holds the private key."""
        lines = [*self.interface, *(line for block in self.blocks for line in block.lines)]
        return "\n".join(lines) + "\n"

    def values(self, key: str) -> tuple[str, ...]:
        """All values of a setting of the interface but those in our own tagged lines."""
        return _read((line for line in self.interface if not line.endswith(TAG)), key)

    def value(self, key: str) -> str:
        """The value that counts: wg-quick takes the last."""
        return next(reversed(self.values(key)), "")

    @property
    def private_key(self) -> Secret:
        """Empty if the file has none."""
        return Secret(self.value("PrivateKey"))

    def with_private_key(self, key: Secret) -> WgQuickFile:
        """For a file that has none: as the first setting."""
        at = next(i for i, line in enumerate(self.interface) if _header(line) == "interface") + 1
        lines = (*self.interface[:at], f"PrivateKey = {key.reveal()}", *self.interface[at:])
        return replace(self, interface=lines)

    @property
    def peers(self) -> tuple[Peer, ...]:
        return tuple(block.peer for block in self.blocks)

    def with_values(self, key: str, values: Sequence[str]) -> WgQuickFile:
        """This setting of the interface with these values; untouched if it has them already."""
        if self.values(key) == tuple(values):
            return self
        return replace(self, interface=_write(self.interface, key, values))

    @property
    def own_lines(self) -> tuple[str, ...]:
        """Our tagged lines, without the tag."""
        return tuple(line[: -len(TAG)] for line in self.interface if line.endswith(TAG))

    def with_own_lines(self, lines: Sequence[str]) -> WgQuickFile:
        """These tagged lines at the end of the section; untouched if it has them already."""
        if self.own_lines == tuple(lines):
            return self
        kept = [line for line in self.interface if not line.endswith(TAG)]
        return replace(self, interface=(*kept, *(line + TAG for line in lines)))

    @property
    def pending(self) -> frozenset[str]:
        """The notes of what must still be done live: ``peer KEY``, ``route PREFIX``."""
        return frozenset(line[len(_PENDING) :].strip() for line in self.interface if line.startswith(_PENDING))

    def with_pending(self, notes: Iterable[str]) -> WgQuickFile:
        if self.pending == frozenset(notes):
            return self
        kept = [line for line in self.interface if not line.startswith(_PENDING)]
        at = next(i for i, line in enumerate(kept) if _header(line) == "interface") + 1
        noted = [_PENDING + note for note in sorted(set(notes))]
        return replace(self, interface=(*kept[:at], *noted, *kept[at:]))

    def with_peers(self, peers: Iterable[Peer]) -> WgQuickFile:
        """These peers alone. Sections stay in place, paired by name, else (a foreign one) by key; new ones follow."""
        wanted = list(peers)
        named = {peer.identity: peer for peer in wanted}
        keyed = {peer.public_key: peer for peer in wanted}
        paired = {block.peer.identity for block in self.blocks} & set(named)
        blocks: list[PeerBlock] = []
        done: set[tuple[str, str]] = set()
        for block in self.blocks:
            peer = named.get(block.peer.identity)
            if peer is None and not block.peer.ours:
                peer = keyed.get(block.peer.public_key)
                peer = None if peer and peer.identity in paired else peer
            if peer and peer.identity not in done:
                done.add(peer.identity)
                blocks.append(block.updated(peer) if block.peer != peer else block)
        blocks += [new_block(peer) for peer in wanted if peer.identity not in done]
        return replace(self, blocks=tuple(blocks))


def parse(text: str, source: str) -> WgQuickFile:
    """A file's text; `source` names it in errors. Raises TunnelError for what `wg` could not load either."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    interface: list[str] = []
    sections: list[list[str]] = []
    current = interface
    for line in lines:
        kind = _header(line)
        if kind == "peer":
            lead = _lead(current)
            sections.append(lead)
            current = lead
        elif kind == "interface":
            current = interface
        current.append(line)
    if "interface" not in map(_header, interface):
        raise TunnelError(source, "the file has no [Interface] section", "restore it from a backup, or remove the file")
    return WgQuickFile(tuple(interface), tuple(parse_block(section, source) for section in sections))


def _lead(lines: list[str]) -> list[str]:
    """Cut off and return the comments that stand right above a ``[Peer]``, with the blank lines above them."""
    start = len(lines)
    while start and lines[start - 1].startswith("#") and "homelab.fabric" not in lines[start - 1]:
        start -= 1
    while start and not lines[start - 1].strip():
        start -= 1
    lead = lines[start:]
    del lines[start:]
    return lead
