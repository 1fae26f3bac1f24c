# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A text as a QR code."""

from __future__ import annotations

import base64
from typing import Any, Callable

from ansible.errors import AnsibleFilterError

FORMATS = ("text", "svg", "png")


def qrcode(text: object, format: str = "text") -> str:
    """The code of a text in one of FORMATS; a PNG picture as base64, as templates know no bytes."""
    # Each task that uses any filter of this collection loads this file, and the package and its pictures take longer
    # than all else that such a task does.
    from ansible_collections.homelab.fabric.plugins.module_utils.qr import Code, QrError

    if format not in FORMATS:
        raise AnsibleFilterError(f"format: {format!r} is none that qrcode can make: choose one of {', '.join(FORMATS)}")
    if not isinstance(text, str):
        raise AnsibleFilterError(f"qrcode makes codes of texts, this is of type {type(text).__name__}")
    try:
        code = Code(text)
        if format == "png":
            return base64.b64encode(code.png()).decode()
        return code.svg().decode() if format == "svg" else code.text()
    except QrError as error:
        raise AnsibleFilterError(f"qrcode: {error}") from error


class FilterModule:
    """Filters that make pictures for phones."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"qrcode": qrcode}
