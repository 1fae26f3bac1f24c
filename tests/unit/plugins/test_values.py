"""Single values: every spelling that people and devices use, and every slip that must be refused by name."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils import values as v
from hypothesis import given
from hypothesis import strategies as st

KEY = base64.b64encode(bytes(range(32))).decode()

GOOD: list[tuple[Callable[..., Any], object, object]] = [
    (v.parse_prefix, "10.30.0.0/24", "10.30.0.0/24"),
    (v.parse_prefix, "10.30.0.7", "10.30.0.7/32"),
    (v.parse_prefix, "FD00:0::/64", "fd00::/64"),
    (v.parse_address, "10.100.0.1/24", "10.100.0.1/24"),
    (v.parse_address, "10.100.0.1", "10.100.0.1/32"),
    (v.parse_address, "10.100.0.0/31", "10.100.0.0/31"),
    (v.parse_address, "FD00::A/64", "fd00::a/64"),
    (v.parse_host, "VPS.Example.org", "vps.example.org"),
    (v.parse_host, "_a.my_vps.example.org", "_a.my_vps.example.org"),
    (v.parse_host, "[2001:DB8::1]", "2001:db8::1"),
    (v.parse_endpoint, "vps.example.org:51820", ("vps.example.org", 51820)),
    (v.parse_endpoint, "[2001:db8::1]:51820", ("2001:db8::1", 51820)),
    (v.parse_keepalive, "25s", 25),
    (v.parse_keepalive, "1m33s", 93),
    (v.parse_keepalive, 25, 25),
    (v.parse_keepalive, "off", 0),
    (v.parse_port, "51820", 51820),
    (v.parse_mtu, 1420, 1420),
    (v.parse_name, "vps-relay", "vps-relay"),
    (v.parse_key, f" {KEY}\n", KEY),
    (v.parse_forward, "vlan30-kubernetes", "vlan30-kubernetes"),
    (v.parse_forward, "10.30.0.0/24", "10.30.0.0/24"),
    (v.parse_forward, "10.30.0.200", "10.30.0.200/32"),
    (v.parse_forward, "FD00:30::1", "fd00:30::1/128"),
    (v.parse_forward, "fade0", "fade0"),
]

BAD: list[tuple[Callable[..., Any], object, str]] = [
    (v.parse_key, "", "44 base64"),
    (v.parse_key, "abc", "44 base64"),
    (v.parse_key, base64.b64encode(bytes(31)).decode(), "44 base64"),
    (v.parse_key, base64.b64encode(bytes(33)).decode(), "44 base64"),
    (v.parse_key, KEY[:-1], "44 base64"),
    (v.parse_key, KEY[:-2] + "9=", "44 base64"),
    (v.parse_key, KEY.replace("A", "|", 1), "44 base64"),
    (v.parse_key, "(known)", "44 base64"),
    (v.parse_prefix, "10.30.0.5/24", "write 10.30.0.0/24"),
    (v.parse_prefix, "fd00::1/64", "write fd00::/64"),
    (v.parse_prefix, "10.30.0.0/33", "like 10.30.0.0/24"),
    (v.parse_prefix, "10.30.0/24", "like 10.30.0.0/24"),
    (v.parse_prefix, "10.30.0.0/255.255.0.255", "like 10.30.0.0/24"),
    (v.parse_prefix, "home", "like 10.30.0.0/24"),
    (v.parse_prefix, "", "like 10.30.0.0/24"),
    (v.parse_prefix, "10.30.0.0/24,10.40.0.0/24", "like 10.30.0.0/24"),
    (v.parse_prefix, "010.30.0.0/24", "like 10.30.0.0/24"),
    (v.parse_address, "10.100.0.0/24", "another address in 10.100.0.0/24"),
    (v.parse_address, "10.100.0.255/24", "another address in 10.100.0.0/24"),
    (v.parse_address, "10.100.0.256/24", "like 10.100.0.1/24"),
    (v.parse_address, "127.0.0.1/8", "private unicast"),
    (v.parse_address, "224.0.0.5/32", "private unicast"),
    (v.parse_address, "::/128", "private unicast"),
    (v.parse_address, "ten", "like 10.100.0.1/24"),
    (v.parse_host, "vps example.org", "vps.example.org or 203.0.113.10"),
    (v.parse_host, "203.0.113", "vps.example.org or 203.0.113.10"),
    (v.parse_host, "https://vps.example.org", "vps.example.org or 203.0.113.10"),
    (v.parse_host, "vps.example.org:51820", "vps.example.org or 203.0.113.10"),
    (v.parse_host, "vps_.example.org", "vps.example.org or 203.0.113.10"),
    (v.parse_host, "vps_", "vps.example.org or 203.0.113.10"),
    (v.parse_host, "-vps.example.org", "vps.example.org or 203.0.113.10"),
    (v.parse_host, "bücher.example", "vps.example.org or 203.0.113.10"),
    (v.parse_host, "a" * 64 + ".example", "vps.example.org or 203.0.113.10"),
    (v.parse_endpoint, "vps.example.org", "vps.example.org:51820"),
    (v.parse_endpoint, "2001:db8::1:51820", "[2001:db8::1]:51820"),
    (v.parse_endpoint, ":51820", "vps.example.org or"),
    (v.parse_endpoint, "vps.example.org:", "1 to 65535"),
    (v.parse_endpoint, "vps.example.org:65536", "1 to 65535"),
    (v.parse_port, 0, "1 to 65535"),
    (v.parse_port, 65536, "1 to 65535"),
    (v.parse_port, -1, "1 to 65535"),
    (v.parse_port, "51820/udp", "1 to 65535"),
    (v.parse_port, True, "1 to 65535"),
    (v.parse_port, 51820.5, "1 to 65535"),
    (v.parse_mtu, 1279, "1280 to 9000"),
    (v.parse_mtu, 9001, "1280 to 9000"),
    (v.parse_mtu, "auto", "1280 to 9000"),
    (v.parse_keepalive, "-5", "seconds, such as 25"),
    (v.parse_keepalive, "soon", "seconds, such as 25"),
    (v.parse_keepalive, "", "seconds, such as 25"),
    (v.parse_keepalive, 65536, "25 keeps a CGNAT"),
    (v.parse_keepalive, True, "seconds, such as 25"),
    (v.parse_name, "a/b", "no blanks or slashes"),
    (v.parse_name, "../etc", "no blanks or slashes"),
    (v.parse_name, "two words", "no blanks or slashes"),
    (v.parse_name, "line\nbreak", "no blanks or slashes"),
    (v.parse_name, "", "no blanks or slashes"),
    (v.parse_name, "x" * 64, "no blanks or slashes"),
    (v.parse_name, "-rf", "no blanks or slashes"),
    (v.parse_forward, 'eth0"; drop', "name an interface"),
    (v.parse_forward, "", "name an interface"),
    (v.parse_forward, "10.30.0.1/24", "write 10.30.0.0/24"),
]

BAD_INTERFACES = [
    ("linux", "wireguard-to-the-vps", "up to 15"),
    ("linux", "wg 0", "up to 15"),
    ("linux", "wg/0", "up to 15"),
    ("linux", "..", "up to 15"),
    ("linux", "wg+", "up to 15"),
    ("linux", "wg=0", "up to 15"),
    ("linux", "-wg", "up to 15"),
    ("linux", "", "up to 15"),
    ("openwrt", "wg-home", "letters, digits and '_'"),
    ("openwrt", "wg_to_the_big_vps", "up to 15"),
    ("pfsense", "wg0", "tun_wg0"),
    ("pfsense", "tun_wg01", "tun_wg0"),
    ("glinet", "wg0", "wgclient1"),
    ("glinet", "wgclient9", "wgclient1"),
    ("routeros", "wg\n", "printable ASCII"),
    ("routeros", " wg", "printable ASCII"),
    ("routeros", "!wg", "not first"),
    ("routeros", "*1A", "not first"),
    ("routeros", "wg-büro", "printable ASCII"),
]


@pytest.mark.parametrize(("parse", "raw", "normal"), GOOD)
def test_normal_form(parse: Callable[..., Any], raw: object, normal: object) -> None:
    assert parse(raw, "argument") == normal


@pytest.mark.parametrize(("parse", "raw", "remedy"), BAD)
def test_refused_with_argument_value_and_remedy(parse: Callable[..., Any], raw: object, remedy: str) -> None:
    with pytest.raises(v.TunnelError) as caught:
        parse(raw, "peers[3].thing")
    message = str(caught.value)
    assert message.startswith("peers[3].thing: ")
    assert remedy in message
    assert "\n" not in message


@pytest.mark.parametrize(("device", "name", "remedy"), BAD_INTERFACES)
def test_names_a_device_cannot_hold(device: str, name: str, remedy: str) -> None:
    with pytest.raises(v.TunnelError, match=r"^name: .* cannot be the name .* on " + device) as caught:
        v.parse_interface(name, "name", device)
    assert remedy in str(caught.value)


def test_a_secret_is_never_in_its_error_or_rendering() -> None:
    secret = "not-a-key-but-surely-secret"
    with pytest.raises(v.TunnelError) as caught:
        v.parse_key(secret, "preshared_key", secret=True)
    assert secret not in str(caught.value)
    assert secret not in f"{v.Secret(secret)!r} {v.Secret(secret)} {[v.Secret(secret)]}"
    assert v.Secret(secret).reveal() == secret


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 32), st.integers(0, 32))
def test_covers_is_the_subnet_relation(one: Any, other: Any, length: int, longer: int) -> None:
    import ipaddress

    outer, inner = ipaddress.ip_network(f"{one}/{length}", False), ipaddress.ip_network(f"{other}/{longer}", False)
    expected = outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]
    assert v.covers(str(outer), str(inner)) == expected


@given(st.binary(min_size=32, max_size=32))
def test_every_key_of_32_bytes_is_taken(raw: bytes) -> None:
    text = base64.b64encode(raw).decode()
    assert v.parse_key(text, "key") == text
