# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pfSense as a backend of converge.py. It runs on the firewall; PHP is asked once to read and once to write.

The package's part (settings, tunnel, peers) is written and made to run first, then what leans on it (interface,
gateways, routes, rules, NAT); with state absent the other way round. Each part is one revision of the configuration.
A file in /var/run tells the next run of one that was cut short.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.converge import Command, DeviceError
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_assume import assumed
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_config import (
    AUTO,
    Firewall,
    addresses_of,
    live_peer,
    number,
    peer_of,
    running_peer,
    wanted_peers,
)
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_php import answer, script
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_plan import (
    Edit,
    plan_tunnel,
    remove_tunnel,
    summary,
)
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_refuse import (
    check_free,
    check_let_in,
    check_unused,
    check_way_in,
    connection,
)
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_rules import plan_nat, plan_rules
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_site import (
    Options,
    interface_key,
    plan_interface,
    plan_routing,
)
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER, Tunnel, in_order, merge, parse_tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    TunnelError,
    sorted_prefixes,
)

PHP = "/usr/local/bin/php"
_SEARCH = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
PATIENCE = 2  # seconds that the daemon, once started, may take until it writes the configuration
LOCKED = 5  # seconds to wait for another run to end
_OLDEST = 23.0  # of the configuration: pfSense CE 2.7.1

Run = Callable[..., "tuple[int, str, str]"]


class Site(NamedTuple):
    """What leans on the tunnel: edits, prefixes to take out of the routing table, and what is in effect now."""

    interface: list[Edit]
    routing: list[Edit]
    rules: list[Edit]
    gone: list[str]
    routes: tuple[str, ...] = ()
    served: frozenset[tuple[str, str]] = frozenset()

    @property
    def edits(self) -> list[Edit]:
        return self.interface + self.routing + self.rules


