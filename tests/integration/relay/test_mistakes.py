"""Mistakes that beginners make, through the playbook: one error that names argument and remedy, and nothing written.

Each mistake comes together with a change that would be written. The table of all the others is in tests/unit/plugins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.relay import devices
from tests.integration.relay.devices import differences
from tests.integration.relay.inventory import inventory
from tests.integration.relay.lab import STATE, play

ROUTER, VPS = "mikrotik-gw", "vps-relay"
LARGER = {"mtu": 1380}  # a change for both tunnels
MORE_NAMES: dict[str, Any] = {
    "vps_relay_hostnames": ["jellyfin.example.org", "grafana.example.org", "books.example.org"]
}


@dataclass
class Mistake:
    """`says`: what the message holds; `device`: the one that must not be written to."""

    host: str
    says: tuple[str, ...]
    variables: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=lambda: LARGER)
    device: str = "router"


def router(*says: str, **variables: Any) -> Mistake:
    return Mistake(ROUTER, says, variables)


def dns(*says: str, **variables: Any) -> Mistake:
    return Mistake(VPS, says, {**MORE_NAMES, **variables}, network={}, device="cloudflare")


def vps(*says: str, **variables: Any) -> Mistake:
    return Mistake(VPS, says, variables, device="vps")


def document(*says: str, host: str = VPS, network: dict[str, Any] | None = None, **nodes: Any) -> Mistake:
    named = {name.replace("_", "-"): values for name, values in nodes.items()}
    return Mistake(host, says, {}, named, {**LARGER, **(network or {})}, "vps" if host == VPS else "router")


MISTAKES = {
    "wrong password": router("password", "10.10.0.1", mikrotik_wireguard_password="wrong"),
    "untrusted certificate": router(
        "certificate", "ca_path", mikrotik_wireguard_ca_path=str(STATE / "tls/jellyfin.pem")
    ),
    "unreachable router": router(
        "hostname", "10.10.0.99", mikrotik_wireguard_hostname="10.10.0.99", mikrotik_wireguard_timeout=2
    ),
    "wrong port of the API": router("port", "8730", mikrotik_wireguard_port=8730),
    "no password given": router("password", mikrotik_wireguard_password=""),
    "port is no number": router("mikrotik_wireguard_port", mikrotik_wireguard_port="api"),
    "unknown interface": document(
        "forward_to",
        "vlan30-kubernets",
        "vlan30-kubernetes",
        host=ROUTER,
        mikrotik_gw={"forward_to": ["vlan30-kubernets"]},
    ),
    "refused token": dns("api_token", cloudflare_api_token="x" * 40),
    "zone that does not exist": dns("zone", cloudflare_zone_id="f" * 32),
    "HTML instead of JSON": dns("base_url", cloudflare_dns_base_url="https://jellyfin.example.org"),
    "wrong ingress address": vps("ingress", "10.30.0.256", vps_relay_ingress="10.30.0.256"),
    "services is no list": vps("vps_relay_services", vps_relay_services=443),
    "ingress missing": vps("vps_relay_ingress", vps_relay_ingress=None),
    "overlapping networks": document("networks", "overlaps", "10.30.0.0/24", vps_relay={"networks": ["10.30.0.0/16"]}),
    "port out of range": document("listen_port", "70000", vps_relay={"listen_port": 70000}),
    "port in the endpoint": document("endpoint", "203.0.113.10:51821", vps_relay={"endpoint": "203.0.113.10:51821"}),
    "misspelt key": document("keepalve", "keepalive", mikrotik_gw={"keepalve": 25}),
    "host bits": document("10.100.0.1/24", "10.100.0.0/24", network={"prefix": "10.100.0.1/24"}),
    "nodes is a list": document("nodes", network={"nodes": ["vps-relay", "mikrotik-gw"]}),
}


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake(name: str) -> None:
    mistake = MISTAKES[name]
    before = devices.everything()
    given = inventory(mistake.nodes, mistake.network, **mistake.variables)
    run = play("--limit", mistake.host, variables=given)
    (failed,) = run.with_status("failed", "unreachable")
    message = str(failed.result.get("msg"))
    assert [word for word in mistake.says if word not in message] == [], message
    assert "Traceback" not in run.output + str(failed.result.get("exception", ""))
    assert len(message) < 1000, message
    written = differences(before, devices.everything())
    assert [line for line in written if line.startswith(mistake.device)] == []


def test_the_changes_beside_the_mistakes_would_be_written() -> None:
    """Otherwise the test above could not fail for that."""
    for host, given in ((ROUTER, inventory(network=LARGER)), (VPS, inventory(network=LARGER, **MORE_NAMES))):
        actions = {
            result.action.rpartition(".")[2]
            for result in play("--check", "--limit", host, variables=given).with_status("changed")
        }
        assert actions >= ({"routeros_wireguard"} if host == ROUTER else {"linux_wireguard", "cloudflare_records"})


def test_a_wrong_address_of_the_ingress_is_named_by_the_last_play(repaired: None) -> None:
    """It looks right, so only a try can tell."""
    run = play(
        "--limit",
        VPS,
        variables=inventory(
            vps_relay_ingress="10.30.0.201", vps_relay_services=[{"port": 443}], vps_relay_check_timeout=3
        ),
    )
    (failed,) = run.with_status("failed")
    assert "10.30.0.201" in failed.result["msg"]
    assert "Look at: " in failed.result["msg"]
    assert "Traceback" not in run.output
