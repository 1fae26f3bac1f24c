"""The drawing of a network shows all of it, and the one in docs/ is drawn from the example inventory."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.homelab.fabric.plugins.module_utils.picture import draw

ROOT = Path(__file__).parents[3]


def example() -> dict[str, Any]:
    variables = yaml.safe_load((ROOT / "inventory/group_vars/all.yml").read_text())
    relay: dict[str, Any] = variables["wireguard_networks"]
    relay["relay"]["nodes"]["vps-relay"]["endpoint"] = variables["vps_relay_public_ipv4"]
    return relay


def test_the_readme_picture_is_the_example_inventory() -> None:
    assert (ROOT / "docs/relay.svg").read_text() == draw(example(), "relay")


def test_the_picture_of_the_sites_is_the_inventory_of_the_lab() -> None:
    variables = yaml.safe_load((ROOT / "tests/lab/inventory-site-to-site/group_vars/all.yml").read_text())
    assert (ROOT / "docs/sites.svg").read_text() == draw(variables["wireguard_networks"], "sites")


@pytest.mark.parametrize("upper", [1, 2, 4])
@pytest.mark.parametrize("lower", [0, 1, 5])
def test_all_of_it_is_drawn_inside_the_frame(upper: int, lower: int) -> None:
    nodes = {
        f"n{i}": {
            "address": f"10.0.0.{i + 1}",
            "networks": [f"172.16.{i}.0/24"],
            **({"endpoint": f"n{i}.example.org"} if i < upper else {}),
        }
        for i in range(upper + lower)
    }
    root = ET.fromstring(draw({"net": {"prefix": "10.0.0.0/24", "hub": "n0", "nodes": nodes}}, "net"))
    texts = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
    for index in range(upper + lower):
        assert f"n{index}" in texts
        assert f"behind it: 172.16.{index}.0/24" in texts
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    for box in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert 0 <= int(box.get("x", 0)) <= width - int(box.attrib["width"])
        assert 0 <= int(box.get("y", 0)) <= height - int(box.attrib["height"])
