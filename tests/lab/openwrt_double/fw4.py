"""The firewall: `fw4` (and `fw3` of older releases) turns /etc/config/firewall into one nftables table.

Devices of a zone are those of its networks that are up at this moment. One that comes up later has no rules until the
next reload; no hotplug script reloads here, so that who counts on one is found out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from .ubus_cli import ask
from .uci_read import is_on, load, one, words
from .uci_store import Section
from .uci_text import UciError

NFT = "/usr/sbin/nft"
INCLUDES = Path("/etc/nftables.d")
LONGEST = 11  # characters of a zone's name
VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "jump handle_reject"}


class Ruleset:
    """The text for nft, and what was skipped."""

    def __init__(self, name: str) -> None:
        self.table = name
        self.package = load("firewall")
        self.zones: dict[str, Section] = {}
        self.devices: dict[str, list[str]] = {}
        self.rules: dict[str, list[str]] = {}  # by chain
        self.warnings: list[str] = []
        status, answer = ask("call", "S", "network.interface", "dump", "{}")
        interfaces = json.loads(answer)["interface"] if not status else []
        self.networks = {i["interface"]: i["l3_device"] for i in interfaces if i["up"] and i["l3_device"]}

    def sections(self, type_: str) -> list[tuple[str, Section]]:
        """Those that are enabled, with the words by which a warning names them."""
        same = [section for section in self.package.sections if section.type == type_]
        return [
            (f"Section @{type_}[{number}] ({one(section, 'name') or section.name})", section)
            for number, section in enumerate(same)
            if is_on(section, "enabled", default=True)
        ]

    def warn(self, label: str, text: str) -> None:
        self.warnings.append(f"Warning: {label} {text}")

    def read_zones(self) -> None:
        for label, zone in self.sections("zone"):
            name = one(zone, "name")
            if not name or len(name) > LONGEST or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                self.warn(label, f"must have a name of 1 to {LONGEST} characters, skipped")
                continue
            self.zones[name] = zone
            self.devices[name] = words(zone, "device")
            for network in words(zone, "network"):
                if network in self.networks:
                    self.devices[name].append(self.networks[network])
                else:
                    self.warn(label, f"cannot resolve device of network '{network}'")

    def add(self, chain: str, rule: str) -> None:
        self.rules.setdefault(chain, []).append(rule)

    def through(self, side: str, zone: str) -> str | None:
        """A match for the zone's devices; empty for all zones, None for a zone without any."""
        if zone == "*":
            return ""
        names = ", ".join(f'"{device}"' for device in self.devices[zone])
        return f"{side} {{ {names} }} " if names else None

    def text(self) -> str:
        self.read_zones()
        for label, rule in self.sections("rule"):
            self.rule(label, rule)
        for label, redirect in self.sections("redirect"):
            self.redirect(label, redirect)
        for label, nat in self.sections("nat"):
            self.nat(label, nat)
        for label, forwarding in self.sections("forwarding"):
            source, target = one(forwarding, "src"), one(forwarding, "dest")
            if source not in self.zones or target not in self.zones:
                self.warn(label, "names an unknown zone, skipped")
                continue
            if (match := self.through("oifname", target)) is not None:
                self.add(f"forward_{source}", f"{match}accept")
        for name, zone in self.zones.items():
            self.zone(name, zone)
        return self.assembled()

    def zone(self, name: str, zone: Section) -> None:
        into, out = self.through("iifname", name), self.through("oifname", name)
        if into is None or out is None:
            return
        for hook, match in (("input", into), ("forward", into), ("output", out)):
            self.add(hook, f"{match}jump {hook}_{name}")
            verdict = VERDICTS.get(one(zone, hook, "DROP").upper(), "drop")
            # A zone's own forward policy is about its devices among each other.
            self.add(f"{hook}_{name}", (f"{out}" if hook == "forward" else "") + verdict)
        if is_on(zone, "masq"):
            self.add("srcnat", f"meta nfproto ipv4 {out}masquerade")
        if is_on(zone, "mtu_fix"):
            for match in (into, out):
                self.add("mangle_forward", f"{match}tcp flags syn / syn,fin,rst tcp option maxseg size set rt mtu")

    def matches(self, label: str, section: Section, ports: dict[str, str]) -> list[str] | None:
        """One line of matches a protocol; None after a warning."""
        family = one(section, "family")
        head = {"ipv4": "meta nfproto ipv4 ", "ipv6": "meta nfproto ipv6 "}.get(family, "")
        for option, side in (("src_ip", "saddr"), ("dest_ip", "daddr")):
            for sign in ("", "!"):
                several = [w.removeprefix("!") for w in words(section, option) if w.startswith("!") == bool(sign)]
                if several:
                    version = "ip6" if ":" in several[0] else "ip"
                    head += f"{version} {side} {'!= ' if sign else ''}{{ {', '.join(several)} }} "
        lines = []
        for protocol in words(section, "proto") or ["tcp", "udp"]:
            if protocol in ("all", "any", "*"):
                lines.append(head)
            elif protocol in ("tcp", "udp"):
                line = f"{head}meta l4proto {protocol} "
                for option, side in ports.items():
                    if values := words(section, option):
                        line += f"{protocol} {side} {{ {', '.join(values)} }} "
                lines.append(line)
            elif protocol in ("icmp", "icmpv6", "ipv6-icmp", "esp", "igmp"):
                kinds = [kind for kind in words(section, "icmp_type") if re.fullmatch("[a-z-]+", kind)]
                if protocol != "icmp" or family == "ipv6":
                    v6 = protocol == "icmp" or "v6" in protocol
                    lines.append(head + (f"meta l4proto {'icmpv6' if v6 else protocol} "))
                elif kinds:
                    lines.append(f"{head}icmp type {{ {', '.join(kinds)} }} ")
                else:
                    lines.append(f"{head}meta l4proto icmp ")
            else:
                self.warn(label, f"has the protocol {protocol}, which this double does not carry; skipped")
                return None
        return lines

    def rule(self, label: str, rule: Section) -> None:
        source, target = one(rule, "src"), one(rule, "dest")
        verdict = VERDICTS.get(one(rule, "target").upper())
        if verdict is None:
            self.warn(label, "has no target that this double carries; skipped")
            return
        if any(name not in ("", "*") and name not in self.zones for name in (source, target)):
            self.warn(label, "names an unknown zone, skipped")
            return
        lines = self.matches(label, rule, {"src_port": "sport", "dest_port": "dport"})
        out = self.through("oifname", target) if target else ""
        if lines is None or out is None:
            return
        hook = "forward" if source and target else "input" if source else "output"
        chains = [hook if source in ("", "*") else f"{hook}_{source}"]
        if source == "*":
            chains = [f"{hook}_{name}" for name in self.zones]
        for chain in chains:
            for line in lines:
                self.add(chain, f"{line}{out}{verdict}")

    def redirect(self, label: str, redirect: Section) -> None:
        source, address = one(redirect, "src"), one(redirect, "dest_ip")
        into = self.through("iifname", source) if source in self.zones else None
        if one(redirect, "target", "DNAT") != "DNAT" or source not in self.zones or ":" in address:
            self.warn(label, "is not carried by this double, skipped")
            return
        address_option = redirect.options.pop("dest_ip", "")
        lines = self.matches(label, redirect, {"src_dport": "dport"})
        redirect.options["dest_ip"] = address_option
        port = one(redirect, "dest_port")
        for line in lines or [] if into is not None else []:
            target = f"dnat ip to {address}" + (f":{port}" if port else "")
            self.add("dstnat", f"meta nfproto ipv4 {into}{line}{target if address else f'redirect to :{port}'}")
            self.add(f"forward_{source}", "ct status dnat accept")

    def nat(self, label: str, nat: Section) -> None:
        """What leaves through a zone, or through any."""
        zone, address = one(nat, "src", "*"), one(nat, "snat_ip")
        act = {"MASQUERADE": "masquerade", "ACCEPT": "accept", "SNAT": f"snat to {address}"}.get(one(nat, "target"))
        if act is None or (zone != "*" and zone not in self.zones):
            self.warn(label, "has no target or no zone that this double carries; skipped")
            return
        out = self.through("oifname", zone)
        lines = self.matches(label, nat, {"src_port": "sport", "dest_port": "dport"})
        for line in lines or [] if out is not None else []:
            self.add("srcnat", f"{out}{line}{act}")

    def scripts(self) -> list[str]:
        """What the includes run at each start and reload; fw4 skips those that do not say that they know it."""
        includes = [section for _label, section in self.sections("include")]
        if self.table == "fw4":
            includes = [include for include in includes if is_on(include, "fw4_compatible")]
        return [path for include in includes if Path(path := one(include, "path")).is_file()]

    def assembled(self) -> str:
        defaults = next((section for _label, section in self.sections("defaults")), Section("defaults", "", True))
        chains = {}
        for hook in ("input", "forward", "output"):
            policy = VERDICTS.get(one(defaults, hook, "DROP").upper(), "drop")
            loop = {"input": 'iifname "lo" accept', "output": 'oifname "lo" accept'}.get(hook)
            first = [f"type filter hook {hook} priority filter; policy {'accept' if policy == 'accept' else 'drop'};"]
            first += [loop] if loop else []
            first += ["ct state vmap { established : accept, related : accept }"]
            chains[hook] = [*first, *self.rules.pop(hook, []), *([policy] if policy.startswith("jump") else [])]
        chains["dstnat"] = ["type nat hook prerouting priority dstnat;", *self.rules.pop("dstnat", [])]
        chains["srcnat"] = ["type nat hook postrouting priority srcnat;", *self.rules.pop("srcnat", [])]
        mangle = self.rules.pop("mangle_forward", [])
        chains["mangle_forward"] = ["type filter hook forward priority mangle;", *mangle]
        chains["handle_reject"] = ["meta l4proto tcp reject with tcp reset", "reject with icmpx type port-unreachable"]
        for name in self.zones:
            for hook in ("input", "forward", "output"):
                chains[f"{hook}_{name}"] = self.rules.pop(f"{hook}_{name}", [])
        body = "".join(
            f"\tchain {name} {{\n" + "".join(f"\t\t{rule}\n" for rule in rules) + "\t}\n"
            for name, rules in chains.items()
        )
        if self.table == "fw4":
            body += "".join(path.read_text() for path in sorted(INCLUDES.glob("*.nft")))
        table = f"table inet {self.table}"
        return f"{table}\ndelete {table}\n{table} {{\n{body}}}\n"


def nft(text: str, *flags: str) -> int:
    done = subprocess.run([NFT, *flags, "-f", "-"], input=text, capture_output=True, text=True, check=False)
    sys.stderr.write(done.stderr)
    return done.returncode


def main() -> int:
    name = Path(sys.argv[0]).name
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    commands = ["start", "stop", "flush", "restart", "reload", "print", *(["check"] if name == "fw4" else [])]
    if command not in commands:
        sys.stderr.write(f"Usage: {name} {'|'.join(commands)}\n")
        return 1
    if command in ("stop", "flush"):
        return nft(f"table inet {name}\ndelete table inet {name}\n")
    try:
        ruleset = Ruleset(name)
        text = ruleset.text()
    except UciError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    sys.stderr.write("".join(f"{warning}\n" for warning in ruleset.warnings))
    if command == "print":
        sys.stdout.write(text)
        return 0
    if command == "check":
        status = nft(text, "-c")
        print("Ruleset passes nftables check." if not status else "Ruleset fails nftables check.")
        return status
    status = nft(text)
    if not status:
        for script in ruleset.scripts():
            subprocess.run(["/bin/sh", script], check=False)
    return status
