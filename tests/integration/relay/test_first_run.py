"""Check mode on blank devices, the first run, and a second one with nothing to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest

from tests.integration.relay.conftest import Built
from tests.integration.relay.devices import differences
from tests.integration.relay.lab import Result, Run

KEY = re.compile(r"[A-Za-z0-9+/]{43}=|\(known after apply\)")
TUNNEL_MODULES = ("routeros_wireguard", "linux_wireguard", "cloudflare_records")


def commands(run: Run, module: str) -> list[list[str]]:
    """What each call of a module lists, with every key made the same: check mode does not know them yet."""
    return [[KEY.sub("KEY", command) for command in result.commands] for result in run.of(module)]


def kinds_listed(commands: Iterable[str]) -> set[str]:
    """What the role vps_relay says it would do, one word or two a thing."""
    found = set()
    for command in commands:
        match re.split(r"[ :]", command):
            case ["apt-get" | "ufw" as word, *_]:
                found.add(word)
            case ["nginx" | "systemctl", *_]:
                found.add("nginx")
            case ["sysctl" | "rm" | "write", *_]:
                found.add(command.partition(" (")[0].partition(":\n")[0].rstrip(":").replace("sysctl -w ", "sysctl "))
    return found


def kinds_done(result: Result) -> set[str]:
    """The same for a task that changed something."""
    return {kind(result.action.rpartition(".")[2], done) for done in result.result.get("results", [result.result])}


def kind(module: str, done: dict[str, Any]) -> str:
    match module:
        case "apt":
            return "apt-get"
        case "ufw" | "command":
            return "ufw"
        case "copy":
            return f"write {done['dest']}"
        case "file":
            return f"rm {done['path']}"
        case "sysctl":
            return f"sysctl {done['item']}"
        case "systemd_service":
            return "nginx"
        case _:
            return module


def test_a_check_on_blank_devices_runs_to_the_end_and_writes_nothing(built: Built) -> None:
    built.check.ok()
    assert len(built.check.of("routeros_wireguard")) == 1
    assert len(built.check.of("linux_wireguard")) == 2
    assert differences(built.blank, built.checked) == []


@pytest.mark.parametrize("module", ["cloudflare_records", "routeros_wireguard"])
def test_a_check_lists_the_commands_that_the_real_run_carries_out(built: Built, module: str) -> None:
    assert commands(built.check, module) == commands(built.first, module) != [[]]


def test_a_check_lists_how_the_tunnel_of_the_vps_begins(built: Built) -> None:
    assert commands(built.check, "linux_wireguard")[0] == commands(built.first, "linux_wireguard")[0] != []


def test_a_check_lists_how_the_router_is_added_to_the_vps(built: Built) -> None:
    assert commands(built.check, "linux_wireguard")[1] == commands(built.first, "linux_wireguard")[1] != []


def test_a_check_lists_what_the_role_does_on_the_vps(built: Built) -> None:
    said = [line for result in built.check.of("debug") for line in result.result.get("msg", ())]
    tasks = [result for result in built.first.with_status("changed") if not result.action.endswith(TUNNEL_MODULES)]
    done = {kind for result in tasks for kind in kinds_done(result)}
    assert kinds_listed(said) == done != set()


def test_the_first_run_writes_to_every_device(built: Built) -> None:
    built.first.ok()
    written = {line.partition(":")[0] for line in differences(built.checked, built.done)}
    assert written == {"vps", "router", "cloudflare"}


def test_a_second_run_changes_nothing_and_the_devices_see_no_write(built: Built) -> None:
    built.second.ok()
    assert built.second.changed == []
    # The first call knew every key, so the second one was not needed.
    assert [result.status for result in built.second.of("linux_wireguard")] == ["ok", "skipped"]
    assert len(built.second.of("routeros_wireguard")) == len(built.second.of("cloudflare_records")) == 1
    assert differences(built.done, built.done_again) == []
