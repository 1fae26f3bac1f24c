"""What is wrong is refused by name, with the remedy, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pfsense_double import PfSense
from pfsense_double.folder import INCLUDE_PATH

Answer = dict[str, Any]
Run = Callable[..., Answer]
Key = Callable[[int], str]

PEER = {"name": "vps", "public_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="}
SECRET = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0ISEhISE="


def peer(**more: Any) -> dict[str, Any]:
    return {"peers": [{**PEER, **more}]}


WAYS = {"addresses": ["10.3.2.1/24"], **peer(allowed_ips=["10.3.2.5/32", "10.77.0.0/16"])}

# What is given, and what the message begins with and holds.
MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"name": "wg0"}, "name: 'wg0' cannot be the name", "tun_wg0"),
    ({"name": "tun_wg01"}, "name: 'tun_wg01' cannot be the name", "tun_wg0"),
    ({"name": "tun_wg40000"}, "name: tun_wg40000 is beyond tun_wg32767", "smaller"),
    ({"name": "tun_wg"}, "description: is missing", "describe it"),
    ({"description": "a\nPostUp = x"}, "description: holds more than plain characters", "printable ASCII"),
    ({"description": "caf\u00e9"}, "description: holds more than plain characters", "printable ASCII"),
    ({"interface_name": "W G"}, "interface_name: 'W G' cannot be the name", "letters, digits"),
    ({"interface_name": "W\u00c9G"}, "interface_name: 'W\u00c9G' cannot be the name", "letters, digits"),
    ({"interface_name": "123"}, "interface_name: '123' cannot be the name", "letters, digits"),
    ({"interface_name": "pkg_wg"}, "interface_name: 'pkg_wg' cannot be the name", "letters, digits"),
    ({"interface_name": "any"}, "interface_name: 'any' cannot be the name", "letters, digits"),
    ({"interface_name": "dmz"}, "interface_name: dmz is the name of interface opt7", "another one"),
    ({"interface_name": "Guests"}, "interface_name: Guests is the name of an interface group", "another one"),
    ({"interface_name": "servers"}, "interface_name: servers is the name of an alias", "another one"),
    ({"addresses": ["10.3.2.1/24", "10.3.3.1/24"]}, "addresses: pfSense holds one IPv4 and one IPv6", "10.3.3.1/24"),
    ({"addresses": ["10.3.2.0/24"]}, "addresses: '10.3.2.0/24' is the first or last", "choose another"),
    ({"addresses": ["192.168.20.9/28"]}, "addresses: 192.168.20.9/28 overlaps 192.168.20.0/24 on lan", "renumber"),
    ({"addresses": ["192.168.0.1/16"]}, "addresses: 192.168.0.1/16 overlaps 192.168.20.0/24 on lan", "renumber"),
    ({"listen_port": 0}, "listen_port: '0' is not a port", "1 to 65535"),
    ({"listen_port": 51999}, "listen_port: 51999 is tun_wg5's already", "another port"),
    ({"mtu": 500}, "mtu: '500' is not a usable MTU", "1280 to 9000"),
    ({"forward_to": ["LANN"]}, "forward_to: this firewall has no interface LANN", "lan (LAN)"),
    ({"forward_to": ["10.0.0.1/24"]}, "forward_to: '10.0.0.1/24' has bits set beyond", "10.0.0.0/24"),
    (
        {"wan_interfaces": ["opt9"], "open_port": True},
        "wan_interfaces: this firewall has no interface opt9",
        "wan (WAN)",
    ),
    (
        {"nat_interfaces": ["x"], "masquerade": ["10.3.2.0/24"]},
        "nat_interfaces: this firewall has no interface x",
        "wan",
    ),
    ({"masquerade": ["10.3.2.1/24"]}, "masquerade: '10.3.2.1/24' has bits set", "10.3.2.0/24"),
    ({**WAYS, "gateways": {"vsp": ["10.3.2.5"]}}, "gateways: vsp is not among the peers", "names"),
    (
        {**WAYS, "gateways": {"vps": ["10.9.9.9"]}},
        "gateways: 10.9.9.9, the tunnel address of vps, lies in no",
        "length",
    ),
    ({**WAYS, "gateways": {"vps": ["nowhere!"]}}, "gateways: 'nowhere!' is neither a host name", "203.0.113.10"),
    ({**WAYS, "addresses": ["10.3.2.1/32"]}, "routes: 10.3.2.5/32 needs a gateway", "`gateways`"),
    (peer(allowed_ips=["10.77.0.0/16"]), "routes: 10.77.0.0/16 needs a gateway", "/32"),
    ({**WAYS, "routes": ["fd00:7::/64"]}, "routes: fd00:7::/64 needs a gateway", "/128"),
    (
        {**WAYS, **peer(allowed_ips=["10.3.2.5/32", "10.66.0.0/16"])},
        "routes: 10.66.0.0/16 has a static route through INNER already",
        "Static Routes",
    ),
    (
        {**WAYS, "routes": ["192.168.20.0/25"]},
        "routes: 192.168.20.0/25 overlaps 192.168.20.0/24 on lan",
        "leave it out",
    ),
    (
        {**WAYS, "peers": [{**WAYS["peers"][0], "endpoint": "10.77.0.1:51820"}]},
        "routes: 10.77.0.0/16 holds 10.77.0.1, the endpoint of vps",
        "leave it out",
    ),
    (peer(endpoint="vps.example.org"), "peers[0].endpoint: 'vps.example.org' is not host:port", ":51820"),
    (
        peer(endpoint="b\u00fccher.example:51820"),
        "peers[0].endpoint: 'b\u00fccher.example' is neither",
        "vps.example.org",
    ),
    (peer(endpoint="host_:51820"), "peers[0].endpoint: 'host_' is neither", "vps.example.org"),
    ({"forward_to": ["wan"]}, "forward_to: wan leads out, and pfSense means its own network by it", "0.0.0.0/0"),
    ({"forward_to": ["PPP"]}, "forward_to: PPP leads out, and pfSense means its own network by it", "0.0.0.0/0"),
    (peer(name="a b"), "peers[0].name: 'a b' cannot be a name", "letters"),
    (peer(public_key="AAAA"), "peers[0].public_key: 'AAAA' is not a WireGuard key", "44"),
    (peer(preshared_key=SECRET[:-4]), "peers[0].preshared_key: the value is not a WireGuard key", "44"),
    (peer(persistent_keepalive="70000"), "peers[0].persistent_keepalive: '70000' is longer", "25"),
    (peer(allowed_ips=["10.3.2.5/33"]), "peers[0].allowed_ips: '10.3.2.5/33' is not an IP prefix", "10.30.0.0/24"),
    ({"peers": [PEER, {**PEER, "name": "two"}]}, "peers: vps and two have the same public key", "one of them"),
    ({"name": "tun_wg5"}, "name: tun_wg5 (by hand) was made by somebody else", "homelab.fabric: "),
    ({"name": "tun_wg5", "state": "absent"}, "name: tun_wg5 (by hand) was made by somebody else", "homelab.fabric: "),
]

MORE = """
    <interfaces>
        <opt7><if>vtnet1.7</if><descr><![CDATA[DMZ]]></descr></opt7>
        <opt8><if>pppoe0</if><descr><![CDATA[PPP]]></descr><ipaddr>pppoe</ipaddr></opt8>"""
GROUPS = """
    <aliases><alias><name>servers</name><type>host</type><address>10.0.0.9</address></alias></aliases>
    <ifgroups><ifgroupentry><ifname>Guests</ifname><members>opt7</members></ifgroupentry></ifgroups>
    <staticroutes><route><network>10.66.0.0/16</network><gateway>INNER</gateway><descr></descr></route></staticroutes>
    <gateways>
        <gateway_item><interface>lan</interface><gateway>192.168.20.254</gateway><name>INNER</name>
            <weight>1</weight><ipprotocol>inet</ipprotocol><descr></descr></gateway_item>"""
TUNNEL = """<wireguard><tunnels><item><name>tun_wg5</name><enabled>yes</enabled><descr>by hand</descr>
    <listenport>51999</listenport><privatekey>GNdQw+ujEIVgys4B2dDCXcBpiiQsNd2bAq5hnTp+smg=</privatekey>
    <publickey>aFyuBHLxiAHJrnFk0sOqH9y09LDfobGUcdpLvK2GzmI=</publickey><mtu>1420</mtu></item></tunnels></wireguard>
    </installedpackages>"""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, fixture: Callable[[str], str]) -> PfSense:
    """A firewall with a bit of everything, made by hand."""
    text = fixture("home.xml").replace("\n\t<interfaces>", MORE).replace("\n\t<gateways>", GROUPS)
    return PfSense(tmp_path_factory.mktemp("busy") / "fw", "2.7.2", text.replace("</installedpackages>", TUNNEL))


@pytest.mark.parametrize(("given", "begins", "holds"), MISTAKES, ids=[begins for given, begins, holds in MISTAKES])
def test_a_mistake_is_refused(run: Run, busy: PfSense, given: dict[str, Any], begins: str, holds: str) -> None:
    before = busy.xml
    answer = run(busy, **given)
    assert answer.get("failed"), answer
    assert answer["msg"].startswith(begins)
    assert holds in answer["msg"]
    assert "\n" not in answer["msg"]
    assert busy.xml == before


class Stricter(PfSense):
    """A firewall whose package takes no preshared key at all, and says so as the package does: with the key in it."""

    @property
    def command(self) -> list[str]:
        package = Path(INCLUDE_PATH.rpartition(":")[2]) / "wireguard/includes/wg_validate.inc"
        text = package.read_text().replace("!wg_is_valid_key($pconfig['presharedkey'])", "true")
        (self.root / "wireguard/includes").mkdir(parents=True, exist_ok=True)
        (self.root / "wireguard/includes/wg_validate.inc").write_text(text)
        return ["php", "-d", f"include_path={self.root}:{INCLUDE_PATH}"]


def test_the_packages_own_validators_are_asked(run: Run, tmp_path: Path, fixture: Callable[[str], str]) -> None:
    firewall = Stricter(tmp_path / "fw", "2.7.2", fixture("home.xml"))
    before = firewall.xml
    for check in (True, False):
        answer = run(firewall, check=check, addresses=["10.3.2.1/24"], **peer(preshared_key=SECRET))
        assert answer["msg"] == (
            "pfSense refuses it, and nothing was written: "
            "The pre-shared key ((redacted)) is not a valid WireGuard pre-shared key."
        )
        assert firewall.xml == before
    assert not run(firewall, addresses=["10.3.2.1/24"], **peer()).get("failed")


@pytest.mark.parametrize(("text", "says"), [("22.9", "Update to pfSense CE 2.7.1"), ("", "Update to pfSense CE 2.7.1")])
def test_an_old_pfsense_is_refused(run: Run, tmp_path: Path, fixture: Any, text: str, says: str) -> None:
    config = fixture("home.xml").replace("<version>23.3<", f"<version>{text}<")
    firewall = PfSense(tmp_path / "fw", "2.7.2", config)
    answer = run(firewall)
    assert says in answer["msg"]


def test_a_machine_that_is_no_pfsense(run: Run, firewall: PfSense, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    (firewall.root / "php").unlink(missing_ok=True)
    answer = run(firewall)
    assert "This module runs on pfSense itself" in answer["msg"]


def test_a_php_that_dies_shows_nothing_of_what_it_held(run: Run, firewall: PfSense, relay: Answer) -> None:
    firewall.fault("before write 1")
    answer = run(firewall, **relay)
    assert answer["failed"]
    assert "PHP ended with status" in answer["msg"]
    assert not run(firewall, **relay).get("failed")
