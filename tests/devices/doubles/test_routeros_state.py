"""What outlives a power cut, the sentence log, and connections cut between writes."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librouteros
import pytest
from routeros_double import RouterOS, keys

KEYS = [keys.public(keys.private()) for number in range(3)]
PEERS = "/interface/wireguard/peers"
BROKEN = (librouteros.exceptions.LibRouterosError, OSError)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def configure(call: Callable[..., Any]) -> None:
    call("/interface/wireguard/add", name="wg0")
    for number, key in enumerate(KEYS):
        call(f"{PEERS}/add", interface="wg0", public_key=key, preshared_key="auto", comment=f"peer {number}")
    call("/ip/firewall/filter/move", numbers="*7", destination="*0")
    call("/ip/address/remove", {".id": "*4"})


def test_the_configuration_outlives_the_power(tmp_path: Path, open_api: Callable[..., Any]) -> None:
    menus = ("/interface", PEERS, "/ip/firewall/filter", "/ip/address", "/ip/route", "/user/group", "/interface/list")
    with RouterOS(directory=tmp_path) as router:
        configure(open_api(router))
        before = [router.rows(menu) for menu in menus]
        assert mode(tmp_path / "state.json") == 0o600
    with RouterOS(directory=tmp_path, factory={"/user": []}) as router:  # the factory is not asked again
        assert [router.rows(menu) for menu in menus] == before
        assert router.add("/ip/address", address="10.30.0.1/24", interface="vlan30-kubernetes") == "*5"


def test_every_write_is_saved_before_it_is_answered(tmp_path: Path, open_api: Callable[..., Any]) -> None:
    with RouterOS(directory=tmp_path) as router:
        call = open_api(router)
        call("/interface/wireguard/add", name="wg0")
        saved = json.loads((tmp_path / "state.json").read_text())["tables"]["/interface"]["rows"]
        assert saved[-1]["name"] == "wg0"
        assert not (tmp_path / "state.new").exists()


def test_the_log_in_the_directory(tmp_path: Path, open_api: Callable[..., Any]) -> None:
    with RouterOS(directory=tmp_path) as router:
        call = open_api(router)
        configure(call)
        with pytest.raises(librouteros.exceptions.TrapError):
            call("/ip/address/remove", {".id": "*99"})
        logged = [json.loads(line) for line in (tmp_path / "sentences.jsonl").read_text().splitlines()]
        secrets = [row["preshared-key"] for row in router.rows(PEERS)]
        assert router.writes == 7
    assert mode(tmp_path / "sentences.jsonl") == 0o600
    assert [entry["write"] for entry in logged] == [None, 1, 2, 3, 4, 5, 6, 7]
    assert logged[-1]["outcome"] == "trap: no such item"
    assert logged[1]["words"] == ["/interface/wireguard/add", "=name=wg0"]
    assert logged[0]["words"][1:] == ["=name=ansible", "=password=*****"]
    text = (tmp_path / "sentences.jsonl").read_text()
    assert not [secret for secret in [*secrets, router.password] if secret in text]


def test_reading_is_no_write(router: RouterOS, call: Callable[..., Any]) -> None:
    call("/interface/print")
    call("/ip/route/getall")
    assert router.writes == 0
    assert [sentence.words[0] for sentence in router.sentences] == ["/login", "/interface/print", "/ip/route/getall"]


@pytest.mark.parametrize("write", [1, 2, 3, 4])
@pytest.mark.parametrize("place", ["before", "after"])
def test_cut(router: RouterOS, open_api: Callable[..., Any], place: Any, write: int) -> None:
    router.add("/interface/wireguard", name="wg0")
    call = open_api(router)
    router.cut(place, write)
    done = 0
    try:
        for key in KEYS:
            call(f"{PEERS}/add", interface="wg0", public_key=key)
            call("/interface/print")  # does not count
            done += 1
    except BROKEN:
        assert done == write - 1
    else:
        assert write == 4
    assert len(router.rows(PEERS)) == min(3, write - (place == "before"))
    assert router.sentences[-1].outcome == ("done" if write == 4 else f"cut {place}")
    # Happens once: the next connection can finish the work.
    again = open_api(router)
    if write == 4:
        router.cut("before", 99)
    again("/ip/address/set", {".id": "*1"}, comment="x")


def test_cut_by_the_control_file(tmp_path: Path, open_api: Callable[..., Any]) -> None:
    with RouterOS(directory=tmp_path) as router:
        call = open_api(router)
        (tmp_path / "fault").write_text("after 2\n")
        call("/interface/wireguard/add", name="wg0")
        with pytest.raises(BROKEN):
            call("/interface/wireguard/add", name="wg1")
        assert not (tmp_path / "fault").exists()
        assert [row["name"] for row in router.rows("/interface/wireguard")] == ["wg0", "wg1"]


def test_two_hundred_peers_one_by_one(tmp_path: Path, open_api: Callable[..., Any]) -> None:
    with RouterOS(directory=tmp_path) as router:
        call = open_api(router)
        call("/interface/wireguard/add", name="wg0")
        for number in range(200):
            key = keys.public(keys.private())
            call(f"{PEERS}/add", interface="wg0", public_key=key, allowed_address=f"10.{number}.0.0/16")
        assert len(call(f"{PEERS}/print")) == 200
