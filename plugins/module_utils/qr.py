# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QR codes of texts, as a phone's camera likes them: for the terminal, as SVG and as PNG.

The package `qrcode` does the encoding, after ISO/IEC 18004. What is decided here is size: how dense a code may be, and
how it gets through a terminal unharmed.
"""

from __future__ import annotations

import io
import re
import traceback
from typing import Any

LIBRARY_PROBLEM: str | None = None
try:
    import qrcode
    from qrcode.image.pure import PyPNGImage
    from qrcode.image.svg import SvgPathFillImage
except ImportError:
    LIBRARY_PROBLEM = traceback.format_exc()

TERMINAL = 80  # columns
QUIET_ZONE = 4  # modules on each side, as the standard wants

# 117 x 117 modules. Beyond, a camera held before a screen no longer tells one module from the next.
DENSEST_VERSION = 25
DENSEST_BYTES = 1273  # that such a code holds, at error correction L

REMEDY = (
    "give the client fewer prefixes in AllowedIPs, by merging those that are neighbours or left out of need, "
    "or the full tunnel (0.0.0.0/0, ::/0)"
)

# Numbers that the standard gives the levels of error correction, the strongest first.
LEVELS = {"H": 2, "Q": 3, "M": 0, "L": 1}
NONE_FITS = 41  # one version more than there are

# A terminal's sixteen colours are whatever its theme says, so black and white come from the fixed 256. Nothing that was
# set before (bold, reverse) may show through, and nothing of ours may last beyond the line.
BLACK_ON_WHITE = "\x1b[0;38;5;16;48;5;231m"
RESET = "\x1b[0m"
# Dark modules above and below → one character. A cell is about twice as high as wide, so that half of it is a square.
HALF_BLOCKS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}

PNG_PIXELS = 8  # a module's side
SVG_UNITS = 20  # a module's side in tenths of a millimetre


class QrError(ValueError):
    """No code of this text; the message names the remedy, and never the text."""


class Code:
    """The smallest code that holds a text.

    The level of error correction is M, the usual one. Where M would not fit into 80 columns of a terminal, it is L.
    Then the code gets the strongest level that costs no larger one.

    Attributes: `version` 1 … 25; `error_correction` one of L, M, Q, H; `columns`, the modules of a side with the quiet
    zone, which is the number of columns in a terminal and half the number of lines.
    """

    def __init__(self, text: str) -> None:
        """Raises QrError for an empty text, for one too dense to be scanned, and without the package `qrcode`."""
        if LIBRARY_PROBLEM:
            raise QrError("QR codes need the Python package `qrcode[png]` on the controller: install it there with pip")
        data = significant(text)
        if not data:
            raise QrError("a QR code needs a text, this one is empty")
        versions = {level: _smallest_version(data, level) for level in LEVELS}
        self.version = versions["M"] if _columns(versions["M"]) <= TERMINAL else versions["L"]
        if self.version > DENSEST_VERSION:
            raise QrError(
                f"the text has {len(data.encode())} bytes, and a QR code of more than {DENSEST_BYTES} is too dense to "
                f"be scanned: {REMEDY}"
            )
        self.error_correction = next(level for level in LEVELS if versions[level] <= self.version)
        self.columns = _columns(self.version)
        self._code = _filled(data, self.error_correction)
        self._code.make()

    def text(self) -> str:
        """For a terminal of any colours: two rows of modules a line, each line ended by a line feed."""
        rows: list[list[bool]] = self._code.get_matrix()
        rows.append([False] * self.columns)  # their number is odd
        lines = (
            "".join(HALF_BLOCKS[pair] for pair in zip(upper, lower)) for upper, lower in zip(rows[0::2], rows[1::2])
        )
        return "".join(f"{BLACK_ON_WHITE}{line}{RESET}\n" for line in lines)

    def svg(self) -> bytes:
        """An SVG document, black on white."""
        return self._image(SvgPathFillImage, SVG_UNITS)

    def png(self) -> bytes:
        """A PNG picture, black on white."""
        return self._image(PyPNGImage, PNG_PIXELS)

    def _image(self, factory: Any, size: int) -> bytes:
        self._code.box_size = size
        stream = io.BytesIO()
        self._code.make_image(factory).save(stream)
        return stream.getvalue()


def significant(text: str) -> str:
    """A WireGuard configuration without its comments and blank lines; any other text as it is.

    A configuration begins with `[Interface]`. From `#` on, a line is a comment, as `wg` and `wg-quick` read it.
    """
    kept = (line.split("#", 1)[0].rstrip() for line in text.split("\n"))
    stripped = "\n".join(line for line in kept if line)
    return stripped if is_configuration(stripped) else text


def is_configuration(text: str) -> bool:
    """Whether a text without comments is a WireGuard configuration."""
    return text.partition("\n")[0].strip().lower() == "[interface]"


def holds_private_key(configuration: str) -> bool:
    """A client that brings its own key has a configuration with something else in the key's place."""
    return re.search(r"^\s*PrivateKey\s*=\s*[A-Z0-9+/]{43}=$", configuration, re.IGNORECASE | re.MULTILINE) is not None


def _filled(data: str, level: str) -> Any:
    code = qrcode.QRCode(error_correction=LEVELS[level], border=QUIET_ZONE)
    code.add_data(data, optimize=0)  # in one piece: not every reader joins several well
    return code


def _smallest_version(data: str, level: str) -> int:
    try:
        return int(_filled(data, level).best_fit())
    except (ValueError, qrcode.exceptions.DataOverflowError):  # which of them it is depends on the package's version
        return NONE_FITS


def _columns(version: int) -> int:
    return 17 + 4 * version + 2 * QUIET_ZONE
