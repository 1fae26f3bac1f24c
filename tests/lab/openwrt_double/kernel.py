"""The kernel's side of netifd: devices, addresses, routes and rules, through iproute2."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping

from .uci_read import is_on, one, words
from .uci_store import Package

IP = "/usr/libexec/ip"


class Kernel:
    """Every method says what fails and goes on, as netifd does."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.log = log
        self._rules: dict[str, list[list[str]]] = {}  # by interface; "" for those of the configuration

    def ip(self, *arguments: str) -> None:
        done = subprocess.run([IP, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            self.log(f"ip {' '.join(arguments)}: {done.stderr.strip()}")

    def make_bridges(self, package: Package) -> None:
        for section in package.sections:
            name = one(section, "name")
            if section.type != "device" or one(section, "type") != "bridge":
                continue
            if not os.path.exists(f"/sys/class/net/{name}"):
                # mcast_snooping: without a querier it would swallow IPv6 neighbour discovery.
                self.ip(*f"link add {name} type bridge forward_delay 0 mcast_snooping 0".split())
            for port in words(section, "ports"):
                if os.path.exists(f"/sys/class/net/{port}"):
                    self.ip("link", "set", port, "master", name, "up")
            self.ip("link", "set", name, "up")

    def link_up(self, device: str) -> None:
        self.ip("link", "set", device, "up")

    def address(self, action: str, address: tuple[str, int], device: str) -> None:
        text, length = address
        nodad = ["nodad"] if ":" in text and action != "del" else []
        self.ip("address", action, f"{text}/{length}", "dev", device, *nodad)

    def route(
        self, action: str, route: tuple[str, int, str], device: str, metric: str, tables: Mapping[int, str]
    ) -> None:
        """`tables`: the table by family; empty for main."""
        target, length, gateway = route
        family = 6 if ":" in target else 4
        line = [f"-{family}", "route", action, f"{target}/{length}"]
        line += ["via", gateway] if gateway else []
        line += ["dev", device, "proto", "static", "metric", metric if family == 4 or metric != "0" else "1024"]
        if table := tables.get(family):
            line += ["table", table]
        self.ip(*line)

    def rules(self, interface: str, tables: Mapping[int, str], addresses: list[tuple[str, int]]) -> None:
        """What ip4table and ip6table bring along besides the table: who uses it."""
        wanted = []
        for family, table in tables.items():
            own = [f"{a}/{128 if family == 6 else 32}" for a, _m in addresses if (":" in a) == (family == 6)]
            if table and own:
                look = ["lookup", table]
                wanted += [[f"-{family}", "from", a, *look, "pref", "10000"] for a in own]
                wanted += [[f"-{family}", "to", a, *look, "pref", "20000"] for a in own]
                wanted.append([f"-{family}", "iif", "lo", *look, "pref", str(90000 + len(self._rules))])
        self._replace(interface, wanted)

    @staticmethod
    def fixed_routes(package: Package, interface: str, device: str) -> list[list[str]]:
        """The sections of type route and route6 of an interface, as words for `ip`, the family first."""
        lines = []
        for section in package.sections:
            if section.type not in ("route", "route6") or one(section, "interface") != interface:
                continue
            if is_on(section, "disabled"):
                continue
            target = one(section, "target")
            if "/" not in target and section.type == "route":
                target += f"/{one(section, 'netmask', '255.255.255.255')}"
            line = ["-6" if section.type == "route6" else "-4", target]
            for option, word in (("gateway", "via"), ("metric", "metric"), ("table", "table")):
                line += [word, value] if (value := one(section, option)) else []
            lines.append([*line, "dev", device, "proto", "static"])
        return lines

    def rule_sections(self, package: Package, devices: Mapping[str, str]) -> None:
        """Sections of type rule and rule6. `devices`: by interface."""
        wanted = []
        for section in package.sections:
            if section.type not in ("rule", "rule6") or is_on(section, "disabled"):
                continue
            line = ["-6" if section.type == "rule6" else "-4"]
            if incoming := one(section, "in"):
                if not devices.get(incoming):
                    continue
                line += ["iif", devices[incoming]]
            for option, word in (("src", "from"), ("dest", "to"), ("mark", "fwmark"), ("lookup", "lookup")):
                line += [word, value] if (value := one(section, option)) else []
            line += [action] if (action := one(section, "action")) else []
            line += ["pref", one(section, "priority", "1")]
            if length := one(section, "suppress_prefixlength"):
                line += ["suppress_prefixlength", length]
            wanted.append(line)
        self._replace("", wanted)

    def _replace(self, owner: str, wanted: list[list[str]]) -> None:
        old = self._rules.pop(owner, [])
        for rule in old:
            if rule not in wanted:
                self.ip(rule[0], "rule", "del", *rule[1:])
        for rule in wanted:
            if rule not in old:
                self.ip(rule[0], "rule", "add", *rule[1:])
        if wanted:
            self._rules[owner] = wanted
