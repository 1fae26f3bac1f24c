"""Two tasks for one tunnel, as a network needs whose members learn each other's keys: check mode foretells both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pfsense_double import PfSense

Answer = dict[str, Any]
Run = Callable[..., Answer]
LATER = "(known after apply)"


def without_keys(relay: Answer, *names: str, value: str | None = None) -> Answer:
    """The relay's arguments, where the public keys of these peers are not known, or only announced."""
    peers = [{**peer, "public_key": value} if peer["name"] in names else peer for peer in relay["peers"]]
    return {**relay, "peers": [{key: text for key, text in peer.items() if text is not None} for peer in peers]}


@pytest.mark.parametrize("first", [("vps-relay",), ("vps-relay", "london")])
def test_the_second_task_lists_what_it_will_do(run: Run, relay: Answer, firewall: PfSense, first: tuple[str]) -> None:
    blank = firewall.xml
    early, late = without_keys(relay, *first), without_keys(relay, *first, value=LATER)
    foreseen = run(firewall, check=True, **early)
    after = run(firewall, check=True, **late, waited_for=foreseen["waiting_for_key"])
    assert (firewall.xml, foreseen["waiting_for_key"], after["waiting_for_key"]) == (blank, list(first), [])
    assert run(firewall, **early)["commands"] == foreseen["commands"]
    real = run(firewall, **relay, waited_for=foreseen["waiting_for_key"])
    keys = {peer["public_key"] for peer in relay["peers"] if peer["name"] in first}
    shown = real["commands"]
    for public_key in keys:
        shown = [line.replace(public_key, f'"{LATER}"') for line in shown]
    assert after["commands"] == shown
    assert any("peer vps-relay added" in line for line in shown)
    assert not run(firewall, **relay)["changed"]


def test_a_second_task_with_nothing_new_does_nothing(run: Run, relay: Answer, firewall: PfSense) -> None:
    """Also where several peers are announced by the first one, and none can be told by its key."""
    announced = without_keys(relay, "vps-relay", "london", value=LATER)
    assert run(firewall, check=True, **announced)["changed"]
    again = run(firewall, check=True, **announced, waited_for=[])
    assert (again["commands"], again["changed"]) == ([], False)
    assert again["diff"]["before"] == again["diff"]["after"]


def test_absent_after_present_in_check_mode_is_about_what_is_there(run: Run, firewall: PfSense) -> None:
    assert run(firewall, check=True, state="absent", waited_for=[])["commands"] == []
