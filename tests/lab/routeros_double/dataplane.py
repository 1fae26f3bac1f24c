"""The data plane of the lab: real tunnels, addresses, routes and firewall in the namespace this process runs in.

Every change is carried out before its command is answered, and only the difference: a peer that did not change is
not even named, the firewall is replaced as a whole in one transaction.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Mapping

from . import kernel, nft
from .router import Plane
from .routes import up
from .rows import Live
from .tree import Row, Tree
from .tunnel import PeerSettings, Tunnel, TunnelError, resolve
from .values import seconds

_PEERS = "/interface/wireguard/peers"
_NETWORK = frozenset(["/ip/address", "/ip/route", "/ipv6/address", "/ipv6/route", "/ipv6/pool", "/ipv6/dhcp-client"])
_FIREWALL = frozenset(
    ["/ip/firewall/filter", "/ip/firewall/nat", "/ipv6/firewall/filter", "/interface/list", "/interface/list/member"]
)
_LINKS = frozenset(["/interface", "/interface/wireguard", "/interface/vlan"])
_RETRY = 2.0  # seconds between attempts at a host name that does not resolve


class DataPlane(Plane):
    """`interface_map`: RouterOS name → kernel name of the devices that exist already (Ethernet, VLANs)."""

    def __init__(self, interface_map: Mapping[str, str]) -> None:
        super().__init__()
        self._map = dict(interface_map)
        self._tunnels: dict[str, Tunnel] = {}  # by interface id
        self._addresses: set[kernel.Assigned] = set()
        self._paths: kernel.Paths = {}
        self._script = ""
        self._complaints: set[str] = set()
        self._resolved: dict[str, str] = {}
        self._wanted: set[str] = set()  # host names of endpoints without an address yet
        self._wake = threading.Event()
        self._off = False

    # What the router calls, one call at a time

    def start(self, tree: Tree, lock: threading.RLock) -> None:
        self._tree = tree
        self._clear(tree)
        kernel.settings(forwarding=True)
        self._all(tree)
        threading.Thread(target=self._resolve, args=(lock,), daemon=True).start()

    def apply(self, tree: Tree, path: str) -> None:
        if path == _PEERS:
            self._set_peers(tree)
        elif path in _NETWORK:
            self._set_network(tree)
        elif path in _FIREWALL:
            self._set_firewall(tree)
        elif path in _LINKS:
            self._all(tree)

    def live(self, interface_id: str) -> Mapping[str, Live]:
        tunnel = self._tunnels.get(interface_id)
        try:
            return tunnel.live() if tunnel else {}
        except TunnelError as error:
            self._say(str(error))
            return {}

    def ping(self, address: str, source: str, seconds: float) -> float | None:
        words = ["ping", "-c", "1", "-W", str(seconds), *(["-I", source] if source else []), address]
        done = subprocess.run(words, text=True, capture_output=True, check=False)
        taken = re.search(r" time=([0-9.]+) ms", done.stdout)
        return float(taken[1]) if taken else None

    def stop(self) -> None:
        self._off = True
        self._wake.set()
        for tunnel in self._tunnels.values():
            tunnel.close()
        self._tunnels = {}
        self._clear(self._tree)
        kernel.settings(forwarding=False)

    # Parts

    def _all(self, tree: Tree) -> None:
        self._set_tunnels(tree)
        self._set_network(tree)
        self._set_firewall(tree)
        # Last: a peer with keepalive sends its first handshake at once, and repeats a lost one only after 5 seconds.
        self._set_peers(tree)

    def _clear(self, tree: Tree) -> None:
        """Take away what an earlier run left: a router that was killed lost it too."""
        lines = [f"address flush dev {device} scope global" for device in self._map.values()]
        for family in (4, 6):
            kernel.batch(family, lines, lambda _: None)
        leftovers = [self._free_kernel_name(row) for row in tree.table("/interface") if row.values["type"] == "wg"]
        kernel.batch(4, [f"link delete {name}" for name in leftovers], lambda _: None)
        kernel.batch(4, [f"link set {device} up" for device in self._map.values()], self._say)
        tables = "".join(f"table {family} routeros\ndelete table {family} routeros\n" for family in ("ip", "ip6"))
        self._nft(tables)

    def _kernel(self, interface_id: str) -> str | None:
        tunnel = self._tunnels.get(interface_id)
        if tunnel is not None:
            return tunnel.kernel
        row = self._tree.table("/interface").get(interface_id)
        if row is None or not up(self._tree, interface_id):
            return None
        return "lo" if row.values["name"] == "lo" else self._map.get(row.values["name"])

    def _free_kernel_name(self, row: Row) -> str:
        name = row.values["name"]
        fits = re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", name) and name not in (".", "..", "lo", *self._map.values())
        return name if fits else f"ros{row.id[1:].lower()}"

    def _set_tunnels(self, tree: Tree) -> None:
        wanted = {
            row.id: row
            for row in tree.table("/interface")
            if row.values["type"] == "wg" and row.values.get("disabled") != "true"
        }
        for gone in self._tunnels.keys() - wanted.keys():
            tunnel = self._tunnels.pop(gone)
            tunnel.close()
            # The kernel took these away with the device.
            self._addresses = {entry for entry in self._addresses if entry[1] != tunnel.kernel}
            device = re.compile(rf"\bdev {re.escape(tunnel.kernel)}( |$)")
            self._paths = {key: rest for key, rest in self._paths.items() if not device.search(rest)}
        for interface_id, row in wanted.items():
            try:
                # A renamed interface keeps its device, so its sessions live on.
                if interface_id not in self._tunnels:
                    self._tunnels[interface_id] = Tunnel(self._free_kernel_name(row))
                tunnel = self._tunnels[interface_id]
                tunnel.configure(row.values["private-key"], int(row.values["listen-port"]))
                mtu = row.values.get("mtu", "1420").replace("auto", "1420")
                if tunnel.mtu != mtu:
                    kernel.batch(4, [f"link set {tunnel.kernel} mtu {mtu} up"], self._say)
                    tunnel.mtu = mtu
            except TunnelError as error:
                self._say(str(error))

    def _set_peers(self, tree: Tree) -> None:
        wanted: dict[str, dict[str, PeerSettings]] = {interface_id: {} for interface_id in self._tunnels}
        names = set()
        for row in tree.table(_PEERS):
            values = row.values
            if values["interface"] not in wanted or values.get("disabled") == "true":
                continue
            host, port = values.get("endpoint-address", ""), int(values.get("endpoint-port", "0"))
            address = None
            # A responder never dials.
            waits = "true" in (values.get("responder"), values.get("is-responder"))
            if host and port and not waits:
                names.add(host)
                address = self._address(host)
            # Without an address yet there is nothing to keep alive; switched on with the address, it dials at once.
            silent = waits or (bool(host) and address is None)
            wanted[values["interface"]][values["public-key"]] = PeerSettings(
                preshared=values.get("preshared-key", ""),
                endpoint=(address, port) if address else None,
                keepalive=0 if silent else seconds(values.get("persistent-keepalive", "0s")) or 0,
                allowed=tuple(filter(None, values.get("allowed-address", "").split(","))),
            )
        for interface_id, peers in wanted.items():
            try:
                self._tunnels[interface_id].set_peers(peers)
            except TunnelError as error:
                self._say(str(error))
        self._wanted &= names
        self._resolved = {name: address for name, address in self._resolved.items() if name in names}

    def _address(self, host: str) -> str | None:
        if host not in self._resolved:
            if re.fullmatch(r"[\d.]+|.*:.*", host):
                return host
            # Asking takes as long as it takes: the command is answered meanwhile, as on the device.
            self._wanted.add(host)
            self._wake.set()
        return self._resolved.get(host)

    def _resolve(self, lock: threading.RLock) -> None:
        """Run beside the commands: look up the names that have no address yet, again and again."""
        while not self._off:
            self._wake.wait(_RETRY if self._wanted else None)
            self._wake.clear()
            for host in list(self._wanted):
                address = resolve(host)
                with lock:
                    if self._off or address is None or host not in self._wanted:
                        continue
                    self._wanted.discard(host)
                    self._resolved[host] = address
                    self._set_peers(self._tree)

    def _set_network(self, tree: Tree) -> None:
        addresses, paths = kernel.assigned(tree, self._kernel), kernel.paths(tree, self._kernel)
        new = {key: rest for key, rest in paths.items() if self._paths.get(key) != rest}
        old = {key: rest for key, rest in self._paths.items() if key not in paths}
        for family in (4, 6):
            lines = kernel.change_addresses(family, "replace", addresses - self._addresses)
            lines += kernel.change_paths(family, "replace", new)
            lines += kernel.change_paths(family, "del", old)
            lines += kernel.change_addresses(family, "del", self._addresses - addresses)
            kernel.batch(family, lines, self._say)
        self._addresses, self._paths = addresses, paths

    def _set_firewall(self, tree: Tree) -> None:
        rules = nft.ruleset(tree, self._kernel)
        for complaint in rules.complaints:
            if complaint not in self._complaints:
                self._say(complaint)
        self._complaints = set(rules.complaints)
        if rules.script != self._script and self._nft(rules.script):
            self._script = rules.script

    def _nft(self, script: str) -> bool:
        done = subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True, check=False)
        for line in done.stderr.splitlines():
            self._say(f"nft: {line}")
        return done.returncode == 0

    def _say(self, text: str) -> None:
        print(f"data plane: {text}", file=sys.stderr, flush=True)
