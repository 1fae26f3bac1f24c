"""Addresses and routes in the kernel of this network namespace, changed by difference through `ip -batch`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from . import routes
from .tree import Tree

KernelName = Callable[[str], str | None]

#: (4 or 6, device, address with length)
Assigned = tuple[int, str, str]
#: (4 or 6, prefix, metric; 0 for connected networks) → the rest of the `ip route` line
Paths = dict[tuple[int, str, int], str]

# A router forwards, does not filter by reverse path unless told to, and keeps an interface's other addresses when
# one is removed.
_FORWARDING = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
_SETTINGS = {
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/promote_secondaries": "1",
    "ipv4/conf/default/promote_secondaries": "1",
}


def settings(forwarding: bool) -> None:
    for name, value in (_SETTINGS | dict.fromkeys(_FORWARDING, str(int(forwarding)))).items():
        with suppress(OSError):  # some are not there in a namespace, or for a family that the machine lacks
            Path("/proc/sys/net", name).write_text(value)


def batch(family: int, lines: list[str], complain: Callable[[str], None]) -> None:
    """Run `ip` commands; what fails is said and does not stop the rest."""
    if not lines:
        return
    done = subprocess.run(
        ["ip", f"-{family}", "-force", "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    for line in done.stderr.splitlines():
        complain(f"ip: {line}")


def assigned(tree: Tree, kernel: KernelName) -> set[Assigned]:
    """Addresses that shall be on devices."""
    found = set()
    for family in (4, 6):
        for row in tree.table("/ip/address" if family == 4 else "/ipv6/address"):
            device = kernel(row.values["interface"])
            address = row.values.get("composed", row.values["address"])
            pending = "from-pool" in row.values and "composed" not in row.values
            enabled = row.values.get("disabled") != "true" and routes.up(tree, row.values["interface"])
            if device and enabled and not pending:
                found.add((family, device, address))
    return found


def paths(tree: Tree, kernel: KernelName) -> Paths:
    """Routes that shall be in the kernel: connected ones and active static ones."""
    found: Paths = {}
    hops: dict[tuple[int, str, int], list[str]] = {}
    for family in (4, 6):
        links = routes.connected(tree, family)
        for link in links:
            device = kernel(link.interface)
            if device:
                scope = " scope link" if family == 4 else ""
                found.setdefault((family, str(link.network), 0), f"dev {device}{scope} src {link.local}")
        for row in tree.table("/ip/route" if family == 4 else "/ipv6/route"):
            values = row.values
            if values.get("disabled") == "true":
                continue
            key = (family, values["dst-address"], int(values.get("distance", "1")))
            if "blackhole" in values:
                found.setdefault(key, "blackhole")
                continue
            for gateway in routes.immediate(tree, row, links):
                address, _percent, link_id = gateway.rpartition("%")
                device = kernel(link_id)
                if device:
                    hops.setdefault(key, []).append(f"via {address} dev {device}" if address else f"dev {device}")
    for key, ways in hops.items():
        found[key] = ways[0] if len(ways) == 1 else " ".join(f"nexthop {way}" for way in ways)
    return found


def change_addresses(family: int, action: str, entries: set[Assigned]) -> list[str]:
    """Lines that add or delete addresses; their networks are routed by `paths`, as the device's own property says."""
    quick = " nodad" if family == 6 and action == "replace" else ""
    prefix = " noprefixroute" if action == "replace" else ""
    return [
        f"address {action} {address} dev {device}{quick}{prefix}"
        for f, device, address in sorted(entries)
        if f == family
    ]


def change_paths(family: int, action: str, entries: Paths) -> list[str]:
    lines = []
    # Connected networks first: the gateways of the others lie in them.
    for (version, prefix, metric), rest in sorted(entries.items(), key=lambda entry: entry[0][2]):
        if version != family:
            continue
        kind = "blackhole " if rest == "blackhole" else ""
        way = "" if rest == "blackhole" or action == "del" else f" {rest}"
        lines.append(
            f"route {action} {kind}{prefix} metric {metric}{way}" if metric else f"route {action} {prefix}{way}"
        )
    return lines
