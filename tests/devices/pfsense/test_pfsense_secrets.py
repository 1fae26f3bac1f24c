"""No key stands in a command line, nor in a file that others may read, whatever the module does on the firewall."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pfsense_double import PfSense

Answer = dict[str, Any]
Run = Callable[..., Answer]
PROGRAMS = ("wg", "ifconfig", "route", "service")


class Watched(PfSense):
    """A firewall that writes down how each of its programs is called."""

    @property
    def environment(self) -> dict[str, str]:
        given = super().environment
        shims = str(self.root / "shims")
        path = ":".join(folder for folder in given["PATH"].split(":") if folder != shims)
        Path(shims).mkdir(exist_ok=True)
        for name in PROGRAMS:
            shim = Path(shims, name)
            shim.write_text(
                f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >>{self.root}/called\nPATH={path}\nexec {name} "$@"\n'
            )
            shim.chmod(0o755)
        return {**given, "PATH": f"{shims}:{path}"}


def test_keys_stay_where_they_are(tmp_path: Path, run: Run, relay: Answer, fixture: Callable[[str], str]) -> None:
    firewall = Watched(tmp_path / "fw", "2.8.0", fixture("home.xml"))
    firewall.boot()
    _vps, london = relay["peers"]
    for arguments in (relay, {**relay, "mtu": 1300, "peers": [london]}):
        assert not run(firewall, **arguments).get("failed")
    secrets = re.findall(r"<(?:privatekey|presharedkey)>(.+?)</", firewall.xml)
    assert len(secrets) == 2
    assert not run(firewall, state="absent").get("failed")
    called = (firewall.root / "called").read_text()
    assert {"wg pubkey", "wg show all dump"} <= set(called.splitlines())
    journal = (firewall.root / "var/double/journal.jsonl").read_text()
    for secret in secrets:
        assert secret not in called
        assert secret not in journal
    for path in firewall.root.rglob("*"):
        # pfSense itself keeps its configuration readable; the package's own files are for root alone.
        if path.is_file() and "conf" not in path.parts and path.name != "config.cache":
            text = path.read_text(errors="replace")
            assert not [secret for secret in secrets if secret in text and path.stat().st_mode & 0o077], path


def test_what_pfsense_writes_keeps_its_own_mode(run: Run, relay: Answer, firewall: PfSense) -> None:
    """Others read config.xml, rules.debug and the history; only what is ours is for root alone."""
    assert run(firewall, **relay)["changed"]
    written = {"cf/conf/config.xml", "tmp/rules.debug", "cf/conf/backup/backup.cache"}
    assert {oct((firewall.root / path).stat().st_mode & 0o777) for path in written} == {"0o644"}
    (ours,) = (firewall.root / "var/run").glob("homelab.fabric.*")
    assert ours.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("shown", ["commands", "diff", "warnings", "msg"])
def test_what_is_shown_holds_no_part_of_the_configuration(
    run: Run, relay: Answer, firewall: PfSense, shown: str
) -> None:
    """Passwords, users, certificates: nothing that is not the tunnel's own."""
    firewall.xml = firewall.xml.replace(
        "<system>", "<system><user><name>admin</name><bcrypt-hash>$2y$10$Verborgen</bcrypt-hash></user>"
    )
    answers = [run(firewall, **relay), run(firewall, **relay), run(firewall, **{**relay, "listen_port": 0})]
    firewall.fault("run wg syncconf 1")
    answers.append(run(firewall, **{**relay, "peers": relay["peers"][:1]}))
    assert "Verborgen" in firewall.xml
    assert not [answer for answer in answers if "Verborgen" in str(answer.get(shown, ""))]
