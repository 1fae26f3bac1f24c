# Copyright: (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Normal form of DNS names and contents. Pure: no network, no Ansible."""

from __future__ import annotations

import ipaddress
import re

TYPES = ("A", "AAAA", "CNAME", "TXT")

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\([0-9]{3}|.)", re.DOTALL)
_TXT_WIRE_BYTES = 4096


class RecordError(ValueError):
    """A mistake in the arguments or a conflict with the zone: one sentence that names the argument and the remedy."""


def host_name(name: str) -> str:
    """`name` lower-case, in Punycode, without the dot at the end; `*` may be its first label.

    RecordError says what is wrong, without naming an argument: the caller knows which it is.
    """
    if not name.isascii():
        import idna  # Comes with the cloudflare SDK; needed for few names.

        try:
            star = "*." if name.startswith("*.") else ""
            name = star + idna.encode(name[len(star) :], uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise RecordError(f"{name!r} is not a domain name ({error})") from None
    name = name.lower()
    if name.endswith("."):
        name = name[:-1]
    labels = name.split(".")
    if labels[0] == "*" and len(labels) > 1:
        labels = labels[1:]
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise RecordError(
            f"{name!r} is not a domain name: letters, digits and hyphens between dots, "
            "at most 63 between two dots and 253 in all"
        )
    return name


def normal_content(kind: str, content: str) -> str:
    """`content` as it is compared: addresses parsed, names as host_name() has them, TXT without quoting.

    Other types are returned as they are. RecordError says what is wrong, without naming an argument.
    """
    if kind == "A":
        return _address(content, 4)
    if kind == "AAAA":
        return _address(content, 6)
    if kind == "CNAME":
        return _target(content)
    if kind == "TXT":
        return _text(content)
    return content


def _address(content: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(content.strip())
    except ValueError:
        hint = "; a name needs type: CNAME" if re.search("[A-Za-z]", content) and ":" not in content else ""
        raise RecordError(f"{content!r} is not an IPv{version} address{hint}") from None
    if address.version != version:
        raise RecordError(
            f"{content!r} is an IPv{address.version} address; use type: {'A' if version == 6 else 'AAAA'}"
        )
    if "%" in content:
        raise RecordError(f"{content!r} has a zone index; DNS cannot carry it, write the address alone")
    return str(address)


def _target(content: str) -> str:
    try:
        ipaddress.ip_address(content.strip())
    except ValueError:
        pass
    else:
        raise RecordError(f"{content!r} is an address; a CNAME points to a name, use type: A or AAAA")
    target = host_name(content.strip())
    if "." not in target or target.startswith("*"):
        raise RecordError(f"{content!r} is not the full name of a host, such as vps.example.org")
    return target


def _text(content: str) -> str:
    """Cloudflare returns TXT contents as they were written, quoted or not."""
    strings = _QUOTED.findall(content)
    if strings and not _QUOTED.sub("", content).strip():
        content = "".join(_ESCAPE.sub(_unescape, string) for string in strings)
    if not content:
        raise RecordError("the text is empty; leave the entry out, or give it state: absent to remove a record")
    if not content.isprintable():
        raise RecordError("the text holds a line break or another control character; write it on one line")
    size = len(content.encode("utf-8"))
    if size + size // 255 + 1 > _TXT_WIRE_BYTES:
        raise RecordError(f"the text has {size} bytes; a TXT record holds at most {_TXT_WIRE_BYTES} with its lengths")
    return content


def _unescape(found: re.Match[str]) -> str:
    escaped = found.group(1)
    if len(escaped) < 3:
        return escaped
    if int(escaped) > 126:
        raise RecordError(f"the escape \\{escaped} is beyond ASCII; write the character itself")
    return chr(int(escaped))


def txt_quote(text: str) -> str:
    """`text` as quoted strings of at most 255 bytes (RFC 1035), which is how Cloudflare wants TXT contents."""
    strings, size = [""], 0
    for character in text:
        length = len(character.encode("utf-8"))
        if size + length > 255:
            strings.append("")
            size = 0
        size += length
        strings[-1] += "\\" + character if character in '"\\' else character
    return " ".join(f'"{string}"' for string in strings)
