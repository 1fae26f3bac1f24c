"""GL.iNet's handler `wgclient.sh`: one peer of /etc/config/wireguard on a client interface.

What it reports counts only once the hub has answered: "up" means "a handshake happened". A list of allowed_ips, or one
with blanks, is glued together by wg, which drops blanks, and refused.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from .uci_read import is_on, load, one
from .uci_store import Section
from .wireguard_proto import IP, WG, prefix, run

STATES = Path("/tmp/wireguard")
RTP2 = "/usr/bin/rtp2.sh"
SETTING = 0.1  # seconds: the firmware's scripts run `uci set` for each option, and anybody sees those before the commit
FALLBACK_DNS = "1.0.0.1"


def endpoint(peer: Section) -> str:
    """`end_point_ip` wins; it needs no port of its own."""
    written = one(peer, "end_point")
    address = one(peer, "end_point_ip")
    if not address:
        return written
    return (
        address
        if address.rpartition(":")[2].isdigit() and "." in address and ":" in address
        else (f"[{address}]" if ":" in address else address) + ":" + written.rpartition(":")[2]
    )


def configuration(peer: Section, group: Section | None) -> str:
    lines = ["[Interface]", f"PrivateKey={of_peer_or_group(peer, group, 'private_key')}"]
    if port := one(peer, "listen_port"):
        lines.append(f"ListenPort={port}")
    lines += [f"FwMark={one(peer, 'fwmark', '0x8000')}", "[Peer]", f"PublicKey={one(peer, 'public_key')}"]
    if (secret := one(peer, "preshared_key")) and one(peer, "presharedkey_enable", "1") != "0":
        lines.append(f"PresharedKey={secret}")
    keepalive = one(peer, "persistent_keepalive")
    lines += [
        f"AllowedIPs={one(peer, 'allowed_ips')}",
        f"Endpoint={endpoint(peer)}",
        f"PersistentKeepalive={25 if keepalive in ('', '0') else keepalive}",
    ]
    return "\n".join(lines) + "\n"


def of_peer_or_group(peer: Section, group: Section | None, option: str) -> str:
    return one(peer, option) or (one(group, option) if group else "")


def name_servers(text: str) -> list[str]:
    servers = text.replace(",", " ").split()
    return servers if any("." in server for server in servers) else [*servers, FALLBACK_DNS]


def setup(name: str) -> int:
    interface = load("network").section(name)
    wireguard = load("wireguard")
    peer = wireguard.section(one(interface, "config")) if interface else None
    if interface is None or peer is None:
        print(f"{name} names no peer of /etc/config/wireguard", file=sys.stderr)
        return 1
    group = wireguard.section(f"group_{one(peer, 'group_id')}")
    run(IP, "link", "del", "dev", name)
    done = run(IP, "link", "add", "dev", name, "type", "wireguard")
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return 1
    if mtu := one(interface, "mtu") or one(peer, "mtu"):
        run(IP, "link", "set", "mtu", mtu, "dev", name)
    STATES.mkdir(exist_ok=True)
    path = STATES / name
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(configuration(peer, group))
    done = run(WG, "setconf", name, str(path))
    path.unlink()
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return 1
    (STATES / f"{name}_state").write_text("connecting\n")
    print(json.dumps(report(name, peer, group)))
    return 0


def report(name: str, peer: Section, group: Section | None) -> dict[str, object]:
    addresses = [prefix(of_peer_or_group(peer, group, "address_v4"))]
    settings = load("glipv6").section("globals")
    v6 = of_peer_or_group(peer, group, "address_v6")
    if v6 and settings and is_on(settings, "enabled"):
        addresses.append(prefix(v6))
    routes = []
    if is_on(peer, "route_allowed_ips", default=True):
        routes = [prefix(word.strip()) for word in one(peer, "allowed_ips").split(",")]
    hosts = []
    if not is_on(peer, "nohostroute"):
        lines = run(WG, "show", name, "endpoints").stdout.splitlines()
        hosts = [line.split("\t")[1].rpartition(":")[0].strip("[]") for line in lines if "(none)" not in line]
    return {
        "await_handshake": True,
        # Only firmware up to 4.7 has no rtp2.sh.
        "addresses_at_once": not os.path.exists(RTP2),
        "addresses": addresses,
        "routes": [*routes, *addresses],
        "hosts": hosts,
        "dns": name_servers(of_peer_or_group(peer, group, "dns")),
    }


def teardown(name: str) -> int:
    run(IP, "link", "del", "dev", name)
    for path in (STATES / f"{name}_state", Path(f"/tmp/resolv.conf.d/resolv.conf.{name}")):
        path.unlink(missing_ok=True)
    if os.path.exists(RTP2):
        # Beside netifd, which waits for this handler: rtp2.sh may wait for netifd.
        command = [RTP2, "interface_status_change", name, "down"]
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return 0


def main() -> int:
    action, name = sys.argv[1:3]
    return teardown(name) if action == "teardown" else setup(name) if action == "setup" else 0