class PfSenseBackend:
    """One WireGuard tunnel of one firewall. `run` is AnsibleModule.run_command, `check` whether it is check mode."""

    device = "pfsense"
    route_foreign = False

    def __init__(self, params: Mapping[str, Any], run: Run, check: bool) -> None:
        self._params = params
        self._check = check
        self._run = run
        self._options = Options(
            interface_name=params["interface_name"] or "",
            wan_interfaces=tuple(params["wan_interfaces"]),
            nat_interfaces=tuple(params["nat_interfaces"]),
            gateways=params["gateways"],
        )
        self._phases: list[dict[str, Any]] = []
        self._public_key: str | None = None
        self._firewall: Firewall | None = None
        self._planned: tuple[Tunnel | None, Site] | None = None

    # Reading

    def read(self) -> Tunnel | None:
        """See converge.Backend. What would fail on the way is refused here, before anything is written."""
        wanted = parse_tunnel(self._params, self.device)
        asked = wanted.name
        description = _plain(self._params["description"] or "", "description")
        if asked == AUTO and not description:
            raise TunnelError("description", "is missing", "name the tunnel by a number (tun_wg0), or describe it")
        unknown = sorted(set(self._options.gateways) - {peer.name for peer in wanted.peers})
        if unknown:
            raise TunnelError("gateways", f"{', '.join(unknown)} is not among the peers", "use the peers' names")
        dump = self._ask({"do": "read", "name": "" if asked == AUTO else asked})
        version = str(dump["version"])
        if not version.replace(".", "", 1).isdigit() or float(version) < _OLDEST:
            raise DeviceError(f"pfSense's configuration has version {version}. Update to pfSense CE 2.7.1 or later")
        firewall = self._firewall = Firewall(dump, asked, description)
        bare = self._bare(firewall)
        goal = None
        if self._params["state"] == "present":
            goal = merge(bare, wanted, self._params["purge"], self.route_foreign).target
            check_free(firewall, goal)
        ssh = connection(os.environ.get("SSH_CONNECTION") or "")
        through = check_way_in(firewall, bare, goal, ssh.client)
        if bare is None:
            return None
        site = self._site(goal)
        if through:
            check_let_in(firewall, assumed(firewall, site.edits)["rules"], ssh)
        return self._with_site(bare, site)

    def assume(self, tunnel: Tunnel) -> None:
        """Take a tunnel for what is there, in check mode: as if it had been written and made to run."""
        site = self._site(tunnel)
        dump = assumed(self.firewall, [*plan_tunnel(self.firewall, tunnel), *site.edits])
        self._planned = None
        self._check = False  # pfSense does not know what was only assumed
        self._firewall = Firewall(dump, self.firewall.name, self.firewall.descr[len(MARKER) :])

    @property
    def firewall(self) -> Firewall:
        if self._firewall is None:
            raise ValueError("read() comes first")
        return self._firewall

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        path = os.environ.get("PATH", "")
        if os.geteuid():
            raise DeviceError("only root may change pfSense. Set ansible_user to root or admin in the inventory")
        # A connection that is cut shall not end this half way: what is begun is finished, or taken back.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            status, out, _problem = self._run(
                [PHP],
                data=script(request),
                binary_data=True,
                environ_update={"PATH": f"{path}:{_SEARCH}" if path else _SEARCH, "LC_ALL": "C"},
                handle_exceptions=False,
            )
        except OSError as error:
            raise DeviceError(f"{PHP} cannot be run ({error.strerror}). This module runs on pfSense itself") from None
        said = answer(out)
        if said is None:
            # Neither output is shown: PHP's own messages quote arguments, and keys are among them.
            raise DeviceError(
                f"PHP ended with status {status} and no answer, so it is not known what was written. Run again; "
                "Status > System Logs and `php-fpm`'s messages there tell why"
            )
        if said.get("failed") == "no package":
            raise DeviceError("this firewall has no WireGuard. Install it: System > Package Manager > WireGuard")
        if said.get("failed") == "locked":
            raise DeviceError("Another run is at work on this firewall. Run the playbook again when it is done")
        return said

    def _bare(self, firewall: Firewall) -> Tunnel | None:
        """The tunnel with its interface's addresses and its peers, without routes and rules."""
        tunnel = firewall.tunnel
        if tunnel is None:
            return None
        descr = str(tunnel.get("descr", ""))
        if not descr.startswith(MARKER):
            raise TunnelError(
                "name",
                f"{firewall.name} ({descr or 'without a description'}) was made by somebody else",
                f"choose a free number, or write {MARKER!r} in front of its description to hand it over",
            )
        interface = firewall.interfaces.get(firewall.assigned or "", {})
        return Tunnel(
            name=str(self._params["name"]),
            addresses=addresses_of(interface),
            listen_port=number(tunnel.get("listenport")) or None,
            mtu=number(interface.get("mtu")) or number(tunnel.get("mtu")) or None,
            peers=in_order(peer_of(item) for item in firewall.peers),
            public_key=str(tunnel.get("derived") or tunnel.get("publickey") or "") or None,
        )

    def _with_site(self, bare: Tunnel, site: Site) -> Tunnel:
        def of(kind: str) -> list[str]:
            return sorted(item for field, item in site.served if field == kind)

        return replace(
            bare,
            routes=site.routes,
            forward_to=tuple(of("forward_to")),
            masquerade=sorted_prefixes(of("masquerade")),
            open_port=bool(of("open_port")),
        )

    # Writing

    def _site(self, target: Tunnel | None) -> Site:
        """Made once where the goal stays the same."""
        if self._planned is None or self._planned[0] != target:
            self._planned = (target, self._plan_site(target))
        return self._planned[1]

    def _plan_site(self, target: Tunnel | None) -> Site:
        firewall, options = self.firewall, self._options
        port = (target and target.listen_port) or number((firewall.tunnel or {}).get("listenport"))
        interface = plan_interface(firewall, target, options) if target else self._unassign()
        routing = plan_routing(firewall, target, options)
        check_unused(firewall, routing.gateways, whole=target is None)
        rules = plan_rules(firewall, target, options, port or firewall.free_port())
        nat = plan_nat(firewall, target, options)
        served = frozenset(rules.served | nat.served)
        return Site(interface, routing.edits, rules.edits + nat.edits, routing.gone, routing.served, served)

    def _unassign(self) -> list[Edit]:
        key = self.firewall.assigned
        if key is None:
            return []
        data = {"at": f"interfaces/{key}", "set": None, "if": self.firewall.name}
        return [Edit(f"delete interfaces/{key}", f"interface {key} removed", data)]

    def commands(self, current: Tunnel | None, target: Tunnel | None) -> list[Command]:
        """See converge.Backend. All are sent at once, by the last one: each phase is written as a whole."""
        firewall = self.firewall
        site = self._site(target)
        edits = plan_tunnel(firewall, target) if target else remove_tunnel(firewall)
        redo = firewall.unfinished
        broken = redo or self._is_broken(target)
        sync = "peers" if target and firewall.live and firewall.live["up"] and not redo else "all"
        if not edits and not broken:
            sync = "none"
        package = _phase(edits, sync=sync)
        around = _phase(
            site.edits,
            interface=interface_key(firewall) if target and (site.interface or redo) else "",
            down=firewall.assigned if not target and site.interface else "",
            routes=bool(site.routing or site.interface or redo),
            filter=bool(site.edits or redo),
            gone=site.gone,
        )
        texts: list[str] = []
        for phase, made in [(package, edits), (around, site.edits)][:: 1 if target else -1]:
            steps = _texts(firewall, phase, made)
            if steps:
                phase["message"] = summary(firewall, made) if made else ""
                self._phases.append(phase)
                texts += steps
        if self._check and texts:
            self._ask_validators(self._phases[0])
        return [Command(text, partial(self._send, index == len(texts) - 1)) for index, text in enumerate(texts)]

    def _is_broken(self, target: Tunnel | None) -> bool:
        """Whether what runs is not what is configured."""
        firewall = self.firewall
        live = firewall.live
        if target is None or firewall.tunnel is None:
            return live is not None
        if live is None or not live["up"] or not firewall.dump["service"]:
            return True
        running = {key: running_peer(peer) for key, peer in live["peers"].items()}
        return running != wanted_peers(firewall) or str(live["listen_port"]) != str(firewall.tunnel.get("listenport"))

    def _ask_validators(self, phase: Mapping[str, Any]) -> None:
        """In check mode, about what is known already."""
        edits = [
            edit for edit in phase["edits"] if "check" in edit and KNOWN_AFTER_APPLY not in (edit["set"] or {}).values()
        ]
        if edits:
            _raise_refused(self._ask({"do": "check", "phases": [{"edits": edits}]}))

    def _send(self, last: bool) -> None:
        """Hand everything over in one PHP process."""
        if not last:
            return
        times = {"patience": PATIENCE, "wait": LOCKED}
        request = {"do": "apply", "name": self.firewall.name, "phases": self._phases, **times}
        said = self._ask(request)
        _raise_refused(said)
        if "failed" in said:
            if said.get("restored"):
                state = "The previous configuration was restored"
            else:
                state = (
                    "The previous configuration could not be restored either: look at Diagnostics > Backup & Restore"
                )
            raise DeviceError(f"{said['failed']}. {state}")
        self.firewall.dump["live"].clear()
        self.firewall.dump["live"].update(said["live"])
        self._public_key = said["public_key"]

    # What became of it

    def public_key(self) -> str | None:
        return self._public_key or str((self.firewall.tunnel or {}).get("publickey") or "") or None

    def live(self) -> dict[str, dict[str, Any]]:
        live, now = self.firewall.live, int(time.time())
        return {key: live_peer(peer, now) for key, peer in live["peers"].items()} if live else {}

    def warnings(self) -> list[str]:
        interface = self.firewall.interfaces.get(self.firewall.assigned or "", {})
        if self._params["state"] == "present" and interface.get("gateway"):
            warning = (
                f"{interface.get('descr')} has an upstream gateway, so pfSense takes the tunnel for another WAN and "
                "translates what enters it. If it is none, choose None in Interfaces > Assignments"
            )
            return [warning]
        return []


