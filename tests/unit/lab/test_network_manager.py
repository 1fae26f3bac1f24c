"""What is made of NetworkManager's profiles: nothing that they say is lost on the way to the comparison."""

from __future__ import annotations

import pytest
from network_manager import configuration

# As NetworkManager 1.42.4 wrote it, but for the keys.
PROFILE = """\
[connection]
id=home
uuid=d0e93e13-16dc-439a-b629-b4b6fda8885f
type=wireguard
interface-name=home

[wireguard]
mtu=1380
private-key=PRIVATE=

[wireguard-peer.PUBLIC=]
endpoint=203.0.113.10:51820
preshared-key=PRESHARED=
preshared-key-flags=0
persistent-keepalive=25
allowed-ips=10.30.0.0/24;10.100.0.0/24;fd00:100::/64;

[ipv4]
address1=10.100.0.10/32
dns=10.10.0.1;
dns-search=home.arpa;
method=manual

[ipv6]
addr-gen-mode=default
address1=fd00:100::a/128
dns=fd00:30::1;
dns-search=home.arpa;
method=manual

[proxy]
"""
CONFIGURATION = """\
[Interface]
PrivateKey = PRIVATE=
Address = 10.100.0.10/32, fd00:100::a/128
DNS = 10.10.0.1, fd00:30::1, home.arpa
MTU = 1380

[Peer]
PublicKey = PUBLIC=
PresharedKey = PRESHARED=
AllowedIPs = 10.30.0.0/24, 10.100.0.0/24, fd00:100::/64
Endpoint = 203.0.113.10:51820
PersistentKeepalive = 25
"""


def test_a_profile_becomes_the_configuration_that_it_was_read_from() -> None:
    assert configuration(PROFILE) == CONFIGURATION


@pytest.mark.parametrize(
    "key", ["mtu", "private-key", "endpoint", "preshared-key", "persistent-keepalive", "allowed-ips"]
)
def test_what_a_profile_lacks_is_missed(key: str) -> None:
    lacks = "".join(line for line in PROFILE.splitlines(keepends=True) if not line.startswith(f"{key}="))
    assert len(configuration(lacks).splitlines()) == len(CONFIGURATION.splitlines()) - 1


@pytest.mark.parametrize("key", ["address1", "method"])
def test_an_address_that_is_not_in_use_stops_the_reading(key: str) -> None:
    lacks = "".join(line for line in PROFILE.splitlines(keepends=True) if not line.startswith(f"{key}="))
    with pytest.raises(ValueError, match="ipv4 also says method"):
        configuration(lacks)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("wireguard", "peer-routes=false"),
        ("wireguard-peer.PUBLIC=", "unknown=1"),
        ("connection", "autoconnect=false"),
        ("ipv4", "never-default=true"),
        ("ipv6", "route1=fd00::/8"),
        ("proxy", "method=1"),
    ],
)
def test_what_a_profile_says_besides_stops_the_reading(section: str, line: str) -> None:
    with pytest.raises(ValueError, match=f"section .* also says {line.partition('=')[0]}$"):
        configuration(PROFILE.replace(f"[{section}]\n", f"[{section}]\n{line}\n"))


def test_no_value_is_in_an_error() -> None:
    with pytest.raises(ValueError, match=r"peer also says preshared-key-flags$") as raised:
        configuration(PROFILE.replace("preshared-key-flags=0", "preshared-key-flags=1"))
    assert "PRESHARED" not in str(raised.value)


def test_a_device_without_ipv6_has_it_switched_off() -> None:
    alone = PROFILE.replace("address1=fd00:100::a/128\ndns=fd00:30::1;\ndns-search=home.arpa;\n", "")
    with pytest.raises(ValueError, match="ipv6 also says method"):
        configuration(alone)
    off = configuration(alone.rpartition("method=manual")[0] + "method=disabled\n")
    assert "Address = 10.100.0.10/32\nDNS = 10.10.0.1, home.arpa\n" in off
