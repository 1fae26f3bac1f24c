"""The connection breaks at every write, before or after it is executed: no peer suffers, and the next run goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from routeros_double import RouterOS

Answer = dict[str, Any]
Run = Callable[..., Answer]
Key = Callable[[int], str]

PEERS = "/interface/wireguard/peers"


def peers(router: RouterOS) -> dict[str, frozenset[tuple[str, str]]]:
    """Every peer by its comment, as the router has it; `disabled=false` shows only if it was written."""
    left_out = (".id", "name", "rx", "tx", "disabled")
    return {
        row["comment"]: frozenset(
            (name, ",".join(sorted(text.split(",")))) for name, text in row.items() if name not in left_out
        )
        for row in router.rows(PEERS)
    }


def states(relay: Answer, key: Key) -> dict[str, Answer]:
    """Tunnels to come from and to go to; together they add, change, adopt, move and remove everything there is."""
    vps = relay["peers"][0]
    third = {"name": "tablet", "public_key": key(3), "allowed_ips": ["10.100.0.12/32"]}
    other = {
        "addresses": ["10.100.0.2/30", "10.100.9.2/24"],
        "listen_port": 51999,
        "mtu": 1380,
        # Another key, a prefix that changes hands, one peer less and one more.
        "peers": [{**vps, "public_key": key(4), "allowed_ips": ["10.100.0.1/32", "10.100.0.10/32"]}, third],
        "forward_to": ["vlan20-iot"],
        "masquerade": ["10.201.0.0/24"],
    }
    return {"blank": {"state": "absent"}, "relay": relay, "other": other}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    ("start", "goal"),
    [("blank", "relay"), ("relay", "other"), ("other", "relay"), ("relay", "blank"), ("blank", "other")],
)
def test_a_cut_connection(run: Run, relay: Answer, key: Key, start: str, goal: str, place: Any) -> None:
    wanted = states(relay, key)
    with RouterOS(certificate=False) as router:
        run(router, **wanted[start])
        old = peers(router)
        number_of_writes = len(run(router, check=True, **wanted[goal])["commands"])
        run(router, **wanted[goal])
        new = peers(router)
    assert number_of_writes > 5
    for write in range(1, number_of_writes + 1):
        with RouterOS(certificate=False) as router:
            run(router, **wanted[start])
            router.cut(place, write)
            broken = run(router, **wanted[goal])
            assert broken["failed"]
            assert broken["msg"].startswith(f"hostname: the connection to 127.0.0.1:{router.port} was lost at `/")
            now = peers(router)
            for comment in {*old, *new, *now}:
                assert now.get(comment) in (old.get(comment), new.get(comment))
            rest = run(router, **wanted[goal])
            assert len(rest["commands"]) == number_of_writes - write + (1 if place == "before" else 0)
            assert peers(router) == new
            assert run(router, **wanted[goal])["commands"] == []
