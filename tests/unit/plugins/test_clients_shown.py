"""Which clients a run is about, and the table of them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.homelab.fabric.plugins.filter.clients import wireguard_clients
from ansible_collections.homelab.fabric.plugins.module_utils.client_table import table

LAPTOP = {"name": "laptop", "access": "full"}
NOTHING = {"addresses": "", "state": "", "rotate": "", "public_key": ""}
PHONE: dict[str, Any] = {
    "name": "phone",
    "addresses": ["10.100.0.10"],
    "access": ["split"],
    "isolated": False,
    "limits": [],
    "expires": None,
    "expired": False,
    "key": "ours",
    "handshake_age": 12,
    "received": 123456,
    "sent": 98765432,
}


@pytest.mark.parametrize(
    ("listed", "name", "changes", "chosen"),
    [
        ([], "phone", NOTHING, [{"name": "phone", "keep": True}]),
        (["phone", LAPTOP], "", NOTHING, [{"name": "phone"}, LAPTOP]),
        (["phone", LAPTOP], "laptop", NOTHING, [LAPTOP]),
        ([LAPTOP], "laptop", {**NOTHING, "state": "absent"}, [{**LAPTOP, "state": "absent"}]),
        ([LAPTOP], "guest", {"addresses": "10.100.0.9"}, [{"name": "guest", "keep": True, "addresses": "10.100.0.9"}]),
    ],
)
def test_a_run_is_about_the_list_or_about_one(
    listed: list[Any], name: str, changes: dict[str, str], chosen: list[dict[str, Any]]
) -> None:
    assert wireguard_clients(listed, name, changes) == chosen


def test_settings_are_for_a_device_that_is_not_listed() -> None:
    settings = {"access": "full", "expires": ""}
    assert wireguard_clients([LAPTOP], "guest", {}, settings) == [{"name": "guest", "keep": True, "access": "full"}]
    assert wireguard_clients([{"name": "guest"}], "guest", {}, settings) == [{"name": "guest"}]


def test_what_is_said_of_one_device_is_not_done_to_all() -> None:
    with pytest.raises(AnsibleFilterError, match=r"state would be given to every client.*vpn_client_name"):
        wireguard_clients(["phone", "laptop"], "", {"state": "absent"})
    with pytest.raises(AnsibleFilterError, match=r"clients\[1\] has no name"):
        wireguard_clients(["phone", {"access": "full"}])


def test_the_table_tells_all_of_a_client_in_one_line() -> None:
    heading, line = table([PHONE]).splitlines()
    assert heading.split() == ["NAME", "ADDRESS", "ACCESS", "HANDSHAKE", "IN", "OUT", "EXPIRES", "KEY"]
    assert line.split("  ")[0] == "phone"
    assert "12 s ago" in line
    assert line.split()[-4:] == ["121K", "94M", "never", "ours"]
    assert table([]) == "no clients"


def test_the_table_fits_80_columns_with_long_names_and_addresses() -> None:
    guest = {
        **PHONE,
        "name": "a-guest-with-a-name-that-nobody-can-remember",
        "addresses": ["10.100.0.10", "fd00:1234:5678:9abc:def0:1234:5678:9abc"],
        "limits": [{"network": "10.30.0.200/32", "protocol": "tcp", "ports": ["443", "8000-8010"]}],
        "isolated": True,
        "handshake_age": 86399,
        "expires": "2026-12-31T23:59:59Z",
        "key": "own",
    }
    lines = table([PHONE, guest]).splitlines()
    assert max(map(len, lines)) <= 80
    # Broken, but whole: every piece of the widest address stands in its column.
    column = lines[0].index("ADDRESS"), lines[0].index("ACCESS")
    assert "fd00:1234:5678:9abc:def0:1234:5678:9abc" in "".join(line[slice(*column)].strip() for line in lines)
    assert "2026-12-31" in lines[2]
    assert any("isolated" in line for line in lines)
