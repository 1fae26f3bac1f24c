"""GL.iNet's server: what its sections mean in either generation, and lines that bring them to a target once."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils import glinet_server as server
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_assume import written
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import parse
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Peer, Tunnel, merge


def key(number: int) -> str:
    return base64.b64encode(number.to_bytes(32, "big")).decode()


# As the web interface leaves it, with a route that its owner made.
SHOWN = f"""
wireguard_server.main_server=servers
wireguard_server.main_server.address_v4='10.1.0.1/24'
wireguard_server.main_server.address_v6='fd00:1::1/64'
wireguard_server.main_server.port='59999'
wireguard_server.main_server.access='ACCEPT'
wireguard_server.main_server.private_key=hidden
wireguard_server.peer_3087=peers
wireguard_server.peer_3087.name='nokia'
wireguard_server.peer_3087.public_key='{key(1)}'
wireguard_server.peer_3087.client_ip='10.1.0.2/24,fd00:1::2/64'
wireguard_server.peer_3087.deprecated='0'
wireguard_server.peer_9999=peers
wireguard_server.peer_9999.name='lost'
wireguard_server.peer_9999.public_key='{key(2)}'
wireguard_server.peer_9999.client_ip='10.1.0.9/24'
wireguard_server.peer_9999.deprecated='1'
wireguard_server.cfg048dc0=route_rules
wireguard_server.cfg048dc0.route_flag='4'
wireguard_server.cfg048dc0.dest='192.168.44.0'
wireguard_server.cfg048dc0.mask='24'
wireguard_server.cfg048dc0.gateway='10.1.0.2'
"""


def config(newer: bool = True, ipv6: bool = False, text: str = SHOWN) -> server.Config:
    return server.Config(newer, ipv6, {}, parse(text, "wireguard_server"))


def after(before: server.Config, target: Tunnel, purge: bool = False) -> server.Config:
    """The router once the lines for a target have been written."""
    lines = [line for some in server.plan(before, target, purge).values() for line in some]
    return before._replace(
        network=written(before.network, "network", lines),
        server=written(before.server, "wireguard_server", lines),
    )


@pytest.mark.parametrize(
    ("newer", "ipv6", "addresses", "nokia", "lost"),
    [
        (True, True, {"10.1.0.1/24", "fd00:1::1/64"}, {"10.1.0.2/32", "fd00:1::2/128", "192.168.44.0/24"}, set()),
        (True, False, {"10.1.0.1/24"}, {"10.1.0.2/32", "fd00:1::2/128", "192.168.44.0/24"}, set()),
        (False, False, {"10.1.0.1/24", "fd00:1::1/64"}, {"10.1.0.2/32", "192.168.44.0/24"}, {"10.1.0.9/32"}),
    ],
)
def test_what_the_handler_makes_of_it(
    newer: bool, ipv6: bool, addresses: set[str], nokia: set[str], lost: set[str]
) -> None:
    tunnel = server.tunnel_of(config(newer, ipv6), None)
    assert tunnel
    assert (set(tunnel.addresses), tunnel.listen_port, tunnel.routes) == (addresses, 59999, ())
    assert {peer.name: set(peer.allowed_ips) for peer in tunnel.peers} == {"nokia": nokia, "lost": lost}
    assert not any(peer.ours for peer in tunnel.peers)
    assert server.others(config(newer, ipv6)) == ["nokia"]


HOME = Peer("home", key(3), allowed_ips=("10.1.0.5/32", "192.168.5.0/24", "192.168.44.128/25"))
CABIN = Peer("cabin", key(4), allowed_ips=("10.1.0.6/32", "10.1.0.64/26"))
PHONE = Peer("handy", key(1), allowed_ips=("10.1.0.2/32",))  # the web interface's, by its key


@pytest.mark.parametrize("start", [SHOWN, ""])
@pytest.mark.parametrize("purge", [False, True])
def test_lines_that_are_written_are_not_written_again(start: str, purge: bool) -> None:
    now = config(text=start)
    for peers in ((HOME,), (HOME, CABIN), (CABIN, PHONE), (PHONE,), ()):
        wanted = Tunnel("wgserver", ("10.1.0.1/24",), 59999, 1420, peers, forward_to=("lan",), open_port=True)
        target = merge(server.tunnel_of(now, None), wanted, purge).target
        server.check(now, target, purge)
        now = after(now, target, purge)
        assert not any(server.plan(now, target, purge).values())
        current = server.tunnel_of(now, None)
        assert current
        there = {peer.name: (peer.public_key, peer.allowed_ips) for peer in current.peers if peer.ours}
        assert there == {peer.name: (peer.public_key, peer.allowed_ips) for peer in peers}
        assert set(server.routed(now)) >= {p for peer in peers for p in peer.allowed_ips if not p.endswith("/32")}
    assert ("peer_9999" in now.server) == (bool(start) and not purge)
    gone = server.plan_gone(now, purge)
    assert not any("peer_9999" in line.text for line in gone["wireguard_server"])


def test_a_phone_keeps_its_own_route() -> None:
    wanted = Tunnel("wgserver", ("10.1.0.1/24",), 59999, None, (HOME,), forward_to=("lan",))
    now = after(config(), merge(server.tunnel_of(config(), None), wanted).target)
    assert now.server["cfg048dc0"].options == config().server["cfg048dc0"].options
    assert now.server["peer_3087"].options == config().server["peer_3087"].options
    assert set(server.routed(now)) == {"192.168.5.0/24", "192.168.44.0/24", "192.168.44.128/25"}
