# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets from a site's LAN to other sites: the shell scripts that send them, and what these say. Pure."""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.values import covers

SILENT = "no answer"
_ADDRESS = re.compile(r"^\s*(?:\d+: \S+)?\s+inet6? ([0-9a-f.:]+)", re.MULTILINE)


class Peer(NamedTuple):
    """A peer as it runs: its allowed IPs, and the age of its last handshake in seconds, None if there was none."""

    allowed_ips: tuple[str, ...]
    handshake_age: int | None


class Answer(NamedTuple):
    """What became of a packet: the round trip in milliseconds, None and the problem if there was none."""

    milliseconds: float | None
    problem: str = ""


def own_addresses(listing: str) -> list[str]:
    """The addresses in what `ip address` (Linux, busybox) or `ifconfig` (FreeBSD) shows."""
    return [address for address in _ADDRESS.findall(listing) if not address.startswith("fe80:")]


def source_for(target: str, own: Iterable[str], networks: Sequence[str]) -> str:
    """Which of its own addresses a site sends from: one in its LAN, of the target's IP version. Empty: it has none."""
    for address in own:
        if (":" in address) == (":" in target) and any(covers(network, address) for network in networks):
            return address
    return ""


def listing_script(device: str) -> str:
    """Shows the host's addresses."""
    return "/sbin/ifconfig\n" if device == "pfsense" else "PATH=$PATH:/usr/sbin:/sbin ip address\n"


_SEND = """
export LC_ALL=C PATH=$PATH:/usr/local/bin:/usr/sbin:/sbin
now=$(date +%s)
try() {{
    name=$1
    end=$((now + $2))
    shift 2
    until said=$("$@" 2>&1); do
        if [ "$(date +%s)" -ge $end ]; then
            echo "@lost $name $(echo "$said" | sed -n 's/^ping6*: //p' | head -n 1)"
            return
        fi
        sleep 0.2 2>/dev/null || sleep 1 # not every busybox takes a fraction
    done
    echo "@came $name $(echo "$said" | sed -n 's/.* time[=<]\\([0-9.]*\\).*/\\1/p' | head -n 1)"
}}
{tries}
wait
echo @now; date +%s
echo @allowed-ips; wg show all allowed-ips 2>/dev/null
echo @latest-handshakes; wg show all latest-handshakes 2>/dev/null
echo @end
"""


def sending_script(
    device: str, targets: Mapping[str, str], sources: Mapping[str, str], seconds: Mapping[str, int]
) -> str:
    """Sends a packet to every target at once, again and again until it is answered or its seconds are over.

    All are by the names of the sites. A source that is empty is the system's to choose.
    """
    # FreeBSD means other things by -I and -W.
    words = ["/sbin/ping", "-c1", "-t1", "-S"] if device == "pfsense" else ["ping", "-c1", "-W1", "-I"]
    tries = []
    for name, address in targets.items():
        source = sources.get(name)
        command = [*words, source, address] if source else [*words[:-1], address]
        tries.append(f"try {shlex.quote(name)} {seconds[name]} {shlex.join(command)} &")
    return _SEND.format(tries="\n".join(tries))


def parse_answers(text: str) -> tuple[dict[str, Answer], list[Peer]]:
    """What the sending script printed, by the names of the sites. Raises ValueError where it is not complete."""
    answers: dict[str, Answer] = {}
    parts: dict[str, list[list[str]]] = {}
    part: list[list[str]] = []
    for line in text.splitlines():
        word, *rest = line.split(None, 2) or [""]
        if word == "@came" and rest:
            answers[rest[0]] = Answer(float(rest[1]) if rest[1:] else 0.0)
        elif word == "@lost" and rest:
            answers[rest[0]] = Answer(None, rest[1].strip() if rest[1:] else SILENT)
        elif word.startswith("@"):
            part = parts.setdefault(word[1:], [])
        else:
            part.append(line.split("\t"))
    if "end" not in parts:
        raise ValueError(text)
    now = int(parts["now"][0][0])
    ages = {tuple(row[:2]): now - int(row[2]) for row in parts["latest-handshakes"] if len(row) == 3 and int(row[2])}
    rows = [row for row in parts["allowed-ips"] if len(row) == 3]
    return answers, [Peer(tuple(p for p in row[2].split() if "/" in p), ages.get(tuple(row[:2]))) for row in rows]


def report(address: str, source: str, answer: Answer, peers: Sequence[Peer]) -> dict[str, Any]:
    """One site of the result of `wireguard_ping`."""
    carriers = [(prefix, peer) for peer in peers for prefix in peer.allowed_ips if covers(prefix, address)]
    nearest = max(carriers, key=lambda carrier: ipaddress.ip_network(carrier[0]).prefixlen, default=None)
    return {
        "address": address,
        "source": source,
        "milliseconds": answer.milliseconds,
        "problem": answer.problem,
        "carried": nearest is not None,
        "handshake_age": nearest[1].handshake_age if nearest else None,
    }
