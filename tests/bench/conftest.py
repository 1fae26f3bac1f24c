"""Benchmarks: ratios in one run, printed as `measured / limit`. `make bench` runs them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for modules of the tests' own, by their full names
