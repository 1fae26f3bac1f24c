"""The lab's `uci` against 155 recorded cases of OpenWrt's own, and beyond them what its sources do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LAB = HERE.parents[1] / "lab"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The double as an executable; the options of Python are those of the lab's router."""
    path = tmp_path_factory.mktemp("bin") / "uci"
    path.write_text(
        f"#!{sys.executable} -SI\nimport sys\nsys.path.insert(0, {str(LAB)!r})\n"
        "from openwrt_double.uci_cli import main\nsys.exit(main())\n"
    )
    path.chmod(0o755)
    return path


def may_make_namespaces() -> bool:
    flags = "-m" if os.geteuid() == 0 else "-rm"
    return not subprocess.run(["unshare", flags, "true"], capture_output=True, check=False).returncode


@pytest.mark.skipif(
    not shutil.which("unshare") or not may_make_namespaces() or not Path("/bin/dash").exists(),
    reason="needs dash, and root or unprivileged user namespaces",
)
def test_it_agrees_with_every_recorded_case(program: Path) -> None:
    done = subprocess.run([HERE / "uci_conformance/compare.sh", program], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.stderr.endswith("155 cases, 0 differ\n")
    assert done.returncode == 0


Run = Callable[..., str]


@pytest.fixture
def run(program: Path, tmp_path: Path) -> Run:
    """`run("set", "network.lan.a=b")` over a folder: everything it says, then the exit status if it is not 0."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/network").write_text("config interface 'lan'\n\toption a '1'\n\tlist b '1'\n\tlist b '2'\n")

    def call(*words: str, text: str = "") -> str:
        command = [program, "-c", str(tmp_path / "config"), "-t", str(tmp_path / "delta"), *words]
        done = subprocess.run(list(map(str, command)), input=text, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr + (f"status {done.returncode}\n" if done.returncode else "")

    return call


def test_an_open_quote_swallows_the_rest_of_a_batch(run: Run) -> None:
    said = run("batch", text="set network.lan.a=2\nset network.lan.c='oops\nset network.lan.d=4\n")
    assert said.startswith("uci: Parse error (EOF with unterminated ') at line 3, byte ")
    assert said.count("\n") == 1
    assert run("changes") == "network.lan.a='2'\n"


def test_a_changed_option_keeps_its_place(run: Run) -> None:
    run("set", "network.lan.a=2")
    run("commit", "network")
    assert run("show", "network.lan") == "network.lan=interface\nnetwork.lan.a='2'\nnetwork.lan.b='1' '2'\n"


def test_ids_shift_once_deletions_are_committed(run: Run) -> None:
    assert run("add", "network", "x")[:5] == "cfg02"
    assert run("add", "network", "x")[:5] == "cfg03"
    run("commit")
    run("delete", "network.@x[0]")
    assert run("show", "network.@x[0]").startswith("network.cfg03")
    run("commit")
    assert run("show", "network.@x[0]").startswith("network.cfg02")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("set network.@zone[0].x=y", "uci: Invalid argument\nstatus 1\n"),
        ("set network.@zone[0]=x", "uci: Invalid argument\nstatus 1\n"),
        ("set network.lan.a-b=1", "uci: Parse error\nstatus 1\n"),
        ("get network.lan.a=1", "status 1\n"),
        ("delete network.lan.b=x", "status 1\n"),
        ("delete network", "uci: Invalid argument\nstatus 1\n"),
        ("add_list network.nosec.b=1", "uci: Invalid argument\nstatus 1\n"),
        ("rename network.lan=l-n", "uci: Invalid argument\nstatus 1\n"),
        ("rename network.none=lan2", "uci: Entry not found\nstatus 1\n"),
        ("-q set nopkg.a=b", "status 1\n"),
    ],
)
def test_refusals(run: Run, words: str, said: str) -> None:
    assert run(*words.split()) == said
    assert run("changes") == ""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("option a 1\n", "option/list command found before the first section) at line 1"),
        ("config a-b c-d\n", "invalid character in name field) at line 1"),
        ("config\n", "invalid command) at line 1"),
        ("config \n", "insufficient arguments) at line 1"),
        ("config a b c\n", "too many arguments) at line 1"),
        ("config a b\nconfig c b\n", "section of different type overwrites prior section with same name) at line 2"),
    ],
)
def test_broken_files_are_refused_by_line(run: Run, text: str, complaint: str) -> None:
    assert run("import", "other", text=text).startswith(f"uci: Parse error ({complaint}")


def test_bytes_that_are_no_utf8_pass(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config/network").write_bytes(b"config a 'b'\n\toption c '\xff\xc3\xa9'\n")
    run("set", "network.b.d=é")
    run("commit", "network")
    assert (tmp_path / "config/network").read_bytes() == (
        b"\nconfig a 'b'\n\toption c '\xff\xc3\xa9'\n\toption d '\xc3\xa9'\n\n"
    )
