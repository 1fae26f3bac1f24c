"""Where a client may go is decided by the hub, whatever the client's user makes of the configuration."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.clients.device import INGRESS, Device
from tests.integration.clients.hub import clients, configuration, give, live_keys, scanned
from tests.integration.relay.inventory import example
from tests.integration.relay.lab import LAB, STATE, attempt, lab, on, play, until

VISITOR = "198.51.100.20"


def everywhere(configuration: str) -> str:
    """As a curious user changes it."""
    return re.sub("AllowedIPs = .*", "AllowedIPs = 0.0.0.0/0, ::/0", configuration)


@contextmanager
def web_server(address: str = VISITOR) -> Iterator[list[str]]:
    """On the visitor's computer; fills the list with the addresses that asked it."""
    server_line = ["python3", "-um", "http.server", "8000", "--bind", address, "--directory", "/usr/share/zoneinfo"]
    line = [LAB, "exec", "visitor", "--", *server_line]
    asked: list[str] = []
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        stream = server.stderr
        assert stream

        def read() -> None:
            asked.extend(text.split()[0] for text in stream)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            until(lambda: fetches("visitor", address), 10, "it serves")
            yield asked
        finally:
            attempt("visitor", "pkill", "-f", "http.server 8000")
            thread.join(5)


def fetches(host: str, address: str = VISITOR) -> bool:
    name = f"[{address}]" if ":" in address else address
    return attempt(host, "curl", "-s", "--max-time", "3", f"http://{name}:8000/").returncode == 0


def test_a_client_that_is_limited_to_a_port_reaches_nothing_else(phone: Device) -> None:
    limit = {"network": f"{INGRESS}/32", "protocol": "tcp", "ports": ["443"]}
    phone.connect(scanned(give(vpn_client_limits=[limit]).ok().output)[0])
    assert phone.is_at_home()
    assert not phone.pings(INGRESS)
    assert not phone.pings("10.100.0.1")
    assert phone.page(port=8443, patience=2) == ""
    # A run that only names it takes nothing away.
    assert give(vpn_client_qr=False).ok().changed == []
    # In the inventory without a limit, it has none; the code on the phone stays.
    listed = give("phone", vpn_clients=["phone"], vpn_client_qr=False).ok()
    assert listed.of("wireguard_client")[0].result["new_configurations"] == []
    assert phone.pings(INGRESS)


def test_a_client_goes_no_further_than_its_access_although_its_user_changes_the_configuration(phone: Device) -> None:
    phone.connect(everywhere(scanned(give(vpn_client_access=[f"{INGRESS}/32"]).ok().output)[0]))
    assert phone.is_at_home()
    assert not phone.pings("10.30.0.1")
    with web_server():
        assert not fetches(phone.host)


def test_a_full_tunnel_leads_everything_through_the_vps(phone: Device) -> None:
    phone.connect(scanned(give(vpn_client_access="full").ok().output)[0])
    assert phone.is_at_home()
    with web_server() as asked:
        assert fetches(phone.host)
    assert asked[-1] == "203.0.113.10"


def test_clients_are_kept_from_each_other(phone: Device, laptop: Device) -> None:
    both = give(vpn_clients=[{"name": "phone"}, {"name": "laptop"}], vpn_client_qr=False).ok()
    phone.connect(configuration("phone"))
    laptop.connect(configuration("laptop"))
    assert phone.is_at_home()
    assert laptop.is_at_home()
    address = clients(both)["phone"]["addresses"][0]
    assert laptop.pings(address)
    give("phone", vpn_client_isolated=True, vpn_client_qr=False).ok()
    assert not laptop.pings(address)
    assert not phone.pings(clients(both)["laptop"]["addresses"][0])
    assert phone.is_at_home()
    assert laptop.is_at_home()