def _raise_refused(said: Mapping[str, Any]) -> None:
    if said.get("refused"):
        raise DeviceError("pfSense refuses it, and nothing was written: " + " ".join(said["refused"]))


def _phase(edits: Sequence[Edit], **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"sync": "none", "interface": "", "down": "", "routes": False, "filter": False, "gone": []}
    return {**empty, "edits": [edit.data for edit in edits], "message": "", **more}


def _texts(firewall: Firewall, phase: Mapping[str, Any], edits: Sequence[Edit]) -> list[str]:
    """A phase as check mode shows it: the edits, then pfSense's functions in order."""
    texts = [edit.text for edit in edits]
    if phase["down"]:
        texts.append(f"interface_bring_down({phase['down']})")
    if edits:
        texts.append(f'write_config("{summary(firewall, edits)}")')
    if phase["sync"] == "peers":
        texts += ["wg_resync()", f"wg syncconf {firewall.name}", "wg_resolve_endpoints()"]
    elif phase["sync"] == "all":
        texts += ["wg_toggle_wireguard()", f"wg_tunnel_sync({firewall.name})"]
    if phase["interface"]:
        texts.append(f"interface_configure({phase['interface']})")
    if phase["routes"]:
        texts += [f"route delete {prefix}" for prefix in phase["gone"]]
        texts += ["setup_gateways_monitor()", "system_routing_configure()"]
    if phase["filter"]:
        texts.append("filter_configure()")
    return texts


def _plain(text: str, argument: str) -> str:
    """One line of printable ASCII: a line break in it would become a line of the tunnel's conf file."""
    if len(text) > 200 or any(not " " <= char <= "~" for char in text):
        raise TunnelError(argument, "holds more than plain characters", "use up to 200 printable ASCII characters")
    return text
