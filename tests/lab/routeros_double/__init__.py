"""A RouterOS 7 test double: strict, per the facts file of the project. See README.md of this package."""

from __future__ import annotations

from .router import RouterOS
from .rows import Live

__all__ = ["Live", "RouterOS"]
