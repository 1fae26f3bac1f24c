"""QR codes: what they hold is what a real reader (zbarimg) reads, from the terminal, from PNG and from SVG."""

from __future__ import annotations

import base64
import itertools
import re
import subprocess
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.homelab.fabric.plugins.filter.qrcode import qrcode
from ansible_collections.homelab.fabric.plugins.module_utils import qr
from camera import picture, scan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KEYS = st.binary(min_size=32, max_size=32).map(lambda raw: base64.b64encode(raw).decode())
PREFIXES = st.one_of(st.ip_addresses(v=4).map(lambda ip: f"{ip}/32"), st.ip_addresses(v=6).map(lambda ip: f"{ip}/128"))
COMMENTS = st.sampled_from(["", "   ", "# homelab.fabric client: phone", "\t# Schlüssel = geheim", "#[Peer]"])
ENDS = st.sampled_from(["", "  ", " # note", "\r"])
BATCH = 10  # configurations that are drawn at a time, to be read by one call of zbarimg


@st.composite
def configurations(draw: st.DrawFn, prefixes: int) -> tuple[str, str]:
    """A client's configuration with comments, and the same without, for so many AllowedIPs if they fit into a code."""
    head = [
        "[Interface]",
        f"PrivateKey = {draw(KEYS)}",
        f"Address = {draw(PREFIXES)}",
        *draw(st.sampled_from([[], ["DNS = 10.10.0.1, home.arpa"], ["DNS = 10.10.0.1", "MTU = 1380"]])),
        "[Peer]",
        f"PublicKey = {draw(KEYS)}",
        *draw(st.lists(KEYS.map(lambda key: f"PresharedKey = {key}"), max_size=1)),
        "Endpoint = vps.example.org:51820",
    ]
    room = qr.DENSEST_BYTES - len("\n".join(head)) - len("\nAllowedIPs = ")
    allowed = draw(st.lists(PREFIXES, min_size=prefixes, max_size=prefixes))
    sizes = itertools.accumulate(len(prefix) + 2 for prefix in allowed)
    fitting = [prefix for prefix, size in zip(allowed, sizes, strict=True) if size <= room]
    lines = [*head, f"AllowedIPs = {', '.join(fitting)}"]
    noisy = [f"{draw(COMMENTS)}\n{line}{draw(ENDS)}" if i % 3 == 0 else line for i, line in enumerate(lines)]
    return "\n".join(noisy) + draw(st.sampled_from(["", "\n", "\n\n# end\n"])), "\n".join(lines)


def rasterise(svg: bytes, file: Path, columns: int) -> None:
    """A PNG of four pixels a module (Debian: librsvg2-bin)."""
    command = ["rsvg-convert", "--width", str(4 * columns), "--height", str(4 * columns), "--output", str(file)]
    subprocess.run(command, input=svg, check=True)


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
)
@given(batch=st.tuples(*(configurations(prefixes=1 + 6 * step) for step in range(BATCH))), dark=st.booleans())
def test_fifty_configurations_are_read_byte_for_byte_from_terminal_png_and_svg(
    tmp_path_factory: pytest.TempPathFactory, batch: tuple[tuple[str, str], ...], dark: bool
) -> None:
    folder = tmp_path_factory.mktemp("codes")
    expected = {}
    for number, (noisy, plain) in enumerate(batch):
        code = qr.Code(noisy)
        columns = max(qr.TERMINAL, code.columns)
        terminal, png, svg = (folder / f"{number}.{kind}" for kind in ("pgm", "png", "svg.png"))
        terminal.write_bytes(picture(code.text(), columns, dark))
        png.write_bytes(code.png())
        rasterise(code.svg(), svg, columns=code.columns)
        expected.update({path: [plain] for path in (terminal, png, svg)})
    assert scan(expected) == expected


@pytest.mark.parametrize(
    ("size", "version", "level", "columns"),
    [
        (1, 1, "H", 29),
        (14, 1, "M", 29),
        (15, 2, "Q", 33),  # the next size has room to spare
        (62, 4, "M", 41),
        (331, 13, "M", 77),  # the last that fits into 80 columns at M …
        (332, 12, "L", 73),  # … and the first that does not
        (425, 13, "L", 77),
        (426, 14, "L", 81),
        (1273, 25, "L", 125),
    ],
)
def test_a_code_is_the_smallest_one(size: int, version: int, level: str, columns: int) -> None:
    code = qr.Code("x" * size)
    assert (code.version, code.error_correction, code.columns) == (version, level, columns)


