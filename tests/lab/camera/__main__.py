"""``python -m camera [PICTURE.pgm] < OUTPUT``: print each code that a terminal would show, each followed by a NUL."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from camera import picture, scan


def main() -> int:
    output = sys.stdin.buffer.read().decode()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(sys.argv[1] if len(sys.argv) > 1 else f"{folder}/screen.pgm")
        file.write_bytes(picture(output))
        codes = scan([file])[file]
    sys.stdout.write("".join(f"{code}\0" for code in codes))
    return 0 if codes else 1


if __name__ == "__main__":
    sys.exit(main())
