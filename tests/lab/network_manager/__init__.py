"""NetworkManager as a reader of configurations, beside wg-quick: what it has understood of one that it imported.

`python -m network_manager < CONFIGURATION` on a host of the lab has NetworkManager import it and prints it as
NetworkManager keeps it, in wg-quick's words again. What it has lost is missing there, what it has changed differs.
"""

from __future__ import annotations

import configparser

# What a profile says that no line of a configuration stands for (NetworkManager 1.42). Anything else that is left over
# stops the reading: it would change the tunnel, and nobody would compare it.
WITHOUT_MEANING = {
    *("connection id", "connection uuid", "connection type", "connection interface-name"),
    *("peer preshared-key-flags 0", "ipv6 addr-gen-mode"),
    # By these the servers are asked about every name, as with wg-quick.
    *("ipv4 dns-search ~;", "ipv6 dns-search ~;", "ipv4 dns-priority -50", "ipv6 dns-priority -50"),
}
PEER = "wireguard-peer."


def configuration(profile: str) -> str:
    """A profile of NetworkManager's as wg-quick's configuration. Raises ValueError for what that cannot say.

    A profile keeps IPv4 and IPv6 apart, so IPv4's addresses and DNS servers come first.
    """
    parser = configparser.ConfigParser(delimiters="=", interpolation=None)
    parser.read_string(profile)
    sections = {name: dict(parser[name]) for name in parser.sections()}
    interface = sections.get("wireguard", {})
    addresses, servers, domains = [], [], {}
    for version in ("ipv4", "ipv6"):
        ip = sections[version]
        own = [ip.pop(key) for key in sorted(ip) if key.startswith("address")]
        if ip.setdefault("method", "") == ("manual" if own else "disabled"):
            del ip["method"]
        addresses += own
        servers += _list(ip.pop("dns", ""))
        if ip.get("dns-search") not in (None, "~;"):
            domains.update(dict.fromkeys(_list(ip.pop("dns-search"))))
    lines = ["[Interface]", *_line("PrivateKey", interface.pop("private-key", ""))]
    lines += _line("Address", *addresses)
    lines += _line("DNS", *servers, *domains)
    lines += _line("MTU", interface.pop("mtu", ""))
    for name in [name for name in sections if name.startswith(PEER)]:
        peer = sections[name]
        lines += ["", "[Peer]", *_line("PublicKey", name.removeprefix(PEER))]
        lines += _line("PresharedKey", peer.pop("preshared-key", ""))
        lines += _line("AllowedIPs", *_list(peer.pop("allowed-ips", "")))
        lines += _line("Endpoint", peer.pop("endpoint", ""))
        lines += _line("PersistentKeepalive", peer.pop("persistent-keepalive", ""))
    for name, left in sections.items():
        section = "peer" if name.startswith(PEER) else name
        _refuse([key for key, value in left.items() if not _is_without_meaning(section, key, value)], section)
    return "\n".join(lines) + "\n"


def _list(text: str) -> list[str]:
    return [item for item in text.split(";") if item]


def _line(key: str, *values: str) -> list[str]:
    given = ", ".join(value for value in values if value)
    return [f"{key} = {given}"] if given else []


def _is_without_meaning(section: str, key: str, value: str) -> bool:
    return not {f"{section} {key}", f"{section} {key} {value}"}.isdisjoint(WITHOUT_MEANING)


def _refuse(keys: list[str], section: str) -> None:
    """Names alone: a value may be a key."""
    if keys:
        raise ValueError(f"the profile's section {section} also says {', '.join(keys)}")
