"""linux_wireguard on a real interface: first run, second run, check mode, foreign hands, removal."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest

from tests.integration.linux.hosts import LinuxHost

CONF = "/etc/wireguard/wg0.conf"


def keypair(host: LinuxHost) -> tuple[str, str]:
    private = host.run("wg", "genkey").strip()
    return private, host.run("wg", "pubkey", stdin=private).strip()


def public_key(host: LinuxHost) -> str:
    return keypair(host)[1]


@pytest.fixture
def home(host: LinuxHost) -> dict[str, Any]:
    """The arguments of the VPS of reference network A, with everything in it."""
    return {
        "name": "wg0",
        "addresses": ["10.100.0.1/24", "fd00:100::1/64"],
        "listen_port": 51820,
        "mtu": 1380,
        "open_port": True,
        "forward_to": ["10.30.0.0/24"],
        "masquerade": ["10.100.0.0/24"],
        "peers": [
            {
                "name": "mikrotik-gw",
                "public_key": public_key(host),
                "preshared_key": host.run("wg", "genpsk").strip(),
                "allowed_ips": ["10.100.0.2/32", "10.30.0.0/24", "fd00:30::/64"],
                "persistent_keepalive": "25s",
            }
        ],
    }


def everything(host: LinuxHost) -> str:
    """All that a run could touch, with the times of the files."""
    return "\n".join(
        host.run(*words.split())
        for words in (
            "stat -c %n%a%y%i /etc/wireguard /etc/wireguard/wg0.conf /etc/wireguard/wg0.nft",
            "wg show wg0 dump",
            "ip -j address",
            "ip -j route",
            "ip -j -6 route",
            "nft list ruleset",
            "iptables -S",
            "ip6tables -S",
        )
    )


def test_the_first_run_does_what_check_mode_said_and_the_second_nothing(host: LinuxHost, home: dict[str, Any]) -> None:
    foretold = host.apply("--check", **home)
    assert foretold["public_key"] == "(known after apply)"
    assert host.run("ls", "-A", "/etc/wireguard") == ""
    done = host.apply(**home)
    assert done["changed"]
    assert done["commands"] == foretold["commands"]
    assert done["public_key"] == host.run("wg", "show", "wg0", "public-key").strip()
    before = everything(host)
    again = host.apply(**home)
    assert (again["changed"], again["commands"]) == (False, [])
    assert again["diff"]["before"] == again["diff"]["after"]
    assert everything(host) == before


def test_the_interface_is_as_wanted_and_a_restart_makes_the_same(host: LinuxHost, home: dict[str, Any]) -> None:
    host.apply(**home)
    shown = {
        words: host.run(*words.split())
        for words in ("wg show wg0 dump", "ip -br address show dev wg0", "ip route", "ip -6 route", "iptables -S")
    }
    assert "mtu 1380" in host.run("ip", "link", "show", "wg0")
    assert "10.30.0.0/24 dev wg0" in shown["ip route"]
    assert "fd00:30::/64 dev wg0" in shown["ip -6 route"]
    host.run("systemctl", "restart", "wg-quick@wg0")
    host.run("sleep", "0.2")
    for words, text in shown.items():
        again = host.run(*words.split())
        assert [line.split("fe80")[0] for line in again.splitlines()] == [
            line.split("fe80")[0] for line in text.splitlines()
        ]
    assert not host.apply(**home)["changed"]


def test_the_file_is_closed_to_others(host: LinuxHost, home: dict[str, Any]) -> None:
    host.apply(**home)
    host.run("chmod", "755", "/etc/wireguard")
    host.run("chmod", "644", CONF)
    assert host.apply(**home)["commands"] == ["chmod 700 /etc/wireguard", f"chmod 600 {CONF}"]
    mode = int(host.run("stat", "-c", "%f", CONF), 16)
    assert stat.S_IMODE(mode) == 0o600


DRIFT = {
    "an address is lost": ("ip address delete 10.100.0.1/24 dev wg0", "ip address add 10.100.0.1/24 dev wg0"),
    "an address too many": ("ip address add 10.9.9.9/24 dev wg0", "ip address delete 10.9.9.9/24 dev wg0"),
    "a route is lost": ("ip route delete 10.30.0.0/24", "ip route add 10.30.0.0/24 dev wg0"),
    "an IPv6 route is lost": ("ip route delete fd00:30::/64 dev wg0", "ip route add fd00:30::/64 dev wg0"),
    "another MTU": ("ip link set mtu 1400 dev wg0", "ip link set mtu 1380 dev wg0"),
    "another port": ("wg set wg0 listen-port 51900", "wg set wg0 listen-port 51820"),
    "a firewall without us": ("nft flush ruleset", "nft -f /etc/wireguard/wg0.nft"),
    "a rule is lost": ("nft flush chain inet homelab_wg0 forward", "nft -f /etc/wireguard/wg0.nft"),
    "iptables without us": ("iptables -F", "iptables -w -I FORWARD -i wg0"),
    "no forwarding": (
        "sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward'",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
    ),
    "not at boot": ("systemctl disable wg-quick@wg0", "systemctl enable wg-quick@wg0"),
    "taken away": ("ip link delete dev wg0", "systemctl restart wg-quick@wg0"),
    "stopped": ("systemctl stop wg-quick@wg0", "systemctl start wg-quick@wg0"),
}


@pytest.mark.parametrize("drift", DRIFT)
def test_drift_is_mended_and_nothing_else_touched(host: LinuxHost, home: dict[str, Any], drift: str) -> None:
    host.apply(**home)
    harm, remedy = DRIFT[drift]
    host.run("sh", "-c", harm)
    foretold = host.apply("--check", **home)["commands"]
    done = host.apply(**home)["commands"]
    assert done == foretold
    assert any(command.startswith(remedy) for command in done), done
    assert host.apply(**home)["commands"] == []
    assert "10.30.0.0/24 dev wg0" in host.run("ip", "route")


def test_a_live_peer_that_differs_is_mended_without_touching_others(host: LinuxHost, home: dict[str, Any]) -> None:
    home["peers"].append({"name": "office", "public_key": public_key(host), "allowed_ips": ["10.40.0.0/24"]})
    host.apply(**home)
    key, other = (peer["public_key"] for peer in home["peers"])
    host.run("wg", "set", "wg0", "peer", key, "allowed-ips", "10.100.0.2/32", "persistent-keepalive", "0")
    assert host.apply(**home)["commands"] == ["wg addconf wg0 /dev/stdin  # mikrotik-gw"]
    host.run("wg", "set", "wg0", "peer", other, "remove")
    assert host.apply(**home)["commands"] == ["wg addconf wg0 /dev/stdin  # office"]
    host.run("wg", "set", "wg0", "peer", key, "preshared-key", "/dev/null")
    assert host.apply(**home)["commands"] == ["wg addconf wg0 /dev/stdin  # mikrotik-gw"]
    assert host.apply(**home)["commands"] == []


def test_a_peer_leaves_with_its_route(host: LinuxHost, home: dict[str, Any]) -> None:
    office = {"name": "office", "public_key": public_key(host), "allowed_ips": ["10.40.0.0/24"]}
    host.apply(**home | {"peers": [*home["peers"], office]})
    host.run("ip", "route", "add", "10.41.0.0/24", "dev", "wg0")
    assert host.apply(**home)["commands"] == [
        f"install -m 600 /dev/stdin {CONF}  # without office",
        f"wg set wg0 peer {office['public_key']} remove  # office",
        "ip route delete 10.40.0.0/24 dev wg0",
        f"install -m 600 /dev/stdin {CONF}  # nothing is pending any more",
    ]
    assert "office" not in host.read(CONF)
    assert "pending" not in host.read(CONF)
    assert "10.41.0.0/24" in host.run("ip", "route"), "somebody else's route"
    assert not host.apply(**home)["changed"]


def test_a_peer_without_its_key_stays_as_it_is(host: LinuxHost, home: dict[str, Any]) -> None:
    host.apply(**home)
    key = home["peers"][0].pop("public_key")
    del home["peers"][0]["preshared_key"]
    again = host.apply(**home)
    assert again["commands"] == []
    assert again["peers"][0]["public_key"] == key
    home["peers"].append({"name": "new", "allowed_ips": ["10.40.0.0/24"]})
    assert host.apply(**home)["waiting_for_key"] == ["new"]


def test_a_preshared_key_can_be_removed(host: LinuxHost, home: dict[str, Any]) -> None:
    host.apply(**home)
    home["peers"][0]["preshared_key"] = ""
    assert host.apply(**home)["changed"]
    assert host.run("wg", "show", "wg0", "preshared-keys").split()[1] == "(none)"
    assert "PresharedKey" not in host.read(CONF)
    assert not host.apply(**home)["changed"]


def test_a_network_grows_around_a_running_interface(host: LinuxHost, home: dict[str, Any]) -> None:
    small = home | {"addresses": ["10.100.0.1/30"]}
    small["peers"] = [home["peers"][0] | {"allowed_ips": ["10.100.0.2/32", "10.100.0.9/32", "10.30.0.0/24"]}]
    host.apply(**small)
    assert "10.100.0.9 dev wg0" in host.run("ip", "route")
    host.apply(**small | {"addresses": ["10.100.0.1/24"]})
    routes = host.run("ip", "route")
    assert "10.100.0.0/24 dev wg0" in routes
    assert "10.30.0.0/24 dev wg0" in routes
    assert "10.100.0.9" not in routes
    assert not host.apply(**small | {"addresses": ["10.100.0.1/24"]})["changed"]


@pytest.mark.parametrize("new", [["10.100.0.7/24"], ["fd00:100::1/64"], ["10.100.0.1/24", "10.100.0.7/24"]])
def test_addresses_change_without_losing_what_linux_takes_along(
    host: LinuxHost, home: dict[str, Any], new: list[str]
) -> None:
    host.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/all/promote_secondaries")
    host.apply(**home | {"addresses": ["10.100.0.1/24", "10.100.0.5/24"]})
    wanted = home | {"addresses": new}
    host.apply(**wanted)
    device = json.loads(host.run("ip", "-j", "address", "show", "dev", "wg0"))[0]
    there = {f"{item['local']}/{item['prefixlen']}" for item in device["addr_info"] if item["scope"] != "link"}
    assert there == set(new)
    assert "10.30.0.0/24 dev wg0" in host.run("ip", "route")
    assert not host.apply(**wanted)["changed"]


def test_routes_of_the_user_replace_those_of_the_allowed_ips(host: LinuxHost, home: dict[str, Any]) -> None:
    own = home | {"routes": ["10.0.0.0/8"]}
    host.apply(**own)
    for _turn in range(2):
        routes = host.run("ip", "route")
        assert "10.0.0.0/8 dev wg0" in routes
        assert "10.30.0.0/24" not in routes
        assert not host.apply(**own)["changed"]
        host.run("systemctl", "restart", "wg-quick@wg0")
    host.apply(**home)
    assert "10.0.0.0/8" not in host.run("ip", "route")
    assert "10.30.0.0/24" in host.run("ip", "route")
    assert not host.apply(**home)["changed"]


def test_table_off_is_respected(host: LinuxHost, home: dict[str, Any]) -> None:
    host.run("sh", "-c", f"umask 077; echo '[Interface]\nTable = off\nPrivateKey = {keypair(host)[0]}' > {CONF}")
    home["peers"][0]["allowed_ips"].append("0.0.0.0/0")
    host.apply(**home)
    assert "10.30.0.0/24" not in host.run("ip", "route")
    assert not host.apply(**home)["changed"]


FOREIGN = """# my own tunnel
[Interface]
Address=10.100.0.1/24
PrivateKey = {private}
Table = auto # as ever
PostUp = true %i, yes
FwMark = 0x10
SaveConfig = true

