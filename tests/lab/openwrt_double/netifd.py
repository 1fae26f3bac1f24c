"""netifd with its ubus objects: it keeps interfaces as the configuration has them, and notices less than people think.

A reload compares what concerns netifd and the handler's four declared options. Peers and addresses of a WireGuard
interface are the handler's own reading, at setup and renew only.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .interface import Interface
from .kernel import Kernel
from .ubus_cli import SOCKET
from .uci_read import is_on, load, one, words
from .uci_store import Package
from .uci_text import UciError

HANDLERS = Path("/lib/netifd/proto")
RETRY = 5.0  # seconds until a failed setup is tried again; tests that only count attempts say less
GLANCE = 0.2  # seconds between looks for a first handshake
HANDSHAKE_HOOK = "/etc/hotplug.d/wireguard/ifup.sh"
RTP2 = "/usr/bin/rtp2.sh"
LOG = Path("/tmp/log/messages")


class Netifd:
    def __init__(self) -> None:
        self.interfaces: dict[str, Interface] = {}
        self.handlers: dict[str, Path] = {}
        self.kernel = Kernel(self.log)
        self.selector = selectors.DefaultSelector()
        self.server = socket.socket(socket.AF_UNIX)

    def log(self, text: str) -> None:
        with LOG.open("a") as file:
            file.write(f"{time.strftime('%a %b %e %H:%M:%S %Y')} daemon.notice netifd: {text}\n")

    # Configuration

    def start(self) -> None:
        """Handlers are looked for here and at no other time."""
        found = sorted(HANDLERS.glob("*.sh"))
        self.handlers = {path.stem: path for path in found if os.access(path, os.X_OK)}
        self.reload()

    def stop(self) -> None:
        for interface in list(self.interfaces.values()):
            self.down(interface)
        self.interfaces = {}

    def reload(self) -> None:
        try:
            package = load("network")
        except UciError as error:
            self.log(f"network: {error}")
            return
        self.kernel.make_bridges(package)
        wanted = {s.name: Interface(s) for s in package.sections if s.type == "interface" and not is_on(s, "disabled")}
        for name, old in list(self.interfaces.items()):
            if name not in wanted:
                self.down(old)
                del self.interfaces[name]
        for name, new in wanted.items():
            known = self.interfaces.get(name)
            if known is None:
                self.interfaces[name] = new
                if new.autostart:
                    self.setup(new)
            elif known.noticed() != new.noticed():
                running = known.up or known.pending
                self.down(known)
                new.autostart = known.autostart or running
                self.interfaces[name] = new
                if running:
                    self.setup(new)
        for interface in self.interfaces.values():
            self._fixed_routes(interface, package)
        devices = {i.name: i.device or one(i.section, "device") for i in self.interfaces.values()}
        self.kernel.rule_sections(package, devices)
        self._resolvers(package)

    def _resolvers(self, package: Package) -> None:
        servers = [w for i in self.interfaces.values() if (s := package.section(i.name)) for w in words(s, "dns")]
        path = Path("/tmp/resolv.conf.d/resolv.conf.auto")
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"nameserver {server}\n" for server in dict.fromkeys(servers)))

    # Interfaces

    def setup(self, interface: Interface) -> None:
        """Start it; for protocols with a handler, the end comes later."""
        interface.autostart = interface.pending = True
        interface.error = ""
        interface.retry_at = 0.0
        self.log(f"Interface '{interface.name}' is setting up now")
        if interface.proto in ("static", "none"):
            self._static(interface)
        elif interface.proto in self.handlers:
            self._call(interface, "setup")
        else:
            interface.pending, interface.error = False, "NO_PROTO_HANDLER"

    def _call(self, interface: Interface, action: str) -> None:
        """Run the handler beside everything else."""
        command = [str(self.handlers[interface.proto]), "-", action, interface.name]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        interface.child = child
        assert child.stdout
        self.selector.register(child.stdout, selectors.EVENT_READ, (interface, child, action))

    def _ended(self, interface: Interface, child: subprocess.Popen[str], action: str) -> None:
        assert child.stdout
        self.selector.unregister(child.stdout)
        output, complaints = child.communicate()
        if interface.child is not child:
            return  # overtaken by down
        interface.child = None
        for line in complaints.splitlines():
            self.log(f"{interface.name} ({child.pid}): {line}")
        if child.returncode:
            self._withdraw(interface)
            interface.up, interface.pending, interface.error = False, True, "SETUP_FAILED"
            interface.retry_at = time.monotonic() + float(os.environ.get("NETIFD_RETRY", RETRY))
            self.log(f"Interface '{interface.name}' setup failed")
        elif output:
            report = json.loads(output)
            if report.get("await_handshake"):
                self._connecting(interface, report)
            else:
                self.report(interface, report)
                self._server_is_up(interface, report)

    def _server_is_up(self, interface: Interface, report: dict[str, Any]) -> None:
        """GL.iNet's server: hotplug, then the routes that its handler makes by itself.

        On the device the two run beside each other. Here what hotplug copies never has these routes.
        """
        if report.get("inner"):
            subprocess.run([RTP2, "interface_status_change", interface.name, "up", "inner"], check=False)
        for line in report.get("later", []):
            self.kernel.ip(*line)

    def report(self, interface: Interface, report: dict[str, Any]) -> None:
        """Give the device what the handler found: what is new comes, what is not reported any more goes."""
        metric = one(interface.section, "metric", "0")
        addresses = [(str(a), int(m)) for a, m in report["addresses"]]
        routes = [(a, m, "") for a, m in report["routes"]]
        device = interface.name
        self.kernel.link_up(device)
        for address in interface.addresses:
            if address not in addresses:
                self.kernel.address("del", address, device)
        tables = {4: one(interface.section, "ip4table"), 6: one(interface.section, "ip6table")}
        for route in interface.routes:
            if route not in routes:
                self.kernel.route("del", route, device, metric, tables)
        # Before the routes: a default route would hide the way to the peer.
        for host in report["hosts"]:
            self._host_route(interface, host)
        for address in addresses:
            if address not in interface.addresses:
                self.kernel.address("add", address, device)
        self.kernel.rules(interface.name, tables, addresses)
        for route in routes:
            self.kernel.route("replace", route, device, metric, tables)
        self._is_up(interface, device, addresses, routes)

    def _connecting(self, interface: Interface, report: dict[str, Any]) -> None:
        """GL.iNet: the link is up, netifd hears nothing before the first handshake. Firmware up to 4.7 is quicker."""
        self.kernel.link_up(interface.name)
        for host in report["hosts"]:
            self._host_route(interface, host)
        if report["addresses_at_once"]:
            interface.device, interface.addresses = interface.name, [(str(a), int(m)) for a, m in report["addresses"]]
            for address in interface.addresses:
                self.kernel.address("add", address, interface.name)
        interface.awaited = report

    def _look_for_handshakes(self) -> None:
        """wireguard-go sends no event as GL.iNet's kernel does."""
        for interface in self.interfaces.values():
            if (report := interface.awaited) is None:
                continue
            command = ["/usr/libexec/wg", "show", interface.name, "latest-handshakes"]
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            if any(line.split("\t")[1] != "0" for line in said.splitlines()):
                interface.awaited = None
                servers = "".join(f"nameserver {server}\n" for server in report["dns"])
                Path(f"/tmp/resolv.conf.d/resolv.conf.{interface.name}").write_text(servers)
                self.report(interface, report)
                subprocess.Popen([HANDSHAKE_HOOK, interface.name], stdin=subprocess.DEVNULL)

    def _host_route(self, interface: Interface, host: str) -> None:
        """Keep the endpoint reachable the way it is now, unless that is the tunnel itself."""
        others = [i for i in self.interfaces.values() if i.up and i is not interface]
        if tunlink := one(interface.section, "tunlink"):
            others = [i for i in others if i.name == tunlink]
        for other in others:
            for address, length, gateway in other.routes:
                if length == 0 and gateway and (":" in address) == (":" in host):
                    whole = 128 if ":" in host else 32
                    self.kernel.route("replace", (host, whole, gateway), other.device, "0", {})
                    return

    def _static(self, interface: Interface) -> None:
        section = interface.section
        device = one(section, "device")
        if device and not os.path.exists(f"/sys/class/net/{device}"):
            interface.error = "NO_DEVICE"
            return
        length = sum(int(part).bit_count() for part in one(section, "netmask", "255.255.255.255").split("."))
        addresses = []
        for word in words(section, "ipaddr") + words(section, "ip6addr"):
            address, slash, mask = word.partition("/")
            addresses.append((address, int(mask) if slash else 128 if ":" in word else length))
        gateways = (("0.0.0.0", one(section, "gateway")), ("::", one(section, "ip6gw")))
        routes = [(target, 0, gateway) for target, gateway in gateways if gateway]
        if device:
            self.kernel.link_up(device)
        for entry in addresses:
            self.kernel.address("replace", entry, device)
        for route in routes:
            self.kernel.route("replace", route, device, one(section, "metric", "0"), {})
        self._is_up(interface, device, addresses, routes)

    def _is_up(
        self, interface: Interface, device: str, addresses: list[tuple[str, int]], routes: list[tuple[str, int, str]]
    ) -> None:
        if not interface.up:
            interface.started = time.monotonic()
            self.log(f"Interface '{interface.name}' is now up")
        interface.device, interface.addresses, interface.routes = device, addresses, routes
        interface.up, interface.pending, interface.error = True, False, ""
        self._fixed_routes(interface, load("network"))

    def _fixed_routes(self, interface: Interface, package: Package) -> None:
        """Of sections of type route: these are noticed by a reload as long as the interface is up."""
        wanted = self.kernel.fixed_routes(package, interface.name, interface.device) if interface.up else []
        for line in interface.fixed:
            if line not in wanted:
                self.kernel.ip(line[0], "route", "del", *line[1:])
        for line in wanted:
            if line not in interface.fixed:
                self.kernel.ip(line[0], "route", "replace", *line[1:])
        interface.fixed = wanted

    def _withdraw(self, interface: Interface) -> None:
        """Take addresses and routes away; a tunnel's go with its device anyway."""
        metric = one(interface.section, "metric", "0")
        tables = {4: one(interface.section, "ip4table"), 6: one(interface.section, "ip6table")}
        for route in interface.routes:
            self.kernel.route("del", route, interface.device, metric, tables)
        for address in interface.addresses:
            self.kernel.address("del", address, interface.device)
        self.kernel.rules(interface.name, {}, [])
        for line in interface.fixed:
            self.kernel.ip(line[0], "route", "del", *line[1:])
        interface.addresses, interface.routes, interface.fixed, interface.device = [], [], [], ""

    def down(self, interface: Interface) -> None:
        if interface.child:
            interface.child.kill()
            interface.child = None
        interface.awaited = None
        was = interface.up or interface.pending
        self._withdraw(interface)
        if interface.proto in self.handlers and was:
            handler = self.handlers[interface.proto]
            subprocess.run([handler, "-", "teardown", interface.name], capture_output=True, check=False)
        interface.up = interface.pending = interface.autostart = False
        interface.retry_at = 0.0
        if was:
            self.log(f"Interface '{interface.name}' is now down")

    def renew(self, interface: Interface) -> None:
        """For handlers that cannot, and for interfaces that are not up, nothing."""
        handler = self.handlers.get(interface.proto)
        if interface.up and handler and "renew_handler=1" in handler.read_text() and not interface.child:
            self._call(interface, "renew")

    # ubus

    def objects(self) -> list[str]:
        return sorted(["network", "network.interface", "system", *(f"network.interface.{n}" for n in self.interfaces)])

    def answer(self, request: list[str]) -> tuple[int, Any]:
        """Status number and what is printed: text for `list`, an object for `call`."""
        command, _simple, *words_ = request
        if command == "list":
            pattern = words_[0] if words_ else "*"
            found = [name for name in self.objects() if fnmatchcase(name, pattern)]
            return (0, "\n".join(found)) if found else (4, "")
        path, method, text = (*words_, "{}")[:3]
        try:
            arguments = json.loads(text)
        except ValueError:
            return 12, None
        if not isinstance(arguments, dict):
            return 12, None
        if path not in self.objects():
            return 4, None
        return self.call(path, method, arguments)

    def call(self, path: str, method: str, arguments: dict[str, Any]) -> tuple[int, Any]:
        if path == "system":
            return (0, _board()) if method == "board" else (3, None)
        if path == "network":
            if method == "reload":
                self.reload()
            elif method == "restart":
                self.stop()
                self.start()
            elif method == "get_proto_handlers":
                return 0, {name: {"no_device": name in self.handlers} for name in sorted({"static", *self.handlers})}
            else:
                return 3, None
            return 0, None
        if path == "network.interface":
            if method == "dump":
                return 0, {"interface": [{"interface": i.name, **i.status()} for i in self.interfaces.values()]}
            if "interface" not in arguments:
                return 2, None
            path = f"network.interface.{arguments['interface']}"
        interface = self.interfaces.get(path.removeprefix("network.interface."))
        if interface is None:
            return 4, None
        if method == "status":
            return 0, interface.status()
        if method == "up":
            interface.autostart = True
            if not (interface.up or interface.pending):
                self.setup(interface)
        elif method == "down":
            self.down(interface)
        elif method == "renew":
            self.renew(interface)
        else:
            return 3, None
        return 0, None

    def serve(self, connection: socket.socket) -> None:
        with connection:
            received = b"".join(iter(lambda: connection.recv(65536), b"")).decode("utf-8", "surrogateescape")
            request = received.split("\0")
            status, result = self.answer(request)
            if not isinstance(result, str):
                simple = {"separators": (",", ":")} if request[1] else {"indent": "\t"}
                result = "" if result is None else json.dumps(result, **simple)
            connection.sendall(f"{status}\n{result}".encode())

    def run(self) -> None:
        os.makedirs(os.path.dirname(SOCKET), exist_ok=True)
        Path(SOCKET).unlink(missing_ok=True)
        self.start()
        self.server.bind(SOCKET)
        self.server.listen(16)
        self.selector.register(self.server, selectors.EVENT_READ)
        while True:
            waiting = [i.retry_at for i in self.interfaces.values() if i.retry_at]
            pause = max(0.0, min(waiting) - time.monotonic()) if waiting else None
            if any(interface.awaited for interface in self.interfaces.values()):
                pause = min(pause or GLANCE, GLANCE)
            for key, _events in self.selector.select(pause):
                if key.data is None:
                    self.serve(self.server.accept()[0])
                else:
                    self._ended(*key.data)
            self._look_for_handshakes()
            for interface in list(self.interfaces.values()):
                if interface.retry_at and interface.retry_at <= time.monotonic():
                    self.setup(interface)


def _board() -> dict[str, Any]:
    lines = [line.partition("=") for line in Path("/etc/openwrt_release").read_text().splitlines()]
    release = {name: value.strip("'") for name, _equals, value in lines}
    return {
        "kernel": os.uname().release,
        "hostname": os.uname().nodename,
        "model": "openwrt_double",
        "board_name": "generic",
        "release": {
            "distribution": release["DISTRIB_ID"],
            "version": release["DISTRIB_RELEASE"],
            "target": release["DISTRIB_TARGET"],
            "description": release["DISTRIB_DESCRIPTION"],
        },
    }


def main() -> int:
    Netifd().run()
    return 0
