# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that a router with RouterOS sends to other sites, for the module `wireguard_ping`."""

from __future__ import annotations

import time
from typing import Any, Mapping, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_api import (
    CONNECTION_ARGUMENTS,
    LIBRARY_PROBLEM,
    Router,
)
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_peers import PEERS, live_of
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_rows import is_on, prefixes
from ansible_collections.homelab.fabric.plugins.module_utils.site_ping import Answer, Peer, report, source_for

ARGUMENTS: dict[str, Any] = {"type": "dict", "options": CONNECTION_ARGUMENTS}
POLL = 0.2  # seconds between two rounds: a router without a route answers at once
LONGEST = 1.0  # seconds that an answer may take


def send(
    params: Mapping[str, Any], networks: Sequence[str], targets: Mapping[str, str], seconds: Mapping[str, int]
) -> dict[str, Any]:
    """`sites` of the result. Raises DeviceError, and its kind NotAllowedError.

    `params`: those of ARGUMENTS. `targets` and `seconds`: an address and how long to try it, by the names of the sites.
    """
    if LIBRARY_PROBLEM:
        raise DeviceError("librouteros is not installed beside Ansible: pip install librouteros")
    router = Router(params)
    try:
        router.connect()
        rows = router.rows("/ip/address", ("address", "disabled")) + router.rows("/ipv6/address", ("address",))
        own = [row["address"].partition("/")[0] for row in rows if not is_on(row, "disabled")]
        sources = {name: source_for(address, own, networks) for name, address in targets.items()}
        answers = _answers(router, targets, sources, seconds)
        live = router.rows(PEERS, ("allowed-address", "last-handshake", "rx", "tx"))
    finally:
        router.close()
    peers = [Peer(prefixes(row.get("allowed-address", "")), live_of(row)["handshake_age"]) for row in live]
    return {name: report(targets[name], sources[name], answers[name], peers) for name in targets}


def _answers(
    router: Router, targets: Mapping[str, str], sources: Mapping[str, str], seconds: Mapping[str, int]
) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    started = time.monotonic()
    waiting = list(targets)
    while waiting:
        for name in waiting:
            # One after the other, so a silent one holds up all: first it is asked often, then patiently.
            patience = min(LONGEST, POLL + (time.monotonic() - started) / 4)
            answers[name] = Answer(*router.ping(targets[name], sources[name], patience))
        taken = time.monotonic() - started
        waiting = [name for name in waiting if answers[name].milliseconds is None and taken < seconds[name]]
        time.sleep(POLL if waiting else 0)
    return answers
