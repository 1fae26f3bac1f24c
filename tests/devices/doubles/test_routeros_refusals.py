"""Every refusal in the device's words, and that it changed nothing (facts 2, 3, 5, 7). Driven by librouteros."""

from __future__ import annotations

from typing import Any

import librouteros
import pytest
from routeros_double import RouterOS, keys

KEY, OTHER = (keys.public(keys.private()) for number in range(2))
PEER = {"interface": "wg0", "public-key": KEY}
FILTER = {"chain": "forward"}

# menu/command, arguments, message. `wg0` is there with one peer; its key is KEY.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    # Menus and commands
    ("/nothing/print", {}, "no such command prefix"),
    ("/interface/wireguard/frobnicate", {}, "no such command"),
    ("/interface/wireguard/move", {".id": "*8"}, "no such command"),
    ("/ip/address/unset", {".id": "*1", "value-name": "comment"}, "no such command"),
    ("/interface/wireguard/peers/unset", {".id": "*1", "value-name": "comment"}, "no such command"),
    ("/interface/add", {"name": "x"}, "no such command"),
    ("/ip", {}, "no such command"),
    # Arguments
    ("/interface/wireguard/add", {"nam": "wg1"}, "unknown parameter nam"),
    ("/ip/firewall/nat/add", {"chain": "srcnat", "connection-state": "new"}, "unknown parameter connection-state"),
    ("/ip/firewall/filter/set", {".id": "*0", "place-before": "*1"}, "unknown parameter place-before"),
    ("/ip/address/set", {".id": "*1", "!nothing": ""}, "unknown parameter !nothing"),
    ("/ip/address/remove", {".id": "*1", "comment": "x"}, "unknown parameter comment"),
    ("/interface/print", {"where": "x"}, "unknown parameter where"),
    ("/ip/route/unset", {".id": "*80000001", "value-name": "comment"}, "input does not match any value of value-name"),
    ("/ip/route/unset", {".id": "*80000001"}, "missing =value-name="),
    ("/ip/address/set", {"comment": "x"}, "missing =.id="),
    ("/ip/firewall/filter/move", {"destination": "*0"}, "missing =.id="),
    # Missing
    ("/ip/address/add", {"address": "10.1.1.1/24"}, "missing =interface="),
    ("/ip/address/add", {"interface": "ether2"}, "missing =address="),
    ("/ip/address/set", {".id": "*1", "!interface": ""}, "missing =interface="),
    ("/ip/route/add", {"dst-address": "10.1.0.0/16"}, "missing =gateway="),
    ("/interface/wireguard/peers/add", {"interface": "wg0"}, "missing =public-key="),
    ("/ip/firewall/filter/add", {"action": "drop"}, "missing =chain="),
    ("/interface/vlan/add", {"name": "vlan40", "vlan-id": 40}, "missing =interface="),
    # Items
    ("/ip/address/set", {".id": "*FF", "comment": "x"}, "no such item"),
    ("/ip/address/remove", {".id": "*FF"}, "no such item"),
    ("/ip/address/remove", {".id": "*1,*FF"}, "no such item"),
    ("/ip/address/set", {".id": "*1,*2", "comment": "x"}, "no such item"),
    ("/ip/address/set", {".id": "0", "comment": "x"}, "no such item"),
    ("/ip/firewall/filter/move", {"numbers": "*FF", "destination": "*0"}, "no such item"),
    ("/ip/firewall/filter/move", {"numbers": "*1", "destination": "*1"}, "failure: can not move object before itself"),
    ("/ip/firewall/filter/add", {"chain": "input", "place-before": "*FF"}, "no such item"),
    ("/interface/wireguard/set", {".id": "ether1", "mtu": "1280"}, "no such item"),
    ("/ip/route/set", {".id": "*20180001", "comment": "x"}, "no such item"),
    ("/interface/list/remove", {".id": "*1"}, "failure"),
    # References
    (
        "/ip/address/add",
        {"address": "10.1.1.1/24", "interface": "ether9"},
        "input does not match any value of interface",
    ),
    ("/ip/firewall/filter/add", {**FILTER, "in-interface": "wg9"}, "input does not match any value of interface"),
    ("/ip/firewall/filter/add", {**FILTER, "in-interface": "!wg9"}, "input does not match any value of interface"),
    ("/interface/wireguard/peers/add", {**PEER, "interface": "ether1"}, "input does not match any value of interface"),
    (
        "/ip/firewall/filter/add",
        {**FILTER, "in-interface-list": "X"},
        "input does not match any value of interface-list",
    ),
    ("/interface/list/member/add", {"list": "X", "interface": "ether1"}, "input does not match any value of list"),
    ("/ip/firewall/filter/add", {**FILTER, "action": "allow"}, "input does not match any value of action"),
    ("/ip/firewall/filter/add", {**FILTER, "action": "masquerade"}, "input does not match any value of action"),
    (
        "/ip/firewall/filter/add",
        {**FILTER, "connection-state": "old"},
        "input does not match any value of connection-state",
    ),
    (
        "/ip/firewall/filter/add",
        {**FILTER, "reject-with": "icmp-no-route"},
        "input does not match any value of reject-with",
    ),
    ("/ipv6/firewall/filter/add", {**FILTER, "action": "tarpit"}, "input does not match any value of action"),
    ("/ip/route/add", {"gateway": "ether1", "routing-table": "x"}, "input does not match any value of routing-table"),
    ("/user/add", {"name": "x", "group": "nobody"}, "input does not match any value of group"),
    ("/ip/route/add", {"gateway": "wg9"}, "invalid or unexpected argument base"),
    ("/ip/route/add", {"gateway": "10.0.0.1%wg9"}, "invalid or unexpected argument base"),
    ("/ip/route/add", {"gateway": "2001:db8::1"}, "invalid or unexpected argument base"),
    # Values
    ("/ip/address/add", {"address": "vps.example.org", "interface": "ether2"}, "invalid or unexpected argument base"),
    ("/ip/address/add", {"address": "10.1.1.256/24", "interface": "ether2"}, "invalid value for argument address"),
    ("/ip/address/add", {"address": "10.1.1.1/33", "interface": "ether2"}, "invalid value for argument address"),
    ("/ip/address/add", {"address": "2001:db8::1/64", "interface": "ether2"}, "invalid value for argument address"),
    ("/ipv6/address/add", {"address": "10.1.1.1/24", "interface": "ether2"}, "invalid value for argument address"),
    ("/ip/address/set", {".id": "*1", "disabled": "maybe"}, "input does not match any value of disabled"),
    ("/interface/wireguard/set", {".id": "wg0", "listen-port": 65536}, "value of listen-port out of range (0..65535)"),
    ("/interface/wireguard/set", {".id": "wg0", "listen-port": "many"}, "invalid value for argument listen-port"),
    ("/interface/vlan/set", {".id": "vlan10-lan", "vlan-id": 4095}, "value of vlan-id out of range (1..4094)"),
    ("/interface/wireguard/set", {".id": "wg0", "private-key": "*****"}, "invalid"),
    ("/interface/wireguard/set", {".id": "wg0", "private-key": KEY[:-2] + "B="}, "invalid"),
    ("/interface/wireguard/peers/add", {**PEER, "public-key": OTHER[:-1]}, "invalid"),
    ("/interface/wireguard/peers/set", {".id": "*1", "preshared-key": "x"}, "invalid"),
    ("/interface/wireguard/peers/set", {".id": "*1", "allowed-address": "10.0.0.0/33"}, "invalid value for argument"),
    ("/interface/wireguard/peers/set", {".id": "*1", "allowed-address": "10.0.0.0/8, fd00::/8"}, "invalid"),
    (
        "/interface/wireguard/peers/set",
        {".id": "*1", "endpoint-address": "203.0.113.999"},
        "invalid value for argument",
    ),
    ("/interface/wireguard/peers/set", {".id": "*1", "endpoint-address": "vps:51820"}, "invalid value for argument"),
    ("/interface/wireguard/peers/set", {".id": "*1", "endpoint-port": 70000}, "value of endpoint-port out of range"),
    ("/interface/wireguard/peers/set", {".id": "*1", "persistent-keepalive": 65536}, "out of range (0s..18h12m15s)"),
    ("/interface/wireguard/peers/set", {".id": "*1", "persistent-keepalive": "00:00:25"}, "invalid value for argument"),
    ("/ip/firewall/filter/add", {**FILTER, "log-prefix": "x" * 32}, "log-prefix"),
    ("/ip/firewall/filter/add", {**FILTER, "protocol": "tcpp"}, "input does not match any value of protocol"),
    ("/ip/firewall/filter/add", {**FILTER, "dst-port": 80}, "ports can be specified"),
    ("/ip/firewall/filter/add", {**FILTER, "protocol": "tcp", "dst-port": 65536}, "out of range"),
    ("/ip/firewall/filter/add", {"chain": "input", "out-interface": "ether1"}, "not possible in input"),
    ("/ip/firewall/filter/add", {"chain": "output", "in-interface": "ether1"}, "not possible in output"),
    ("/ip/firewall/filter/add", {**FILTER, "action": "jump"}, "missing =jump-target="),
    # Duplicates
    ("/interface/wireguard/add", {"name": "ether1"}, "failure: already have interface with such name"),
    ("/interface/set", {".id": "wg0", "name": "ether1"}, "failure: already have interface with such name"),
    ("/ip/address/add", {"address": "10.10.0.1/24", "interface": "vlan10-lan"}, "failure: already have such address"),
    ("/ip/address/set", {".id": "*1", "address": "10.10.0.1/24"}, "failure: already have such address"),
    ("/interface/wireguard/peers/add", PEER, "already"),
    ("/interface/wireguard/peers/add", {**PEER, "public-key": OTHER, "name": "peer1"}, "already"),
    ("/interface/list/member/add", {"list": "WAN", "interface": "ether1"}, "already"),
    ("/ipv6/nd/add", {"interface": "all"}, "already"),
]


