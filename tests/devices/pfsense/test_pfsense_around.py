"""What pfSense has around a tunnel and nobody asked for by name: it keeps its order, and hears what it must hear."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pfsense_double import PfSense

Answer = dict[str, Any]
Run = Callable[..., Answer]

BLOCK = (
    "<rule><tracker>1700000003</tracker><type>block</type><interface>wan</interface><ipprotocol>inet</ipprotocol>"
    "<source><any></any></source><destination><any></any></destination><descr>no</descr></rule>"
)
SEPARATORS = "".join(f"<sep{n}><row>fr{n}</row><text>{n}</text><if>wan</if></sep{n}>" for n in (0, 1))
LEASES = (
    "<dhcpd><lan><enable></enable></lan><opt1><range><from>172.26.5.50</from></range></opt1></dhcpd>"
    "<dhcpdv6><opt1><ramode>router</ramode></opt1></dhcpdv6></pfsense>"
)


def calls(firewall: PfSense, since: int = 0) -> list[list[Any]]:
    """pfSense's functions that were called, with their arguments."""
    return [[e["function"], *e["arguments"]] for e in firewall.journal[since:] if e["what"] == "call"]


def test_separators_stay_before_their_rules(
    run: Run, relay: Answer, tmp_path: Path, fixture: Callable[[str], str]
) -> None:
    text = fixture("home.xml").replace("<wan></wan>", f"<wan>{SEPARATORS}</wan>")
    firewall = PfSense(tmp_path / "fw", "2.8.0", text.replace("<filter>", f"<filter>{BLOCK}"))
    firewall.boot()
    run(firewall, **relay)
    # Ours went in front of the rule that refuses everything: the second separator is behind both, as it was.
    assert re.findall(r"<row>(fr.)</row>", firewall.xml) == ["fr0", "fr2"]
    run(firewall, **{**relay, "open_port": False})
    assert re.findall(r"<row>(fr.)</row>", firewall.xml) == ["fr0", "fr1"]


def test_interfaces_keep_their_order(run: Run, relay: Answer, tmp_path: Path, fixture: Callable[[str], str]) -> None:
    more = "".join(f"<opt{n}><if>vtnet{n}</if><descr>O{n}</descr></opt{n}>" for n in (2, 10))
    firewall = PfSense(tmp_path / "fw", "2.8.0", fixture("home.xml").replace("</interfaces>", f"{more}</interfaces>"))
    firewall.boot()
    run(firewall, **relay)
    firewall.fault("run ifconfig tun_wg0 destroy 1")
    for _number in range(2):
        section = re.findall(r"<interfaces>.*?</interfaces>", firewall.xml, re.DOTALL)[0]
        assert re.findall(r"\n\t\t<(\w+)>", section) == ["wan", "lan", "opt1", "opt2", "opt10"]
        # It comes back to its place.
        assert run(firewall, state="absent")["failed"]
        firewall.fault("run ifconfig tun_wg0 destroy 1")


def test_what_hands_out_addresses_on_the_interface_goes_with_it(run: Run, relay: Answer, firewall: PfSense) -> None:
    """And comes back with it, if the removal fails."""
    run(firewall, **relay)
    firewall.xml = firewall.xml.replace("</pfsense>", LEASES)
    firewall.fault("run ifconfig tun_wg0 destroy 1")
    assert run(firewall, state="absent")["msg"].endswith("The previous configuration was restored")
    for text in ("<from>172.26.5.50</from>", "<ramode>router</ramode>"):
        assert text in firewall.xml
    since = len(firewall.journal)
    assert not run(firewall, state="absent").get("failed")
    assert ["interface_bring_down", "opt1", True] in calls(firewall, since)
    for text in ("<from>172.26.5.50</from>", "<ramode>router</ramode>"):
        assert text not in firewall.xml
    assert re.search(r"<dhcpd>\s*<lan>", firewall.xml)


def test_who_goes_by_routes_and_gateways_is_told(run: Run, relay: Answer, firewall: PfSense) -> None:
    """As the web interface does it after a change of gateways or routes; the peer's new endpoint runs as well."""
    run(firewall, **relay)
    vps, london = relay["peers"]
    since = len(firewall.journal)
    moved = {**vps, "allowed_ips": [*vps["allowed_ips"], "10.44.0.0/16"], "endpoint": "203.0.113.11:51821"}
    run(firewall, **{**relay, "peers": [moved, london]})
    told = [call[0] for call in calls(firewall, since)]
    assert {"setup_gateways_monitor", "system_routing_configure", "system_resolvconf_generate"} <= set(told)
    events = [entry["event"] for entry in firewall.journal[since:] if entry["what"] == "event"]
    assert "service reload dyndnsall" in events
    live = firewall.system["interfaces"]["tun_wg0"]["peers"][vps["public_key"]]
    assert live["endpoint"] == "203.0.113.11:51821"


def test_another_mtu_costs_the_tunnel_nothing(run: Run, relay: Answer, firewall: PfSense) -> None:
    """pfSense applies that of the interface alone."""
    run(firewall, **relay)
    since = len(firewall.entries("write"))
    done = run(firewall, **{**relay, "mtu": 1300})
    assert done["commands"][0] == "set interfaces/opt1 mtu=1300 mss=1300"
    written = [entry["description"] for entry in firewall.entries("write")][since:]
    assert written == ["homelab.fabric: tun_wg0: interface opt1 changed"]
    assert firewall.system["interfaces"]["tun_wg0"]["mtu"] == 1300
    assert not run(firewall, **{**relay, "mtu": 1300})["changed"]


def test_an_interface_named_twice_is_one(run: Run, relay: Answer, firewall: PfSense) -> None:
    twice = {**relay, "wan_interfaces": ["wan", "WAN", "vtnet0"]}
    run(firewall, **twice)
    assert firewall.xml.count("tun_wg0: port on wan") == 1
    assert not run(firewall, **twice)["changed"]
