"""GL.iNet's `rtp2.sh` of firmware 4.8 and later, and `setup_instance`: from /etc/config/route_policy to what runs.

It prunes and rewrites what the firmware holds to be its own: instances without a rule, every section with
`gl_vpn_rules`, the rule's via, mark and options_in_used, the mark chains.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from pathlib import Path

from . import gl_marks
from .gl_proto import SETTING
from .uci_read import is_on, one
from .uci_store import Package, Section, Store

BOOTED = Path("/tmp/run/vpn-client-booted")
LOCK = Path("/tmp/run/rtp2.lock")
PATIENCE = 30  # seconds to wait for the lock
INSTANCES = [f"wgclient{number}" for number in range(1, 6)]
OURS = ("network", "firewall", "dhcp", "route_policy")
DISABLED, ENABLED = "1", "0"


class Configuration:
    """The packages; a change is one of memory until `commit`."""

    def __init__(self) -> None:
        self.store = Store()
        self.packages: dict[str, Package] = {}

    def __getitem__(self, name: str) -> Package:
        if name not in self.packages:
            self.packages[name] = self.store.load(name)
        return self.packages[name]

    def put(self, package: str, name: str, type_: str, values: dict[str, str]) -> None:
        self[package].set(name, None, type_)
        for option, value in values.items():
            self[package].set(name, option, value)

    def commit(self) -> None:
        """With everything that anybody has pending in these packages, and on fw4 in all of them."""
        names = [name for name in self.store.names() if name in OURS or Path("/sbin/fw4").exists()]
        fresh = [package for package in self.packages.values() if package.fresh]
        for package in fresh:
            self.store.save(package)
        time.sleep(SETTING if fresh else 0)
        for name in names:
            self.store.commit(name)
        self.packages = {}


def generate(configuration: Configuration, name: str, peer: str) -> None:
    """A client interface for one peer; its routes go to a table of its own."""
    number = 1000 + int(name[-1])
    values = {"proto": "wgclient", "config": f"peer_{peer}", "disabled": ENABLED}
    configuration.put("network", name, "interface", values | {"ip4table": str(number), "ip6table": str(number)})


def peer_id(rule: Section) -> str:
    return one(rule, "peer_id") or one(rule, "client_id")


class Run:
    """One pass over all of it."""

    def __init__(self) -> None:
        self.configuration = Configuration()
        policy = self.configuration["route_policy"].sections
        self.rules = [section for section in policy if section.type == "rule"]
        self.tunnels = [rule for rule in self.rules if one(rule, "via_type") == "wireguard"]
        self.failover = any(section.type == "default" and is_on(section, "enabled") for section in policy)

    def go(self) -> int:
        self.instances()
        enabled = [rule for rule in self.tunnels if is_on(rule, "enabled")]
        self.settings()
        state = "1" if enabled else "0"
        self.configuration.put("route_policy", "global", "global", {"enabled": state, "instance_on": state})
        self.forget()
        if enabled:
            self.firewall(enabled)
            self.routing(enabled)
        self.configuration.commit()
        gl_marks.apply(Run() if enabled else None)
        subprocess.run(["/bin/ubus", "-S", "call", "network", "reload", "{}"], capture_output=True, check=False)
        reload_service()
        return 0

    def instances(self) -> None:
        network = self.configuration["network"]
        wanted = {peer_id(rule) for rule in self.tunnels}
        running = {one(s, "config").removeprefix("peer_"): s for s in network.sections if s.name in INSTANCES}
        for peer, section in list(running.items()):
            if peer not in wanted:
                network.delete(section, None, None)
                del running[peer]
        for rule in self.tunnels:
            peer = peer_id(rule)
            if peer not in running and is_on(rule, "enabled"):
                free = next(name for name in INSTANCES if network.section(name) is None)
                generate(self.configuration, free, peer)
                made = network.section(free)
                assert made
                running[peer] = made
            if peer in running:
                name = running[peer].name
                on = any(is_on(each, "enabled") for each in self.tunnels if peer_id(each) == peer)
                network.set(name, "disabled", ENABLED if on else DISABLED)
                given = {"via": name, "mark": f"0x{name[-1]}000", "options_in_used": "1"}
                self.configuration.put("route_policy", rule.name, "rule", given)

    def settings(self) -> None:
        """Of an instance's first enabled rule; what the rule does not say is deleted from the interface."""
        network = self.configuration["network"]
        copied = {"mtu": "mtu", "masq": "modified_masq_value", "local_access": "modified_local_access"}
        for name in INSTANCES:
            section = network.section(name)
            rule = next((r for r in self.tunnels if one(r, "via") == name and is_on(r, "enabled")), None)
            if section and rule:
                for option, target in copied.items():
                    network.set(name, target, one(rule, option))

    def forget(self) -> None:
        for package in ("firewall", "network"):
            for section in list(self.configuration[package].sections):
                if is_on(section, "gl_vpn_rules"):
                    self.configuration[package].delete(section, None, None)

    def firewall(self, enabled: list[Section]) -> None:
        for rule in enabled:
            name = one(rule, "via")
            if self.configuration["firewall"].section(name):
                continue
            masquerade = one(rule, "masq", "1")
            reachable = is_on(rule, "local_access")
            values = {"name": name, "network": name, "input": "ACCEPT" if reachable else "DROP", "output": "ACCEPT"}
            values |= {"forward": "DROP", "mtu_fix": "1", "masq": masquerade, "masq6": masquerade, "gl_vpn_rules": "1"}
            self.configuration.put("firewall", name, "zone", values)
            ways = [("lan", name), *([(name, "lan")] if reachable else [])]
            for source, target in ways:
                ours = {"src": source, "dest": target, "gl_vpn_rules": "1"}
                self.configuration.put("firewall", f"{source}2{target}", "forwarding", ours)

    def routing(self, enabled: list[Section]) -> None:
        """The ip rules of the facts, by priority."""
        rules: list[tuple[str, dict[str, str]]] = [
            ("vpn_lan", {"priority": "800", "lookup": "9910", "suppress_prefixlength": "0"}),
            ("novpn_main", {"priority": "6000", "mark": "0x8000/0xf000", "lookup": "main"}),
        ]
        for name in dict.fromkeys(one(rule, "via") for rule in enabled):
            number = name[-1]
            ours = {"priority": "6000", "mark": f"0x{number}000/0xf000", "lookup": f"100{number}"}
            rules.append((f"vpn_{name}", ours))
        if self.failover:
            rules += [
                (f"vpn_failover{n}", {"priority": "9000", "mark": f"0x{n}000/0xf000", "lookup": "main"}) for n in _BITS
            ]
        rules += [
            (f"vpn_leak{n}", {"priority": "9910", "mark": f"0x{n}000/0x{n}000", "action": "blackhole"}) for n in _BITS
        ]
        for source in ("lan", "wgserver"):
            rules.append((f"vpn_block_{source}_leak", {"priority": "9920", "in": source, "action": "blackhole"}))
        for name, values in rules:
            self.configuration.put("network", name, "rule", values | {"gl_vpn_rules": "1"})


