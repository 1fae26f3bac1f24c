"""The role against the lab's Flint 2, over ssh, and packets from its LAN to a hub and back."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # for modules of the tests' own, by their full names

from tests.integration.openwrt.test_packets import INVENTORY, SECRET, Hub, calls, hub
from tests.integration.relay.lab import lab, on

__all__ = ["hub"]  # a fixture


def test_lan_to_hub_and_back_with_one_read_and_one_write(hub: Hub) -> None:
    lab("up", "--only", "controller", "glinet", "glinet-pc")
    first = hub.play("-e", "glinet_wireguard_handshake_timeout=0", playbook="glinet.yml")
    key = re.search(r'wireguard_public_key_wgclient1"?: "?([^"\s]+)', first)
    assert key
    assert ("changed=1" in first, calls(first)) == (True, 2)
    assert "visitor has not answered yet" in " ".join(first.split())
    hub.greets(key[1], "10.3.2.6/32,192.168.8.0/24")
    on("glinet-pc", "bash", "-c", "for i in {1..30}; do ping -c 1 -W 1 10.0.10.1 && break; sleep 0.2; done")
    on("visitor", "ping", "-c", "1", "-W", "5", "-I", "10.0.10.1", "192.168.8.10")
    on("visitor", "ping", "-c", "1", "-W", "5", "-I", "10.0.10.1", "192.168.8.1")
    on("glinet", "ping", "-c", "1", "-W", "5", "10.0.10.1")
    again = hub.play(playbook="glinet.yml")
    assert ("changed=0" in again, calls(again)) == (True, 1)
    assert re.search(r'handshake_age"?: \d', again)
    private = on("glinet", "uci", "get", "wireguard.peer_1001.private_key").strip()
    for output in (first, again):
        assert private not in output
        assert SECRET.read_text().strip() not in output


def test_as_a_hub_beside_its_client(hub: Hub) -> None:
    """The visitor is a spoke now, of the firmware's own server."""
    peer = {"name": "visitor", "public_key": hub.public_key, "allowed_ips": ["10.3.3.5/32", "10.0.11.1/32"]}
    arguments = {"name": "wgserver", "addresses": ["10.3.3.1/24"], "listen_port": 51830, "forward_to": ["lan"]}
    command = ["ansible", "-i", INVENTORY, "glinet", "-m", "homelab.fabric.glinet_wireguard", "-a"]
    command.append(json.dumps({**arguments, "peers": [peer]}))
    first = on("controller", *command)
    key = re.findall(r"^ *public_key: (\S+)$", first, re.MULTILINE)[-1]  # its own, after its peer's
    dial = f"peer {key} endpoint 198.51.100.60:51830 persistent-keepalive 1 allowed-ips 10.3.3.1/32,192.168.8.0/24"
    on("visitor", "sh", "-c", f"ip address add 10.0.11.1/32 dev hub0; wg set hub0 {dial}")
    on("glinet-pc", "bash", "-c", "for i in {1..30}; do ping -c 1 -W 1 10.0.11.1 && break; sleep 0.2; done")
    on("visitor", "ping", "-c", "1", "-W", "5", "-I", "10.0.11.1", "192.168.8.10")
    assert "changed: false" in on("controller", *command)
