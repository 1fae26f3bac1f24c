"""wireguard_client on a real hub: its files, the live interface, check mode, expiry, two interfaces, secrets."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.integration.linux.hosts import LinuxHost, wait_for

FOLDER = "/etc/wireguard/clients"
TUNNEL: dict[str, Any] = {
    "name": "wg0",
    "addresses": ["10.100.0.1/24", "fd00:100::1/64"],
    "listen_port": 51820,
    "mtu": 1380,
    "open_port": True,
}
COMMON: dict[str, Any] = {
    "interface": "wg0",
    "endpoint": "203.0.113.10",
    "pool": ["10.100.0.0/24", "fd00:100::/64"],
    "reserved": ["10.100.0.2"],
    "networks": ["10.10.0.0/24", "10.30.0.0/24"],
    "dns": ["10.10.0.1"],
    "dns_search": ["home.arpa"],
}


@pytest.fixture
def hub(host: LinuxHost) -> LinuxHost:
    host.apply(**TUNNEL)
    return host


def clients(host: LinuxHost, *items: dict[str, Any], options: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """A run that must succeed."""
    return host.apply("--module=wireguard_client", *options, **COMMON | more, clients=list(items))


def refused(host: LinuxHost, *items: dict[str, Any], **more: Any) -> str:
    result = host.module("--module=wireguard_client", **COMMON | more, clients=list(items))
    assert result.get("failed"), result
    return str(result["msg"])


def live(host: LinuxHost, interface: str = "wg0") -> dict[str, tuple[str, str]]:
    """Public key → preshared key and allowed IPs."""
    lines = host.run("wg", "show", interface, "dump", check=False).splitlines()[1:]
    return {fields[0]: (fields[1], fields[3]) for fields in (line.split("\t") for line in lines)}


def everything(host: LinuxHost) -> str:
    """All that a run could touch, with the times of the files."""
    return "\n".join(
        host.run("sh", "-c", words)
        for words in (
            "find /etc/wireguard /etc/systemd/system | sort | xargs stat -c %n%a%y%i",
            "wg show wg0 dump | sort",
            "ip -j address; ip -j route; ip -j -6 route",
            "nft list ruleset; iptables -S; ip6tables -S",
        )
    )


def setting(text: str, key: str) -> str:
    found = re.search(rf"(?m)^{key} = (.*)$", text)
    assert found, key
    return found[1]


def consistent(host: LinuxHost, *names: str) -> None:
    """Register, key files, configurations, wg-quick file and live interface all tell of these clients, and agree."""
    register = json.loads(host.read(f"{FOLDER}/register.json"))["interfaces"]["wg0"]["clients"]
    assert sorted(register) == sorted(names)
    expected = {f"{name}.{kind}" for name in names for kind in ("key", "psk", "conf")} | {"register.json"}
    assert set(host.run("ls", "-A", FOLDER).split()) == expected
    assert ".homelab" not in host.run("ls", "-A", "/etc/wireguard", "/etc/systemd/system")
    peers, quick = live(host), host.read("/etc/wireguard/wg0.conf")
    assert set(peers) == {client["public_key"] for client in register.values()}
    assert quick.count("[Peer]") == len(names)
    assert "pending" not in quick
    for name, client in register.items():
        text = host.read(f"{FOLDER}/{name}.conf")
        private, psk = host.read(f"{FOLDER}/{name}.key").strip(), host.read(f"{FOLDER}/{name}.psk").strip()
        assert host.run("wg", "pubkey", stdin=private).strip() == client["public_key"]
        assert (setting(text, "PrivateKey"), setting(text, "PresharedKey")) == (private, psk)
        assert setting(text, "PublicKey") == host.run("wg", "show", "wg0", "public-key").strip()
        assert peers[client["public_key"]][0] == psk
        assert set(peers[client["public_key"]][1].split(",")) == set(setting(text, "Address").split(", "))
        block = quick.split(f"# homelab.fabric client: {name}\n")[1].split("[Peer]")[0]
        assert (setting(block, "PublicKey"), setting(block, "PresharedKey")) == (client["public_key"], psk)


def test_the_first_run_does_what_check_mode_said_and_the_second_nothing(hub: LinuxHost) -> None:
    items = (
        {"name": "phone"},
        {"name": "laptop", "addresses": ["10.100.0.11"], "access": ["full"], "expires": "30d"},
        {"name": "guest", "isolated": True, "limits": [{"network": "10.30.0.200", "ports": ["443"]}]},
    )
    before = everything(hub)
    foretold = clients(hub, *items, options=("--check",))
    assert everything(hub) == before
    assert {client["public_key"] for client in foretold["clients"]} == {"(known after apply)"}
    done = clients(hub, *items)
    assert done["commands"] == foretold["commands"]
    assert done["new_configurations"] == ["guest", "laptop", "phone"]
    consistent(hub, "phone", "laptop", "guest")
    before = everything(hub)
    for again in (clients(hub, *items), clients(hub), hub.apply(**TUNNEL), clients(hub, items[1])):
        assert (again["changed"], again["commands"]) == (False, [])
        assert again["diff"]["before"] == again["diff"]["after"]
    assert everything(hub) == before
    modes = hub.run("stat", "-c", "%a %n", FOLDER, f"{FOLDER}/phone.key", f"{FOLDER}/register.json")
    assert [line.split()[0] for line in modes.splitlines()] == ["700", "600", "600"]


def test_check_mode_on_a_blank_host(host: LinuxHost) -> None:
    foretold = clients(host, {"name": "phone"}, options=("--check",))
    assert foretold["commands"] == [
        f"install -d -m 700 {FOLDER}",
        f"install -m 600 -t {FOLDER} phone.key phone.psk",
        f"install -m 600 /dev/stdin {FOLDER}/register.json  # with phone",
        "wg addconf wg0 /dev/stdin  # phone",
        f"install -m 600 -t {FOLDER} phone.conf",
    ]
    assert host.run("ls", "-A", "/etc/wireguard") == ""
    assert refused(host, {"name": "phone"}).startswith("interface: wg0 is not on this host: make it with")
    assert host.run("ls", "-A", "/etc/wireguard") == ""
    assert not clients(host, {"name": "phone", "state": "absent"})["changed"]


def test_a_client_lives_and_leaves(hub: LinuxHost) -> None:
    clients(hub, {"name": "phone"}, {"name": "laptop"})
    laptop = hub.read(f"{FOLDER}/laptop.conf")
    old = hub.read(f"{FOLDER}/phone.conf")
    rotated = clients(hub, {"name": "phone", "rotate": True})
    assert rotated["new_configurations"] == ["phone"]
    new = hub.read(f"{FOLDER}/phone.conf")
    assert all(setting(old, key) != setting(new, key) for key in ("PrivateKey", "PresharedKey"))
    assert setting(old, "Address") == setting(new, "Address")
    consistent(hub, "phone", "laptop")
    absent = {"name": "phone", "state": "absent"}
    foretold = clients(hub, absent, options=("--check",))
    revoked = clients(hub, absent)
    assert revoked["commands"] == foretold["commands"]
    assert revoked["revoked"] == ["phone"]
    consistent(hub, "laptop")
    for options in ((), ("--check",)):
        assert not clients(hub, absent, options=options)["changed"]
    assert hub.read(f"{FOLDER}/laptop.conf") == laptop
    assert [client["addresses"] for client in clients(hub, {"name": "tv"})["clients"]] == [
        ["10.100.0.4", "fd00:100::3"],
        ["10.100.0.5", "fd00:100::4"],
    ], "not the address that the phone had"
    assert clients(hub, purge=True)["revoked"] == ["laptop", "tv"]
    assert hub.run("ls", FOLDER).split() == ["register.json"]
    assert "homelab_wg0" not in hub.run("nft", "list", "ruleset")
    assert not hub.apply(**TUNNEL)["changed"]


def test_the_interface_restarts_with_its_clients(hub: LinuxHost) -> None:
    clients(hub, {"name": "phone"}, {"name": "laptop", "access": ["full"], "expires": "1h"})
    before, rules = live(hub), hub.run("nft", "list", "ruleset")
    hub.run("systemctl", "restart", "wg-quick@wg0")
    assert (live(hub), hub.run("nft", "list", "ruleset")) == (before, rules)
    assert not clients(hub)["changed"]


def test_an_interface_made_anew_gets_its_clients_back_with_its_new_key(hub: LinuxHost) -> None:
    clients(hub, {"name": "phone"}, {"name": "laptop", "expires": "1h"})
    hub.apply(name="wg0", state="absent")
    assert hub.run("ls", "/etc/systemd/system") == ""
    assert clients(hub)["commands"] == []
    hub.apply(**TUNNEL)
    assert clients(hub)["new_configurations"] == ["laptop", "phone"]
    consistent(hub, "phone", "laptop")


def test_a_device_with_a_key_of_its_own(hub: LinuxHost) -> None:
    key = hub.run("wg", "pubkey", stdin=hub.run("wg", "genkey")).strip()
    clients(hub, {"name": "phone"})
    done = clients(hub, {"name": "phone", "public_key": key}, {"name": "tv", "public_key": hub_key(hub)})
    assert {client["key"] for client in done["clients"]} == {"own"}
    text = clients(hub, show_config=["phone"])["configurations"]["phone"]
    assert text == hub.read(f"{FOLDER}/phone.conf")
    assert f"# PrivateKey = the device's own, whose public key is {key}\n" in text
    assert hub.run("ls", FOLDER).split() == ["phone.conf", "phone.psk", "register.json", "tv.conf", "tv.psk"]
    assert key in live(hub)
    assert not clients(hub, {"name": "phone"})["changed"]


def hub_key(host: LinuxHost) -> str:
    return host.run("wg", "pubkey", stdin=host.run("wg", "genkey")).strip()


def test_files_that_somebody_changed(hub: LinuxHost) -> None:
    clients(hub, {"name": "phone"}, {"name": "laptop"})
    text = hub.read(f"{FOLDER}/phone.conf")
    hub.run("sh", "-c", f"cd {FOLDER}; echo > phone.conf; chmod 644 phone.key; rm laptop.psk; chmod 755 .")
    assert clients(hub)["commands"] == [
        f"chmod 700 {FOLDER}",
        f"install -m 600 -t {FOLDER} laptop.psk",
        f"chmod 600 {FOLDER}/phone.key",
        f"install -m 600 -t {FOLDER} phone.conf",
    ]
    assert hub.read(f"{FOLDER}/phone.conf") == text
    consistent(hub, "phone", "laptop")
    hub.run("rm", f"{FOLDER}/phone.key")
    assert not clients(hub, {"name": "phone"})["changed"], "the device has its key"
    hub.run("rm", f"{FOLDER}/phone.conf")
    assert clients(hub, {"name": "phone"})["clients"][1]["configuration"] is None
    assert "phone.key): `rotate: true` makes a new one" in refused(hub, show_config=["phone"])
    hub.run("sh", "-c", f"wg genkey > {FOLDER}/laptop.key")
    assert clients(hub)["new_configurations"] == ["laptop"]
    clients(hub, {"name": "phone", "rotate": True})
    consistent(hub, "phone", "laptop")


def in_seconds(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def test_an_expired_client_is_refused_and_nobody_brings_it_back(hub: LinuxHost) -> None:
    expires = in_seconds(4)
    clients(hub, {"name": "guest", "expires": expires}, {"name": "phone"})
    keys = {client["name"]: client["public_key"] for client in clients(hub)["clients"]}
    timer = hub.read("/etc/systemd/system/wireguard-clients-wg0.timer")
    assert f"OnCalendar={expires[:10]} {expires[11:19]} UTC" in timer
    unit = hub.read("/etc/systemd/system/wireguard-clients-wg0.service")
    service = setting(unit.replace("=", " = "), "ExecStart").split()
    hub.run(*service)
    assert set(live(hub)) == set(keys.values())
    wait_for(lambda: in_seconds(0) >= expires)
    hub.run(*service)
    assert set(live(hub)) == {keys["phone"]}
    hub.run("systemctl", "restart", "wg-quick@wg0")
    assert set(live(hub)) == {keys["phone"]}, "wg-quick's file has it still"
    hub.apply(**TUNNEL)
    assert set(live(hub)) == {keys["phone"]}
    assert keys["guest"] not in hub.read("/etc/wireguard/wg0.conf")
    assert not hub.apply(**TUNNEL)["changed"]
    again = clients(hub, {"name": "guest", "expires": expires})
    assert not again["changed"]
    assert [(client["name"], client["expired"]) for client in again["clients"]] == [("guest", True), ("phone", False)]
    clients(hub, {"name": "guest", "expires": "1h"})
    assert set(live(hub)) == set(keys.values())
    clients(hub, {"name": "guest"})
    assert hub.run("ls", "/etc/systemd/system") == ""
    assert "expiry" not in hub.run("ls", "/etc/wireguard") + hub.read("/etc/wireguard/wg0.conf")


def test_a_timer_that_somebody_stopped_is_started(hub: LinuxHost) -> None:
    clients(hub, {"name": "guest", "expires": "1h"})
    hub.run("systemctl", "disable", "--now", "wireguard-clients-wg0.timer")
    assert hub.apply(**TUNNEL)["commands"] == [
        "systemctl enable wireguard-clients-wg0.timer",
        "systemctl restart wireguard-clients-wg0.timer",
    ]
    assert not clients(hub)["changed"]


def test_two_interfaces_do_not_mix(hub: LinuxHost) -> None:
    other: dict[str, Any] = {"interface": "wg1", "pool": ["10.101.0.0/24"], "endpoint": "203.0.113.10:51821"}
    other["reserved"] = []
    hub.apply(name="wg1", addresses=["10.101.0.1/24"], listen_port=51821)
    clients(hub, {"name": "phone", "expires": "1h"})
    before = everything(hub).partition("pubkey")[0]
    clients(hub, {"name": "tv"}, {"name": "radio", "expires": "2h"}, **other)
    assert "tv is a client of wg1 already" in refused(hub, {"name": "tv"})
    assert set(live(hub)) == {clients(hub)["clients"][0]["public_key"]}
    assert len(live(hub, "wg1")) == 2
    assert not clients(hub, purge=False)["changed"]
    assert not clients(hub, {"name": "tv", "state": "absent"})["changed"], "it is the other interface's"
    assert clients(hub, purge=True, **other)["revoked"] == ["radio", "tv"]
    assert hub.run("ls", "/etc/systemd/system").split() == [
        "wireguard-clients-wg0.service",
        "wireguard-clients-wg0.timer",
    ]
    assert before
    assert len(live(hub)) == 1
    assert not hub.apply(**TUNNEL)["changed"]


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("has the address 10.100.0.9", {"addresses": ["10.100.0.9"]}, {}),
    ("10.100.0.1 is wg0's already", {"addresses": ["10.100.0.1"]}, {}),
    ("10.100.0.3 is phone's already", {"addresses": ["10.100.0.3"]}, {}),
    ("cannot be a name", {"name": "../wg0"}, {}),
    ("is over", {"expires": "2020-01-01"}, {}),
    ("is in no network", {"limits": [{"network": "10.99.0.0/24"}]}, {}),
    ("is not a WireGuard key", {"public_key": "c2hvcnQ="}, {}),
    ("show_config: nobody is no client of wg0", {}, {"show_config": ["nobody"]}),
    ("has no free address", {}, {"pool": ["10.100.0.0/30", "10.100.0.3/32"]}),
]


@pytest.mark.parametrize(("message", "client", "common"), REFUSED, ids=[case[0] for case in REFUSED])
def test_bad_input_leaves_all_as_it_was(
    hub: LinuxHost, message: str, client: dict[str, Any], common: dict[str, Any]
) -> None:
    key = hub_key(hub)
    hub.apply(**TUNNEL, peers=[{"name": "gw", "public_key": key, "allowed_ips": ["10.100.0.9/32"]}])
    clients(hub, {"name": "phone"})
    before = everything(hub)
    said = refused(hub, {"name": "good"}, {"name": "new", **client}, **common)
    assert message.replace("has the address 10.100.0.9", "10.100.0.9 is gw's already") in said
    assert everything(hub) == before


def test_a_lost_register_is_not_taken_for_an_empty_one(hub: LinuxHost) -> None:
    clients(hub, {"name": "phone"})
    register = hub.read(f"{FOLDER}/register.json")
    hub.run("rm", f"{FOLDER}/register.json")
    peers = live(hub)
    assert not hub.apply(**TUNNEL | {"mtu": 1400})["waiting_for_key"]
    assert live(hub) == peers
    assert "does not know the clients phone of wg0: restore it" in refused(hub, {"name": "tv"})
    hub.run("sh", "-c", f"echo broken > {FOLDER}/register.json")
    assert "it is no register of homelab.fabric" in refused(hub, {"name": "tv"})
    assert live(hub) == peers
    hub.run("tee", f"{FOLDER}/register.json", stdin=register)
    clients(hub, {"name": "tv"})
    consistent(hub, "phone", "tv")


SPY = """
mkdir -p /run/spy
for tool in wg wg-quick sh nft ip iptables ip6tables systemctl; do
    printf '#!/bin/bash\\nprintf "%%s\\\\n" "$0 $*" >> /run/argv\\nexec -a %s %s "$@"\\n' $tool "$(command -v $tool)" \\
        > /run/spy/$tool
done
chmod +x /run/spy/*
"""


def test_no_secret_shows(hub: LinuxHost) -> None:
    hub.run("sh", "-c", SPY)
    spied = {"PATH": f"/run/spy:{hub.environment['PATH']}"}
    results = [
        hub.module("--module=wireguard_client", environment=spied, **COMMON, clients=list(items))
        for items in (
            [{"name": "phone"}, {"name": "laptop"}],
            [{"name": "phone", "expires": "1h"}],
            [{"name": "laptop", "state": "absent"}],
            [{"name": "phone", "addresses": ["10.100.0.1"]}],
        )
    ]
    shown = json.dumps(results) + hub.read("/run/argv")
    assert "wg pubkey" in shown
    assert "wg addconf" in shown
    for kind in ("key", "psk"):
        assert hub.read(f"{FOLDER}/phone.{kind}").strip() not in shown
    open_to_others = hub.run("sh", "-c", "find /etc/wireguard /run -type f -perm /077 ! -path '/run/spy/*' | sort")
    assert [line for line in open_to_others.split() if "/etc/wireguard" in line] == []
