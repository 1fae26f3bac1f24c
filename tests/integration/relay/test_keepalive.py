"""The CGNAT forgets a silent mapping; the keepalive of the home's side is what keeps the path open.

Both are shortened alike: the mapping dies after 3 s instead of 30, the keepalive comes every 2 s instead of 25.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.integration.relay.inventory import inventory
from tests.integration.relay.lab import is_open, lab, play

TIMEOUT = 3
# For some 15 s after the last byte WireGuard still calls by itself, with or without a keepalive.
IDLE = 8 * TIMEOUT


@pytest.fixture
def impatient(repaired: None) -> Iterator[None]:
    """The CGNAT with its timeout shortened."""
    lab("udp-timeout", "isp", str(TIMEOUT))
    yield
    lab("udp-timeout", "isp", "30")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("keepalive", "alive"), [(2, True), (0, False)])
def test_an_idle_path(keepalive: int, alive: bool) -> None:
    play("--limit", "mikrotik-gw", variables=inventory(nodes={"mikrotik-gw": {"keepalive": keepalive}})).ok()
    assert is_open()
    time.sleep(IDLE)  # nothing to poll: that nothing happens is the point
    assert is_open() == alive
