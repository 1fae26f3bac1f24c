"""What several modules document alike, where Ansible has no fragments for it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import yaml

MODULES = "ansible_collections.homelab.fabric.plugins.modules"


def returned(module: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(importlib.import_module(f"{MODULES}.{module}").RETURN)
    return found


@pytest.mark.parametrize("device", ["routeros", "pfsense", "openwrt", "glinet"])
def test_every_device_returns_the_same(device: str) -> None:
    assert returned(f"{device}_wireguard") == returned("linux_wireguard")
