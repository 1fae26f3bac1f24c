"""What a person made and what leans on a tunnel: nothing is taken away under it, and nothing of theirs goes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pfsense_double import PfSense

Answer = dict[str, Any]
Run = Callable[..., Answer]
Key = Callable[[int], str]

ROUTE = "<route><network>10.66.0.0/16</network><gateway>WG_london</gateway><descr></descr><disabled></disabled></route>"
RULE = (
    "<rule><tracker>1700000009</tracker><type>pass</type><interface>lan</interface><ipprotocol>inet</ipprotocol>"
    "<source>{}</source><destination>{}</destination><descr>mine</descr>{}</rule>"
)
ANY = "<any></any>"
FORWARD = (
    "<rule><source><any></any></source><destination><network>{}ip</network><port>80</port></destination>"
    "<protocol>tcp</protocol><target>192.168.20.9</target><local-port>80</local-port><interface>{}</interface>"
    "<descr>web</descr></rule>"
)
GROUP = "<gateway_group><name>BOTH</name><item>WANGW|1|address</item><item>WG_london|2|address</item></gateway_group>"

# What a person adds before which tag, and how the refusal names it: what needs a gateway …
BY_GATEWAY: list[tuple[str, str | None, str]] = [
    ("</staticroutes>", ROUTE, "route 10.66.0.0/16"),
    ("<separator>", RULE.format(ANY, ANY, "<gateway>WG_london</gateway>"), "rule 'mine'"),
    ("<defaultgw4>", GROUP, "gateway group BOTH"),
    ("<hostname>", "<dnsserver>9.9.9.9</dnsserver><dns1gw>WG_london</dns1gw>", "a DNS server (System > General Setup)"),
    ("WANGW</defaultgw4>", None, "the default gateway (System > Routing)"),
]
# … and what needs the interface.
BY_INTERFACE: list[tuple[str, str | None, str]] = [
    ("<separator>", RULE.format("<network>opt1</network>", ANY, ""), "rule 'mine'"),
    ("<separator>", RULE.format(ANY, "<network>opt1ip</network>", ""), "rule 'mine'"),
    ("<outbound>", FORWARD.format("opt1", "opt1"), "port forward 'web'"),
    ("<outbound>", FORWARD.format("opt1", "wan"), "port forward 'web'"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, run: Run, relay: Answer, fixture: Callable[[str], str]) -> PfSense:
    firewall = PfSense(tmp_path_factory.mktemp("made") / "fw", "2.8.0", fixture("home.xml"))
    firewall.boot()
    assert not run(firewall, **relay).get("failed")
    return firewall


@pytest.mark.parametrize(("before", "text", "user"), BY_GATEWAY + BY_INTERFACE)
def test_nothing_goes_while_a_person_needs_it(
    run: Run, relay: Answer, made: PfSense, before: str, text: str | None, user: str
) -> None:
    own = made.xml
    assert own.count(before) == 1
    made.xml = own.replace(before, f"{text}{before}" if text else before.replace("WANGW", "WG_london"))
    given = made.xml
    vps, london = relay["peers"]
    # No route leads to london's own network any more, so its gateway is idle.
    less = {**relay, "peers": [vps, {**london, "allowed_ips": ["172.26.5.6/32"]}]}
    try:
        absent = run(made, state="absent")["msg"]
        needs = "opt1, WG_london, WG_vps_relay, WG_vps_relay_6"
        assert absent == (
            f"state: {user} is not of our making and needs {needs}, which would go: remove or change it first"
        )
        fewer = run(made, check=True, **less)
        if (before, text, user) in BY_GATEWAY:
            assert fewer["msg"] == (
                f"routes: {user} is not of our making and needs WG_london, which would go: "
                "remove or change it first, or keep a route through that peer"
            )
        else:
            assert any(line.startswith("delete gateways") for line in fewer["commands"])
        assert made.xml == given
    finally:
        made.xml = own


def test_a_copy_of_our_rule_is_a_persons(run: Run, relay: Answer, firewall: PfSense) -> None:
    """The web interface copies the description as well, and gives a number of its own."""
    run(firewall, **relay)
    rule = re.findall(r"<rule>(?:(?!</rule>).)*?tun_wg0: to lan.*?</rule>", firewall.xml, re.DOTALL)[0]
    copied = re.sub(r"<tracker>.*?<", "<tracker>1700000042<", rule)
    firewall.xml = firewall.xml.replace(rule, rule + copied)
    assert not run(firewall, **relay)["changed"]
    assert run(firewall, state="absent")["msg"].startswith("state: rule 'homelab.fabric: tun_wg0: to lan' is not of")
    firewall.xml = firewall.xml.replace(copied, "")
    assert not run(firewall, state="absent").get("failed")


def test_peers_of_others_outlive_the_tunnel(run: Run, relay: Answer, firewall: PfSense, key: Key) -> None:
    """As pfSense itself does it: they belong to no tunnel then, and keep their keys."""
    run(firewall, **relay)
    peer = (
        f"<item><enabled>yes</enabled><tun>{{}}</tun><descr>by hand</descr><publickey>{key(50)}</publickey>"
        f"<persistentkeepalive></persistentkeepalive><presharedkey>{key(150)}</presharedkey></item>"
    )
    firewall.xml = firewall.xml.replace("</peers>", peer.format("tun_wg0") + "</peers>")
    foreseen = run(firewall, check=True, state="absent")
    gone = run(firewall, state="absent")
    assert gone["commands"] == foreseen["commands"]
    assert "".join(peer.format("unassigned").replace("by hand", "<![CDATA[by hand]]>").split()) in "".join(
        firewall.xml.split()
    )
    assert "tun_wg0" not in firewall.system["interfaces"]
    assert not run(firewall, state="absent")["changed"]


def test_a_persons_nat_rule_keeps_the_mode(run: Run, relay: Answer, firewall: PfSense) -> None:
    """In automatic mode it would count no more."""
    theirs = (
        "<rule><source><network>10.9.0.0/24</network></source><sourceport></sourceport><descr>mine</descr>"
        "<target>wanip</target><interface>wan</interface><destination><any></any></destination></rule>"
    )
    run(firewall, **relay)
    firewall.xml = firewall.xml.replace("<mode>hybrid</mode>", f"<mode>hybrid</mode>{theirs}")
    assert not run(firewall, state="absent").get("failed")
    assert "<mode>hybrid</mode>" in firewall.xml
    assert firewall.xml.count("<sourceport>") == 1


def test_an_interface_without_its_tunnel_is_not_ours(
    run: Run, relay: Answer, tmp_path: Path, fixture: Callable[[str], str]
) -> None:
    """What is left of somebody's tunnel: pfSense keeps the assignment when a tunnel is deleted elsewhere."""
    theirs = "<opt4><descr>OLD</descr><if>tun_wg0</if><ipaddr>10.7.0.1</ipaddr><subnet>24</subnet></opt4></interfaces>"
    text = fixture("home.xml").replace("</interfaces>", theirs)
    firewall = PfSense(tmp_path / "fw", "2.8.0", text)
    firewall.boot()
    before = firewall.xml
    assert not run(firewall, state="absent")["changed"]
    assert run(firewall, **relay)["msg"].startswith("name: interface opt4 is on tun_wg0 already, and not of our making")
    assert firewall.xml == before
    found = run(firewall, **{**relay, "name": "tun_wg", "description": "home"})
    assert not found.get("failed"), found
    assert "<name>tun_wg1</name>" in firewall.xml
    assert "<if>tun_wg0</if>" in firewall.xml
