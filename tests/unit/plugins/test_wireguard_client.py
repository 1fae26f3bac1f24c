"""wireguard_client without a host: the register, addresses, rights, expiry, configuration, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import subprocess
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.homelab.fabric.plugins.module_utils import client_access, client_expiry
from ansible_collections.homelab.fabric.plugins.module_utils.client_config import configuration
from ansible_collections.homelab.fabric.plugins.module_utils.client_input import Surroundings, plan_clients
from ansible_collections.homelab.fabric.plugins.module_utils.client_register import (
    Client,
    Limit,
    Register,
    parse_registers,
    render_registers,
)
from ansible_collections.homelab.fabric.plugins.module_utils.linux_firewall import (
    firewall_of,
    iptables_rules,
    nft_rules,
)
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel
from ansible_collections.homelab.fabric.plugins.module_utils.values import Secret, TunnelError
from ansible_collections.homelab.fabric.plugins.modules.wireguard_client import ARGUMENTS, CLIENT
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_795_000_000  # 2026-11-18
COMMON: dict[str, Any] = {
    "endpoint": "203.0.113.10:51820",
    "pool": ["10.100.0.0/24", "fd00:100::/64"],
    "reserved": ["10.100.0.2/24"],
    "networks": ["10.10.0.0/24", "10.20.0.0/24", "10.30.0.0/24", "fd00:30::/64"],
}


def key(seed: object) -> str:
    return base64.b64encode(hashlib.sha256(str(seed).encode()).digest()).decode()


TAKEN = {"10.100.0.1": "wg0", "fd00:100::1": "wg0", "10.100.0.5": "mikrotik-gw"}
AROUND = Surroundings(
    addresses=TAKEN,
    public_keys={key("hub"): "wg0", key("gw"): "mikrotik-gw"},
    names={"tablet": "wg1"},
    listen_port=51820,
    now=NOW,
)


def arguments(*clients: dict[str, Any], **common: Any) -> dict[str, Any]:
    """As AnsibleModule hands them over: everything that is not given is its default or None."""
    options = {name: spec.get("default") for name, spec in CLIENT.items()}
    params = {name: spec.get("default") for name, spec in ARGUMENTS.items()}
    return params | {"clients": [options | client for client in clients]} | common


def plan(old: Register, *clients: dict[str, Any], around: Surroundings = AROUND, **common: Any) -> Register:
    """The next register, every new key made."""
    made = plan_clients(old, arguments(*clients, **common), around)
    keyed = {
        name: replace(client, public_key=key((name, client, around.now))) if name in made.fresh else client
        for name, client in made.register.clients.items()
    }
    return replace(made.register, clients=keyed)


FIRST = plan(Register(), {"name": "phone"}, {"name": "laptop", "addresses": ["10.100.0.11"]}, **COMMON)


def test_addresses_are_the_lowest_free_ones_and_stay() -> None:
    assert FIRST.clients["phone"].addresses == ("10.100.0.3", "fd00:100::2")
    assert FIRST.clients["laptop"].addresses == ("10.100.0.11", "fd00:100::3")
    again = plan(FIRST, {"name": "laptop"}, {"name": "phone"}, **COMMON)
    assert again == FIRST
    more = plan(FIRST, {"name": "tv"})
    assert more.clients["tv"].addresses == ("10.100.0.4", "fd00:100::4")
    assert {name: more.clients[name] for name in FIRST.clients} == FIRST.clients


def test_a_freed_address_is_used_again_only_when_no_other_is_left() -> None:
    small = COMMON | {"pool": ["10.100.0.0/29"], "reserved": []}
    one = plan(Register(), *({"name": name} for name in "abc"), **small)
    assert [c.addresses for c in one.clients.values()] == [("10.100.0.2",), ("10.100.0.3",), ("10.100.0.4",)]
    two = plan(one, {"name": "b", "state": "absent"}, {"name": "a", "state": "absent"})
    assert two.freed == ("10.100.0.3", "10.100.0.2") or two.freed == ("10.100.0.2", "10.100.0.3")
    three = plan(two, {"name": "d"})
    assert three.clients["d"].addresses == ("10.100.0.6",), ".5 is a node's"
    four = plan(three, {"name": "e"}, {"name": "f"})
    assert [four.clients[name].addresses[0] for name in "ef"] == list(two.freed)
    assert four.freed == ()
    with pytest.raises(TunnelError, match=r"^pool: 10\.100\.0\.0/29 has no free address for g: revoke"):
        plan(four, {"name": "g"})


def test_an_address_that_is_freed_now_is_not_given_to_the_next_one_at_once() -> None:
    register = plan(FIRST, {"name": "phone", "state": "absent"}, {"name": "tv"})
    assert register.clients["tv"].addresses == ("10.100.0.4", "fd00:100::4")
    assert register.freed == ("10.100.0.3", "fd00:100::2")


def test_two_clients_can_swap_their_addresses() -> None:
    swapped = plan(
        FIRST, {"name": "phone", "addresses": ["10.100.0.11"]}, {"name": "laptop", "addresses": ["10.100.0.3"]}
    )
    assert swapped.clients["phone"].addresses == ("10.100.0.11", "fd00:100::2")
    assert swapped.clients["laptop"].addresses == ("10.100.0.3", "fd00:100::3")
    assert swapped.freed == ()


def test_purge_and_absent_revoke() -> None:
    made = plan_clients(FIRST, arguments({"name": "phone"}, purge=True), AROUND)
    assert (made.revoked, list(made.register.clients)) == (("laptop",), ["phone"])
    made = plan_clients(FIRST, arguments({"name": "nobody", "state": "absent"}), AROUND)
    assert (made.revoked, made.register) == ((), FIRST)


def test_a_kept_client_loses_no_limit_and_no_end_when_only_its_name_is_given() -> None:
    limit = {"network": "10.30.0.200/32", "protocol": "tcp", "ports": ["443"]}
    guest = {"name": "guest", "expires": "30d", "isolated": True, "limits": [limit], "access": ["10.30.0.0/24"]}
    register = plan(FIRST, guest)
    assert plan(register, {"name": "guest", "keep": True}, access=["full"]) == register
    freed = plan(register, {"name": "guest", "keep": True, "expires": "never", "limits": []}).clients["guest"]
    assert (freed.expires, freed.limits, freed.isolated) == (None, (), True)
    rotated = plan(register, {"name": "guest", "keep": True, "rotate": True}, around=replace(AROUND, now=NOW + 86_400))
    assert rotated.clients["guest"].expires == NOW + 31 * 86_400


def test_keys_change_only_when_asked() -> None:
    def fresh(old: Register, **client: Any) -> tuple[str, ...]:
        return plan_clients(old, arguments({"name": "phone", **client}), AROUND).fresh

    assert fresh(FIRST) == ()
    assert fresh(FIRST, rotate=True) == ("phone",)
    own = plan(FIRST, {"name": "phone", "public_key": key("phone itself")})
    assert own.clients["phone"].own_key
    assert fresh(own) == ()
    assert plan(own, {"name": "phone"}).clients["phone"].own_key
    assert fresh(own, rotate=True) == ("phone",)


def test_what_a_client_leaves_out_is_the_modules_option() -> None:
    register = plan(
        FIRST,
        {"name": "phone"},
        {"name": "laptop", "access": ["split", "192.0.2.0/24"], "dns": [], "persistent_keepalive": "0"},
        access=["full"],
        dns=["10.10.0.1", "fd00:30::1"],
        dns_search=["Home.ARPA"],
        mtu=1280,
        persistent_keepalive="30s",
    )
    phone, laptop = register.clients["phone"], register.clients["laptop"]
    assert (phone.access, phone.dns, phone.dns_search) == (("full",), ("10.10.0.1", "fd00:30::1"), ("home.arpa",))
    assert (phone.mtu, phone.keepalive) == (1280, 30)
    assert (laptop.access, laptop.dns, laptop.keepalive) == (("split", "192.0.2.0/24"), (), 0)


EXPIRY = {
    "2026-12-31": "2027-01-01T00:00:00Z",
    "2026-12-31T18:00:00Z": "2026-12-31T18:00:00Z",
    "2026-12-31 18:00:00+02:00": "2026-12-31T16:00:00Z",
    "2026-12-31T18:00": "2026-12-31T18:00:00Z",
    "12h": client_expiry.utc(NOW + 43_200),
    "30d": client_expiry.utc(NOW + 30 * 86_400),
    "2w": client_expiry.utc(NOW + 14 * 86_400),
}


@pytest.mark.parametrize("text", EXPIRY)
def test_expiry(text: str) -> None:
    assert client_expiry.utc(client_expiry.parse_expiry(text, "expires", NOW)) == EXPIRY[text]


def test_a_period_counts_from_the_day_it_was_given() -> None:
    register = plan(FIRST, {"name": "guest", "expires": "30d"})
    later = replace(AROUND, now=NOW + 86_400)
    assert plan(register, {"name": "guest", "expires": "30d"}, around=later) == register
    rotated = plan(register, {"name": "guest", "expires": "30d", "rotate": True}, around=later)
    assert rotated.clients["guest"].expires == NOW + 31 * 86_400
    longer = plan(register, {"name": "guest", "expires": "40d"}, around=later)
    assert longer.clients["guest"].expires == NOW + 41 * 86_400
    for never in ({}, {"expires": "never"}):
        assert plan(register, {"name": "guest", **never}).clients["guest"].expires is None
    after = replace(AROUND, now=NOW + 60 * 86_400)
    assert plan(register, {"name": "guest", "expires": "30d"}, around=after).clients["guest"].expired(after.now)


BAD: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("slash", {"name": "a/b"}, {}, r"clients\[0\]\.name: 'a/b' cannot be a name"),
    ("dots", {"name": ".."}, {}, r"clients\[0\]\.name: '\.\.' cannot be a name"),
    ("empty name", {"name": ""}, {}, r"clients\[0\]\.name: '' cannot be a name"),
    ("on another interface", {"name": "tablet"}, {}, r"clients\[0\]\.name: tablet is a client of wg1 already"),
    ("this hub's", {"addresses": ["10.100.0.1"]}, {}, r"clients\[new\]\.addresses: 10\.100\.0\.1 is wg0's already"),
    ("a node's", {"addresses": ["10.100.0.5"]}, {}, "10.100.0.5 is mikrotik-gw's already"),
    ("a reserved one", {"addresses": ["10.100.0.2"]}, {}, r"10\.100\.0\.2 is in `reserved`"),
    ("another client's", {"addresses": ["10.100.0.11"]}, {}, "10.100.0.11 is laptop's already: choose another"),
    ("outside", {"addresses": ["10.99.0.1"]}, {}, r"10\.99\.0\.1 is outside the pool \(10\.100\.0\.0/24, fd00"),
    ("network", {"addresses": ["10.100.0.0"]}, {}, "is the first or last address"),
    ("broadcast", {"addresses": ["10.100.0.255"]}, {}, "is the first or last address"),
    ("anycast", {"addresses": ["fd00:100::"]}, {}, "is the first or last address"),
    ("two of a kind", {"addresses": ["10.100.0.20", "10.100.0.21"]}, {}, "are of one IP version"),
    ("no address", {"addresses": ["10.100.0"]}, {}, "'10.100.0' is not an IP address"),
    ("a network", {"addresses": ["10.100.0.20/24"]}, {}, "more than one address: write 10.100.0.20"),
    (
        "31 bytes",
        {"public_key": base64.b64encode(b"x" * 31).decode()},
        {},
        r"clients\[new\]\.public_key: .* not a Wire",
    ),
    ("the hub's key", {"public_key": key("hub")}, {}, r"clients\[new\]\.public_key: .* is wg0's already"),
    ("a node's key", {"public_key": key("gw")}, {}, "is mikrotik-gw's already"),
    ("own and rotate", {"public_key": key(1), "rotate": True}, {}, r"\.rotate: its key is made by the device"),
    ("expired", {"expires": "2026-11-01"}, {}, r"clients\[new\]\.expires: 2026-11-01 is over, so new could never"),
    ("no time", {"expires": "tomorrow"}, {}, r"'tomorrow' is not a time: write it like"),
    ("no period", {"expires": "0d"}, {}, r"'0d' is not a time"),
    ("no day", {"expires": "2026-02-30"}, {}, "is not a time"),
    ("far", {"expires": "9999-12-31"}, {}, "is not a time"),
    ("expired for all", {}, {"expires": "2026-11-01"}, r"^expires: 2026-11-01 is over"),
    ("no access", {"access": []}, {}, r"clients\[new\]\.access: it is empty"),
    ("odd access", {"access": ["half"]}, {}, r"clients\[new\]\.access: 'half' is not an IP prefix"),
    ("host bits", {"access": ["10.30.0.1/24"]}, {}, "has bits set beyond its length: write 10.30.0.0/24"),
    ("limit", {"limits": [{"network": "x"}]}, {}, r"clients\[new\]\.limits\[0\]\.network: 'x' is not an IP prefix"),
    (
        "foreign limit",
        {"limits": [{"network": "10.99.0.0/24"}]},
        {},
        r"limits\[0\]\.network: 10\.99\.0\.0/24 is in no net",
    ),
    ("port", {"limits": [{"network": "10.30.0.0/24", "ports": ["0"]}]}, {}, r"limits\[0\]\.ports: '0' is not a port"),
    ("ports", {"limits": [{"network": "10.30.0.0/24", "ports": ["9-8"]}]}, {}, "ends before it begins: write 8-9"),
    ("dns name", {"dns": ["dns.example.org"]}, {}, r"clients\[new\]\.dns: .* not an IP address: names .* dns_search"),
    ("dns", {}, {"dns": ["10.10.0.256"]}, r"^dns: '10\.10\.0\.256' is not an IP address"),
    ("search", {"dns_search": ["10.10.0.1"]}, {}, r"dns_search: 10\.10\.0\.1 is an address: servers belong into dns"),
    ("search word", {"dns_search": ["a b"]}, {}, "neither a host name nor an IP address"),
    ("mtu", {"mtu": 1000}, {}, r"clients\[new\]\.mtu: '1000' is not a usable MTU"),
    ("mtu for all", {}, {"mtu": 99999}, r"^mtu: '99999' is not a usable MTU"),
    ("keepalive", {"persistent_keepalive": "often"}, {}, r"persistent_keepalive: 'often' is not a time"),
    ("pool", {}, {"pool": ["10.100.0.1/24"]}, "^pool: '10.100.0.1/24' has bits set"),
    ("networks", {}, {"networks": ["home"]}, "^networks: 'home' is not an IP prefix"),
    ("reserved", {}, {"reserved": ["gw"]}, "^reserved: 'gw' is not an IP prefix"),
    ("endpoint", {}, {"endpoint": "vps.example.org:0"}, "^endpoint: '0' is not a port"),
    ("endpoint name", {}, {"endpoint": "my vps"}, "^endpoint: 'my vps' is neither a host name"),
    ("endpoint inside", {}, {"endpoint": "10.30.0.7:51820"}, r"^endpoint: 10\.30\.0\.7 lies in 10\.30\.0\.0/24"),
    ("endpoint inside 6", {}, {"endpoint": "[fd00:30::1]:1"}, "^endpoint: fd00:30::1 lies in fd00:30::/64"),
    ("narrow pool", {}, {"pool": ["10.100.0.0/30"], "reserved": []}, "^pool: 10.100.0.0/30 has no free address"),
]


@pytest.mark.parametrize(("client", "common", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input(client: dict[str, Any], common: dict[str, Any], message: str) -> None:
    around = AROUND
    if "30" in "".join(common.get("pool", ())):
        around = replace(AROUND, addresses=TAKEN | {"10.100.0.2": "gw"})
    with pytest.raises(TunnelError, match=message) as refused:
        plan(FIRST, {"name": "new", **client}, around=around, **common)
    assert str(refused.value).count(": ") >= 2, "argument: problem: remedy"


def test_more_bad_input() -> None:
    with pytest.raises(TunnelError, match=r"clients\[1\]\.name: phone is in the list twice"):
        plan(FIRST, {"name": "phone"}, {"name": "phone", "state": "absent"})
    with pytest.raises(TunnelError, match=r"laptop\]\.public_key: .* is phone's already"):
        plan(FIRST, {"name": "phone", "public_key": key(1)}, {"name": "laptop", "public_key": key(1)})
    with pytest.raises(TunnelError, match=r"phone\]\.addresses: 10\.100\.0\.3 is outside the pool"):
        plan(FIRST, {"name": "phone"}, pool=["10.101.0.0/24"])
    with pytest.raises(TunnelError, match=r"endpoint: missing"):
        plan(Register(), {"name": "phone"}, pool=["10.100.0.0/24"])
    with pytest.raises(TunnelError, match=r"pool: missing"):
        plan(Register(), {"name": "phone"}, endpoint="203.0.113.10:1")
    with pytest.raises(TunnelError, match=r"10\.100\.0\.20 is phone's already"):
        plan(FIRST, {"name": "phone", "addresses": ["10.100.0.20"]}, {"name": "laptop", "addresses": ["10.100.0.20"]})


ENDPOINTS = {
    "vps.example.org": "vps.example.org:51820",
    "vps.example.org:1": "vps.example.org:1",
    "203.0.113.10": "203.0.113.10:51820",
    "2001:db8::1": "[2001:db8::1]:51820",
    "[2001:db8::1]": "[2001:db8::1]:51820",
    "[2001:db8::1]:2": "[2001:db8::1]:2",
}


@pytest.mark.parametrize("text", ENDPOINTS)
def test_endpoint(text: str) -> None:
    assert plan(FIRST, endpoint=text).endpoint == ENDPOINTS[text]


def test_allowed_ips_are_as_few_as_can_be() -> None:
    register = replace(FIRST, networks=("10.30.0.0/25", "10.30.0.128/25", "10.31.0.0/24", "fd00:30::/64"))
    phone = register.clients["phone"]
    assert register.allowed_ips(phone) == (
        "10.30.0.0/24",
        "10.31.0.0/24",
        "10.100.0.0/24",
        "fd00:30::/64",
        "fd00:100::/64",
    )
    v4_only = replace(phone, addresses=("10.100.0.3",))
    assert register.allowed_ips(v4_only) == ("10.30.0.0/24", "10.31.0.0/24", "10.100.0.0/24")
    assert register.allowed_ips(replace(v4_only, access=("full",))) == ("0.0.0.0/0", "::/0")
    assert register.allowed_ips(replace(phone, access=("10.30.0.0/24",))) == ("10.30.0.0/24",)


def test_configuration() -> None:
    client = replace(FIRST.clients["phone"], dns=("10.10.0.1",), dns_search=("home.arpa",))
    text = configuration(FIRST, client, key("hub"), 1380, Secret(key("private")), Secret(key("psk")))
    assert text.splitlines() == [
        "[Interface]",
        f"PrivateKey = {key('private')}",
        "Address = 10.100.0.3/32, fd00:100::2/128",
        "DNS = 10.10.0.1, home.arpa",
        "MTU = 1380",
        "",
        "[Peer]",
        f"PublicKey = {key('hub')}",
        f"PresharedKey = {key('psk')}",
        "AllowedIPs = 10.10.0.0/24, 10.20.0.0/24, 10.30.0.0/24, 10.100.0.0/24, fd00:30::/64, fd00:100::/64",
        "Endpoint = 203.0.113.10:51820",
        "PersistentKeepalive = 25",
    ]
    own = configuration(FIRST, replace(client, mtu=1280), key("hub"), 1380, Secret(""), Secret(""))
    assert own.splitlines()[1] == f"# PrivateKey = the device's own, whose public key is {client.public_key}"
    assert "PresharedKey" not in own
    assert "MTU = 1280" in own


def rules(register: Register, **tunnel: Any) -> dict[str, list[str]]:
    made = nft_rules(firewall_of(Tunnel("wg0", ("10.100.0.1/24",), **tunnel), client_access.access_of(register)))
    return {head.split()[0]: lines for head, lines in made.items()}


def test_clients_with_equal_rights_share_a_chain() -> None:
    many = plan(Register(), *({"name": f"c{i}"} for i in range(100)), **COMMON)
    made = rules(many)
    assert list(made) == ["forward", "postrouting", "rights_1"]
    assert sum(map(len, made.values())) == 4 + 2 + 3
    assert made["rights_1"][-1] == "drop"
    assert made["forward"][:2] == ['iifname != "wg0" accept', "ct state established,related accept"]
    assert made["forward"][2].count("goto rights_1") == 100


def test_rights() -> None:
    register = plan(
        FIRST,
        {"name": "phone", "access": ["full"]},
        {
            "name": "guest",
            "isolated": True,
            "dns": ["10.10.0.1"],
            "limits": [
                {"network": "10.30.0.200", "protocol": "tcp", "ports": ["443", "440-450", "80"]},
                {"network": "fd00:30::/64"},
            ],
        },
    )
    made = rules(register)
    phone, laptop, guest = (made[f"rights_{number}"] for number in (1, 3, 2))
    assert phone == ["ip daddr { 10.100.0.4/32 } drop", "ip6 daddr { fd00:100::4/128 } drop", "accept"]
    assert laptop[0] == "ip daddr { 10.100.0.4/32 } drop"
    assert laptop[-1] == "drop"
    assert guest == [
        "ip daddr { 10.100.0.3/32, 10.100.0.4/32, 10.100.0.11/32 } drop",
        "ip6 daddr { fd00:100::2/127, fd00:100::4/128 } drop",
        "ip daddr 10.30.0.200/32 tcp dport { 80, 440-450 } accept",
        "ip6 daddr fd00:30::/64 accept",
        "ip daddr 10.10.0.1 udp dport 53 accept",
        "ip daddr 10.10.0.1 tcp dport 53 accept",
        "drop",
    ]
    assert made["input"][2:] == [
        "ip saddr vmap { 10.100.0.4 : goto rights_2 }",
        "ip6 saddr vmap { fd00:100::4 : goto rights_2 }",
    ]


def test_clients_beside_the_tunnels_own_forwarding() -> None:
    made = rules(FIRST, forward_to=("10.30.0.0/24",), masquerade=("10.100.0.0/24",))
    assert "vmap" in made["forward"][2]
    assert made["forward"][-2:] == ["ip daddr { 10.30.0.0/24 } accept", "drop"]
    assert len(made["postrouting"]) == 3
    firewall = firewall_of(Tunnel("wg0", ("10.100.0.1/24",)), client_access.access_of(FIRST))
    assert [rule.comment for rule in iptables_rules(firewall)] == [
        "homelab.fabric wg0 back",
        "homelab.fabric wg0 from 10.100.0.0/24",
        "homelab.fabric wg0 back",
        "homelab.fabric wg0 from fd00:100::/64",
    ]


def test_without_masquerade_only_the_internet_sees_the_hub() -> None:
    register = plan(
        FIRST, {"name": "phone", "access": ["full"]}, masquerade=False, networks=["10.10.0.0/24", "fd00:30::/64"]
    )
    assert rules(register)["postrouting"] == [
        'oifname != "wg0" ip saddr { 10.100.0.3/32 } ip daddr != { 10.10.0.0/24, 10.100.0.0/24 } masquerade',
        'oifname != "wg0" ip6 saddr { fd00:100::2/128 } ip6 daddr != { fd00:30::/64, fd00:100::/64 } masquerade',
    ]
    assert "postrouting" not in rules(replace(FIRST, masquerade=False))


def test_no_clients_no_rules() -> None:
    assert client_access.access_of(Register()) is None
    assert rules(Register()) == {}


def test_the_timer_and_its_script() -> None:
    several = [client_expiry.Expiry(NOW, key(1), "phone"), client_expiry.Expiry(NOW + 1, key(2), "tv")]
    assert [line for line in client_expiry.timer("wg0", several).splitlines() if line.startswith("On")] == [
        "OnCalendar=2026-11-18 11:06:40 UTC",
        "OnCalendar=2026-11-18 11:06:41 UTC",
    ]
    script = client_expiry.script("wg0", several).replace("wg set", "echo").replace("$(date +%s)", str(NOW))
    script = script.replace("wg show", "true")
    done = subprocess.run(["sh"], input=script, text=True, capture_output=True, check=True)
    assert done.stdout == f"wg0 peer {key(1)} remove\n"
    assert subprocess.run(["sh"], input=client_expiry.script("none0", several), text=True, check=True).returncode == 0


def test_the_registers_file() -> None:
    register = plan(FIRST, {"name": "guest", "expires": "30d", "limits": [{"network": "10.30.0.0/24", "ports": ["1"]}]})
    both = {"wg0": register, "wg1": replace(FIRST, freed=("10.100.0.9",))}
    assert parse_registers(render_registers(both), "file") == both
    assert parse_registers(render_registers({"wg0": Register()}), "file") == {}
    assert parse_registers(None, "file") == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "interfaces": {"wg0": {}}}']
)
def test_a_damaged_register_is_named(text: str) -> None:
    with pytest.raises(TunnelError, match=r"^register\.json: it "):
        parse_registers(text, "register.json")


NAMES = st.sampled_from("abcdefgh")
ITEMS = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "state": st.sampled_from(["present", "absent"]),
        "rotate": st.booleans(),
        "addresses": st.lists(st.integers(0, 15).map(lambda n: f"10.100.0.{n}"), max_size=1),
        "isolated": st.booleans(),
        "access": st.sampled_from([["split"], ["full"], ["10.30.0.0/24"]]),
    },
)
RUNS = st.lists(st.tuples(st.lists(ITEMS, max_size=4), st.booleans()), max_size=12)


@given(RUNS)
def test_whatever_the_runs_no_two_clients_share_an_address_and_nobody_else_is_touched(
    runs: list[tuple[list[dict[str, Any]], bool]],
) -> None:
    register = Register()
    common: dict[str, Any] = {"endpoint": "203.0.113.10:1", "pool": ["10.100.0.0/28"], "networks": ["10.30.0.0/24"]}
    for items, purge in runs:
        try:
            after = plan(register, *items, purge=purge, **common)
        except TunnelError:
            continue
        used = [address for client in after.clients.values() for address in client.addresses]
        assert len(set(used)) == len(used)
        assert not {"10.100.0.1", "10.100.0.5", "10.100.0.0", "10.100.0.15"} & set(used)
        assert not set(used) & set(after.freed)
        assert all(address in ipaddress.ip_network("10.100.0.0/28") for address in map(ipaddress.ip_address, used))
        listed = {item["name"] for item in items}
        for name, client in register.clients.items():
            if name not in listed and not purge:
                assert after.clients[name] == client
        before = {address for client in register.clients.values() for address in client.addresses}
        assert before - set(used) <= set(after.freed), "freed ones are remembered"
        quiet = [{k: v for k, v in item.items() if k != "rotate"} for item in items]
        assert plan(after, *quiet, purge=purge, **common) == after, "the second run changes nothing"
        assert parse_registers(render_registers({"wg0": after}), "") == (
            {"wg0": after} if after.clients or after.freed else {}
        )
        register = after


CLIENTS = st.builds(
    Client,
    name=st.just("x"),
    addresses=st.just(("10.100.0.3",)),
    public_key=st.just(key("x")),
    access=st.sampled_from([("split",), ("full",), ("10.30.0.0/24",), ("0.0.0.0/0",), ("split", "10.31.0.0/16")]),
    isolated=st.booleans(),
    limits=st.lists(
        st.builds(
            Limit,
            st.sampled_from(["10.30.0.7/32", "0.0.0.0/0", "10.30.0.0/24", "::/0"]),
            st.sampled_from(["any", "tcp", "udp"]),
            st.sampled_from([(), ("443",), ("1-100", "443")]),
        ),
        max_size=2,
    ).map(tuple),
    dns=st.sampled_from([(), ("10.10.0.1", "fd00:30::1")]),
)


@given(st.lists(CLIENTS, max_size=6), st.booleans())
def test_all_rights_end_with_a_verdict(clients: list[Client], masquerade: bool) -> None:
    named = {
        f"c{i}": replace(client, name=f"c{i}", addresses=(f"10.100.0.{i + 3}",)) for i, client in enumerate(clients)
    }
    made = rules(Register(pool=("10.100.0.0/24",), networks=("10.30.0.0/24",), masquerade=masquerade, clients=named))
    chains = {name: lines for name, lines in made.items() if name.startswith("rights_")}
    assert all(lines[-1] in ("drop", "accept") for lines in chains.values())
    assert len(chains) <= len(clients)
    for client in named.values():
        if client.limits:
            assert f"{client.addresses[0]} : goto" in made["input"][2]
