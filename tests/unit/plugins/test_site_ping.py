"""Packets between sites: the script as three systems' shells run it, and what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.site_ping import (
    Answer,
    Peer,
    own_addresses,
    parse_answers,
    report,
    sending_script,
    source_for,
)

LINUX = """2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP
    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff
    inet 198.51.100.50/24 brd 198.51.100.255 scope global eth0
    inet6 2001:db8:51::50/64 scope global
    inet6 fe80::1/64 scope link
3: br-lan: <UP> mtu 1500
    inet 192.168.0.1/24 scope global br-lan
"""
FREEBSD = """vtnet1: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500
\tether 02:00:00:00:0c:01
\tinet 10.0.10.1 netmask 0xffffff00 broadcast 10.0.10.255
\tinet6 fe80::1%vtnet1 prefixlen 64 scopeid 0x2
tun_wg0: flags=80c1<UP,RUNNING,NOARP,MULTICAST> metric 0 mtu 1420
\tinet 10.3.2.1 netmask 0xffffff00
"""
KEY = "8k2xjAWkVLrJkYm5Zl2i0c0zR0dVt6mPZV3a9C8uXmE="


def test_the_own_addresses_of_linux_and_of_freebsd() -> None:
    assert own_addresses(LINUX) == ["198.51.100.50", "2001:db8:51::50", "192.168.0.1"]
    assert own_addresses(FREEBSD) == ["10.0.10.1", "10.3.2.1"]


def test_the_source_lies_in_the_lan_and_is_of_the_targets_version() -> None:
    own = own_addresses(LINUX)
    assert source_for("10.0.10.20", own, ["192.168.0.0/24"]) == "192.168.0.1"
    assert source_for("fd00::1", own, ["192.168.0.0/24"]) == ""
    assert source_for("10.0.10.20", own, []) == ""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """`ping` to 10.0.0.1 answers at once, to 10.0.0.2 the second time, to others never; it tells how it was called."""
    scripts = {
        "ping": f"""echo "$@" >>{tmp_path}/calls
            for address; do :; done
            case $address in
            10.0.0.1) echo "64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=1.5 ms" ;;
            10.0.0.2) [ -e {tmp_path}/once ] || {{ touch {tmp_path}/once; exit 1; }}; echo "seq=0 ttl=64 time=2 ms" ;;
            10.0.0.3) echo "ping: sendto: Network unreachable" >&2; exit 2 ;;
            *) exit 1 ;;
            esac""",
        "wg": f"""case $3 in
            allowed-ips) printf 'wg0\\t{KEY}\\t10.0.0.1/32 10.0.0.0/30\\nwg0\\tother\\t(none)\\n' ;;
            *) printf 'wg0\\t{KEY}\\t1700000000\\nwg0\\tother\\t0\\n' ;;
            esac""",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_packets_are_sent_until_they_are_answered_or_time_is_up(tools: Path, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    targets = {"london": "10.0.0.1", "sofia": "10.0.0.2", "vps": "10.0.0.3", "x-1": "10.0.9.9"}
    script = sending_script("openwrt", targets, {"london": "192.168.0.1"}, {**dict.fromkeys(targets, 0), "sofia": 20})
    words = [shell, "sh"] if shell == "busybox" else [shell]
    path = {"PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(words, input=script, env=os.environ | path, text=True, capture_output=True, check=True)
    answers, peers = parse_answers(done.stdout)
    assert answers == {
        "london": Answer(1.5),
        "sofia": Answer(2.0),
        "vps": Answer(None, "sendto: Network unreachable"),
        "x-1": Answer(None, "no answer"),
    }
    assert "-c1 -W1 -I 192.168.0.1 10.0.0.1" in (tools / "calls").read_text()
    assert peers[0].allowed_ips == ("10.0.0.1/32", "10.0.0.0/30")
    assert peers[0].handshake_age is not None
    assert peers[1] == Peer((), None)


def test_a_site_that_is_not_waited_for_gets_one_packet(tools: Path) -> None:
    script = sending_script("openwrt", {"sofia": "10.0.0.2"}, {}, {"sofia": 0})
    path = {"PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(["sh"], input=script, env=os.environ | path, text=True, capture_output=True, check=True)
    assert parse_answers(done.stdout)[0] == {"sofia": Answer(None, "no answer")}


def test_freebsd_has_other_flags() -> None:
    script = sending_script("pfsense", {"london": "10.0.0.1"}, {"london": "10.0.10.1"}, {"london": 5})
    assert "try london 5 /sbin/ping -c1 -t1 -S 10.0.10.1 10.0.0.1 &" in script


def test_a_script_that_broke_off_is_no_answer() -> None:
    with pytest.raises(ValueError, match="came"):
        parse_answers("@came london 1.5\n")


def test_the_peer_with_the_longest_prefix_carries_the_packet() -> None:
    peers = [Peer(("10.0.0.0/8",), None), Peer(("10.0.10.0/24",), 7)]
    assert report("10.0.10.20", "", Answer(None, "no answer"), peers)["handshake_age"] == 7
    assert report("10.0.20.20", "", Answer(1.0), peers)["handshake_age"] is None
    assert report("192.168.1.1", "", Answer(1.0), peers)["carried"] is False
