"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

ROOT = os.geteuid() == 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """For root a skipped test is a failed one: `make test` runs as root, and what the machine lacks has to be told.

    So every skip of these tests is for those who try a part of them without root.
    """
    report = yield
    if report.skipped and ROOT:
        reason: Any = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} would be skipped, which no test is for root: {reason[2]}"
    return report
