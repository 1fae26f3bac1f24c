# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single values as people and devices write them, brought to one normal form or refused by name.

Pure: no I/O, no Ansible, no device. A device's spelling (host bits, a missing ``/32``, IPv6 capitals, ``25s``) must
never count as a change, and a user's slip must never reach a device.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from functools import lru_cache
from typing import Iterable, Mapping, NamedTuple

KNOWN_AFTER_APPLY = "(known after apply)"
REDACTED = "(redacted)"


class TunnelError(ValueError):
    """One mistake of a user's: names the argument, says what is wrong with it and how to mend it."""

    def __init__(self, argument: str, problem: str, remedy: str) -> None:
        super().__init__(f"{argument}: {problem}: {remedy}")


class Secret:
    """A key that must not be seen: its value is only at `reveal()`, every rendering of it is redacted."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return REDACTED if self._value else ""


# What a device shows instead of a secret to an account that may not read it: never compared, never written back.
UNREADABLE = Secret("*****")


class Endpoint(NamedTuple):
    """Where a peer is dialled: a lower-case host name or a bare IP address, and a UDP port."""

    host: str
    port: int

    @property
    def is_name(self) -> bool:
        """Whether the address has to be looked up, and may change."""
        return ":" not in self.host and not self.host.replace(".", "").isdigit()

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def public_key_fact(interface: str) -> str:
    """Name of the fact by which a node tells the others the public key of one of its interfaces."""
    return "wireguard_public_key_" + re.sub(r"[^A-Za-z0-9]", "_", interface)


def parse_key(value: str, argument: str, secret: bool = False) -> str:
    """The canonical base64 of 32 bytes, as `wg` prints it. A secret's value never enters the message."""
    text = str(value).strip()
    shown = "the value" if secret else repr(text)
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32 or base64.b64encode(raw).decode() != text:
        raise TunnelError(
            argument, f"{shown} is not a WireGuard key", "give the 44 base64 characters that `wg` or the device prints"
        )
    return text


def parse_prefix(value: object, argument: str, strict: bool = True) -> str:
    """A routed prefix such as ``10.30.0.0/24``; a bare address is a /32 or /128. `strict` refuses host bits."""
    text = str(value).strip()
    try:
        network, has_host_bits = _network(text)
    except ValueError:
        raise TunnelError(
            argument, f"{text!r} is not an IP prefix", "write it like 10.30.0.0/24 or fd00:30::/64"
        ) from None
    if strict and has_host_bits:
        raise TunnelError(argument, f"{text!r} has bits set beyond its length", f"write {network}")
    return network


@lru_cache(maxsize=65536)
def _network(text: str) -> tuple[str, bool]:
    """The prefix in normal form, and whether bits are set beyond its length."""
    interface = ipaddress.ip_interface(text)
    return str(interface.network), "/" in text and interface.ip != interface.network.network_address


def parse_address(value: object, argument: str) -> str:
    """An interface address with its length, such as ``10.100.0.1/24``; without one it is a /32 or /128."""
    text = str(value).strip()
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        raise TunnelError(
            argument, f"{text!r} is not an IP address", "write it like 10.100.0.1/24 or fd00:100::1/64"
        ) from None
    network = interface.network
    if (
        network.num_addresses > 2
        and interface.version == 4
        and interface.ip in (network.network_address, network.broadcast_address)
    ):
        raise TunnelError(
            argument, f"{text!r} is the first or last address of its network", f"choose another address in {network}"
        )
    if interface.ip.is_multicast or interface.ip.is_unspecified or interface.ip.is_loopback:
        raise TunnelError(
            argument, f"{text!r} cannot be the address of an interface", "choose a private unicast address"
        )
    return str(interface)


_HOST = re.compile(r"(?=.{1,253}\.?$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.?")


def parse_host(value: object, argument: str) -> str:
    """A host name (lower case, ASCII) or a bare IP address."""
    text = str(value).strip()
    try:
        return str(ipaddress.ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text))
    except ValueError:
        pass
    name = text.lower()
    if not _HOST.fullmatch(name) or re.fullmatch(r"[0-9.]+", name):
        raise TunnelError(
            argument,
            f"{text!r} is neither a host name nor an IP address",
            "write it like vps.example.org or 203.0.113.10",
        )
    return name


def parse_port(value: object, argument: str) -> int:
    """A UDP port, 1 to 65535."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise TunnelError(argument, f"{text!r} is not a port", "give a number from 1 to 65535")
    return int(text)


def parse_endpoint(value: str, argument: str) -> Endpoint:
    """``host:port``; an IPv6 address stands in brackets."""
    host, colon, port = value.strip().rpartition(":")
    if not colon or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise TunnelError(
            argument, f"{value!r} is not host:port", "write it like vps.example.org:51820 or [2001:db8::1]:51820"
        )
    return Endpoint(parse_host(host, argument), parse_port(port, argument))


def parse_mtu(value: object, argument: str) -> int:
    """Bytes. Below 1280 IPv6 stops working, above 9000 no link carries it."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{3,5}", text) or not 1280 <= int(text) <= 9000:
        raise TunnelError(
            argument, f"{text!r} is not a usable MTU", "give a number from 1280 to 9000; 1420 fits most links"
        )
    return int(text)


