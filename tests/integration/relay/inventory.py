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


def inventory(nodes: Mapping[str, Any] | None = None, network: Any = None, **variables: Any) -> dict[str, Any]:
    """Extra variables of a run: `nodes` and `network` are laid over the example's network, `variables` come with it."""
    networks = copy.deepcopy(_EXAMPLE)
    relay = networks["relay"]
    relay["nodes"]["mikrotik-gw"]["preshared_key"] = f"{{{{ lookup('ansible.builtin.file', '{PRESHARED_KEY}') }}}}"
    for name, values in (nodes or {}).items():
        relay["nodes"].setdefault(name, {}).update(values)
    relay.update(network or {})
    return {"wireguard_networks": networks, "vps_relay_services": SERVICES, **variables}
