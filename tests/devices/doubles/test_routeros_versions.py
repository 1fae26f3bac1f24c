"""Arguments and commands by version, as the argument table brackets them."""

from __future__ import annotations

import librouteros
import pytest
from routeros_double import RouterOS, keys
from routeros_double.menus import menus
from routeros_double.versions import known, version

PEERS, FILTER = "/interface/wireguard/peers", "/ip/firewall/filter"
VERSIONS = ["7.12.2", "7.15", "7.16.2", "7.17", "7.18", "7.20.8", "7.21", "7.22.3", "7.23", "7.24", "7.25"]


@pytest.mark.parametrize(
    ("menu", "argument", "first", "last"),
    [
        (PEERS, "name", "7.15", None),
        (PEERS, "is-responder", "7.15", "7.16.2"),
        (PEERS, "responder", "7.17", None),
        (PEERS, "client-allowed-address", "7.21", None),
        (PEERS, "client-address", "7.12.2", None),
        ("/interface/wireguard", "vrf", "7.21", None),
        ("/ip/route", "suppress-hw-offload", "7.12.2", "7.20.8"),
        ("/ipv6/route", "pref-src", "7.20.8", None),
        (FILTER, "hw-offload", "7.12.2", "7.20.8"),
        (FILTER, "tos", "7.21", None),
        ("/ipv6/address", "auto-link-local", "7.18", None),
        ("/ipv6/address", "from-pool-policy", "7.23", None),
        ("/ipv6/dhcp-client", "allow-reconfigure", "7.17", None),
        ("/interface/vlan", "mvrp", "7.15", None),
    ],
)
def test_argument_by_version(menu: str, argument: str, first: str, last: str | None) -> None:
    for text in VERSIONS:
        expected = version(first) <= version(text) and (last is None or version(text) <= version(last))
        assert (argument in menus(version(text))[menu].fields) is expected, text


@pytest.mark.parametrize(("text", "has"), [("7.22.3", False), ("7.23", True)])
def test_commands_by_version(text: str, has: bool) -> None:
    assert ("unset" in menus(version(text))["/ipv6/nd"].commands) is has


@pytest.mark.parametrize(("text", "accepted"), [("7.12.2", False), ("7.15", True), ("7.22.3", True)])
def test_an_unknown_argument_is_refused_by_name(text: str, accepted: bool) -> None:
    with RouterOS(text) as router:
        router.add("/interface/wireguard", name="wg0")
        api = librouteros.connect(router.host, router.user, router.password, port=router.port)
        words = {"interface": "wg0", "public-key": keys.public(keys.private()), "name": "vps"}
        if accepted:
            tuple(api(f"{PEERS}/add", **words))
        else:
            with pytest.raises(librouteros.exceptions.TrapError, match="unknown parameter name"):
                tuple(api(f"{PEERS}/add", **words))


@pytest.mark.parametrize(
    ("entry", "running", "name"),
    [
        ("mtu", "7.9", "mtu"),
        ("a[7.15..7.16.2]", "7.14.9", None),
        ("a[7.15..7.16.2]", "7.16", "a"),
        ("a[7.15..7.16.2]", "7.17", None),
        ("a[7.15..7.24]", "7.30", "a"),
    ],
)
def test_ranges(entry: str, running: str, name: str | None) -> None:
    assert known(entry, version(running)) == name


@pytest.mark.parametrize("text", ["", "7", "7.x", "v7.15", "7.15beta1"])
def test_versions_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="RouterOS version"):
        RouterOS(text)
