"""The apply script killed before each of its commands: every peer is old or new, and the next run finishes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_shell import Answer
from openwrt_double.__main__ import ENVIRONMENT
from openwrt_double.router import Router

Owner = Any  # of conftest.py: the fixture `owner`
Result = dict[str, Any]
Key = Callable[[int], str]
DIE = "kill -9 $$"


def cuts(script: str) -> list[str]:
    """The apply script with a death before each of its commands; those within a block or an input are one with it."""
    lines = script.splitlines()
    places, feeding, block = [], False, False
    for i in range(lines.index("mkdir $d/stage") + 1, len(lines)):
        if not feeding and not block:
            places.append(i)
        if lines[i].startswith("rm -rf $d/$n.notes"):
            break
        feeding = lines[i] != "END_OF_INPUT" if feeding else "END_OF_INPUT" in lines[i]
        if not feeding and re.match(r"(if|until|while) |\[ .*\|\| \{$", lines[i]):
            block = True
        elif block and re.match(r"(fi|done|\})$", lines[i]):
            block = False
    return ["\n".join([*lines[:i], DIE, *lines[i:]]) for i in (*places, places[-1] + 1)]


def die_at(owner: Owner, number: int, **arguments: Any) -> bool:
    """Run the module, and kill its apply script at this point; whether there is such a point."""
    execute = owner.execute
    seen = []

    def deadly(script: str) -> Any:
        if "mkdir $d/stage" not in script:
            return execute(script)
        points = cuts(script)
        seen.append(len(points))
        return execute(points[number] if number < len(points) else script)

    owner.execute = deadly
    try:
        with pytest.raises(DeviceError, match="did not run the script to its end"):
            owner.run(**arguments)
    except pytest.fail.Exception:
        if seen and number >= seen[0]:
            return False
        raise
    finally:
        owner.execute = execute
    return True


def live(router: Router) -> Result:
    """What carries packets: peers with all that they have, routes, rules."""
    dump = router.sh("wg show wg0 dump 2>/dev/null").splitlines()[1:]
    peers = {line.split("\t")[0]: (line.split("\t")[1:4], line.split("\t")[-1]) for line in dump}
    routes = {line.split(" dev")[0] for line in router.sh("ip route; ip -6 route").splitlines() if "dev wg0" in line}
    # A host route within the tunnel's own network is netifd's at a set-up, and nobody needs it.
    routes -= {"10.3.2.1"}
    rules = "wg0" in router.sh("nft list ruleset")
    cron = router.sh("pidof crond | wc -w; cat /etc/crontabs/* 2>/dev/null; true")
    return {"peers": peers, "routes": routes, "rules": rules, "cron": cron}


@pytest.mark.parametrize("router", ["23.05"], indirect=True)
def test_a_change_of_peers_killed_anywhere(owner: Owner, spoke: Result, key: Key) -> None:
    router = owner.router
    router.sh("echo nameserver 127.0.0.1 >/tmp/resolv.conf.d/resolv.conf.auto")  # so that /etc/hosts is looked at
    hub = spoke["peers"][0]
    changed = {
        **hub,
        "public_key": key(7),
        "endpoint": "localhost:1",
        "allowed_ips": ["10.3.2.1/32", "10.0.20.0/24"],
    }
    third = {"name": "london", "public_key": key(3), "allowed_ips": ["192.168.8.0/24"]}
    new = {**spoke, "peers": [changed, third], "forward_to": ["192.168.0.0/24"]}
    owner.run(**spoke)
    wanted, written = {}, {}
    for name, state in (("new", new), ("old", spoke)):
        owner.run(**state)
        wanted[name] = live(router)
        written[name] = sorted(owner.configuration()["network"].split("\n\n")), owner.configuration()["firewall"]
    device, private = router.sh("cat /sys/class/net/wg0/ifindex"), router.sh("uci get network.wg0.private_key")
    before = owner.configuration()
    number, finished = 0, 0
    while die_at(owner, number, **new):
        number += 1
        between = live(router)
        assert between["rules"]
        for public_key, peer in between["peers"].items():
            if public_key != key(1):  # which gives its prefixes to the new key of the same peer, and goes
                assert peer in (wanted["old"]["peers"].get(public_key), wanted["new"]["peers"].get(public_key)), number
        if owner.configuration() == before and between == wanted["old"]:
            continue
        finished += 1
        owner.run(**new)
        assert live(router) == wanted["new"], number
        now = owner.configuration()
        assert (sorted(now["network"].split("\n\n")), now["firewall"]) == written["new"], number
        assert router.sh("ls -A /var/run/homelab.fabric") == ""
        owner.run(**spoke)
        assert live(router) == wanted["old"], number
    assert finished >= 6
    assert number >= 10
    assert (router.sh("cat /sys/class/net/wg0/ifindex"), router.sh("uci get network.wg0.private_key")) == (
        device,
        private,
    )


def test_a_script_of_which_a_part_arrives_does_nothing(owner: Owner, spoke: Result) -> None:
    before = owner.configuration()
    execute = owner.execute
    for part in (0.5, 0.999):
        owner.execute = lambda script, part=part: execute(script[: int(len(script) * part)])
        with pytest.raises(DeviceError, match="did not run the script to its end"):
            owner.run(**spoke)
    assert owner.configuration() == before
    assert owner.router.sh("ls -A /var/run/homelab.fabric 2>/dev/null; true") == ""


def test_a_connection_that_breaks_does_not_stop_the_router(owner: Owner, spoke: Result) -> None:
    """It may go through the tunnel that is being changed."""
    router, execute = owner.router, owner.execute

    def cut(script: str) -> Any:
        if "mkdir $d/stage" not in script:
            return execute(script)
        command = router.command("/bin/sh")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as shell:
            assert shell.stdin
            assert shell.stdout
            shell.stdin.write(script.encode())
            shell.stdin.close()
            router.wait("ls /var/run/homelab.fabric", "lock")
            shell.stdout.close()
            child = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text()
            os.kill(int(child), signal.SIGHUP)
        return Answer(255, "", "Connection reset by peer")

    owner.execute = cut
    with pytest.raises(DeviceError, match="Connection reset by peer"):
        owner.run(**spoke)
    owner.execute = execute
    assert not owner.run(**spoke)["changed"]


def test_the_first_run_killed_anywhere(owner: Owner, spoke: Result, key: Key) -> None:
    router = owner.router
    blank = owner.configuration()
    number, finished = 0, 0
    while die_at(owner, number, **spoke):
        number += 1
        if owner.configuration() == blank and not router.sh("ls /sys/class/net | grep wg0; true"):
            continue
        finished += 1
        half = router.sh("uci -q get network.wg0.private_key; true").strip()
        done = owner.run(**spoke)
        assert not half or router.sh("uci get network.wg0.private_key").strip() == half, number
        assert set(live(router)["peers"]) == {key(1), key(2)} == {peer["public_key"] for peer in done["peers"]}
        assert live(router)["rules"]
        assert not owner.run(**spoke)["changed"], number
        die_at(owner, finished - 1, state="absent")  # its end as well
        owner.run(state="absent")
        assert owner.configuration() == blank
        assert "wg0" not in router.sh("nft list ruleset; ls /sys/class/net")
    assert number >= 12
    assert finished >= 4


def test_an_address_that_leaves_is_gone_after_a_run_that_was_cut_short(owner: Owner, spoke: Result) -> None:
    """Live there is nothing that is missing: only the note says that the interface has to be set up again."""
    router, execute = owner.router, owner.execute
    owner.run(**{**spoke, "addresses": [*spoke["addresses"], "10.9.9.9/24"]})
    owner.execute = lambda script: execute(script.replace("\nifup wg0 ", f"\n{DIE}\nifup wg0 "))
    with pytest.raises(DeviceError, match="did not run the script to its end"):
        owner.run(**spoke)
    owner.execute = execute
    assert "10.9.9.9" in router.sh("ip addr show dev wg0")
    assert owner.run(**spoke)["commands"][0] == "ifup wg0"
    assert "10.9.9.9" not in router.sh("ip addr show dev wg0")
    assert not owner.run(**spoke)["changed"]
