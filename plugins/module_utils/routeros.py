# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RouterOS as a backend of converge.py: which menus are read, what they say as a Tunnel, and the sentences in order."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from functools import partial
from typing import Any, Iterable, Mapping

from ansible_collections.homelab.fabric.plugins.module_utils.converge import Command
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_api import Router
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_peers import PEERS, live_of, peer_of, plan_peers
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_plan import (
    ADDRESS,
    DEFAULT_PORT,
    INTERFACE,
    ROUTE,
    is_set,
    plan_addresses,
    plan_interface,
    plan_routes,
    served_routes,
)
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_rows import Row, Sentence, is_on, prefixes
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_rules import (
    NAT,
    RULE_MENUS,
    SERVED,
    Rule,
    RulePlan,
    comments,
    needed_rules,
    plan_rules,
    remove_rule,
    served_by,
)
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER, Tunnel, merge, parse_tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    UNREADABLE,
    TunnelError,
    covers,
    sorted_prefixes,
)

# What is asked for, so that a private key never crosses the wire. All of it is known to every version from 7.12 on.
_INTERFACE_PROPERTIES = ("name", "listen-port", "mtu", "public-key", "disabled")
_PEER_PROPERTIES = (
    *("interface", "public-key", "preshared-key", "endpoint-address", "endpoint-port", "allowed-address"),
    *("persistent-keepalive", "comment", "disabled", "dynamic"),
    *("current-endpoint-address", "current-endpoint-port", "last-handshake", "rx", "tx"),
)
_ADDRESS_PROPERTIES = ("address", "interface", "disabled", "dynamic", "comment")
_ROUTE_PROPERTIES = ("dst-address", "gateway", "routing-table", "disabled", "dynamic", "comment")


