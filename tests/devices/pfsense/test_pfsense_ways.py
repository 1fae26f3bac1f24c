"""The firewall's ways out and in: its default gateway, its WANs, and the connection over which it is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pfsense_double import PfSense

Answer = dict[str, Any]
Run = Callable[..., Answer]

WAN = "<ipaddr>198.51.100.77</ipaddr>\n\t\t\t<subnet>24</subnet>\n\t\t\t<gateway>WANGW</gateway>"
HE = (
    "<opt3><enable></enable><if>gif0</if><descr><![CDATA[HENET]]></descr>"
    "<ipaddrv6>2001:db8:6::2</ipaddrv6><subnetv6>64</subnetv6>{}</opt3></interfaces>"
)
HE_GATEWAY = (
    "<gateways><gateway_item><interface>opt3</interface><gateway>2001:db8:6::1</gateway><name>HENET_V6</name>"
    "<weight>1</weight><ipprotocol>inet6</ipprotocol><descr></descr></gateway_item>"
)
REFUSED = "routes: the default gateway IPv{} of this firewall is automatic: one into the tunnel could become it"


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def pins(answer: Answer) -> list[str]:
    return [line.partition("gateways/default")[2] for line in answer["commands"] if "gateways/default" in line]


# What of the firewall is different, and what is pinned, or the message.
AUTOMATIC = [
    ([], ["gw4 WANGW", "gw6 -"]),
    ([(WAN, "<ipaddr>dhcp</ipaddr><ipaddrv6>dhcp6</ipaddrv6>")], ["gw4 WAN_DHCP", "gw6 WAN_DHCP6"]),
    ([(WAN, "<ipaddr>pppoe</ipaddr>"), ("[WAN]", "[Fibre]")], ["gw4 FIBRE_PPPOE", "gw6 -"]),
    ([(WAN, "<ipaddr>dhcp</ipaddr><ipaddrv6>slaac</ipaddrv6>")], ["gw4 WAN_DHCP", "gw6 WAN_SLAAC"]),
    (
        [("</interfaces>", HE.format("<gatewayv6>HENET_V6</gatewayv6>")), ("<gateways>", HE_GATEWAY)],
        ["gw4 WANGW", "gw6 HENET_V6"],
    ),
    # A gateway that no interface names, and one that pfSense makes for a tunnel by itself: nobody can tell.
    ([("</interfaces>", HE.format("")), ("<gateways>", HE_GATEWAY)], REFUSED.format(6)),
    (
        [("</interfaces>", "<opt3><enable></enable><if>gif0</if><descr>HENET</descr></opt3></interfaces>")],
        REFUSED.format(6),
    ),
    (
        [("</interfaces>", "<opt3><enable></enable><if>vtnet2</if><ipaddr>dhcp</ipaddr></opt3></interfaces>")],
        REFUSED.format(4),
    ),
    ([("<defaultgw4></", "<defaultgw4>GROUP</"), ("<defaultgw6></", "<defaultgw6>-</")], []),
]


@pytest.mark.parametrize(("changes", "expected"), AUTOMATIC)
def test_a_tunnel_never_becomes_the_default_gateway(
    run: Run, relay: Answer, tmp_path: Path, fixture: Any, changes: list[tuple[str, str]], expected: list[str] | str
) -> None:
    firewall = PfSense(tmp_path / "fw", "2.8.0", changed(fixture("home.xml"), *changes))
    answer = run(firewall, check=True, **relay)
    if isinstance(expected, str):
        assert answer["msg"].startswith(expected)
        assert "System > Routing > Gateways" in answer["msg"]
    else:
        assert pins(answer) == expected


def test_a_default_gateway_that_became_automatic_again_is_pinned(
    run: Run, relay: Answer, tmp_path: Path, fixture: Any
) -> None:
    firewall = PfSense(tmp_path / "fw", "2.8.0", fixture("home.xml"))
    firewall.boot()
    run(firewall, **relay)
    firewall.xml = changed(firewall.xml, ("<defaultgw4>WANGW<", "<defaultgw4><"))
    assert pins(run(firewall, check=True, **relay)) == ["gw4 WANGW"]
    assert run(firewall, **relay)["changed"]
    assert "<defaultgw4>WANGW<" in firewall.xml
    assert not run(firewall, **relay)["changed"]


def test_others_dial_by_ipv4_and_by_an_ipv6_tunnel(run: Run, relay: Answer, tmp_path: Path, fixture: Any) -> None:
    text = changed(fixture("home.xml"), ("</interfaces>", HE.format("")), ("<defaultgw6></", "<defaultgw6>HENET_V6</"))
    firewall = PfSense(tmp_path / "fw", "2.7.2", text, interfaces=("vtnet0", "vtnet1", "gif0"))
    firewall.boot()
    ways = {**relay, "wan_interfaces": ["wan", "HENET"], "masquerade": ["fd00:26::/64"]}
    assert not run(firewall, **ways).get("failed")
    rules = (firewall.root / "tmp/rules.debug").read_text().splitlines()
    dialled = [line.partition(" comment")[0].strip() for line in rules if "th dport 51820" in line]
    udp = "meta l4proto udp th dport 51820 accept"
    assert dialled == [
        f'iifname {{ "vtnet0" }} meta nfproto ipv4 ip daddr {{ 198.51.100.77 }} {udp}',
        f'iifname {{ "gif0" }} meta nfproto ipv6 ip6 daddr {{ 2001:db8:6::2 }} {udp}',
    ]
    # It leaves where there is IPv6, under the address there.
    (nat,) = (line.strip() for line in rules if "fd00:26::/64" in line and "oifname" in line)
    assert nat.startswith('oifname "gif0"')
    assert firewall.entries("filter")[-1]["skipped"] == []
    assert not run(firewall, **ways)["changed"]
    run(firewall, **{**ways, "wan_interfaces": ["wan"], "masquerade": []})
    assert "opt3ip" not in firewall.xml


def test_who_comes_through_the_tunnel_may_not_close_it(run: Run, relay: Answer, firewall: PfSense) -> None:
    run(firewall, **relay)
    before = firewall.xml
    vps, london = relay["peers"]
    for client, name in (("10.200.0.7", "vps-relay"), ("172.26.5.155", "vps-relay"), ("192.168.8.4", "london")):
        left = [peer for peer in (vps, london) if peer["name"] != name]
        begins = f"Ansible is connected from {client} through this tunnel, and could not come back"
        assert run(firewall, client=client, state="absent")["msg"].startswith(f"state: {begins}")
        assert run(firewall, client=client, **{**relay, "peers": left})["msg"].startswith(f"peers: {begins}")
        assert "its LAN" in run(firewall, client=client, check=True, state="absent")["msg"]
        assert firewall.xml == before
        # All else may change, but for the rule that lets it in: ssh came to the address on the LAN.
        other = {**relay, "mtu": 1300, "open_port": False, "forward_to": ["192.168.20.0/28"]}
        assert not run(firewall, client=client, check=True, **other).get("failed")
        for kept in ([], ["10.0.10.0/24"], ["192.168.20.128/25"]):
            assert run(firewall, client=client, **{**relay, "forward_to": kept})["msg"] == (
                f"forward_to: Ansible is connected from {client} to 192.168.20.1 through this tunnel, and no rule "
                "would let it in any more: keep what holds 192.168.20.1, or connect to the firewall from its LAN"
            )
        assert firewall.xml == before
    assert not run(firewall, client="192.168.20.9", state="absent").get("failed")


PASS = (
    "<rule><tracker>1700000007</tracker><type>pass</type><interface>{}</interface><ipprotocol>inet</ipprotocol>"
    "<protocol>{}</protocol><source>{}</source><destination>{}</destination>{}</rule><separator>"
)
OPT1, SELF, ANY = ("<network>opt1</network>", "<network>(self)</network><port>22</port>", "<any></any>")


@pytest.mark.parametrize(
    ("rule", "lets_in"),
    [
        (PASS.format("opt1", "tcp", OPT1, SELF, ""), True),
        (PASS.format("WireGuard", "tcp", "<address>172.26.5.0/24</address>", "<network>lanip</network>", ""), True),
        (PASS.format("opt1,wan", "any", ANY, ANY, "<floating>yes</floating>"), True),
        (PASS.format("opt1", "tcp", ANY, "<any></any><port>20:30</port>", ""), True),
        (PASS.format("opt1", "udp", ANY, ANY, ""), False),
        (PASS.format("opt1", "tcp", "<address>172.26.5.6</address>", ANY, ""), False),
        (PASS.format("opt1", "tcp", ANY, "<network>wanip</network>", ""), False),
        (PASS.format("opt1", "tcp", ANY, "<any></any><port>443</port>", ""), False),
        (PASS.format("opt1", "tcp", ANY, ANY, "<disabled></disabled>"), False),
        (PASS.format("lan", "tcp", ANY, ANY, ""), False),
    ],
)
def test_a_persons_rule_may_let_it_in(
    run: Run, relay: Answer, tmp_path: Path, fixture: Any, rule: str, lets_in: bool
) -> None:
    firewall = PfSense(tmp_path / "fw", "2.8.0", fixture("home.xml"))
    firewall.boot()
    run(firewall, **relay)
    firewall.xml = changed(firewall.xml, ("<separator>", rule))
    closed = run(firewall, check=True, client="172.26.5.155", **{**relay, "forward_to": []})
    assert closed.get("failed", False) is not lets_in, closed


def test_who_is_connected_from_outside_is_not_led_into_it(run: Run, relay: Answer, firewall: PfSense) -> None:
    blank = firewall.xml
    answer = run(firewall, client="10.200.0.7", **relay)
    assert answer["msg"].startswith("routes: 10.200.0.0/24 holds 10.200.0.7, the address from which Ansible")
    assert firewall.xml == blank
    # From a network of the firewall's own it comes as before, however wide the route is.
    wide = {**relay["peers"][0], "allowed_ips": ["172.26.5.155/32", "192.168.0.0/16"]}
    assert not run(firewall, client="192.168.20.9", **{**relay, "peers": [wide]}).get("failed")
    assert not run(firewall, client="192.168.20.9", check=True, state="absent").get("failed")


def test_who_is_not_root_is_told_so(run: Run, firewall: PfSense) -> None:
    assert run(firewall, uid=1001)["msg"] == (
        "only root may change pfSense. Set ansible_user to root or admin in the inventory"
    )
