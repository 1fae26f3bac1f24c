"""A pfSense test double: PHP functions under pfSense's names, strict, per the project's facts. See README.md."""

from __future__ import annotations

from .folder import Outcome, PfSense

__all__ = ["Outcome", "PfSense"]
