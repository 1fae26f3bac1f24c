"""Module wireguard_qrcode in real runs of ansible-playbook: the code is scanned off the terminal, the key is elsewhere
nowhere."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from camera import picture, scan

ROOT = Path(__file__).parents[3]
PRIVATE, PRESHARED = (base64.b64encode(sign * 16).decode() for sign in (b"\xa7\x13", b"\x5e\xc2"))
PUBLIC = base64.b64encode(b"\x42\x99" * 16).decode()
PLAIN = f"""[Interface]
PrivateKey = {PRIVATE}
Address = 10.100.0.10/32
[Peer]
PublicKey = {PUBLIC}
PresharedKey = {PRESHARED}
Endpoint = 203.0.113.10:51820
AllowedIPs = 10.10.0.0/24, 10.20.0.0/24"""
CONFIGURATION = "# homelab.fabric client: phone\n" + PLAIN.replace("\n[Peer]", "\n\n[Peer]\n# the relay") + "\n"
DENSE = PLAIN + "".join(f", 10.77.{i}.0/24" for i in range(30))  # fits into a code, but not into 80 columns
TOO_DENSE = PLAIN + "".join(f", 10.77.{i}.0/24" for i in range(100))
LINE = re.compile(r"\x1b\[0;38;5;16;48;5;231m([ ▀▄█]+)\x1b\[0m")


@dataclass
class Bench:
    """A folder to play in, and ansible-playbook on a terminal of 80 columns or into a pipe."""

    folder: Path

    def play(
        self,
        *tasks: dict[str, Any],
        arguments: tuple[str, ...] = (),
        tty: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> str:
        """Everything that a run of these tasks prints; it has to succeed."""
        names = [{"name": f"task {i}", **task} for i, task in enumerate(tasks)]
        play = {"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": names}
        (self.folder / "play.yml").write_text(json.dumps([play]))
        command = [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "play.yml", *arguments]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWX_"))},
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            **(settings or {}),
        }
        run = on_terminal if tty else into_pipe
        status, output = run(list(map(str, command)), self.folder, environment)
        assert status == 0, output
        return output

    def codes(self, output: str) -> list[str]:
        """What a phone reads off the screen."""
        screen = self.folder / "screen.pgm"
        screen.write_bytes(picture(output))
        return scan([screen])[screen]

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)


def into_pipe(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def on_terminal(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
    environment = {**environment, "TERM": "xterm-256color"}
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        output = b""
        try:
            while piece := os.read(ours, 65536):
                output += piece
        except OSError:  # EIO: the last process has closed the terminal
            pass
        os.close(ours)
    return child.returncode, output.decode()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def qrcode(**arguments: Any) -> dict[str, Any]:
    return {"homelab.fabric.wireguard_qrcode": arguments, "register": "code"}


def secrets_in(text: str) -> list[str]:
    """Keys, their halves and their bytes in other clothes."""
    forms = [form for key in (PRIVATE, PRESHARED) for form in (key[:22], key[22:], base64.b64decode(key).hex())]
    forms += [
        base64.b64encode(CONFIGURATION.encode()).decode()[100:140],
        base64.b64encode(PLAIN.encode()).decode()[60:90],
    ]
    return [form for form in forms if form in text]


def blocks(text: str) -> list[str]:
    return re.findall("[▀▄█]", text)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_kept_run_with_everything_switched_on_shows_the_code_and_never_the_key(bench: Bench) -> None:
    config = bench.write("phone.conf", CONFIGURATION)
    code = qrcode(client="phone", config=config, png="private/codes/phone.png", svg="private/codes/phone.svg")
    content = qrcode(content=f"{{{{ lookup('file', '{config}') }}}}", title="the same")
    show = {"ansible.builtin.debug": {"var": "code"}}
    log = bench.folder / "ansible.log"
    settings = {"ANSIBLE_LOG_PATH": str(log), "ANSIBLE_NOCOLOR": "1", "NO_COLOR": "1"}
    output = bench.play(code, content, show, arguments=("-vvv", "--diff"), settings=settings)

    assert bench.codes(output) == [PLAIN, PLAIN]
    assert "u001b" not in output
    assert all(map(LINE.fullmatch, filter(blocks, output.splitlines())))
    logged = log.read_text()
    assert "task 0" in logged
    assert not blocks(logged)
    assert not secrets_in(output + logged)
    assert "left out of the log" in " ".join(output.split())
    pictures = [bench.folder / "private/codes" / name for name in ("phone.png", "phone.svg")]
    assert [mode(path) for path in (pictures[0].parents[1], pictures[0].parent, *pictures)] == [0o700] * 2 + [0o600] * 2
    raster = bench.folder / "raster.png"
    subprocess.run(["rsvg-convert", "--output", str(raster), str(pictures[1])], check=True)
    assert scan([pictures[0], raster]) == {pictures[0]: [PLAIN], raster: [PLAIN]}
    assert sorted(path.name for path in pictures[0].parent.iterdir()) == ["phone.png", "phone.svg"]


@pytest.mark.parametrize("callback", ["default", "minimal", "oneline"])
def test_a_terminal_of_80_columns_shows_the_code_once_with_any_callback(bench: Bench, callback: str) -> None:
    code = qrcode(client="phone", config=bench.write("phone.conf", CONFIGURATION))
    output = bench.play(code, tty=True, arguments=("-v",), settings={"ANSIBLE_STDOUT_CALLBACK": callback})
    assert bench.codes(output) == [PLAIN]
    assert "u001b" not in output
    lines = [LINE.fullmatch(line) for line in output.splitlines() if blocks(line)]
    assert {len(line[1]) if line else line for line in lines} == {77}
    assert not secrets_in(output)


def test_files_are_written_once_and_mended(bench: Bench) -> None:
    bench.write("phone.conf", CONFIGURATION)
    (bench.folder / "loose.png").write_bytes(b"an older one")
    code = qrcode(client="phone", config=str(bench.folder / "phone.conf"), png="loose.png", print=False)
    output = bench.play(
        {**code, "failed_when": "not code.changed or code.printed"},
        {**code, "failed_when": "code.changed"},
        {"ansible.builtin.file": {"path": str(bench.folder / "loose.png"), "mode": "0644"}},
        {**code, "failed_when": "not code.changed"},
    )
    assert mode(bench.folder / "loose.png") == 0o600
    assert not blocks(output)


@pytest.mark.parametrize("keeper", ["AWX_HOST", "AWX_ISOLATED_DATA_DIR"])
def test_a_run_whose_output_is_kept_prints_only_when_forced(bench: Bench, keeper: str) -> None:
    code = {"client": "phone", "config": bench.write("phone.conf", CONFIGURATION)}
    quiet = {**qrcode(**code, png="phone.png"), "failed_when": "code.printed or not code.changed"}
    forced = {**qrcode(**code, force_print=True), "failed_when": "not code.printed"}
    output = bench.play(quiet, forced, settings={keeper: "/runner/1"})
    assert bench.codes(output) == [PLAIN]
    assert f"{keeper} is set" in " ".join(output.split())


def test_check_mode_shows_and_writes_nothing(bench: Bench) -> None:
    there = {"client": "phone", "config": bench.write("phone.conf", CONFIGURATION), "png": "new/phone.png"}
    missing = {**there, "client": "laptop", "config": str(bench.folder / "laptop.conf")}
    results = bench.folder / "results.json"
    output = bench.play(
        {**qrcode(**there), "register": "there"},
        {**qrcode(**missing), "register": "missing"},
        {**qrcode(content=""), "register": "empty"},
        {
            "ansible.builtin.copy": {"content": "{{ [there, missing, empty] | to_json }}", "dest": str(results)},
            "check_mode": False,
        },
        arguments=("--check", "--diff"),
    )
    answers = json.loads(results.read_text())
    assert [answer["changed"] for answer in answers] == [True, True, False]
    assert [answer["printed"] for answer in answers] == [False, False, False]
    assert "would make the QR code of laptop" in answers[1]["msg"]
    assert not (bench.folder / "new").exists()
    assert not blocks(output)
    assert not secrets_in(output + results.read_text())


def test_a_device_with_its_own_key_gets_no_code(bench: Bench) -> None:
    own = bench.write("own.conf", PLAIN.replace(PRIVATE, "(the device's own)"))
    output = bench.play(
        {**qrcode(client="own", config=own, png="own.png"), "failed_when": "code.changed"}, arguments=("-v",)
    )
    assert "the device has its own" in output
    assert not blocks(output)
    assert not (bench.folder / "own.png").exists()


def test_a_code_wider_than_the_terminal_goes_to_a_file_alone(bench: Bench) -> None:
    wide = {"client": "phone", "config": bench.write("wide.conf", DENSE)}
    output = bench.play(
        {**qrcode(**wide, png="wide.png"), "failed_when": "code.printed or code.columns <= 80"},
        tty=True,
        settings={"ANSIBLE_NOCOLOR": "1"},
    )
    assert "the terminal has 80" in " ".join(output.split())
    assert not blocks(output)
    png = bench.folder / "wide.png"
    assert scan([png]) == {png: [DENSE]}


def test_bad_input_is_one_clear_error_each_and_nothing_is_done(bench: Bench) -> None:
    config = bench.write("phone.conf", CONFIGURATION)
    (bench.folder / "file").write_text("")
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "one of the following is required: content, client, clients"),
        ({"content": "x", "client": "phone"}, "mutually exclusive"),
        ({"content": "x", "config": config}, "required by 'config': client"),
        ({"content": ""}, "this one is empty"),
        ({"content": "{{ too_dense }}", "png": "never.png"}, "fewer prefixes in AllowedIPs"),
        ({"content": "{{ dense }}"}, "wide and the terminal has 80"),
        ({"client": "phone", "config": "/nonexistent/phone.conf"}, "wireguard_client"),
        ({"client": "phone", "config": bench.write("text", "PrivateKey = x")}, "does not begin with [Interface]"),
        ({"client": "phone", "config": config, "png": "file/never.png", "print": False}, "Name another file"),
        ({"client": "phone", "config": config, "png": "/proc/never/a.png", "print": False}, "cannot be written"),
        ({"client": "phone", "config": config, "png": "a", "svg": "./a", "print": False}, "name two files"),
        ({"client": "phone", "config": config, "print": "perhaps"}, "print"),
    ]
    results = bench.folder / "results.json"
    names = [f"case{i}" for i in range(len(cases))]
    tasks = [
        {**qrcode(**case), "register": name, "ignore_errors": True}
        for name, (case, message) in zip(names, cases, strict=True)
    ]
    dump = {"content": f"{{{{ [{', '.join(names)}] | to_json }}}}", "dest": str(results)}
    variables = bench.write("variables.json", json.dumps({"dense": DENSE, "too_dense": TOO_DENSE}))
    output = bench.play(*tasks, {"ansible.builtin.copy": dump}, arguments=("-vvv", "-e", f"@{variables}"))
    answers = json.loads(results.read_text())
    for (case, message), answer in zip(cases, answers, strict=True):
        assert answer["failed"], case
        assert message in answer["msg"], case
        assert "Traceback" not in answer["msg"]
    assert not blocks(output)
    assert not list(bench.folder.glob("**/never*"))
    assert not secrets_in(output + results.read_text())