@pytest.fixture(scope="module")
def shared() -> Any:
    with RouterOS() as router:
        router.add("/interface/wireguard", name="wg0")
        router.add("/interface/wireguard/peers", interface="wg0", public_key=KEY)
        yield router, librouteros.connect(router.host, router.user, router.password, port=router.port, encoding="utf-8")


def everything(router: RouterOS) -> list[Any]:
    menus = ["/interface", "/interface/wireguard/peers", "/interface/list", "/interface/list/member", "/ip/address"]
    menus += ["/ip/route", "/ip/firewall/filter", "/ip/firewall/nat", "/user", "/ipv6/address", "/ipv6/nd"]
    return [router.rows(menu) for menu in menus]


@pytest.mark.parametrize(("command", "arguments", "message"), REFUSED)
def test_refused_in_the_devices_words(shared: Any, command: str, arguments: dict[str, Any], message: str) -> None:
    router, api = shared
    before = everything(router)
    with pytest.raises(librouteros.exceptions.TrapError) as caught:
        tuple(api(command, **arguments))
    assert message in caught.value.message
    assert everything(router) == before


def test_category_of_an_unknown_interface(shared: Any) -> None:
    with pytest.raises(librouteros.exceptions.TrapError) as caught:
        tuple(shared[1]("/ip/address/add", address="10.1.1.1/24", interface="ether9"))
    assert caught.value.category == 1


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("/interface/wireguard/peers/set", {".id": "peer1", "endpoint-address": "vps.example.org", "endpoint-port": 51820}),
    ("/interface/wireguard/peers/set", {".id": "*1", "endpoint-address": "2001:db8::1"}),
    ("/interface/wireguard/peers/set", {".id": "*1", "preshared-key": "auto"}),
    ("/interface/wireguard/peers/set", {".id": "*1", "preshared-key": ""}),
    ("/interface/wireguard/peers/set", {".id": "*1", "allowed-address": ""}),
    ("/interface/wireguard/set", {"numbers": "wg0", "mtu": "auto"}),
    ("/interface/set", {".id": "ether1", "comment": "to the provider"}),
    ("/ip/firewall/filter/add", {"chain": "my own", "action": "return"}),
    ("/ip/firewall/filter/add", {**FILTER, "action": "jump", "jump-target": "nowhere"}),
    ("/ip/firewall/filter/add", {**FILTER, "protocol": 47, "src-address": "!10.0.0.1-10.0.0.9"}),
    ("/ip/firewall/filter/add", {**FILTER, "protocol": "tcp", "tcp-flags": "syn,!ack"}),
    ("/ip/firewall/filter/add", {**FILTER, "in-interface": "!all-vlan", "src-address-list": "not there"}),
    ("/ip/route/add", {"dst-address": "10.7.0.0/16", "blackhole": ""}),
    ("/ip/route/add", {"dst-address": "10.8.0.0/16", "gateway": "10.10.0.9%vlan10-lan"}),
]


@pytest.mark.parametrize(("command", "arguments"), ACCEPTED)
def test_accepted(shared: Any, command: str, arguments: dict[str, Any]) -> None:
    tuple(shared[1](command, **arguments))
