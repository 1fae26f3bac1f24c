"""The phone scans what was printed and is at home; the laptop comes and goes, and the phone does not notice."""

from __future__ import annotations

import pytest

from tests.integration.clients.device import Device
from tests.integration.clients.hub import FOLDER, LIST, clients, configuration, give, live_keys, registered, scanned
from tests.integration.relay.lab import on, play
from tests.integration.relay.pings import lost, ping_every_10_ms

DOWNLOAD = 15_000_000  # bytes, half a minute; faster ones fill queues, and those drop pings by themselves


@pytest.mark.usefixtures("hub")
def test_the_run_ends_with_the_code_once(phone: Device) -> None:
    first = give().ok()
    assert scanned(first.output) == [configuration("phone").replace("\n\n", "\n").strip()]
    below = first.output.rpartition("\x1b[0m")[2].split("\n\n")
    assert [text.partition(" ")[0].strip() for text in below if text.strip()] == ["ok:", "PLAY"]
    phone.connect(scanned(first.output)[0])
    page = phone.page()
    assert "<h1>Jellyfin at home</h1>" in page
    assert "from 10.100.0.1." in page  # the home needs no route to the phone
    again = give().ok()
    assert again.changed == []
    assert scanned(again.output) == scanned(first.output)
    check = give("", "--check", "--diff").ok()
    assert check.changed == []
    assert scanned(check.output) == []


def come_and_go(laptop: Device) -> None:
    """The laptop gets access, new keys, and is locked out."""
    added = give("laptop", vpn_client_ip="10.100.0.11").ok()
    laptop.connect(scanned(added.output)[0])
    assert laptop.is_at_home()
    assert clients(added)["laptop"]["addresses"] == ["10.100.0.11"]
    rotated = give("laptop", vpn_client_rotate=True).ok()
    assert not laptop.shakes_hands()
    laptop.connect(scanned(rotated.output)[0])
    assert laptop.is_at_home()
    give("laptop", vpn_client_state="absent").ok()
    assert not laptop.shakes_hands()
    assert registered() == ["phone"]
    assert live_keys().isdisjoint({clients(added)["laptop"]["public_key"], clients(rotated)["laptop"]["public_key"]})
    kept = on("vps-relay", "ls", FOLDER).split()
    assert kept == ["phone.conf", "phone.key", "phone.psk", "register.json"]


def test_a_laptop_comes_and_goes_unnoticed(phone: Device, laptop: Device) -> None:
    phone.connect(scanned(give().ok().output)[0])
    assert phone.is_at_home()
    with ping_every_10_ms() as relay, ping_every_10_ms("phone") as inside:
        come_and_go(laptop)
    assert lost(relay) == []
    assert lost(inside) == []


def test_a_download_goes_on(phone: Device, laptop: Device) -> None:
    """A packet or two of it TCP itself drops, to find out how fast it can be: so it has a test of its own."""
    phone.connect(scanned(give().ok().output)[0])
    assert phone.is_at_home()
    with ping_every_10_ms() as relay, phone.download(DOWNLOAD, "500k") as download:
        come_and_go(laptop)
        assert download.communicate(timeout=120)[0] == str(DOWNLOAD)
    assert lost(relay) == []


@pytest.mark.usefixtures("hub")
def test_all_devices_at_once(phone: Device) -> None:
    several = ["phone", {"name": "laptop", "addresses": ["10.100.0.11"]}, "tablet"]
    first = give(vpn_clients=several).ok()
    assert sorted(scanned(first.output)) == sorted(
        configuration(name).replace("\n\n", "\n").strip() for name in ("phone", "laptop", "tablet")
    )
    again = give(vpn_clients=several).ok()
    assert again.changed == []
    assert scanned(again.output) == []
    one = give("guest", vpn_clients=several).ok()
    assert len(scanned(one.output)) == 1
    purged = give(vpn_clients=several, vpn_clients_purge=True).ok()
    assert registered() == ["laptop", "phone", "tablet"]
    assert scanned(purged.output) == []


@pytest.mark.usefixtures("hub")
def test_the_list_shows_who_is_there(phone: Device) -> None:
    phone.connect(scanned(give(vpn_client_expires="30d", vpn_client_ip="10.100.0.10").ok().output)[0])
    assert phone.is_at_home()
    shown = play(play=LIST).ok().output
    table = shown.partition("NAME ")[2].partition("PLAY RECAP")[0].splitlines()
    assert table[1].split()[:3] == ["phone", "10.100.0.10", "split"]
    assert "ours" in table[1]
    assert max(map(len, table)) <= 80
    as_json = play("-e", "vpn_clients_format=json", play=LIST).ok()
    assert clients(as_json)["phone"]["handshake_age"] is not None
    assert '"name": "phone"' in as_json.output