def test_a_device_that_made_its_own_key_completes_its_configuration(laptop: Device) -> None:
    private = on("laptop", "wg", "genkey").strip()
    public = laptop.feed(private + "\n", "wg", "pubkey").strip()
    run = give("laptop", vpn_client_public_key=public).ok()
    assert scanned(run.output) == []
    assert "the device has its own" in " ".join(str(result.result) for result in run.of("wireguard_qrcode"))
    given = configuration("laptop")
    assert private not in given
    laptop.connect(re.sub("# PrivateKey = .*", f"PrivateKey = {private}", given))
    assert laptop.is_at_home()


@pytest.mark.usefixtures("hub")
def test_an_expired_client_is_refused_with_nobody_there_and_after_a_reboot(phone: Device) -> None:
    end = datetime.now(UTC) + timedelta(seconds=25)
    run = give(vpn_client_expires=end.strftime("%Y-%m-%dT%H:%M:%SZ")).ok()
    key = clients(run)["phone"]["public_key"]
    phone.connect(scanned(run.output)[0])
    assert phone.is_at_home()
    time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()))
    until(lambda: key not in live_keys(), 5, "the hub forgets the phone")
    assert not phone.shakes_hands()
    lab("reboot", "vps-relay")
    until(lambda: attempt("vps-relay", "wg", "show", "wg0").returncode == 0, 30, "the tunnel is up again")
    assert key not in live_keys()
    assert not phone.shakes_hands()
    # The router notices the reboot when something that it sends gets no answer for 15 s.
    ping = ("ping", "-c", "1", "-W", "1", "10.100.0.1")
    until(lambda: attempt("mikrotik-gw", *ping).returncode == 0, 45, "the home dials again")
    # With more time, the same code is good again.
    longer = give(vpn_client_expires="1h").ok()
    assert clients(longer)["phone"]["public_key"] == key
    until(phone.is_at_home, 30, "the phone is at home again")


def test_firewalls_that_drop_what_is_forwarded_let_clients_through(phone: Device) -> None:
    policy = on("vps-relay", "sh", "-c", "ufw status verbose; iptables -S FORWARD")
    assert "deny (routed)" in policy or "disabled (routed)" in policy
    assert "-P FORWARD DROP" in policy
    on("vps-relay", "sh", "-c", DOCKER)  # it comes after the tunnel, and is there first after a reboot
    try:
        phone.connect(scanned(give().ok().output)[0])
        assert phone.is_at_home()
        on("vps-relay", "ufw", "reload")
        assert phone.is_at_home()
    finally:
        on("vps-relay", "sh", "-c", DOCKER_GONE)


# What dockerd puts at the head of the chain (docs.docker.com, Packet filtering and firewalls), without a container.
DOCKER = """
iptables -P FORWARD DROP
for chain in DOCKER-USER DOCKER-FORWARD; do iptables -N $chain; iptables -A $chain -j RETURN; done
iptables -I FORWARD -j DOCKER-FORWARD; iptables -I FORWARD -j DOCKER-USER
"""
DOCKER_GONE = """
for chain in DOCKER-USER DOCKER-FORWARD; do
    iptables -D FORWARD -j $chain; iptables -F $chain; iptables -X $chain
done
"""


def test_a_client_that_is_not_hidden_is_seen_by_its_own_address(phone: Device) -> None:
    """The router learns the way back in the same run, and forgets it when it is not needed any more."""
    seen = example(network={"client_masquerade": False})
    try:
        run = give("phone", vpn_client_ip="10.100.0.10", **seen).ok()
        assert "mikrotik-gw" in {result.host for result in run.with_status("changed")}
        phone.connect(scanned(run.output)[0])
        assert "from 10.100.0.10." in phone.page()
        assert give("phone", **seen).ok().changed == []
    finally:
        play().ok()
        give("phone", vpn_client_qr=False).ok()
    assert "from 10.100.0.1." in phone.page()


def test_names_of_files_stay_names(phone: Device) -> None:
    run = give("../phone")
    assert run.status != 0
    assert "name" in run.output
    assert not (STATE / "hosts/vps-relay/disk/upper/etc/wireguard/phone.conf").exists()
