"""GL.iNet's handler `wgserver.sh`, the server of /etc/config/wireguard_server, and what it does to the firewall.

Peers and route rules are read at setup and at no other time. Two generations: the newer one (with rtp2.sh) allows every
address of a peer, leaves out who is deprecated or not enabled, fixes the keepalive to none, and writes the firewall
itself, before the link is up and after it went; up to 4.7 a peer has its first address alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from .gl_proto import RTP2, SETTING, STATES
from .uci_read import is_on, load, one
from .uci_store import Package, Section, Store
from .wireguard_proto import IP, WG, prefix, run

NAME = "wgserver"


def configuration(server: Section, peers: list[Section], rules: list[Section], newer: bool) -> str:
    lines = ["[Interface]", f"PrivateKey={one(server, 'private_key')}"]
    for option, key, default in (("port", "ListenPort", ""), ("fwmark", "FwMark", "" if newer else "0x8000")):
        if value := one(server, option, default):
            lines.append(f"{key}={value}")
    for peer in peers:
        if not newer or (one(peer, "deprecated", "0") == "0" and one(peer, "enabled", "1") == "1"):
            lines += of_peer(peer, rules, newer)
    return "\n".join(lines) + "\n"


def of_peer(peer: Section, rules: list[Section], newer: bool) -> list[str]:
    lines = ["[Peer]", f"PublicKey={one(peer, 'public_key')}"]
    if secret := one(peer, "presharedkey"):  # presharedkey_enable is the web interface's alone
        lines.append(f"PresharedKey={secret}")
    text = one(peer, "client_ip")
    # The shell's words: behind a blank nothing is seen, and the comma before it stays.
    words = text.split(" ")[0].split(",")
    # At most two: of more, it would see the first and the last.
    addresses = [word.split("/")[0] for word in ([words[0], words[-1]] if len(words) > 1 else words)]
    allowed = addresses if newer else addresses[:1]
    lines += [f"AllowedIPs={','.join(allowed)}"]
    # Compared as texts.
    matching = [rule for rule in rules if one(rule, "gateway") in allowed and one(rule, "gateway")]
    lines += [f"AllowedIPs={one(rule, 'dest')}/{one(rule, 'mask')}" for rule in matching]
    if newer:
        lines.append("PersistentKeepalive=0")
    elif keepalive := one(peer, "persistent_keepalive"):
        lines.append(f"PersistentKeepalive={keepalive}")
    return lines


def setup() -> int:
    newer = os.path.exists(RTP2)
    interface = load("network").section(NAME)
    package = load("wireguard_server")
    server = package.section(one(interface, "config")) if interface else None
    if server is None:
        print(f"{NAME} names no server of /etc/config/wireguard_server", file=sys.stderr)
        return 1
    rules = [section for section in package.sections if section.type == "route_rules"]
    run(IP, "link", "del", "dev", NAME)
    done = run(IP, "link", "add", "dev", NAME, "type", "wireguard")
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return 1
    if mtu := one(server, "mtu"):
        run(IP, "link", "set", "mtu", mtu, "dev", NAME)
    if newer:
        set_firewall(server)
    STATES.mkdir(exist_ok=True)
    path = STATES / NAME
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(configuration(server, [s for s in package.sections if s.type == "peers"], rules, newer))
    done = run(WG, "setconf", NAME, str(path))
    if done.returncode:
        # The device waits here for 5 s; netifd does so before it tries again.
        print(done.stderr.strip(), file=sys.stderr)
        return 1
    addresses = [prefix(one(server, "address_v4"))] if "." in one(server, "address_v4") else []
    if ":" in one(server, "address_v6") and (not newer or with_ipv6()):
        addresses.append(prefix(one(server, "address_v6")))
    # The handler runs `ip route` by itself, once netifd has what it was told.
    later = [words for rule in rules if (words := route(rule, newer))]
    print(json.dumps({"addresses": addresses, "routes": [], "hosts": [], "later": later, "inner": newer}))
    return 0


def route(rule: Section, newer: bool) -> list[str]:
    """The words for `ip`; nothing for another kind than 4 and 6."""
    flag = one(rule, "route_flag")
    if flag not in ("4", "6"):
        return []
    target = f"{one(rule, 'dest')}/{one(rule, 'mask')}"
    if newer and one(rule, "scope") == "nowhere":
        return [f"-{flag}", "route", "add", "blackhole", target]
    words = [f"-{flag}", "route", "add", target]
    words += ["via", gateway] if (gateway := one(rule, "gateway")) else []
    words += ["dev", NAME]
    for option in ("scope", "mtu", "metric") if newer else ("mtu", "metric"):
        words += [option, value] if (value := one(rule, option)) else []
    return words


def with_ipv6() -> bool:
    settings = load("glipv6").section("globals")
    return settings is not None and is_on(settings, "enabled")


def set_firewall(server: Section) -> None:
    """The zone and what belongs to it, by the options of main_server; the rest of a section stays as it is."""
    store = Store()
    package = store.load("firewall")
    reached, masquerade = one(server, "access") == "ACCEPT", "1" if one(server, "masq") == "1" else "0"
    family = {"family": "any" if with_ipv6() else "ipv4", "enabled": "1"}
    zone = {"name": NAME, "output": "ACCEPT", "mtu_fix": "1", "network": NAME}
    put(package, NAME, "zone", zone, {"input": "ACCEPT" if reached else "REJECT"} | family)
    put(package, NAME, "zone", {}, {"masq": masquerade, "masq6": masquerade})
    open_port = {"name": f"{NAME}_allow", "target": "ACCEPT", "src": "wan", "proto": "udp"}
    put(package, f"{NAME}_allow", "rule", {}, open_port | {"dest_port": one(server, "port") or "51820"} | family)
    into = {"target": "ACCEPT", "enabled": "1"} if reached else {"enabled": "0"}
    put(package, f"{NAME}2lan", "rule", {"src": NAME, "dest": "lan", "proto": "all"}, family | into)
    put(package, f"{NAME}2wan", "forwarding", {"src": NAME, "dest": "wan"}, family)
    put(package, f"lan2{NAME}", "forwarding", {"src": "lan", "dest": NAME}, family)
    among = {"target": "ACCEPT" if one(server, "client_to_client") == "1" else "REJECT"}
    put(package, f"{NAME}2{NAME}", "rule", {"src": NAME, "dest": NAME, "proto": "all"}, among | family)
    dns = {"src": NAME, "target": "ACCEPT", "dest_port": "53"}
    put(package, f"{NAME}_allow_dns", "rule", dns, family)
    commit(store, package)


def put(package: Package, name: str, type_: str, whole: dict[str, str], always: dict[str, str]) -> None:
    """`whole`: set only where the section does not have its own name yet."""
    section = package.section(name)
    if section is None or (whole and one(section, "name") != name):
        package.set(name, None, type_)
        for option, value in ({"name": name} | whole).items():
            package.set(name, option, value)
    for option, value in always.items():
        package.set(name, option, value)


def clear_firewall() -> None:
    """Switched off, not removed; what is not there is not made."""
    store = Store()
    package = store.load("firewall")
    for name in (NAME, f"{NAME}_allow", f"{NAME}2lan", f"{NAME}2wan", f"lan2{NAME}", f"{NAME}2{NAME}"):
        if package.section(name):
            package.set(name, "enabled", "0")
    if package.section(f"{NAME}_allow_dns"):
        package.set(f"{NAME}_allow_dns", "enabled", "0")
    commit(store, package)


def commit(store: Store, package: Package) -> None:
    store.save(package)
    time.sleep(SETTING)
    store.commit("firewall")
    command = ["/etc/init.d/firewall", "reload"]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> int:
    action = sys.argv[1]
    if action == "teardown":
        run(IP, "link", "del", "dev", NAME)
        if os.path.exists(RTP2):
            clear_firewall()
        return 0
    return setup() if action == "setup" else 0
