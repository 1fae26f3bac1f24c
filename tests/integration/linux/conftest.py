"""Fixtures of Linux hosts; all tests here need root and skip without it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.integration.linux.hosts import LinuxHost

TOOLS = ("wg", "wg-quick", "nft", "iptables", "ufw", "ip", "nsenter", "unshare", "ping")


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if os.geteuid() or missing:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing else'}")


@pytest.fixture
def hosts() -> Iterator[Sequence[LinuxHost]]:
    """Three hosts without any wires."""
    several = [LinuxHost() for number in range(3)]
    yield several
    for host in several:
        host.end()


@pytest.fixture
def host() -> Iterator[LinuxHost]:
    one = LinuxHost()
    yield one
    one.end()
