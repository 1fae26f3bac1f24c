"""plan(): the reference networks come out as their owners run them, and every mistake is refused by name."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils.network_document import TopologyError
from ansible_collections.homelab.fabric.plugins.module_utils.topology import plan
from ansible_collections.homelab.fabric.plugins.module_utils.values import Endpoint, covers
from hypothesis import given, settings
from hypothesis import strategies as st

RELAY: dict[str, Any] = {
    "relay": {
        "prefix": "10.100.0.0/24",
        "nodes": {
            "vps-relay": {"address": "10.100.0.1/30", "endpoint": "203.0.113.10", "listen_port": 51820},
            "mikrotik-gw": {
                "device": "routeros",
                "interface": "wg-vps",
                "address": "10.100.0.2/30",
                "networks": ["10.30.0.0/24"],
                "forward_to": ["vlan30-kubernetes"],
            },
        },
    }
}

SITES: dict[str, Any] = {
    "sites": {
        "prefix": "10.3.2.0/24",
        "hub": "sofia",
        "nodes": {
            "sofia": {
                "device": "pfsense",
                "address": "10.3.2.1",
                "endpoint": "sofia.example.org",
                "listen_port": 51821,
                "networks": ["10.0.10.0/24", "10.0.20.0/24", "192.168.1.0/24"],
            },
            "london": {
                "device": "glinet",
                "address": "10.3.2.6/32",
                "networks": ["192.168.8.0/24", "192.168.9.0/24", "192.168.10.0/24"],
                "routes": ["10.0.0.0/8"],
            },
            "valchedrym": {
                "device": "openwrt",
                "address": "10.3.2.5/32",
                "endpoint": "198.51.100.7",
                "networks": ["192.168.0.0/24"],
            },
        },
    }
}


def test_reference_network_a() -> None:
    tunnels = plan(RELAY, lambda node: {"mikrotik-gw": "K"}.get(node.name))["relay"]
    vps, router = tunnels["vps-relay"], tunnels["mikrotik-gw"]
    assert (vps.name, vps.addresses, vps.listen_port, vps.open_port) == ("wg0", ("10.100.0.1/30",), 51820, True)
    assert (vps.forward_to, vps.peers[0].public_key) == ((), "K")
    assert set(vps.peers[0].allowed_ips) == {"10.100.0.2/32", "10.30.0.0/24"}
    assert (vps.peers[0].endpoint, vps.peers[0].keepalive) == (None, 0)
    assert (router.name, router.addresses, router.open_port) == ("wg-vps", ("10.100.0.2/30",), False)
    assert (router.forward_to, router.peers[0].public_key) == (("vlan30-kubernetes",), None)
    assert router.peers[0].allowed_ips == ("10.100.0.1/32",)
    assert (router.peers[0].endpoint, router.peers[0].keepalive) == (Endpoint("203.0.113.10", 51820), 25)


def test_reference_network_b() -> None:
    tunnels = plan(SITES)["sites"]
    london, hub = tunnels["london"].peers[0], {peer.name: peer for peer in tunnels["sofia"].peers}
    assert (london.endpoint, london.keepalive) == (Endpoint("sofia.example.org", 51821), 25)
    assert {"10.3.2.1/32", "10.3.2.5/32", "192.168.0.0/24", "192.168.1.0/24", "10.0.0.0/8"} <= set(london.allowed_ips)
    assert not {"10.3.2.6/32", "192.168.8.0/24"} & set(london.allowed_ips)
    assert (hub["valchedrym"].endpoint, hub["valchedrym"].keepalive) == (Endpoint("198.51.100.7", 51820), 0)
    assert set(tunnels["sofia"].forward_to) > {"192.168.8.0/24", "192.168.0.0/24", "10.3.2.0/24"}


def test_nobodys_keepalive_is_forgotten_where_a_nat_or_a_name_needs_it() -> None:
    document = copy.deepcopy(SITES)
    nodes = document["sites"]["nodes"]

    def keepalives() -> dict[tuple[str, str], int]:
        tunnels = plan(document)["sites"]
        return {(node, peer.name): peer.keepalive for node, tunnel in tunnels.items() for peer in tunnel.peers}

    # valchedrym can be dialled, but the hub is known by a name alone, which may lead elsewhere tomorrow.
    behind_nat = {("london", "sofia"): 25, ("valchedrym", "sofia"): 25}
    assert keepalives() == {**behind_nat, ("sofia", "london"): 0, ("sofia", "valchedrym"): 0}
    nodes["valchedrym"]["endpoint"] = "valchedrym.example.org"
    assert keepalives() == {**behind_nat, ("sofia", "london"): 0, ("sofia", "valchedrym"): 25}
    nodes["sofia"]["keepalive"] = nodes["london"]["keepalive"] = 0
    assert keepalives() == {
        ("london", "sofia"): 0,
        ("valchedrym", "sofia"): 25,
        **{("sofia", n): 0 for n in ("london", "valchedrym")},
    }


def test_a_glinet_as_the_hub_answers_and_never_dials() -> None:
    """On its firmware's server. Whom it could dial has to dial it, and to keep at it."""
    document = copy.deepcopy(SITES)
    sites = document["sites"]
    sites["hub"] = "london"
    sites["nodes"]["london"] |= {"endpoint": "203.0.113.20", "routes": []}
    sites["nodes"]["valchedrym"]["hub"] = "london"
    tunnels = plan(document)["sites"]
    assert (tunnels["london"].name, tunnels["london"].open_port) == ("wgserver", True)
    assert {(peer.name, peer.endpoint, peer.keepalive) for peer in tunnels["london"].peers} == {
        ("sofia", None, 0),
        ("valchedrym", None, 0),
    }
    (hub,) = tunnels["valchedrym"].peers
    assert (hub.endpoint, hub.keepalive) == (Endpoint("203.0.113.20", 51820), 25)
    del sites["nodes"]["london"]["endpoint"]
    with pytest.raises(TopologyError, match="neither london nor sofia can be dialled by the other one"):
        plan(document)