class RouterOSBackend:
    """One WireGuard interface of one router."""

    device = "routeros"
    route_foreign = False

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._name = str(params["name"])
        self._router = Router(params)
        self._rows: dict[str, list[Row]] = {}
        self._unreadable: list[str] = []

    def close(self) -> None:
        self._router.close()

    def read(self) -> Tunnel | None:
        """See converge.Backend. What would fail on the way is refused here, before anything is written."""
        wanted = parse_tunnel(self._params, self.device)
        self._router.connect()
        self._read_interface()
        self._read_rest(
            wanted if self._params["state"] == "present" else replace(wanted, forward_to=(), open_port=False)
        )
        bare = self._bare(wanted)
        if self._params["state"] != "present":
            return bare and self._with_rules(bare, replace(bare, routes=()))
        goal = merge(bare, wanted, self._params["purge"], self.route_foreign).target
        self._check(goal)
        self._note_unreadable(wanted, bare)
        return bare and self._with_rules(bare, goal)

    def commands(self, current: Tunnel | None, target: Tunnel | None) -> list[Command]:
        """See converge.Backend."""
        return [Command(str(sentence), partial(self._router.run, sentence)) for sentence in self._sentences(target)]

    def public_key(self) -> str | None:
        if self._interface is None:
            self._read_interface()
        return self._interface["public-key"] if self._interface else None

    def live(self) -> dict[str, dict[str, Any]]:
        if self._router.writes:
            self._read_peers()
        return {row["public-key"]: live_of(row) for row in self._rows[PEERS]}

    def warnings(self) -> list[str]:
        if not self._unreadable:
            return []
        names = ", ".join(self._unreadable)
        problem = f"The preshared keys of {names} were left as they are, because this user may not read them"
        return [f"{problem}: give the user's group the policy sensitive, so that they can be compared."]

    # Reading

    @property
    def _interface(self) -> Row | None:
        return next((row for row in self._rows[INTERFACE] if row["name"] == self._name), None)

    def _read_interface(self) -> None:
        self._rows[INTERFACE] = self._router.rows(INTERFACE, _INTERFACE_PROPERTIES)

    def _read_peers(self) -> None:
        self._rows[PEERS] = self._router.rows(PEERS, _PEER_PROPERTIES, ("interface", self._name))

    def _read_rest(self, wanted: Tunnel) -> None:
        self._rows[PEERS] = []
        if self._interface:
            self._read_peers()
        for version in (4, 6):
            self._rows[ADDRESS[version]] = self._router.rows(ADDRESS[version], _ADDRESS_PROPERTIES)
            # A disabled route shows little, but its gateway it does.
            ours = (("gateway", self._name), ("comment", MARKER + self._name))
            self._rows[ROUTE[version]] = self._router.rows(ROUTE[version], _ROUTE_PROPERTIES, *ours)
        chains = [("chain", "forward")] if wanted.forward_to else []
        chains += [("chain", "input")] if wanted.open_port else []
        own = [("comment", comment) for comment in comments(self._name)]
        for menu in RULE_MENUS:
            # No .proplist: which matchers there are depends on the version, and none of them is a secret.
            self._rows[menu] = self._router.rows(menu, (), *(own if menu == NAT else [*chains, *own]))

    def _bare(self, wanted: Tunnel) -> Tunnel | None:
        """The interface with addresses and peers, without routes and rules."""
        row = self._interface
        if row is None:
            return None
        addresses = self._rows[ADDRESS[4]] + self._rows[ADDRESS[6]]
        addresses = [
            found for found in addresses if found["interface"] == self._name and is_set(found, wanted.addresses)
        ]
        peers = [peer_of(found) for found in self._rows[PEERS] if not is_on(found, "dynamic")]
        mtu = row.get("mtu", "")
        return Tunnel(
            name=self._name,
            addresses=sorted_prefixes(str(ipaddress.ip_interface(found["address"])) for found in addresses),
            listen_port=int(row.get("listen-port") or 0) or None,
            mtu=int(mtu) if mtu.isdigit() else None,
            # In merge's order, so that the diff shows differences alone.
            peers=tuple(sorted(peers, key=lambda peer: (not peer.ours, peer.name))),
            public_key=row.get("public-key"),
        )

    def _with_rules(self, bare: Tunnel, goal: Tunnel) -> Tunnel:
        """What of the goal's routes and rules is in effect, and what of ours has to go."""
        plans = [plan for _menu, plan in self._rule_plans(goal)]
        unmet = {planned.rule.serves for plan in plans for planned in plan.rules if planned.sentences}
        there = {planned.rule.serves for plan in plans for planned in plan.rules}
        there |= {served_by(planned.row, self._name) for plan in plans for planned in plan.rules if planned.row}
        there |= {served_by(row, self._name) for plan in plans for row in plan.leftover}
        items = {kind: sorted(item for field, item in there - unmet if field == kind) for kind in SERVED}
        routes = [served_routes(self._rows[ROUTE[version]], self._name, goal.routes or ()) for version in (4, 6)]
        return replace(
            bare,
            routes=routes[0] + routes[1],
            forward_to=tuple(items["forward_to"]),
            masquerade=tuple(items["masquerade"]),
            open_port=bool(items["open_port"]),
        )

    def _note_unreadable(self, wanted: Tunnel, bare: Tunnel | None) -> None:
        given = {peer.name for peer in wanted.peers if peer.preshared_key is not None}
        keys = {peer.public_key for peer in wanted.peers if peer.preshared_key is not None}
        hidden = [peer for peer in (bare.peers if bare else ()) if peer.preshared_key == UNREADABLE]
        self._unreadable = sorted(peer.name for peer in hidden if peer.name in given or peer.public_key in keys)

    # Refusing

    def _check(self, goal: Tunnel) -> None:
        planned = [planned for _menu, plan in self._rule_plans(goal) for planned in plan.rules]
        unmet = [rule for rule, _row, sentences in planned if sentences]
        named = {rule.fields["out-interface"] for rule in unmet if "out-interface" in rule.fields} - {self._name}
        if named or self._interface is None:
            self._check_interfaces(named)
        self._check_ways(goal)

    def _check_interfaces(self, named: set[str]) -> None:
        there = {row["name"] for row in self._router.rows("/interface", ["name"])}
        if self._interface is None and self._name in there:
            raise TunnelError("name", f"{self._name} is there, but is no WireGuard interface", "choose another name")
        for unknown in sorted(named - there):
            raise TunnelError(
                "forward_to",
                f"this router has no interface {unknown}",
                f"name one of {', '.join(sorted(there - {self._name}))}",
            )

    def _check_ways(self, goal: Tunnel) -> None:
        """A new route into the tunnel must take neither this connection nor the tunnel's own packets with it."""
        precious = {peer.endpoint.host: f"the endpoint of {peer.name}" for peer in goal.peers if peer.endpoint}
        precious[self._router.local_address] = "the address of this computer"
        for version in (4, 6):
            steps = plan_routes(ROUTE[version], self._rows[ROUTE[version]], _of(version, goal.routes or ()), self._name)
            new = [ipaddress.ip_network(str(s.attributes["dst-address"])) for s in steps.coming if s.verb == "add"]
            for host in filter(_is_address, precious) if new else ():
                address = ipaddress.ip_address(host)
                taking = max((net for net in new if address in net), key=lambda net: net.prefixlen, default=None)
                if taking is not None and self._would_take(version, taking.prefixlen, host):
                    raise TunnelError(
                        "routes",
                        f"{taking} covers {host}, {precious[host]}, which this router would then send into the tunnel",
                        "give routes without it, or first give the router a route to it",
                    )

    def _would_take(self, version: int, length: int, host: str) -> bool:
        """Whether a prefix of this length changes the way to the host: its present one is neither narrower nor ours."""
        if ipaddress.ip_address(host).is_loopback:
            return False
        ways = [row for row in self._table(version) if any(covers(way, host) for way in prefixes(row["dst-address"]))]
        best = max(ways, key=lambda row: _length(row["dst-address"]), default=None)
        if best is None or best.get("gateway") == self._name:
            return False
        present = _length(best["dst-address"])
        return present < length or (present == length and not is_on(best, "connect"))

    def _table(self, version: int) -> list[Row]:
        """The routes in use; asked for only in the rare case that a new one covers somebody."""
        menu = ROUTE[version] + " active"
        if menu not in self._rows:
            properties = ("dst-address", "gateway", "active", "connect", "routing-table")
            rows = self._router.rows(ROUTE[version], properties)
            self._rows[menu] = [r for r in rows if is_on(r, "active") and r.get("routing-table", "main") == "main"]
        return self._rows[menu]

    # Writing

    def _rule_plans(self, tunnel: Tunnel | None) -> list[tuple[str, RulePlan]]:
        port = (tunnel and tunnel.listen_port) or DEFAULT_PORT
        rules: list[Rule] = needed_rules(tunnel, port) if tunnel else []
        return [(menu, plan_rules(menu, self._rows[menu], rules, self._name)) for menu in RULE_MENUS]

    def _sentences(self, target: Tunnel | None) -> list[Sentence]:
        """In an order that may break off anywhere: what leans on a thing comes later and goes earlier."""
        addresses = target.addresses if target else ()
        routes = (target.routes or ()) if target else ()
        plans = self._rule_plans(target)
        rules = [sentence for _menu, plan in plans for planned in plan.rules for sentence in planned.sentences]
        old_rules = [remove_rule(menu, row) for menu, plan in plans for row in plan.leftover]
        ways = [plan_routes(ROUTE[v], self._rows[ROUTE[v]], _of(v, routes), self._name) for v in (4, 6)]
        old_ways = [sentence for steps in ways for sentence in steps.leaving]
        homes = [plan_addresses(ADDRESS[v], self._rows[ADDRESS[v]], _of(v, addresses), self._name) for v in (4, 6)]
        old_homes = [sentence for steps in homes for sentence in steps.leaving]
        peers = plan_peers(self._rows[PEERS], target or Tunnel(self._name))
        if target is None:
            row = self._interface
            gone = [Sentence(INTERFACE, "remove", {}, row[".id"], {"name": self._name})] if row else []
            return old_rules + old_ways + peers + old_homes + gone
        return [
            *plan_interface(self._rows[INTERFACE], target),
            *(sentence for steps in homes for sentence in steps.coming),
            *peers,
            *(sentence for steps in ways for sentence in steps.coming),
            *old_ways,
            *old_homes,
            *rules,
            *old_rules,
        ]


def _of(version: int, items: Iterable[str]) -> list[str]:
    return [item for item in items if (":" in item) == (version == 6)]


def _length(prefix: str) -> int:
    return ipaddress.ip_network(prefix, strict=False).prefixlen


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
