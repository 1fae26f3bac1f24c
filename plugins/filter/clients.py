# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter over road warriors: which of them a run is about."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError


def wireguard_clients(
    listed: Sequence[Any],
    name: str = "",
    changes: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The clients of the list; or the one called `name`, with what is given in `changes`.

    One that is not in the list gets what is given in `settings`, and keeps what it was given before.
    """
    items = [{"name": item} if isinstance(item, str) else item for item in listed]
    for number, item in enumerate(items):
        if not isinstance(item, Mapping) or not item.get("name"):
            raise AnsibleFilterError(f"clients[{number}] has no name: write `- name: phone`, or the name alone")
    given = _given(changes)
    if name:
        unlisted = {"name": name, "keep": True, **_given(settings)}
        return [{**next((item for item in items if item["name"] == name), unlisted), **given}]
    if given:
        raise AnsibleFilterError(
            f"{' and '.join(given)} would be given to every client of the list: name the one that is meant, with "
            "`-e vpn_client_name=…`"
        )
    return [dict(item) for item in items]


def _given(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (values or {}).items() if value not in (None, "", [])}


class FilterModule:
    """Filters over road warriors."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"wireguard_clients": wireguard_clients}