def test_a_glinet_server_in_a_mesh_has_to_be_dialled() -> None:
    nodes = {
        "sofia": {"address": "10.3.2.1", "endpoint": "198.51.100.7"},
        "valchedrym": {"address": "10.3.2.7", "endpoint": "203.0.113.44"},
        "london": {"device": "glinet", "interface": "wgserver", "address": "10.3.2.5", "endpoint": "203.0.113.20"},
    }
    document = {"sites": {"prefix": "10.3.2.0/24", "nodes": nodes}}
    peers = {peer.name: peer.endpoint for peer in plan(document)["sites"]["sofia"].peers}
    assert peers["london"] == Endpoint("203.0.113.20", 51820)
    del nodes["london"]["endpoint"]
    with pytest.raises(TopologyError, match="neither sofia nor london can be dialled by the other one: name a node"):
        plan(document)


def test_nodes_get_a_route_to_road_warriors_that_are_not_masqueraded() -> None:
    document = copy.deepcopy(RELAY)
    document["relay"]["client_masquerade"] = False
    assert plan(document)["relay"]["mikrotik-gw"].peers[0].allowed_ips == ("10.100.0.0/24", "10.100.0.1/32")


def test_without_a_hub_everybody_is_everybodys_peer() -> None:
    document = copy.deepcopy(SITES)
    del document["sites"]["hub"], document["sites"]["nodes"]["london"]["routes"]
    tunnels = plan(document)["sites"]
    assert {name: [peer.name for peer in tunnel.peers] for name, tunnel in tunnels.items()} == {
        "london": ["sofia", "valchedrym"],
        "sofia": ["london", "valchedrym"],
        "valchedrym": ["london", "sofia"],
    }


def test_several_hubs_reach_each_others_spokes() -> None:
    document = copy.deepcopy(SITES)
    sites = document["sites"]
    sites["hub"] = ["sofia", "vps"]
    sites["nodes"]["vps"] = {"address": "10.3.2.2", "endpoint": "203.0.113.10"}
    sites["nodes"]["valchedrym"]["hub"] = "vps"
    tunnels = plan(document)["sites"]
    assert {name: [peer.name for peer in tunnel.peers] for name, tunnel in tunnels.items()} == {
        "london": ["sofia"],
        "sofia": ["london", "vps"],
        "valchedrym": ["vps"],
        "vps": ["sofia", "valchedrym"],
    }
    peers = {peer.name: peer for peer in tunnels["vps"].peers}
    assert peers["valchedrym"].allowed_ips == ("10.3.2.5/32", "192.168.0.0/24")
    assert set(peers["sofia"].allowed_ips) > {"10.3.2.1/32", "10.3.2.6/32", "192.168.1.0/24", "192.168.8.0/24"}
    assert {"192.168.0.0/24", "192.168.8.0/24"} < set(tunnels["vps"].forward_to)


