"""PHP dies at every write of the configuration, before or after it: no peer suffers, and the next run finishes.

A connection that is cut is no death: what is begun is finished without it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils import pfsense
from pfsense_double import PfSense

Answer = dict[str, Any]
Run = Callable[..., Answer]
Key = Callable[[int], str]


def peers(firewall: PfSense) -> dict[str, str]:
    """Every peer by its description, as config.xml has it."""
    section = firewall.xml.partition("<peers>")[2].partition("</peers>")[0]
    found = re.findall(r"<item>.*?</item>", section, re.DOTALL)
    return {re.findall(r"<descr><!\[CDATA\[(.+?)\]\]>", text)[0]: re.sub(r"\s", "", text) for text in found}


def state(firewall: PfSense) -> Any:
    """What is written and what runs, without times, keys that are made anew, and what the package adds by itself."""
    text = re.sub(r"<(revision|created|updated|unbound)>.*?</\1>", "", firewall.xml, flags=re.DOTALL)
    text = re.sub(r"<(privatekey|publickey)>.*?<", "", text)
    system = firewall.system
    interfaces = {name: {**one, "public_key": ""} for name, one in system["interfaces"].items()}
    return text, interfaces, system["routes"]


def goals(relay: Answer, key: Key) -> dict[str, Answer]:
    """Tunnels to come from and to go to; together they add, change, move and remove everything there is."""
    vps, _london = relay["peers"]
    other = {
        "addresses": ["172.26.5.2/24"],
        "listen_port": 51999,
        "mtu": 1380,
        # Another key, a network that changes hands, one peer less and one more.
        "peers": [
            {**vps, "public_key": key(4), "allowed_ips": ["172.26.5.155/32", "192.168.8.0/24"]},
            {"name": "tablet", "public_key": key(3), "allowed_ips": ["172.26.5.12/32", "10.44.0.0/16"]},
        ],
        "forward_to": ["10.9.0.0/24"],
        "masquerade": ["192.168.20.0/24"],
    }
    return {"absent": {"state": "absent"}, "relay": relay, "other": other}


def copy(firewall: PfSense, to: Path) -> PfSense:
    shutil.copytree(firewall.root, to, symlinks=True)
    return PfSense(to)


@pytest.mark.parametrize(("start", "goal"), [("absent", "relay"), ("relay", "other"), ("relay", "absent")])
def test_killed_at_every_write(
    tmp_path: Path, run: Run, relay: Answer, key: Key, fixture: Callable[[str], str], start: str, goal: str
) -> None:
    wanted = goals(relay, key)
    first = PfSense(tmp_path / "start", "2.8.0", fixture("home.xml"))
    first.boot()
    if start != "absent":
        run(first, **wanted[start])
    old, before = peers(first), len(first.entries("write"))
    whole = copy(first, tmp_path / "whole")
    assert not run(whole, **wanted[goal]).get("failed")
    new, finished = peers(whole), state(whole)
    number_of_writes = len(whole.entries("write")) - before
    assert number_of_writes > 2
    ours = [n for n, entry in enumerate(whole.entries("write")[before:], 1) if "homelab" in entry["description"]]
    for number in range(1, number_of_writes + 1):
        # Between two of the package's own writes in a row there is nothing of ours to tell their places apart.
        for place in ("before", "after") if number in ours else ("before",):
            firewall = copy(first, tmp_path / f"{place}-{number}")
            firewall.fault(f"{place} write {number}")
            run(firewall, **wanted[goal])
            assert firewall.entries("killed"), (place, number)
            now = peers(firewall)
            for name in {*old, *new, *now}:
                # The same, but for the tunnel's own name.
                assert now.get(name) in (old.get(name), new.get(name))
            last = run(firewall, **wanted[goal])
            assert not last.get("failed"), (place, number, last)
            again = run(firewall, **wanted[goal])
            assert again["commands"] == [], (place, number, again)
            assert state(firewall) == finished, (place, number)
            shutil.rmtree(firewall.root)


def test_the_daemon_does_not_keep_others_out(tmp_path: Path, run: Run, relay: Answer, fixture: Any) -> None:
    """It is started by a run, and lives on: what it inherited of that run it has for life."""
    firewall = PfSense(tmp_path / "fw", "2.7.2", fixture("home.xml"), delay=8)
    firewall.boot()
    assert run(firewall, settle=False, **relay)["changed"]
    start = time.monotonic()
    second = run(firewall, settle=False, **{**relay, "mtu": 1300})
    assert second.get("changed"), second
    assert time.monotonic() - start < 6  # its own daemon's and filter's work is still to come


def test_two_runs_do_not_meet(run: Run, relay: Answer, firewall: PfSense, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pfsense, "LOCKED", 0.4)
    blank = firewall.xml
    with (firewall.root / "var/run/homelab.fabric.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(firewall, **relay)["msg"] == (
            "Another run is at work on this firewall. Run the playbook again when it is done"
        )
    assert firewall.xml == blank
    assert run(firewall, **relay)["changed"]


def test_a_removal_that_fails_is_taken_back(run: Run, relay: Answer, firewall: PfSense) -> None:
    run(firewall, **relay)
    before = state(firewall)
    firewall.fault("run ifconfig tun_wg0 destroy 1")
    failed = run(firewall, state="absent")
    assert failed["msg"] == "wg_tunnel_sync() ended with code 256. The previous configuration was restored"
    assert state(firewall) == before
    assert not run(firewall, **relay)["changed"]
    assert not run(firewall, state="absent").get("failed")


def test_the_daemons_late_write_loses_nothing(tmp_path: Path, run: Run, relay: Answer, fixture: Any) -> None:
    """It writes what it read at its start, before what leans on the tunnel was written."""
    firewall = PfSense(tmp_path / "fw", "2.7.2", fixture("home.xml"))
    firewall.boot()
    run(firewall, **relay)
    stop = "require_once('wireguard/includes/wg.inc'); mwexec('service wireguardd stop');"
    assert firewall.php(f"require_once('config.inc'); {stop}").status == 0
    (firewall.root / "var/double/delay").write_text("1.0\n")
    more = {**relay, "mtu": 1380, "forward_to": ["lan", "10.9.0.0/24"]}
    assert not run(firewall, patience=2, **more).get("failed")
    written = [entry["description"] for entry in firewall.entries("write")]
    assert [text for text in written if "wireguard gateways" in text.lower()][-1].endswith(
        "Enabled all WireGuard gateways."
    )
    ours = [text for text in written if "rule to 10.9.0.0/24 added" in text]
    assert len(ours) == 2
    assert "<mtu>1380</mtu>" in firewall.xml
    assert "tun_wg0: to 10.9.0.0/24" in firewall.xml
    assert not run(firewall, **more)["changed"]


def test_a_late_rewrite_that_fails_leaves_no_route(
    tmp_path: Path, run: Run, relay: Answer, fixture: Callable[[str], str]
) -> None:
    """The daemon's late write is written over, which fails: what was routed meanwhile leaves the routing table."""
    first = PfSense(tmp_path / "fw", "2.8.0", fixture("home.xml"))
    first.boot()
    run(first, **relay)
    (first.root / "var/run/wireguardd.pid").unlink()  # the daemon died; its gateways are on
    (first.root / "var/double/delay").write_text("1.0\n")
    vps, london = relay["peers"]
    more = {**relay, "peers": [{**vps, "allowed_ips": [*vps["allowed_ips"], "10.44.0.0/16"]}, london]}
    whole, before = copy(first, tmp_path / "whole"), len(first.entries("write"))
    assert not run(whole, patience=2, **more).get("failed")
    assert "10.44.0.0/16" in whole.system["routes"]
    added = [n for n, e in enumerate(whole.entries("write")[before:], 1) if "10.44.0.0/16 added" in e["description"]]
    assert len(added) == 2
    first.fault(f"fail write {added[1]}")
    failed = run(first, patience=2, **more)
    assert failed["msg"] == (
        "write_config() could not write the configuration. The previous configuration was restored"
    )
    assert "10.44.0.0/16" not in first.xml
    assert "10.44.0.0/16" not in first.system["routes"]
    assert "10.200.0.0/24" in first.system["routes"]


MODULE = """
import json, os, sys
from ansible.module_utils import basic
from ansible_collections.homelab.fabric.plugins.module_utils import pfsense
from ansible_collections.homelab.fabric.plugins.modules import pfsense_wireguard
arguments = json.load(sys.stdin)
pfsense.PHP, pfsense.PATIENCE, os.geteuid = arguments.pop("php"), 0.2, lambda: 0
basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
basic._ANSIBLE_PROFILE = "legacy"
pfsense_wireguard.main()
"""


def test_a_connection_that_is_cut_does_not_end_it(
    run: Run, php: Callable[..., Path], relay: Answer, firewall: PfSense
) -> None:
    """sshd hangs up on all that it started for a connection: module, shell and PHP."""
    hang_up = php(firewall, "kill -HUP 0")
    done = subprocess.run(
        [sys.executable, "-c", MODULE],
        input=json.dumps({"name": "tun_wg0", "php": str(hang_up), **relay}),
        env={**firewall.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
        capture_output=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    firewall.settle()
    assert not run(firewall, **relay)["changed"]