# Bob's phone, do not touch
[Peer]
PublicKey= {bob}
AllowedIPs = 10.100.0.77/24 , 10.77.0.0/16
"""


def test_what_others_wrote_stays(host: LinuxHost, home: dict[str, Any]) -> None:
    private, _public = keypair(host)
    bob, eve = public_key(host), public_key(host)
    text = FOREIGN.format(private=private, bob=bob)
    host.run("sh", "-c", f"umask 077; cat > {CONF}", stdin=text)
    host.run("wg-quick", "up", "wg0")
    host.run("wg", "set", "wg0", "peer", eve, "allowed-ips", "10.88.0.0/24", "persistent-keepalive", "7")
    result = host.apply(**home)
    assert "SaveConfig" in json.dumps(result["warnings"])
    assert not any("ip link delete" in command or "start" in command for command in result["commands"])
    written = host.read(CONF)
    for line in text.splitlines():
        assert (line in written) is not line.startswith(("SaveConfig", "Address")), line
    assert eve in written, "SaveConfig would have kept this one"
    assert "10.88.0.0/24" in written
    assert not host.apply(**home)["changed"]
    assert {bob, eve} < set(host.run("wg", "show", "wg0", "peers").split())
    purged = host.apply(**home, purge=True)
    assert purged["changed"]
    assert host.run("wg", "show", "wg0", "peers").split() == [home["peers"][0]["public_key"]]
    assert "Bob" not in host.read(CONF)
    assert not host.apply(**home, purge=True)["changed"]


def test_a_peer_that_is_only_live_stays_so(host: LinuxHost, home: dict[str, Any]) -> None:
    host.apply(**home)
    eve = public_key(host)
    host.run("wg", "set", "wg0", "peer", eve, "allowed-ips", "10.88.0.0/24")
    assert not host.apply(**home)["changed"]
    home["peers"][0]["persistent_keepalive"] = "20"
    host.apply(**home)
    assert eve in host.run("wg", "show", "wg0", "peers")
    assert eve not in host.read(CONF)
    assert host.apply(**home, purge=True)["commands"][1:2] == [f"wg set wg0 peer {eve} remove  # {eve}"]


def test_a_peer_made_by_hand_is_adopted(host: LinuxHost, home: dict[str, Any]) -> None:
    host.apply(**home)
    host.run("sed", "-i", "/# homelab.fabric: mikrotik-gw/d", CONF)
    host.apply(**home)
    assert host.read(CONF).count("[Peer]") == 1
    assert "# homelab.fabric: mikrotik-gw" in host.read(CONF)


def test_road_warriors_stay(host: LinuxHost, home: dict[str, Any]) -> None:
    host.apply(**home)
    phone = public_key(host)
    block = f"\n[Peer]\n# homelab.fabric client: phone\nPublicKey = {phone}\nAllowedIPs = 10.100.0.10/32\n"
    host.run("sh", "-c", f"cat >> {CONF}", stdin=block)
    assert host.apply(**home, purge=True)["commands"] == ["wg addconf wg0 /dev/stdin  # phone"]
    assert block in host.read(CONF)


REFUSED = {
    "no private key": ("sed -i /PrivateKey/d", "has no PrivateKey"),
    "a broken private key": ("sed -i 's/PrivateKey = ..../PrivateKey = /'", "is not a WireGuard key"),
    "no section": ("sed -i /Interface/d", "no [Interface] section"),
    "a broken peer": ("sed -i 's/PublicKey = ..../PublicKey = /'", "is not a WireGuard key"),
    "no file": ("rm", "another tool made it"),
}


@pytest.mark.parametrize("damage", REFUSED)
def test_a_damaged_file_is_refused_and_the_interface_left_alone(
    host: LinuxHost, home: dict[str, Any], damage: str
) -> None:
    host.apply(**home)
    harm, message = REFUSED[damage]
    private = host.run("wg", "show", "wg0", "private-key").strip()
    host.run("sh", "-c", f"{harm} {CONF}")
    live = host.run("wg", "show", "wg0", "dump")
    result = host.module(**home)
    assert result["failed"]
    assert message in result["msg"]
    assert private[4:40] not in json.dumps(result)
    assert host.run("wg", "show", "wg0", "dump") == live


def test_another_key_than_the_running_one_is_refused(host: LinuxHost, home: dict[str, Any]) -> None:
    host.apply(**home)
    other = keypair(host)[0]
    host.run("sed", "-i", f"s#PrivateKey = .*#PrivateKey = {other}#", CONF)
    result = host.module(**home)
    assert "is not the one that wg0 runs with" in result["msg"]
    assert other not in json.dumps(result)


def test_a_start_that_was_killed_half_way_is_begun_again(host: LinuxHost, home: dict[str, Any]) -> None:
    host.apply(**home)
    host.run("systemctl", "stop", "wg-quick@wg0")
    host.run("wireguard-go", "wg0")
    assert host.apply(**home)["commands"] == ["ip link delete dev wg0", "systemctl start wg-quick@wg0"]
    assert not host.apply(**home)["changed"]


def test_an_interface_brought_up_by_hand_is_only_enabled(host: LinuxHost, home: dict[str, Any]) -> None:
    host.apply(**home)
    host.run("systemctl", "disable", "--now", "wg-quick@wg0")
    host.run("wg-quick", "up", "wg0")
    assert host.apply(**home)["commands"] == ["systemctl enable wg-quick@wg0"]


def test_absent_leaves_nothing_behind(host: LinuxHost, home: dict[str, Any]) -> None:
    host.run("mkdir", "-m", "700", "/etc/wireguard/clients")
    blank = [host.run("ip", "-br", "link"), host.run("ls", "-A", "/etc/wireguard")]
    assert not host.apply(name="wg0", state="absent")["changed"]
    host.apply(**home)
    foretold = host.apply("--check", name="wg0", state="absent")["commands"]
    assert foretold == [
        "systemctl disable --now wg-quick@wg0",
        "rm -f /etc/wireguard/wg0.nft",
        "rm -f /etc/wireguard/wg0.conf",
    ]
    assert host.apply(name="wg0", state="absent")["commands"] == foretold
    assert [host.run("ip", "-br", "link"), host.run("ls", "-A", "/etc/wireguard")] == blank
    for words in ("nft list ruleset", "iptables -S", "ip6tables -S", "ip route"):
        assert "wg0" not in host.run(*words.split())
    assert "UnitFileState=disabled" in host.run("systemctl", "show", "wg-quick@wg0")
    assert not host.apply(name="wg0", state="absent")["changed"]


def test_forwarding_can_be_given_up(host: LinuxHost, home: dict[str, Any]) -> None:
    host.apply(**home)
    host.apply(**home | {"forward_to": [], "masquerade": [], "open_port": False})
    assert "wg0" not in host.run("nft", "list", "ruleset") + host.run("iptables", "-S")
    assert "homelab.fabric\n" not in host.read(CONF)
    assert host.run("ls", "/etc/wireguard").split() == ["wg0.conf"]


def test_no_secret_shows(host: LinuxHost, home: dict[str, Any]) -> None:
    psk = home["peers"][0]["preshared_key"]
    results = [host.apply(**home)]
    home["peers"][0]["preshared_key"] = other = host.run("wg", "genpsk").strip()
    results.append(host.apply(**home))
    private = host.run("wg", "show", "wg0", "private-key").strip()
    for result in results:
        del result["invocation"]  # Ansible's own no_log, which the controller applies
        shown = json.dumps(result)
        assert not any(secret in shown for secret in (psk, other, private))


def test_a_run_that_would_cut_itself_off_is_refused(host: LinuxHost, home: dict[str, Any]) -> None:
    host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far")
    host.run("ip", "address", "add", "203.0.113.10/24", "dev", "eth0")
    host.run("ip", "link", "set", "eth0", "up")
    host.run("ip", "link", "set", "far", "up")
    host.run("ip", "route", "add", "default", "via", "203.0.113.1")
    ssh = {"SSH_CONNECTION": "198.51.100.7 50000 203.0.113.10 22"}
    peer = home["peers"][0]
    peer["allowed_ips"] = ["198.51.100.0/24"]
    result = host.module(environment=ssh, **home)
    assert "198.51.100.0/24 holds 198.51.100.7" in result["msg"]
    peer["allowed_ips"] = ["203.0.113.0/24"]
    peer["endpoint"] = "203.0.113.77:51820"
    assert "its own endpoint" in host.module(**home)["msg"].replace("mikrotik-gw's", "its")
    peer["allowed_ips"] = ["0.0.0.0/0"]
    assert "default route" in host.module(**home)["msg"]
    peer["allowed_ips"] = ["203.0.0.0/16"]
    assert host.module("--check", **home)["changed"], "the connected network is the longer match"


def test_a_host_that_learns_its_ipv6_route_keeps_it_when_it_begins_to_forward(
    host: LinuxHost, home: dict[str, Any]
) -> None:
    """Linux ignores router advertisements on a host that forwards, unless accept_ra is 2."""
    home["forward_to"] = ["fd00:30::/64"]
    host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far")
    switches = [f"/proc/sys/net/ipv6/conf/{name}" for name in ("eth0/accept_ra", "all/forwarding")]
    host.run("sh", "-c", f"echo 1 > {switches[0]}; echo 0 > {switches[1]}")
    host.apply(**home)
    assert [host.read(switch).strip() for switch in switches] == ["2", "1"]
    host.run("sh", "-c", f"echo 0 > {switches[1]}; echo 1 > {switches[0]}")
    assert len(host.apply(**home)["commands"]) == 1
    assert [host.read(switch).strip() for switch in switches] == ["2", "1"]
    host.run("sh", "-c", f"echo 0 > {switches[0]}")
    host.run("systemctl", "restart", "wg-quick@wg0")
    assert [host.read(switch).strip() for switch in switches] == ["0", "1"], "switched off by its owner"
