"""wireguard_client_list in a real run of ansible-playbook: it shows the clients, and it only looks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.integration.linux.hosts import ROOT, LinuxHost


def test_looking_changes_nothing(host: LinuxHost, tmp_path: Path) -> None:
    host.apply(name="wg0", addresses=["10.100.0.1/24"], listen_port=51820)
    clients = {
        "endpoint": "vps.example.org",
        "pool": ["10.100.0.0/24"],
        "networks": ["10.30.0.0/24"],
        "clients": [{"name": "phone"}],
    }
    key = host.apply("--module", "wireguard_client", interface="wg0", **clients)["clients"][0]["public_key"]
    host.run("wg", "set", "wg0", "peer", key, "remove")  # what a run would put right
    task = {"name": "Look", "homelab.fabric.wireguard_client_list": {"interface": "wg0"}}
    play = {"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": [task]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    ansible = str(Path(sys.executable).with_name("ansible-playbook"))
    settings = [f"ANSIBLE_COLLECTIONS_PATH={ROOT / '.build'}", f"ANSIBLE_PYTHON_INTERPRETER={sys.executable}"]
    shown = host.run("env", "LC_ALL=C.UTF-8", *settings, ansible, "-i", "localhost,", str(tmp_path / "play.yml"))
    assert "10.100.0.2" in next(line for line in shown.splitlines() if line.startswith("phone "))
    assert host.run("wg", "show", "wg0", "peers") == ""
