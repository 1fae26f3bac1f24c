"""A phone held before a terminal: what a program printed, as the picture that the screen shows, and the codes in it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from camera.screen import picture

__all__ = ["picture", "scan"]

_NAMES = {"zbar": "http://zbar.sourceforge.net/2008/barcode"}


def scan(pictures: Iterable[Path]) -> dict[Path, list[str]]:
    """What `zbarimg` (Debian: zbar-tools) reads from each picture, in one call for all; empty where it finds no code.

    ASCII alone: of other texts zbarimg guesses the encoding, badly.
    """
    found: dict[Path, list[str]] = {path: [] for path in pictures}
    options = ("--nodbus", "--quiet", "--xml", "-S*.disable", "-Sqrcode.enable")
    done = subprocess.run(["zbarimg", *options, *map(str, found)], capture_output=True, check=False)
    if done.returncode not in (0, 4):  # 4: a picture without a code
        raise RuntimeError(f"zbarimg ended with {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    if not done.stdout.strip():
        return found
    for source in ElementTree.fromstring(done.stdout).iterfind("zbar:source", _NAMES):
        codes = source.iterfind("zbar:index/zbar:symbol/zbar:data", _NAMES)
        found[Path(source.attrib["href"])] = [code.text or "" for code in codes]
    return found
