"""The example inventory's variables, with what a test changes in them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import yaml

from tests.integration.relay.lab import ROOT, STATE

PRESHARED_KEY = STATE / "secrets/preshared-key"  # made by conftest.py, gone with the lab
# The passthrough in all its kinds: TLS, the redirect beside the distribution's own site, the PROXY protocol.
SERVICES = [
    {"port": 443},
    {"port": 80, "upstream": "10.30.0.200:80"},
    {"port": 8443, "upstream": "10.30.0.200:8443", "proxy_protocol": True},
]
_EXAMPLE = yaml.safe_load((ROOT / "inventory/group_vars/all.yml").read_text())["wireguard_networks"]


def example(nodes: Mapping[str, Any] | None = None, network: Any = None) -> dict[str, Any]:
    """The example's networks as extra variables of a run, with `nodes` and `network` laid over them."""
    networks = copy.deepcopy(_EXAMPLE)
    relay = networks["relay"]
    for name, values in (nodes or {}).items():
        relay["nodes"].setdefault(name, {}).update(values)
    relay.update(network or {})
    return {"wireguard_networks": networks}


def inventory(nodes: Mapping[str, Any] | None = None, network: Any = None, **variables: Any) -> dict[str, Any]:
    """The same with a preshared key for the link, all kinds of services, and further `variables`."""
    key = {"preshared_key": f"{{{{ lookup('ansible.builtin.file', '{PRESHARED_KEY}') }}}}"}
    several = {"mikrotik-gw": {}, **(nodes or {})}
    several["mikrotik-gw"] = key | several["mikrotik-gw"]
    return {**example(several, network), "vps_relay_services": SERVICES, **variables}
