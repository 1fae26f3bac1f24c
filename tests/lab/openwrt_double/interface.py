"""What netifd knows of one interface, and what it shows of it on ubus."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from .uci_read import is_on, one
from .uci_store import Section

#: What a changed value of makes a reload set the interface up anew, by protocol; everything else is not noticed.
NOTICED = {
    "wireguard": ("private_key", "listen_port", "mtu", "fwmark"),
    "static": ("device", "ipaddr", "netmask", "gateway", "ip6addr", "ip6gw", "metric", "mtu"),
    "none": ("device",),
    "wgclient": ("config",),
}


class Interface:
    """One section of type interface that is not disabled."""

    def __init__(self, section: Section) -> None:
        self.section = section
        self.name = section.name
        self.proto = one(section, "proto", "none")
        self.up = self.pending = False
        self.autostart = is_on(section, "auto", default=True)
        self.device = ""  # the layer 3 device, while up
        self.started = 0.0
        self.addresses: list[tuple[str, int]] = []
        self.routes: list[tuple[str, int, str]] = []  # address, length, gateway
        self.fixed: list[list[str]] = []  # of sections of type route, while up; see Kernel.fixed_routes
        self.error = ""
        self.retry_at = 0.0
        self.child: subprocess.Popen[str] | None = None
        self.awaited: dict[str, Any] | None = None  # a report that counts from the first handshake on

    def noticed(self) -> tuple[object, ...]:
        return (self.proto, *(self.section.options.get(name) for name in NOTICED.get(self.proto, ("config",))))

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "up": self.up,
            "pending": self.pending,
            "available": self.error != "NO_DEVICE",
            "autostart": self.autostart,
            "dynamic": False,
        }
        if self.up:
            found |= {"uptime": int(time.monotonic() - self.started), "l3_device": self.device}
        found["proto"] = self.proto
        if device := one(self.section, "device"):
            found["device"] = device
        if self.up:
            for family, key in ((4, "ipv4-address"), (6, "ipv6-address")):
                found[key] = [{"address": a, "mask": m} for a, m in self.addresses if (":" in a) == (family == 6)]
            found["route"] = [
                {"target": a, "mask": m, "nexthop": gateway or ("::" if ":" in a else "0.0.0.0")}
                for a, m, gateway in self.routes
            ]
        found["data"] = {}
        if self.error:
            found["errors"] = [{"subsystem": self.proto, "code": self.error}]
        return found
