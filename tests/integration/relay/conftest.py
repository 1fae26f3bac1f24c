"""The relay, built once on blank devices under observation, for all tests here. They need root."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.integration.relay import devices
from tests.integration.relay.inventory import PRESHARED_KEY, inventory
from tests.integration.relay.lab import Run, files_of, is_open, lab, play, until
from tests.integration.relay.watch import Watch

Snapshot = dict[str, dict[str, str]]


@dataclass(frozen=True, repr=False)
class Built:
    """A check on blank devices, the first run, the second; what the devices held before, between and after them."""

    check: Run
    first: Run
    second: Run
    blank: Snapshot
    checked: Snapshot
    done: Snapshot
    done_again: Snapshot
    watch: Watch


def new_lab() -> None:
    """Blank devices, and a preshared key for the link."""
    lab("down")
    lab("up")
    descriptor = os.open(PRESHARED_KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(os.urandom(32)))


@pytest.fixture(scope="session")
def built() -> Built:
    """Made with all that Ansible can be asked to say, while processes and temporary files are watched."""
    if os.geteuid():
        pytest.skip("the lab needs root")
    new_lab()
    blank = devices.everything()
    with files_of("vps-relay") as vps, Watch([Path("/"), vps]) as watch:
        check = play("-vvv", "--check", "--diff", variables=inventory())
        checked = devices.everything()
        # The second playbook shows the facts that the first one leaves.
        facts = "tests/integration/relay/facts.yml"
        first = play(facts, "-vvv", "--diff", variables=inventory())
        done = devices.everything()
        second = play(facts, "-vvv", "--diff", variables=inventory())
        done_again = devices.everything()
    return Built(check, first, second, blank, checked, done, done_again, watch)


@pytest.fixture
def relay(built: Built) -> None:
    """The relay works."""
    if not is_open():
        play(variables=inventory()).ok()
    until(is_open, 30, "the visitor opens the page")


@pytest.fixture
def repaired(relay: None) -> Iterator[None]:
    """The relay works, and is brought back to the inventory after the test."""
    yield
    lab("up")
    play(variables=inventory()).ok()