_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")


def parse_boolean(value: object, argument: str) -> bool:
    """YAML's true and false only: a word in quotes is more often a slip than a wish."""
    if not isinstance(value, bool):
        raise TunnelError(argument, f"{value!r} is neither true nor false", "write true or false, without quotes")
    return value


def parse_keepalive(value: object, argument: str) -> int:
    """Seconds; also ``25s``, ``1m30s``; ``off`` and 0 are off."""
    text = str(value).strip().lower()
    match = _DURATION.fullmatch(text)
    if text in ("off", "false"):
        return 0
    if not text or isinstance(value, bool) or match is None or not any(match.groups()):
        raise TunnelError(argument, f"{text!r} is not a time", "give seconds, such as 25, or 0 for none")
    weights = (604800, 86400, 3600, 60, 1)
    seconds = sum(int(group or 0) * weight for group, weight in zip(match.groups(), weights))
    if seconds > 65535:
        raise TunnelError(argument, f"{text!r} is longer than 65535 seconds", "25 keeps a CGNAT mapping open")
    return seconds


def parse_name(value: object, argument: str) -> str:
    """A peer's or node's name: it is written into comments on devices, so one line of plain characters."""
    text = str(value).strip()
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}", text):
        raise TunnelError(
            argument,
            f"{text!r} cannot be a name",
            "use up to 63 letters, digits, '-', '_', '.' and '@', no blanks or slashes",
        )
    return text


_INTERFACE_NAMES: Mapping[str, tuple[str, str]] = {
    # The kernel takes more. systemd escapes '=' and '+' in wg-quick@NAME, and wg-quick then looks for another file.
    "linux": (r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", "use up to 15 letters, digits, '_', '.' and '-', a letter first"),
    "openwrt": (r"[A-Za-z0-9_]{1,15}", "use up to 15 letters, digits and '_'"),
    "glinet": (
        r"wgclient[1-5]?|wgserver",
        "GL.iNet's firmware names its interfaces itself: wgclient1 to wgclient5, or wgserver",
    ),
    "pfsense": (
        r"tun_wg(0|[1-9][0-9]{0,4})?",
        "pfSense names its tunnels tun_wg0, tun_wg1, …; tun_wg is found by description",
    ),
    "routeros": (r"(?![!*])[!-~]([ -~]{0,62}[!-~])?", "use up to 64 printable ASCII characters, '!' and '*' not first"),
}
DEVICES = tuple(_INTERFACE_NAMES)


def parse_interface(value: object, argument: str, device: str) -> str:
    """An interface name that this kind of device can hold."""
    text = str(value)
    pattern, remedy = _INTERFACE_NAMES[device]
    if not re.fullmatch(pattern, text):
        raise TunnelError(argument, f"{text!r} cannot be the name of a WireGuard interface on {device}", remedy)
    return text


@lru_cache(maxsize=65536)
def prefix_order(prefix: str) -> tuple[int, int, int]:
    """Sort key of a prefix or interface address: IPv4 first, then by address and length."""
    interface = ipaddress.ip_interface(prefix)
    return interface.version, int(interface.ip), interface.network.prefixlen


def sorted_prefixes(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Each prefix once, in the order of `prefix_order`."""
    return tuple(sorted(set(prefixes), key=prefix_order))


def parse_forward(value: object, argument: str = "forward_to") -> str:
    """What traffic may be forwarded to: an interface of the device, or a prefix (a bare address is a /32 or /128)."""
    text = str(value).strip()
    if re.fullmatch(r"[0-9a-fA-F.:]+/[0-9]+|[0-9]+(\.[0-9]+){3}|[0-9a-fA-F.]*:[0-9a-fA-F.:]*", text):
        return parse_prefix(text, argument)
    if not re.fullmatch(r"[!-~]{1,64}", text) or re.search(r"[\"'\\;{}]", text):
        raise TunnelError(
            argument,
            f"{text!r} is neither an interface nor a prefix",
            "name an interface of the device, or a prefix",
        )
    return text


def covers(outer: str, inner: str) -> bool:
    """Whether the network of one prefix or interface address holds the whole of another."""
    version, start, length = prefix_order(outer)
    version_inner, start_inner, length_inner = prefix_order(inner)
    shift = (32 if version == 4 else 128) - length
    return version == version_inner and length <= length_inner and start >> shift == start_inner >> shift
