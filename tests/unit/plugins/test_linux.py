"""The Linux backend without a Linux host: what it decides, on a host made of dictionaries."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils import wg_quick
from ansible_collections.homelab.fabric.plugins.module_utils.commands import Result
from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError, converged
from ansible_collections.homelab.fabric.plugins.module_utils.linux import LinuxBackend
from ansible_collections.homelab.fabric.plugins.module_utils.linux_firewall import (
    Firewall,
    firewall_of,
    hooks,
    iptables_rules,
    listed_rules,
    nft_comment,
    nft_header,
    nft_is_loaded,
    nft_rules,
    nft_script,
)
from ansible_collections.homelab.fabric.plugins.module_utils.linux_host import (
    Host,
    Link,
    Unit,
)
from ansible_collections.homelab.fabric.plugins.module_utils.linux_live import Step, live_change
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel, needed_routes
from ansible_collections.homelab.fabric.plugins.module_utils.values import (
    KNOWN_AFTER_APPLY,
    Endpoint,
    Secret,
    TunnelError,
)
from ansible_collections.homelab.fabric.plugins.module_utils.wg import NO_PRESHARED_KEY, LivePeer, redact
from hypothesis import given
from hypothesis import strategies as st

CONF, NFT = "/etc/wireguard/wg0.conf", "/etc/wireguard/wg0.nft"


def key(seed: object) -> str:
    return base64.b64encode(hashlib.sha256(str(seed).encode()).digest()).decode()


class FakeHost(Host):
    """Answers from its attributes, and remembers the commands that it was asked for."""

    def __init__(self, tools: Sequence[str] = ("wg", "wg-quick", "ip", "nft", "systemctl")) -> None:
        super().__init__(self.never)
        self.tools = tools
        self.files: dict[str, str] = {}
        self.state: Link | None = None
        self.client: str | None = None
        self.ways: dict[str, tuple[str, int]] = {}
        self.ran: list[str] = []

    def never(self, *command: Any, **options: Any) -> tuple[int, str, str]:
        raise AssertionError("a real command")

    def run(self, command: Sequence[str], stdin: str = "") -> Result:
        self.ran.append(" ".join(command))
        answers = {"wg genkey": key("private"), "wg pubkey": key("public")}
        if command[:2] == ["wg-quick", "strip"]:
            return Result(0, f"[Interface]\nPrivateKey = {key('private')}\n", "")
        return Result(0 if command[0] in self.tools else 127, answers.get(" ".join(command), ""), "")

    def has(self, tool: str) -> bool:
        return tool in self.tools

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def write(self, path: str, text: str, check: Callable[[str], object], mode: int = 0o600) -> None:
        check(path)
        self.files[path] = text

    def remove(self, *paths: str) -> None:
        for path in paths:
            self.files.pop(path, None)

    def too_open(self, path: str, mode: int) -> bool:
        return False

    def lock(self) -> None:
        pass

    def link(self, name: str, table: str) -> Link | None:
        return self.state

    def way_to(self, address: str) -> tuple[str, int] | None:
        return self.ways.get(address)

    def port_is_free(self, port: int) -> bool:
        return True

    def unit(self, name: str) -> Unit:
        return Unit(self.state is not None, self.state is not None)

    def ssh_client(self) -> str | None:
        return self.client


def run(host: Host, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """One call of the module, below its argument parsing."""
    params = {"name": "wg0", "state": "present", "purge": False, "waited_for": None, **arguments}
    backend = LinuxBackend("wg0", check, host)
    return converged(params, backend, check, True, backend.assume)


GATEWAY = {"name": "gw", "public_key": key("gw"), "allowed_ips": ["10.30.0.0/24"], "endpoint": "203.0.113.9:51820"}
HOME: dict[str, Any] = {"addresses": ["10.100.0.1/24"], "listen_port": 51820, "peers": [GATEWAY]}


def test_a_blank_host_in_check_mode_needs_no_tools() -> None:
    blank = FakeHost(tools=())
    foretold = run(blank, check=True, **HOME, forward_to=["eth0"])
    assert foretold["public_key"] == KNOWN_AFTER_APPLY
    assert blank.files == {}
    host = FakeHost()
    assert run(host, **HOME, forward_to=["eth0"])["commands"] == foretold["commands"]
    assert f"PrivateKey = {key('private')}" in host.files[CONF]
    assert key("private") not in " ".join(host.ran)


@pytest.mark.parametrize("there", [None, Tunnel("wg0", addresses=("10.100.0.1/24",), listen_port=51821)])
def test_a_check_goes_on_from_what_the_task_before_announced(there: Tunnel | None) -> None:
    keyless = {**GATEWAY, "public_key": None}
    both = {**HOME, "peers": [keyless, {"name": "nas", "public_key": key("nas"), "allowed_ips": ["10.40.0.1/32"]}]}
    checked, real = FakeHost(), FakeHost()
    for host in (checked, real):
        if there:
            host.files[CONF], host.state = file_of(there).render(), running(there)
    foretold = run(checked, check=True, **both)
    assert foretold["commands"] == run(real, **both)["commands"] != []
    real.state = running(Tunnel("wg0", ("10.100.0.1/24",), 51820, peers=wg_quick.parse(real.files[CONF], CONF).peers))
    real.state = real.state._replace(routes={"10.40.0.1/32": "boot"})
    both["peers"] = [GATEWAY, both["peers"][1]]
    later = run(checked, check=True, **both, waited_for=foretold["waiting_for_key"])
    done = run(real, **both)
    assert later["commands"] == done["commands"]
    shown = done["diff"]["before"]
    assert later["diff"]["before"] == (shown if there else shown.replace(key("public"), KNOWN_AFTER_APPLY))
    assert any("addconf" in command for command in later["commands"])


@pytest.mark.parametrize("tool", ["wg", "wg-quick", "ip", "nft", "systemctl"])
def test_a_missing_tool_is_named_with_its_package(tool: str) -> None:
    host = FakeHost([other for other in ("wg", "wg-quick", "ip", "nft", "systemctl") if other != tool])
    with pytest.raises(DeviceError, match=f"`{tool}` is not on this host. Install the package"):
        run(host, **HOME, forward_to=["eth0"])
    assert host.files == {}


def test_absent_on_a_blank_host_needs_nothing() -> None:
    assert run(FakeHost(tools=()), state="absent")["commands"] == []


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a default route": ({"peers": [GATEWAY | {"allowed_ips": ["0.0.0.0/0"]}]}, "peers: gw has a default route"),
    "an IPv6 default route": ({"peers": [GATEWAY | {"allowed_ips": ["::/0"]}]}, "peers: gw has a default route"),
    "the way back": ({"routes": ["198.51.100.0/24"]}, "routes: 198.51.100.0/24 holds 198.51.100.7"),
    "the way back, connected": ({"addresses": ["198.51.100.1/24"]}, "198.51.100.0/24 holds 198.51.100.7"),
    "its own endpoint": ({"routes": ["203.0.113.0/24"]}, "peers: 203.0.113.0/24 holds gw's own endpoint"),
    "a RouterOS name": ({"forward_to": ["vlan30-kubernetes"]}, "forward_to: 'vlan30-kubernetes' is not the name"),
    "a wildcard": ({"forward_to": ["eth*"]}, "forward_to: 'eth*' is not the name"),
    "a port unknown": ({"listen_port": None, "open_port": True}, "open_port: the port is not known"),
    "a name that systemd escapes": ({"name": "wg+"}, "name: 'wg+' cannot be the name"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_refused_before_anything_is_written(mistake: str) -> None:
    arguments, message = REFUSED[mistake]
    host = FakeHost()
    host.client = "198.51.100.7"
    host.ways = {"198.51.100.7": ("eth0", 0), "203.0.113.9": ("eth0", 0)}
    with pytest.raises(TunnelError) as error:
        run(host, **HOME | arguments)
    assert message in str(error.value)
    assert host.files == {}


def test_a_longer_route_keeps_the_way_back() -> None:
    host = FakeHost()
    host.client = "10.9.8.7"
    host.ways = {"10.9.8.7": ("eth0", 24)}
    assert run(host, **HOME | {"routes": ["10.0.0.0/8"]})["changed"]
    host.ways = {"10.9.8.7": ("wg0", 8)}
    assert run(FakeHost(), **HOME | {"routes": ["10.0.0.0/8"]})["changed"], "connected through the tunnel itself"


def running(tunnel: Tunnel) -> Link:
    """The interface that wg-quick makes of a tunnel."""
    return Link(
        Secret(key("private")),
        key("public"),
        tunnel.listen_port or 40000,
        {str(peer.public_key): live_peer(peer) for peer in tunnel.peers},
        True,
        tunnel.mtu or 1420,
        tunnel.addresses,
        dict.fromkeys(tunnel.routes or (), "boot"),
    )


def live_peer(peer: Peer) -> LivePeer:
    endpoint = str(peer.endpoint) if peer.endpoint else None
    return LivePeer(peer.preshared_key or Secret(""), endpoint, peer.allowed_ips, 0, 0, 0, peer.keepalive)


def file_of(tunnel: Tunnel) -> wg_quick.WgQuickFile:
    return wg_quick.WgQuickFile(("[Interface]", f"PrivateKey = {key('private')}")).with_peers(tunnel.peers)


def obey(link: Link, steps: Sequence[Step]) -> Link:
    """What the tools make of the steps. Strict: nothing is added twice, nothing removed that is not there."""
    peers, addresses, routes = dict(link.peers), list(link.addresses), dict(link.routes)
    for step in steps:
        if step.command == ["ip", "-batch", "-"]:
            lines = [Step(["ip", *line.split()]) for line in step.stdin.splitlines()]
            link = obey(link._replace(peers=peers, addresses=tuple(addresses), routes=routes), lines)
            routes = dict(link.routes)
            continue
        match step.command:
            case ["wg", "addconf", _, "/dev/stdin"]:
                peers.update(told(peers, block) for block in step.stdin.split("[Peer]\n")[1:])
            case ["wg", "set", _, "listen-port", port]:
                link = link._replace(listen_port=int(port))
            case ["wg", "set", _, *words]:
                for public_key in words[1::3]:
                    del peers[public_key]
            case ["ip", "address", "add", address, "dev", _]:
                assert address not in addresses
                addresses.append(address)
            case ["ip", "address", "delete", address, "dev", _]:
                addresses.remove(address)
                if not any("." in other for other in addresses) and "." in address:
                    routes = {prefix: by for prefix, by in routes.items() if ":" in prefix}
            case ["ip", "route", verb, prefix, "dev", _]:
                assert (prefix in routes) is (verb == "delete") or verb == "replace"
                routes[prefix] = "boot"
                if verb == "delete":
                    del routes[prefix]
            case ["ip", "link", "set", "mtu", mtu, "dev", _]:
                link = link._replace(mtu=int(mtu))
            case ["sh", "-c", script]:
                assert "promote_secondaries" in script
            case _:
                raise AssertionError(step)
    return link._replace(peers=peers, addresses=tuple(addresses), routes=routes)


def told(peers: dict[str, LivePeer], block: str) -> tuple[str, LivePeer]:
    said = dict(line.split(" = ", 1) for line in block.strip().splitlines())
    assert all(said.values()), "wg does not understand a setting without a value"
    public_key, psk = said["PublicKey"], said["PresharedKey"]
    before = peers.get(public_key)
    return public_key, LivePeer(
        Secret("" if psk == NO_PRESHARED_KEY else psk),
        said.get("Endpoint", before.endpoint if before else None),
        tuple(filter(None, said.get("AllowedIPs", "").split(", "))),
        0,
        0,
        0,
        0 if said["PersistentKeepalive"] == "off" else int(said["PersistentKeepalive"]),
    )


@st.composite
def tunnels(draw: st.DrawFn) -> Tunnel:
    peers = []
    for seed in draw(st.lists(st.integers(1, 6), unique=True, max_size=5)):
        prefixes = draw(st.lists(st.sampled_from((f"10.0.{seed}.0/24", f"fd00:{seed}::/64")), unique=True))
        peers.append(
            Peer(
                f"peer{seed}",
                key((seed, draw(st.sampled_from("ab")))),
                draw(st.none() | st.just(Secret(key("psk")))),
                draw(st.none() | st.builds(Endpoint, st.just("203.0.113.1"), st.integers(1, 3))),
                tuple(sorted(prefixes)),
                draw(st.sampled_from((0, 25))),
            )
        )
    addresses = tuple(sorted(draw(st.sets(st.sampled_from(("10.100.0.1/24", "10.100.0.2/24", "fd00:100::1/64"))))))
    routes = needed_routes(addresses, (prefix for peer in peers for prefix in peer.allowed_ips))
    return Tunnel("wg0", addresses, draw(st.sampled_from((51820, 51821))), 1400, tuple(peers), routes)


@given(tunnels(), tunnels())
def test_the_live_steps_lead_from_any_tunnel_to_any_other(before: Tunnel, after: Tunnel) -> None:
    link = running(before)
    change = live_change(file_of(before), before, after, link)
    result = obey(link, change.steps)
    assert set(result.addresses) == set(after.addresses)
    assert set(result.routes) == set(after.routes or ())
    assert (result.listen_port, result.mtu) == (after.listen_port, after.mtu)
    assert set(result.peers) == {peer.public_key for peer in after.peers}
    for peer in after.peers:
        live, want = result.peers[str(peer.public_key)], live_peer(peer)
        assert live._replace(endpoint=None) == want._replace(endpoint=None)
        assert want.endpoint in (None, live.endpoint)
    assert live_change(file_of(after), after, after, result).steps == []


@given(tunnels(), tunnels())
def test_a_run_that_stopped_is_finished_from_its_notes(before: Tunnel, after: Tunnel) -> None:
    """Stopped after each step: the file is the new one with notes, and the rest of the steps follows from it."""
    link = running(before)
    change = live_change(file_of(before), before, after, link)
    noted = file_of(after).with_pending(change.notes)
    for done in range(len(change.steps) + 1):
        halfway = obey(link, change.steps[:done])
        finished = obey(halfway, live_change(noted, after, after, halfway).steps)
        assert set(finished.peers) == {peer.public_key for peer in after.peers}
        assert set(finished.routes) == set(after.routes or ())
        assert set(finished.addresses) == set(after.addresses)
        for peer in after.peers:
            assert live_peer(peer).endpoint in (None, finished.peers[str(peer.public_key)].endpoint)


@given(tunnels())
def test_a_roamed_peer_is_left_where_it_is(tunnel: Tunnel) -> None:
    link = running(tunnel)
    roamed = {public_key: live._replace(endpoint="198.51.100.1:9") for public_key, live in link.peers.items()}
    assert live_change(file_of(tunnel), tunnel, tunnel, link._replace(peers=roamed)) == ([], [])


def test_two_hundred_peers_cost_no_more_commands_than_two() -> None:
    counts = []
    for number in (2, 200):
        peers = [
            {"name": f"p{i}", "public_key": key(i), "allowed_ips": [f"10.{i}.0.0/16"], "preshared_key": key("psk")}
            for i in range(number)
        ]
        host = FakeHost()
        run(host, **HOME | {"peers": peers})
        started = len(host.ran)
        text = wg_quick.parse(host.files[CONF], CONF)
        host.state = running(Tunnel("wg0", ("10.100.0.1/24",), 51820, None, (), ()))
        assert len(text.peers) == number
        commands = run(host, **HOME | {"peers": peers})["commands"]
        assert sum(command.startswith("wg ") for command in commands) == 1
        counts.append((started, len(host.ran)))
    assert counts[0] == counts[1]


# The packet filter


def firewall(**changes: Any) -> Firewall:
    peer = Peer("gw", key("gw"), allowed_ips=("10.30.0.0/24", "fd00:30::/64"))
    return firewall_of(Tunnel("wg0", ("10.100.0.1/24",), 51820, None, (peer,), **changes))


RULES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "nothing": ({}, [], []),
    "a prefix": (
        {"forward_to": ("10.30.0.0/24",)},
        ["ip daddr { 10.30.0.0/24 } accept", "drop"],
        ["iptables FORWARD back", "iptables FORWARD from"],
    ),
    "overlapping prefixes": (
        {"forward_to": ("10.0.0.0/8", "10.30.0.0/24")},
        ["ip daddr { 10.0.0.0/8 } accept", "drop"],
        ["iptables FORWARD back", "iptables FORWARD from"],
    ),
    "an interface": (
        {"forward_to": ("eth0",)},
        ['oifname { "eth0" } accept', "drop"],
        ["iptables FORWARD back", "iptables FORWARD from", "ip6tables FORWARD back", "ip6tables FORWARD from"],
    ),
    "masquerade alone": (
        {"masquerade": ("10.100.0.0/24",)},
        ["ip saddr { 10.100.0.0/24 } ip daddr != { 10.100.0.0/24 } masquerade"],
        ["iptables FORWARD back", "iptables FORWARD from 10.100.0.0/24"],
    ),
    "both": (
        {"forward_to": ("10.30.0.0/24",), "masquerade": ("10.100.0.0/24",)},
        [
            "ip daddr { 10.30.0.0/24 } accept",
            "drop",
            "ip saddr { 10.100.0.0/24 } ip daddr != { 10.100.0.0/24 } masquerade",
        ],
        ["iptables FORWARD back", "iptables FORWARD from"],
    ),
    "an open port": (
        {"open_port": True},
        [],
        ["iptables INPUT port 51820", "ip6tables INPUT port 51820"],
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_rules(case: str) -> None:
    changes, nft, iptables = RULES[case]
    wall = firewall(**changes)
    rules = [rule for rules in nft_rules(wall).values() for rule in rules]
    assert [rule for rule in rules if not rule.startswith(("iifname", "ct state"))] == nft
    found = [
        f"{rule.tool} {rule.chain} {rule.comment.removeprefix('homelab.fabric wg0 ')}" for rule in iptables_rules(wall)
    ]
    assert found == iptables
    assert nft_header(nft_script(wall)) == (wall.forward_to, wall.masquerade)


@pytest.mark.parametrize("case", RULES)
def test_every_hook_that_brings_something_has_one_that_takes_it_away(case: str) -> None:
    lines = hooks(firewall(**RULES[case][0]), NFT)
    ups = [line for line in lines if line.startswith("PostUp = ip")]
    downs = [line for line in lines if line.startswith("PostDown = ip")]
    assert [line.split("|| ")[1].replace("-I", "-D") for line in ups] == [
        line.removeprefix("PostDown = ").split("2>")[0] for line in downs
    ]
    assert ("PreUp = nft -f /etc/wireguard/wg0.nft" in lines) is any("nft delete table" in line for line in lines)
    assert not any("#" in line for line in lines), "wg-quick cuts a hook there"


def test_the_iptables_rules_of_an_interface_are_known_by_their_comment() -> None:
    listing = """-P FORWARD DROP