@pytest.mark.parametrize("size", [1274, 2953, 2954, 10_000])
def test_a_code_too_dense_for_a_camera_is_refused_with_what_to_do(size: int) -> None:
    with pytest.raises(qr.QrError) as refusal:
        qr.Code("geheim" * (size // 6) + "x" * (size % 6))
    message = str(refusal.value)
    assert f"{size} bytes" in message
    assert "AllowedIPs" in message
    assert "full tunnel" in message
    assert "geheim" not in message


def test_each_line_of_a_terminal_stands_alone_and_the_quiet_zone_is_kept() -> None:
    text = qr.Code("x" * 350).text()
    assert text.endswith("\n")
    lines = text[:-1].split("\n")
    shown = [re.fullmatch(r"\x1b\[0;38;5;16;48;5;231m([ ▀▄█]+)\x1b\[0m", line) for line in lines]
    rows = [match[1] for match in shown if match]
    assert len(rows) == len(lines) == 37
    assert {len(row) for row in rows} == {73}
    assert {row.strip() for row in rows[:2] + rows[-2:]} == {""}
    assert {row[:4] + row[-4:] for row in rows} == {" " * 8}


@pytest.mark.parametrize("dark", [True, False])
def test_a_code_is_read_amid_other_output_after_loud_colours(tmp_path: Path, dark: bool) -> None:
    around = "\x1b[1;7;33mTASK [Show the phone's code] ********\x1b[5;45m\n"
    screen = tmp_path / "screen.pgm"
    screen.write_bytes(picture(around + qr.Code("http://example.org/#top").text() + around, dark=dark))
    assert scan([screen])[screen] == ["http://example.org/#top"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("[Interface]\n\n# note\nDNS = 1.1.1.1 # here\n", "[Interface]\nDNS = 1.1.1.1"),
        ("# phone\r\n [interface] # me\r\nMTU = 1380\r\n", " [interface]\nMTU = 1380"),
        ("https://example.org/#top\n", "https://example.org/#top\n"),
        ("WIFI:S:#1;;", "WIFI:S:#1;;"),
        ("# [Interface]\ntext", "# [Interface]\ntext"),
    ],
)
def test_only_a_configuration_has_comments(text: str, kept: str) -> None:
    assert qr.significant(text) == kept


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("PrivateKey = " + base64.b64encode(b"k" * 32).decode(), True),
        ("privatekey=" + base64.b64encode(b"k" * 32).decode(), True),
        ("PrivateKey = (your device's own)", False),
        ("PostUp = wg set %i private-key /etc/wireguard/key", False),
        ("PublicKey = " + base64.b64encode(b"k" * 32).decode(), False),
    ],
)
def test_a_device_with_its_own_key_is_known_by_its_configuration(line: str, answer: bool) -> None:
    assert qr.holds_private_key(f"[Interface]\n{line}\nDNS = 10.10.0.1") is answer


def test_the_filter_makes_all_formats_of_the_same_code(tmp_path: Path) -> None:
    text = "WIFI:T:WPA;S:guests;P:come in;;"
    screen, png, svg = (tmp_path / name for name in ("screen.pgm", "code.png", "svg.png"))
    screen.write_bytes(picture(qrcode(text)))
    png.write_bytes(base64.b64decode(qrcode(text, "png")))
    rasterise(qrcode(text, format="svg").encode(), svg, columns=qr.Code(text).columns)
    assert scan([screen, png, svg]) == {path: [text] for path in (screen, png, svg)}


def test_other_letters_are_utf_8() -> None:
    command = ["zbarimg", "--nodbus", "--quiet", "--raw", "--oneshot", "-Sqrcode.binary", "png:-"]
    read = subprocess.run(command, input=qr.Code("Gäste · Straße").png(), capture_output=True, check=True)
    assert read.stdout == "Gäste · Straße".encode()


@pytest.mark.parametrize(
    ("text", "format", "message"),
    [
        ("x", "gif", "text, svg, png"),
        ("", "text", "this one is empty"),
        ({"key": "geheim"}, "text", "of type dict"),
        ("geheim" * 300, "text", "too dense"),
    ],
)
def test_the_filter_refuses_with_one_message_without_the_text(text: object, format: str, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message) as refusal:
        qrcode(text, format)
    assert "geheim" not in str(refusal.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qr, "LIBRARY_PROBLEM", "ImportError")
    with pytest.raises(qr.QrError, match=r"qrcode\[png\]"):
        qr.Code("x")
