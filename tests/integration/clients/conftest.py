"""A relay that works, and two devices behind NATs of their own, for all tests here. They need root and the lab."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.integration.clients.device import Device
from tests.integration.clients.hub import registered, revoke
from tests.integration.relay.lab import is_open, lab, play, until


@pytest.fixture(scope="session")
def relay() -> None:
    """The relay as the README has it."""
    if os.geteuid():
        pytest.skip("the lab needs root")
    lab("up")
    if not is_open():
        play().ok()
    until(is_open, 30, "the visitor opens the page")


@pytest.fixture
def hub(relay: None) -> Iterator[None]:
    """The relay without a client, before the test and after it."""
    revoke(*registered())
    yield
    revoke(*registered())


@pytest.fixture
def phone(hub: None) -> Iterator[Device]:
    device = Device("phone")
    yield device
    device.disconnect()


@pytest.fixture
def laptop(hub: None) -> Iterator[Device]:
    device = Device("laptop")
    yield device
    device.disconnect()
