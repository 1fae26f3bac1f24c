"""A tunnel that a person made by hand, handed over by its description: used as it is, and nothing of theirs touched."""

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

PEERS = "installedpackages/wireguard/peers/item"
SITE_B = "bbb50E5Qgg7rsnvLzKNdpYxkiOCW0iozFB6tEhLAXQA="
WANTED: Answer = {
    "description": "sites",
    "addresses": ["10.100.90.1/30"],
    "listen_port": 51820,
    "peers": [
        {
            "name": "site-b",
            "public_key": SITE_B,
            "endpoint": "198.51.100.9:51820",
            "allowed_ips": ["10.100.90.2/32", "10.20.0.0/16"],
            "persistent_keepalive": "25",
        }
    ],
}


@pytest.fixture(params=["2.7.2", "2.8.0"])
def site(request: pytest.FixtureRequest, tmp_path: Path, fixture: Callable[[str], str]) -> PfSense:
    """A full site made by hand, whose owner has written the marker in front of tun_wg0's description."""
    text = fixture("good-full-site.xml").replace("<![CDATA[site A &lt;-&gt; site B]]>", "homelab.fabric: sites")
    firewall = PfSense(tmp_path / "fw", request.param, text)
    firewall.boot()
    return firewall


def without_revision(text: str) -> str:
    return re.sub(r"<revision>.*?</revision>", "", text, flags=re.DOTALL)


def test_what_is_there_already_is_used(run: Run, site: PfSense) -> None:
    before, system = site.xml, site.system
    done = run(site, **WANTED)
    assert done["commands"] == [
        f'set {PEERS}[tun=tun_wg0 publickey={SITE_B}] descr="homelab.fabric: site-b"',
        'write_config("homelab.fabric: tun_wg0: peer site-b changed")',
        "wg_resync()",
        "wg syncconf tun_wg0",
        "wg_resolve_endpoints()",
    ]
    # Interface, gateway, route, rules, preshared key, and the other tunnel: byte by byte.
    before, now = ("".join(text.split()) for text in (before, site.xml))
    for section in ("interfaces", "gateways", "staticroutes", "filter", "nat"):
        (part,) = re.findall(rf"</?\w+>(<{section}>.*?</{section}>)<", before)
        assert part in now
    for field in ("privatekey", "presharedkey", "publickey", "endpoint", "row"):
        assert re.findall(rf"<{field}>.*?</{field}>", before)[:4] == re.findall(rf"<{field}>.*?</{field}>", now)[:4]
    assert site.system == system
    assert not run(site, **WANTED)["changed"]


def test_it_is_not_removed_while_somebody_leans_on_it(run: Run, site: PfSense) -> None:
    before = without_revision(site.xml)
    assert run(site, state="absent")["msg"] == (
        "state: gateway WG_S2S_GW, route 10.20.0.0/16, rule 'site B to LAN' is not of our making and "
        "needs opt1, which would go: remove or change it first"
    )
    assert without_revision(site.xml) == before


def test_a_persons_choices_stay(run: Run, site: PfSense) -> None:
    site.xml = site.xml.replace("<mss>1420</mss>", "<mss>1300</mss>\n<gateway>WG_S2S_GW</gateway>")
    done = run(site, **WANTED, mtu=1380)
    assert "set interfaces/opt1 mtu=1380" in done["commands"]
    assert "<mss>1300</mss>" in site.xml
    (warning,) = done["warnings"]
    assert warning.startswith("WG_S2S has an upstream gateway, so pfSense takes the tunnel for another WAN")
    site.xml = site.xml.replace("<mss>1300</mss>", "<mss>1380</mss>")
    assert "set interfaces/opt1 mtu=1400 mss=1400" in run(site, **WANTED, mtu=1400)["commands"]


def test_peers_of_others_may_be_odd(run: Run, site: PfSense, key: Key) -> None:
    """Host bits, and one allowed IP on two peers: wg(8) cuts the former and gives the latter to the last one."""
    rows = "<row><address>10.77.0.9</address><mask>16</mask><descr></descr></row>"
    odd = "".join(
        f"<item><allowedips>{rows}</allowedips><enabled>yes</enabled><tun>tun_wg0</tun><descr>odd {number}</descr>"
        f"<persistentkeepalive></persistentkeepalive><publickey>{key(number)}</publickey><presharedkey></presharedkey>"
        "</item>"
        for number in (71, 72)
    )
    site.xml = site.xml.replace("</peers>", f"{odd}</peers>")
    done = run(site, **WANTED)
    assert not done.get("failed"), done
    live = site.system["interfaces"]["tun_wg0"]["peers"]
    assert (live[key(71)]["allowed_ips"], live[key(72)]["allowed_ips"]) == ([], ["10.77.0.0/16"])
    assert not run(site, **WANTED)["changed"]


def test_an_unassigned_tunnel_gets_an_interface(run: Run, site: PfSense) -> None:
    """To which its addresses move; its own peer, which the inventory does not know, stays."""
    site.xml = site.xml.replace("<![CDATA[road warriors]]>", "homelab.fabric: clients")
    before = site.system["interfaces"]["tun_wg1"]
    wanted = {"name": "tun_wg1", "addresses": ["10.100.91.1/24", "fd00:91::1/64"]}
    done = run(site, **wanted)
    assert not done.get("failed"), done
    assert site.system["interfaces"]["tun_wg1"] == before
    assert "<if>tun_wg1</if>" in site.xml
    assert "<descr><![CDATA[laptop]]></descr>" in site.xml
    assert not run(site, **wanted)["changed"]
    purged = run(site, **wanted, purge=True)
    assert any(line.startswith(f"delete {PEERS}[tun=tun_wg1") for line in purged["commands"])
    assert not site.system["interfaces"]["tun_wg1"]["peers"]