-A FORWARD -i wg0 -m comment --comment "homelab.fabric wg0 from" -j ACCEPT
-A FORWARD -i wg00 -m comment --comment "homelab.fabric wg00 from" -j ACCEPT
-A FORWARD -i wg1 -m comment --comment "not homelab.fabric wg0 from" -j ACCEPT
-A INPUT -p udp -m udp --dport 1 -m comment --comment "homelab.fabric wg0 port 1" -j ACCEPT
"""
    found = listed_rules("wg0", "iptables", listing)
    assert list(found) == ["homelab.fabric wg0 from", "homelab.fabric wg0 port 1"]
    assert found["homelab.fabric wg0 from"][:5] == ["iptables", "-w", "-D", "FORWARD", "-i"]


def test_a_table_is_known_by_all_of_its_rules() -> None:
    wall = firewall(forward_to=("10.30.0.0/24",))
    rule = {"rule": {"comment": nft_comment(wall)}}
    rules = [rule] * 4

    def listing(some: list[dict[str, Any]]) -> str:
        return json.dumps({"nftables": [{"table": {}}, *some]})

    assert nft_is_loaded(wall, listing(rules))
    assert not nft_is_loaded(wall, listing(rules[1:]))
    assert not nft_is_loaded(wall, listing([*rules, {"rule": {}}]))
    assert not nft_is_loaded(firewall(forward_to=("10.31.0.0/24",)), listing(rules))
    assert not nft_is_loaded(wall, "")


@given(st.binary(min_size=32, max_size=32))
def test_a_tool_s_answer_shows_no_key(raw: bytes) -> None:
    secret = base64.b64encode(raw).decode()
    for answer in (
        f"Key is not the correct length or format: `{secret[:20]}'",
        f"Key is not the correct length or format: `{secret}'",
        f"Line unrecognized: `PrivateKey={secret[:30]}'",
    ):
        assert secret[:20] not in redact(answer)


def test_link_local_addresses_of_linux_stay() -> None:
    tunnel = Tunnel("wg0", ("10.100.0.1/24",), 51820, None, (), ())
    link = running(replace(tunnel, addresses=("10.100.0.1/24", "fe80::1/64")))
    assert live_change(file_of(tunnel), tunnel, tunnel, link).steps == []
    assert ipaddress.ip_interface("fe80::1/64").is_link_local
