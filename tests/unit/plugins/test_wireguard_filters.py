"""The filters over wireguard_networks: what one host's module gets from the document and the other hosts' facts."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.filter.wireguard import (
    wireguard_new_keys,
    wireguard_sites,
    wireguard_tunnel,
)

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
NETWORKS: dict[str, Any] = {
    "relay": {
        "prefix": "10.100.0.0/24",
        "nodes": {
            "vps-relay": {"address": "10.100.0.1", "endpoint": "203.0.113.10", "public_key": OLD},
            "mikrotik-gw": {"device": "routeros", "interface": "wg-vps", "address": "10.100.0.2"},
        },
    }
}
FACT = {"wireguard_public_key_wg0": NEW}


@pytest.mark.parametrize(
    ("of_the_vps", "key"),
    [
        pytest.param({"ansible_facts": FACT}, NEW, id="facts are not injected as variables"),
        pytest.param({"ansible_facts": FACT, **FACT}, NEW, id="facts are injected as variables"),
        pytest.param(FACT, NEW, id="a variable of that name in the inventory"),
        pytest.param({"ansible_facts": {}}, OLD, id="not known in this run"),
    ],
)
def test_where_the_key_of_another_host_comes_from(of_the_vps: dict[str, Any], key: str) -> None:
    hostvars = {"vps-relay": of_the_vps, "mikrotik-gw": {}}
    (peer,) = wireguard_tunnel(NETWORKS, "mikrotik-gw", hostvars)["peers"]
    assert peer["public_key"] == key


def test_pfsense_gets_the_next_hop_of_each_peer() -> None:
    nodes = {
        "hub": {"address": "10.100.0.1", "endpoint": "203.0.113.10"},
        "fw": {"device": "pfsense", "address": "10.100.0.2"},
        "spoke": {"address": "10.100.0.3", "networks": ["10.50.0.0/16"]},
    }
    networks = {"relay": {"prefix": "10.100.0.0/24", "nodes": nodes}}
    assert wireguard_tunnel(networks, "fw", {})["gateways"] == {"hub": ["10.100.0.1"]}
    assert wireguard_tunnel(networks, "spoke", {})["gateways"] == {}


def test_which_keys_came_after_the_tunnel_was_made() -> None:
    tunnel = {
        "peers": [{"name": "a", "public_key": NEW}, {"name": "b", "public_key": OLD}, {"name": "c", "public_key": None}]
    }
    made = {
        "peers": [{"name": "b", "public_key": OLD}, {"name": "a", "public_key": OLD}, {"name": "d", "public_key": OLD}]
    }
    assert wireguard_new_keys(tunnel, made) == ["a"]
    assert wireguard_new_keys(tunnel, {"peers": []}) == ["a", "b"]
    assert wireguard_new_keys({"peers": []}, made) == []


def test_where_packets_to_other_sites_are_sent() -> None:
    nodes = {
        "hub": {"address": "10.100.0.1", "endpoint": "203.0.113.10"},
        "lan": {"address": "10.100.0.2", "networks": ["10.60.0.0/16", "10.50.0.0/16"]},
        "one": {"address": "10.100.0.3", "networks": ["10.70.0.7/32"]},
        "pc": {"address": "10.100.0.4", "networks": ["10.80.0.0/24"]},
    }
    networks = {"sites": {"prefix": "10.100.0.0/24", "nodes": nodes}}
    hostvars: dict[str, Any] = {"hub": {}, "pc": {"site_to_site_probe": "10.80.0.20"}}
    assert wireguard_sites(networks, "hub", hostvars) == {"lan": "10.50.0.1", "one": "10.70.0.7", "pc": "10.80.0.20"}
    assert wireguard_sites(networks, "pc", hostvars)["hub"] == "10.100.0.1"


def test_only_the_keys_of_the_own_peers_are_looked_up() -> None:
    """A look into hostvars costs a millisecond and more, and a network may have a thousand nodes."""

    class Counting(dict[str, Any]):
        looked = 0

        def __getitem__(self, name: str) -> Any:
            self.looked += 1
            return super().__getitem__(name)

    nodes = {f"n{number}": {"address": f"10.100.0.{number}"} for number in range(2, 50)}
    networks = {
        "big": {"prefix": "10.100.0.0/24", "nodes": {**nodes, "n1": {"address": "10.100.0.1", "endpoint": "x.y"}}}
    }
    hostvars = Counting({name: {} for name in [*nodes, "n1"]})
    wireguard_tunnel(networks, "n7", hostvars)
    assert hostvars.looked == 1