def reload_service(name: str = "firewall") -> None:
    """As the firmware: nobody waits for it."""
    command = [f"/etc/init.d/{name}", "reload"]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


_BITS = ("1", "2", "4", "8")  # any mark: one of the four bits


def setup_instance_main() -> int:
    action, name, *rest = [*sys.argv[1:], "", ""][:4]
    if name not in INSTANCES or action not in ("generate", "start", "stop", "clean"):
        sys.stderr.write("Usage: setup_instance generate INTERFACE GROUP PEER | start|stop|clean INTERFACE\n")
        return 1
    configuration = Configuration()
    section = configuration["network"].section(name)
    if action == "generate":
        generate(configuration, name, rest[1])
    elif section is None:
        return 1
    elif action == "clean":
        configuration["network"].delete(section, None, None)
    else:
        configuration["network"].set(name, "disabled", ENABLED if action == "start" else DISABLED)
    configuration.store.save(configuration["network"])
    configuration.store.commit("network")
    return 0


def source_is_up() -> int:
    """A network whose packets are marked came up: nothing happens as long as no tunnel is enabled."""
    settings = Configuration()["route_policy"].section("global")
    if settings and is_on(settings, "enabled"):
        gl_marks.main_without_wan()
        reload_service("network")
        reload_service()
    return 0


def main() -> int:
    if not BOOTED.exists():
        return 0
    if sys.argv[4:5] == ["inner"]:
        return source_is_up()
    with LOCK.open("w") as lock:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return 1
                time.sleep(0.1)
        if sys.argv[1:2] == ["interface_status_change"]:
            policy = Run()
            gl_marks.apply(policy if any(is_on(rule, "enabled") for rule in policy.tunnels) else None)
            # The chains are new, LOCAL_POLICY too. Networks such as B show that /etc/firewall.user is enough to keep
            # one's rule there, so it runs after this as well.
            reload_service()
            return 0
        return Run().go()
