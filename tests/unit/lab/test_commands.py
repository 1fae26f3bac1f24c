"""The lab's command line: what it says when it cannot, and the command lines that it makes."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from homelab_lab import cli, image, lab, paths, processes, programs, shell
from homelab_lab.errors import LabError, tail
from homelab_lab.network import BY_NAME


@pytest.fixture(autouse=True)
def no_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine on which no lab was ever started, whatever runs on this one."""
    monkeypatch.setattr(paths, "STATE", tmp_path)
    monkeypatch.setattr(processes, "NETNS", tmp_path)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "check_machine", lambda: None)


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("exec nobody -- true", "no host is called nobody. There are: inet, vps-relay"),
        ("exec visitor", "no command. Try: tests/lab/lab exec visitor -- ip address"),
        ("exec visitor -- true", "visitor is off. Try: tests/lab/lab up --only visitor"),
        ("logs visitor", "visitor has no log yet. Try: tests/lab/lab up"),
        ("udp-timeout isp 3", "isp is off."),
    ],
)
def test_errors_say_what_to_do(
    words: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lab", *words.split()])
    assert cli.main() == 1
    assert message in capsys.readouterr().err


def test_the_lab_is_not_called_from_its_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOMELAB_LAB_HOST", "controller")
    with pytest.raises(LabError, match="this is the lab's host controller"):
        cli.check_machine()


def test_only_root_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="only root can"):
        cli.check_machine()


def test_missing_programs_are_named_by_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packages = tmp_path / "packages.txt"
    packages.write_text("# a comment\ncoreutils  # ls\nnot-there   # no-such-program\nkeys # no/such/file\n")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cli, "PACKAGES", packages)
    with pytest.raises(LabError, match=r"apt-get install not-there keys$"):
        cli.check_machine()


def test_a_namespaces_host_shares_the_checkout_and_trusts_the_lab() -> None:
    line = shell.command(BY_NAME["visitor"], 7, ["curl", "-v"])
    assert line[:2] == ["nsenter", "--target=7"]
    assert line[-3:] == [f"--chdir={paths.CHECKOUT}", "curl", "-v"]
    assert shell.environment(BY_NAME["visitor"])["CURL_CA_BUNDLE"] == "/etc/ssl/certs/ca-certificates.crt"


def test_a_router_with_openwrt_has_a_root_and_a_path_of_its_own() -> None:
    line = shell.command(BY_NAME["openwrt"], 7, ["uci", "show"])
    assert line[line.index("chroot") :][:2] == ["chroot", str(paths.STATE / "hosts/openwrt/root")]
    assert line[-3:] == ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "uci", "show"]
    assert "VIRTUAL_ENV" not in shell.environment(BY_NAME["openwrt"])


def test_the_controller_has_ansible_and_the_inventories() -> None:
    environment = shell.environment(BY_NAME["controller"])
    assert environment["PATH"].startswith(f"{paths.CHECKOUT}/.venv/bin:")
    assert environment["ANSIBLE_INVENTORY"] == f"{paths.CHECKOUT}/inventory,{paths.CHECKOUT}/tests/lab/inventory"


def test_the_vps_gets_nothing_of_the_callers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "secret")
    assert "CLOUDFLARE_API_TOKEN" not in shell.environment(BY_NAME["vps-relay"])


@pytest.mark.parametrize("change", ["installed", "installable", "unpacked"])
def test_another_package_is_another_image(change: str) -> None:
    more: dict[str, Any] = {change: (*getattr(image.VPS, change), "one-more")}
    assert dataclasses.replace(image.VPS, **more).key() != image.VPS.key()


def test_no_secret_is_an_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    password, token = tmp_path / "password", tmp_path / "token"
    password.write_text("SECRET-1\n")
    token.write_text("SECRET-2\n")
    monkeypatch.setattr(programs, "ROUTEROS_PASSWORD", password)
    monkeypatch.setattr(programs, "CLOUDFLARE_TOKEN", token)
    for host in BY_NAME.values():
        (tmp_path / "hosts" / host.name).mkdir(parents=True)
        assert "SECRET" not in " ".join(programs.command(host) or [])
    factory = tmp_path / "hosts/mikrotik-gw/factory.json"
    assert "SECRET-1" in factory.read_text()
    assert factory.stat().st_mode & 0o077 == 0


def test_a_host_that_never_was_is_off() -> None:
    assert not lab.is_on(BY_NAME["visitor"])
    assert lab.first_process(BY_NAME["visitor"]) is None


def test_listening_ports_are_read_from_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    tables = tmp_path / "9/net"
    tables.mkdir(parents=True)
    (tables / "tcp").write_text(
        "head\n 0: 00000000:08AE 00000000:0000 0A 0:0\n 1: 0100007F:0050 0100007F:9C40 01 0:0\n"
    )
    (tables / "tcp6").write_text(f"head\n 0: {'0' * 32}:01BB {'0' * 32}:0000 0A 0:0\n")
    assert processes.listening(9) == {2222, 443}
    assert processes.listening(10) == set()


def test_own_family_reaches_the_first_process() -> None:
    family = processes.own_family()
    assert {os.getpid(), os.getppid()} <= family


def test_tail_shows_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log) == "    (nothing)"
    log.write_text("".join(f"line {number}\n" for number in range(20)))
    assert tail(log, 2) == "    line 18\n    line 19"
