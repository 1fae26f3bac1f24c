"""What `/lib/netifd/proto/wireguard.sh` does: `setup`, `renew` or `teardown` of one interface.

On standard output it reports to netifd, as JSON: addresses, routes, and hosts that need a route beside the tunnel.
Two generations, told apart by `renew_handler` in the handler's file: the older makes the link anew each time, the newer
keeps it. One bad peer fails the whole interface in both, since wg refuses the file as a whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from .uci_read import is_on, load, one, words
from .uci_store import Package, Section

WG = "/usr/libexec/wg"
IP = "/sbin/ip"  # the router's, which starts WireGuard devices


def run(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def configuration(interface: Section, peers: list[Section]) -> str:
    """The text for wg. Nothing is checked here: that is what makes one bad peer fatal."""
    lines = ["[Interface]", f"PrivateKey={one(interface, 'private_key')}"]
    for option, key in (("listen_port", "ListenPort"), ("fwmark", "FwMark")):
        if value := one(interface, option):
            lines.append(f"{key}={value}")
    for peer in peers:
        lines += ["[Peer]", f"PublicKey={one(peer, 'public_key')}"]
        if value := one(peer, "preshared_key"):
            lines.append(f"PresharedKey={value}")
        lines += [f"AllowedIPs={prefix}" for prefix in words(peer, "allowed_ips")]
        if host := one(peer, "endpoint_host"):
            host = f"[{host}]" if ":" in host else host
            lines.append(f"Endpoint={host}:{one(peer, 'endpoint_port', '51820')}")
        if value := one(peer, "persistent_keepalive"):
            lines.append(f"PersistentKeepalive={value}")
    return "\n".join(lines) + "\n"


def prefix(text: str) -> tuple[str, int]:
    """Address and length as the shell cuts them: before the first slash and behind the last one, whatever is between.

    So `10.0.0.0/8,192.168.1.0/24` becomes 10.0.0.0/24, and nobody complains.
    """
    address, slash, rest = text.partition("/")
    whole = 128 if ":" in address else 32
    length = rest.rpartition("/")[2]
    return address, int(length) if slash and length.isdigit() else whole


class Handler:
    """One call for one interface."""

    def __init__(self, name: str, handler: str) -> None:
        self.name = name
        self.newer = "renew_handler=1" in Path(handler).read_text()
        self.package: Package = load("network")
        section = self.package.section(name)
        if section is None:
            raise SystemExit(f"no interface {name}")
        self.interface = section
        # Without a public key a peer is skipped.
        self.peers = [
            peer
            for peer in self.package.sections
            if peer.type == f"wireguard_{name}" and one(peer, "public_key") and not is_on(peer, "disabled")
        ]

    def setup(self) -> int:
        if self.newer:
            self._make_key()
        if not self.newer and self._exists():
            run(IP, "link", "del", "dev", self.name)
        if not self._exists():
            done = run(IP, "link", "add", "dev", self.name, "type", "wireguard")
            if done.returncode:
                return self._fail(done.stderr)
        if mtu := one(self.interface, "mtu"):
            run(IP, "link", "set", "mtu", mtu, "dev", self.name)
        return self._configure()

    def renew(self) -> int:
        return self._configure() if self.newer else 0

    def _exists(self) -> bool:
        return os.path.exists(f"/sys/class/net/{self.name}")

    def _make_key(self) -> None:
        """Commits the package, and with it what anybody has pending there."""
        if one(self.interface, "private_key") not in ("", "generate"):
            return
        key = run(WG, "genkey").stdout.strip()
        run("/sbin/uci", "batch", text=f"set network.{self.name}.private_key='{key}'\ncommit network\n")
        self.interface.options["private_key"] = key

    def _configure(self) -> int:
        text = configuration(self.interface, self.peers)
        if self.newer:
            done = run(WG, "syncconf", self.name, "/dev/stdin", text=text)
        else:
            os.makedirs("/tmp/wireguard", exist_ok=True)
            path = f"/tmp/wireguard/{self.name}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            done = run(WG, "setconf", self.name, path)
            os.unlink(path)
        if done.returncode:
            return self._fail(done.stderr)
        print(json.dumps(self._report()))
        return 0

    def _report(self) -> dict[str, object]:
        addresses = [prefix(word) for word in words(self.interface, "addresses")]
        routes = [
            prefix(word)
            for peer in self.peers
            if is_on(peer, "route_allowed_ips")
            for word in words(peer, "allowed_ips")
        ]
        hosts = []
        if not is_on(self.interface, "nohostroute"):
            for line in run(WG, "show", self.name, "endpoints").stdout.splitlines():
                endpoint = line.split("\t")[1]
                if endpoint != "(none)":
                    hosts.append(endpoint.rpartition(":")[0].strip("[]"))
        return {"addresses": addresses, "routes": routes, "hosts": hosts}

    def _fail(self, complaint: str) -> int:
        # wg names the value it refuses, be it a key; the device's log has it as well.
        print(complaint.strip(), file=sys.stderr)
        return 1


def main() -> int:
    action, name, handler = sys.argv[1:4]
    if action == "teardown":  # the section may be gone
        run(IP, "link", "del", "dev", name)
        return 0
    call = Handler(name, handler)
    return call.renew() if action == "renew" else call.setup()