def test_a_preshared_key_is_on_both_ends_of_its_link_and_in_no_text() -> None:
    secret = "A" * 42 + "8="
    document = copy.deepcopy(SITES)
    document["sites"]["nodes"]["london"]["preshared_key"] = secret
    tunnels = plan(document)["sites"]
    ends = [tunnels["london"].peers[0], next(p for p in tunnels["sofia"].peers if p.name == "london")]
    assert [end.preshared_key.reveal() for end in ends if end.preshared_key] == [secret, secret]
    assert not any(p.preshared_key for p in (*tunnels["valchedrym"].peers, tunnels["sofia"].peers[1]))
    assert secret not in repr(tunnels)


NODE = ("relay", "nodes", "mikrotik-gw")
VPS = ("relay", "nodes", "vps-relay")
SPOKE: dict[str, Any] = {"address": "10.100.0.3", "networks": ["10.40.0.0/24"]}
GONE = object()

MISTAKES: list[tuple[str, list[tuple[tuple[str, ...], Any]], str]] = [
    ("own prefix missing", [(("relay", "prefix"), GONE)], "relay.prefix: missing"),
    ("prefix with host bits", [(("relay", "prefix"), "10.100.0.1/24")], "relay.prefix: '10.100.0.1/24' has bits"),
    ("two IPv4 prefixes", [(("relay", "prefix"), ["10.100.0.0/24", "10.101.0.0/24"])], "two prefixes of one IP"),
    ("no nodes", [(("relay", "nodes"), {})], "relay: no nodes"),
    ("network not a mapping", [(("relay",), "10.100.0.0/24")], "relay: no nodes"),
    ("node not a mapping", [(NODE, "10.100.0.2")], "mikrotik-gw: not a mapping"),
    ("typo in a network", [(("relay", "perfix"), 1)], "relay.perfix: unknown key: did you mean prefix?"),
    ("typo in a node", [((*NODE, "adress"), 1)], "mikrotik-gw.adress: unknown key: did you mean address?"),
    ("strange key", [((*NODE, "zzz"), 1)], "mikrotik-gw.zzz: unknown key: use one of device, "),
    ("hub that is no node", [(("relay", "hub"), "vps")], "relay.hub: 'vps' is not among its nodes"),
    ("one of the hubs is no node", [(("relay", "hub"), ["vps-relay", "vps"])], "relay.hub: 'vps' is not among"),
    ("hub that is a mapping", [(("relay", "hub"), {"vps-relay": 1})], "relay.hub: "),
    ("spoke of a node that is no hub", [((*NODE, "hub"), "ingress")], "mikrotik-gw.hub: 'ingress' is no hub"),
    ("hub that has a hub", [((*VPS, "hub"), "vps-relay")], "vps-relay.hub: vps-relay is a hub itself"),
    ("hubs that cannot dial each other", [
        (("relay", "hub"), ["vps-relay", "mikrotik-gw", "x"]), (("relay", "nodes", "x"), SPOKE)
    ], "neither mikrotik-gw nor x can be dialled"),
    ("road warriors behind several hubs", [
        (("relay", "hub"), ["vps-relay", "mikrotik-gw"]), (("relay", "client_masquerade"), False)
    ], "relay.client_masquerade: with several hubs"),
    ("device unknown", [((*NODE, "device"), "fritzbox")], "mikrotik-gw.device: 'fritzbox' is not known"),
    ("name too long for Linux", [((*VPS, "interface"), "wireguard-relay0")], "vps-relay.interface: "),
    ("node named with a blank", [(("relay", "nodes", "my vps"), SPOKE)], "my vps: 'my vps' cannot be a name"),
    ("address missing", [((*NODE, "address"), GONE)], "mikrotik-gw.address: missing"),
    ("address outside", [((*NODE, "address"), "10.101.0.2")], "10.101.0.2 lies outside 10.100.0.0/24"),
    ("address wider than the network", [((*NODE, "address"), "10.100.0.2/8")], "10.100.0.2/8 is wider than 10.100"),
    ("address no address", [((*NODE, "address"), "ten")], "'ten' is not an IP address"),
    ("network address", [((*NODE, "address"), "10.100.0.0")], "first or last address"),
    ("address used twice", [((*NODE, "address"), "10.100.0.1")], "mikrotik-gw.address: 10.100.0.1 is vps-relay's"),
    ("endpoint with a port", [((*VPS, "endpoint"), "203.0.113.10:51820")], "vps-relay.endpoint: "),
    ("port out of range", [((*VPS, "listen_port"), 70000)], "vps-relay.listen_port: '70000' is not a port"),
    ("network with host bits", [((*NODE, "networks"), ["10.30.0.1/24"])], "networks: '10.30.0.1/24' has bits"),
    ("own network twice", [((*NODE, "networks"), ["10.30.0.0/16", "10.30.1.0/24"])], "10.30.0.0/16 holds 10.30.1.0/24"),
    ("everything", [((*NODE, "networks"), ["0.0.0.0/0"])], "0.0.0.0/0 would cut devices off"),
    ("everything, IPv6", [((*NODE, "networks"), ["::/0"])], "::/0 would cut devices off"),
    (
        "overlap between nodes",
        [(("relay", "nodes", "x"), {**SPOKE, "networks": ["10.30.0.128/25"]})],
        "x.networks: 10.30.0.128/25 overlaps mikrotik-gw's 10.30.0.0/24",
    ),
    (
        "the same network behind two nodes",
        [(("relay", "nodes", "x"), {**SPOKE, "networks": ["10.30.0.0/24"]})],
        "overlaps mikrotik-gw's 10.30.0.0/24",
    ),
    ("overlap with the network", [((*NODE, "networks"), ["10.100.0.0/25"])], "overlaps the prefix 10.100.0.0/24"),
    ("network around the tunnel", [((*NODE, "networks"), ["10.0.0.0/8"])], "10.0.0.0/8 overlaps the prefix"),
    ("endpoint inside a network", [((*VPS, "endpoint"), "10.30.0.9")], "vps-relay.endpoint: 10.30.0.9 lies in"),
    ("endpoint inside the tunnel", [((*VPS, "endpoint"), "10.100.0.1")], "10.100.0.1 lies in 10.100.0.0/24"),
    ("nobody can be dialled", [((*VPS, "endpoint"), GONE)], "nor mikrotik-gw can be dialled by the other one: name"),
    (
        "hub cannot be dialled",
        [(("relay", "hub"), "mikrotik-gw"), (("relay", "nodes", "x"), SPOKE)],
        "neither mikrotik-gw nor x can be dialled",
    ),
    ("MTU too small", [(("relay", "mtu"), 576)], "relay.mtu: '576' is not a usable MTU"),
    ("a boolean in quotes", [(("relay", "client_masquerade"), "no")], "client_masquerade: 'no' is neither true"),
    ("MTUs differ", [((*NODE, "mtu"), 1280)], "mikrotik-gw.mtu: 1280 differs from the network's 1420"),
    ("keepalive no time", [((*NODE, "keepalive"), "often")], "mikrotik-gw.keepalive: 'often' is not a time"),
    ("public key wrong", [((*NODE, "public_key"), "abc")], "mikrotik-gw.public_key: 'abc' is not a WireGuard key"),
    ("preshared key wrong", [((*NODE, "preshared_key"), "abc")], "preshared_key: the value is not a WireGuard key"),
    ("preshared key at the hub", [((*VPS, "preshared_key"), "A" * 43 + "=")], "vps-relay.preshared_key: it belongs"),
    ("routes at the hub", [((*VPS, "routes"), ["10.50.0.0/16"])], "vps-relay.routes: they are sent to the hub"),
    (
        "routes that hold the hub",
        [(("relay", "hub"), "vps-relay"), ((*NODE, "routes"), ["203.0.112.0/20"])],
        "mikrotik-gw.routes: 203.0.112.0/20 holds 203.0.113.10, under which vps-relay is dialled",
    ),
    ("forward to nonsense", [((*NODE, "forward_to"), "a b")], "mikrotik-gw.forward_to: 'a b' is neither"),
    ("masquerade nonsense", [((*NODE, "masquerade"), "all")], "mikrotik-gw.masquerade: 'all' is not an IP prefix"),
    (
        "one port twice on a host",
        [(("two",), {"prefix": "10.9.0.0/24", "nodes": {"vps-relay": {"address": "10.9.0.1", "interface": "wg1"}}})],
        "two.nodes.vps-relay.listen_port: 51820 is taken on vps-relay",
    ),
    (
        "one interface twice on a host",
        [(("two",), {"prefix": "10.9.0.0/24", "nodes": {"vps-relay": {"address": "10.9.0.1", "listen_port": 1}}})],
        "two.nodes.vps-relay.interface: wg0 is taken on vps-relay",
    ),
    (
        "one prefix twice on a host",
        [
            (
                ("two",),
                {
                    "prefix": "10.100.0.0/25",
                    "nodes": {"vps-relay": {"address": "10.100.0.5", "interface": "wg1", "listen_port": 1}},
                },
            )
        ],
        "two.prefix: 10.100.0.0/25 overlaps 10.100.0.0/24 of relay, and vps-relay is in both",
    ),
    (
        "overlap that shows only on a host in two networks",
        [
            (
                ("two",),
                {
                    "prefix": "10.9.0.0/24",
                    "nodes": {
                        "vps-relay": {"address": "10.9.0.1", "endpoint": "v6.example.org", "interface": "wg1",
                                      "listen_port": 1},
                        "other": {"address": "10.9.0.2", "networks": ["10.30.0.0/24"]},
                    },
                },
            )
        ],
        "10.30.0.0/24 overlaps ",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("edits", "message"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_mistake(edits: list[tuple[tuple[str, ...], Any]], message: str) -> None:
    document = copy.deepcopy(RELAY)
    for path, value in edits:
        place = document
        for step in path[:-1]:
            place = place[step]
        if value is GONE:
            del place[path[-1]]
        else:
            place[path[-1]] = value
    with pytest.raises(TopologyError) as caught:
        plan(document)
    assert message in str(caught.value)
    assert all(mistake.startswith("wireguard_networks.") for mistake in caught.value.mistakes)
    assert "A" * 43 not in str(caught.value)


def test_a_key_left_blank_is_as_good_as_none() -> None:
    document = copy.deepcopy(RELAY)
    for blank in ("device", "interface", "keepalive", "networks"):
        document["relay"]["nodes"]["vps-relay"][blank] = None
    assert plan(document) == plan(RELAY)


def test_all_mistakes_at_once() -> None:
    document = copy.deepcopy(RELAY)
    document["relay"]["nodes"]["vps-relay"].update(endpoint="a b", listen_port=0)
    document["relay"]["nodes"]["mikrotik-gw"].update(device="fritzbox", networks=["x"])
    with pytest.raises(TopologyError) as caught:
        plan(document)
    assert len(caught.value.mistakes) == 4


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.data())
def test_every_prefix_has_one_way_and_its_owner_is_at_the_end(count: int, data: st.DataObject) -> None:
    """In any star, stars or mesh a packet from any node to any prefix follows allowed IPs to the node that owns it."""
    hubs = data.draw(st.integers(0, min(count, 3)))
    dialled = [not hubs or index < hubs or data.draw(st.booleans()) for index in range(count)]
    nodes = {
        f"n{index}": {
            "address": f"10.0.0.{index + 1}",
            "networks": [f"172.16.{index}.0/24"] * data.draw(st.integers(0, 1)),
            **({"endpoint": f"n{index}.example.org"} if dialled[index] else {}),
            **({"hub": f"n{data.draw(st.integers(0, hubs - 1))}"} if index >= hubs > 0 else {}),
        }
        for index in range(count)
    }
    document: dict[str, Any] = {"net": {"prefix": "10.0.0.0/24", "nodes": nodes}}
    if hubs:
        document["net"]["hub"] = [f"n{index}" for index in range(hubs)]
    tunnels = plan(document)["net"]
    owners = {f"10.0.0.{index + 1}/32": f"n{index}" for index in range(count)}
    owners.update({f"172.16.{i}.0/24": f"n{i}" for i in range(count) if nodes[f"n{i}"]["networks"]})
    for start in tunnels:
        for prefix, owner in owners.items():
            here, hops = start, 0
            while here != owner:
                ways = [p.name for p in tunnels[here].peers if any(covers(ip, prefix) for ip in p.allowed_ips)]
                assert len(ways) == 1
                here, hops = ways[0], hops + 1
                assert hops <= (min(hubs, 2) + 1 if hubs else 1)
