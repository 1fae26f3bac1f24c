"""A pfSense test double: PHP functions as pfSense has them, strict, per the facts file of the project. See README.md."""

from __future__ import annotations

from .folder import Outcome, PfSense

__all__ = ["Outcome", "PfSense"]
