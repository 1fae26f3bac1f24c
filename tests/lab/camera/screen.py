"""A terminal's screen: text with ANSI colours becomes a grey picture (PGM), half blocks pixel by pixel."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

PIXELS = 4  # a cell's width and half its height

_PART = re.compile(r"\x1b\[(?P<numbers>[0-9;]*)m|\x1b\[[0-9;?]*[A-Za-z]|(?P<sign>.)", re.DOTALL)
# How much of a cell a character covers with its colour: above, below. Any other is a letter, somehow half covered.
_COVER = {" ": (False, False), "█": (True, True), "▀": (True, False), "▄": (False, True)}
_LETTER = (False, True)


@dataclass(frozen=True)
class _Pen:
    """The colours that the next character gets, as greys from 0 (black) to 255."""

    ink: int
    paper: int
    reversed: bool = False

    def cell(self, sign: str) -> tuple[int, int]:
        ink, paper = (self.paper, self.ink) if self.reversed else (self.ink, self.paper)
        above, below = _COVER.get(sign, _LETTER)
        return (ink if above else paper, ink if below else paper)


def picture(output: str, columns: int = 80, dark: bool = True) -> bytes:
    """A PGM picture of everything that was printed, on a dark or a light terminal that wraps at `columns`."""
    blank = _Pen(ink=210, paper=20) if dark else _Pen(ink=40, paper=250)
    pen = blank
    lines: list[list[tuple[int, int]]] = [[]]
    for part in _PART.finditer(output):
        sign = part["sign"]
        if sign is None:
            pen = pen if part["numbers"] is None else _coloured(pen, blank, part["numbers"])
        elif sign == "\n":
            lines.append([])
        elif sign != "\r":
            if len(lines[-1]) == columns:
                lines.append([])
            lines[-1].append(pen.cell(sign))
    rows = bytearray()
    for line in lines:
        cells = line + [blank.cell(" ")] * (columns - len(line))
        for half in (0, 1):
            rows += bytes(cell[half] for cell in cells for _pixel in range(PIXELS)) * PIXELS
    return b"P5 %d %d 255\n" % (columns * PIXELS, len(lines) * 2 * PIXELS) + bytes(rows)


def _coloured(pen: _Pen, blank: _Pen, numbers: str) -> _Pen:
    """The pen after a sequence SGR (ECMA-48, with xterm's 256 colours)."""
    codes = [int(number or 0) for number in numbers.split(";")]
    while codes:
        code = codes.pop(0)
        if code == 0:
            pen = blank
        elif code == 7:
            pen = replace(pen, reversed=True)
        elif code in (38, 48) and codes[:1] == [5]:
            grey = _grey(codes[1])
            codes = codes[2:]
            pen = replace(pen, ink=grey) if code == 38 else replace(pen, paper=grey)
        elif code == 39:
            pen = replace(pen, ink=blank.ink)
        elif code == 49:
            pen = replace(pen, paper=blank.paper)
        elif code // 10 in (3, 9):
            pen = replace(pen, ink=_grey(code % 10))
        elif code // 10 in (4, 10):
            pen = replace(pen, paper=_grey(code % 10))
    return pen


def _grey(index: int) -> int:
    """The brightness of one of xterm's 256 colours. The first 16 are the theme's: nothing may rely on them."""
    if index < 16:
        return 128
    if index >= 232:
        return 8 + 10 * (index - 232)
    steps = (0, 95, 135, 175, 215, 255)
    cube = index - 16
    red, green, blue = steps[cube // 36], steps[cube // 6 % 6], steps[cube % 6]
    return (299 * red + 587 * green + 114 * blue) // 1000
