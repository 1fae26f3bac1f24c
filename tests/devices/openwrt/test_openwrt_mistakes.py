"""What is wrong with the arguments is said before the router is asked anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt import OpenWrtBackend
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_shell import Answer
from ansible_collections.homelab.fabric.plugins.module_utils.values import TunnelError

Key = Callable[[int], str]
Result = dict[str, Any]
PEER: Result = {"name": "hub", "allowed_ips": ["10.0.10.0/24"]}


def peers(**wrong: Any) -> Result:
    return {"peers": [{**PEER, **wrong}]}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": ""}, "name: "),
        ({"name": "wg-vps"}, "name: .*use up to 15 letters, digits and '_'"),
        ({"name": "wg.vps"}, "name: "),
        ({"name": "a_name_of_16_byt"}, "name: "),
        ({"name": "wg0;reboot"}, "name: "),
        ({"addresses": ["10.3.2.300/24"]}, "addresses: '10.3.2.300/24' is not an IP address"),
        ({"addresses": ["10.3.2.0/24"]}, "addresses: .*first or last address"),
        ({"addresses": ["127.0.0.1/8"]}, "addresses: .*cannot be the address of an interface"),
        ({"listen_port": 0}, "listen_port: "),
        ({"listen_port": 65536}, "listen_port: "),
        ({"mtu": 1279}, "mtu: "),
        ({"mtu": 9001}, "mtu: "),
        ({"routes": ["10.0.10.1/24"]}, "routes: .*write 10.0.10.0/24"),
        ({"routes": ["everything"]}, "routes: 'everything' is not an IP prefix"),
        ({"forward_to": ["lan; reboot"]}, "forward_to: "),
        ({"masquerade": ["10.3.2.1/24"]}, "masquerade: .*write 10.3.2.0/24"),
        (peers(name="it's"), "peers.0..name: "),
        (peers(name="hub\nset network.lan.proto=none"), "peers.0..name: "),
        (peers(public_key="short"), "peers.0..public_key: 'short' is not a WireGuard key"),
        (peers(preshared_key="geheim"), "peers.0..preshared_key: the value is not a WireGuard key"),
        (peers(endpoint="sofia.example.org"), "peers.0..endpoint: "),
        (peers(endpoint="sofia.example.org:99999"), "peers.0..endpoint: "),
        (peers(endpoint="sofia example:1"), "peers.0..endpoint: "),
        (peers(allowed_ips=["10.0.10.0/24,10.0.20.0/24"]), "peers.0..allowed_ips: .* is not an IP prefix"),
        (peers(allowed_ips=["10.0.10.1/24"]), "peers.0..allowed_ips: .*write 10.0.10.0/24"),
        (peers(persistent_keepalive="often"), "peers.0..persistent_keepalive: "),
        (peers(persistent_keepalive="70000"), "peers.0..persistent_keepalive: "),
        ({"peers": [PEER, {"name": "hub"}]}, "peers: hub and hub have the same name"),
        ({"peers": [PEER, {**PEER, "name": "other"}]}, "peers: hub and other have the same allowed IP 10.0.10.0/24"),
    ],
)
def test_a_mistake_is_named_before_anything_is_sent(given: Result, told: str) -> None:
    def execute(script: str) -> Answer:
        raise AssertionError("the router was asked")

    with pytest.raises(TunnelError, match=f"^{told}") as mistake:
        OpenWrtBackend({"name": "wg0", "state": "present", "purge": False, **given}, execute).read()
    assert "geheim" not in str(mistake.value)


def test_two_peers_with_one_key(key: Key) -> None:
    several = [{"name": name, "public_key": key(1)} for name in ("hub", "other")]
    with pytest.raises(TunnelError, match="peers: hub and other have the same public key"):
        OpenWrtBackend({"name": "wg0", "state": "present", "purge": False, "peers": several}, pytest.fail).read()
