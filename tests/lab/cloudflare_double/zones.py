"""The zones with their records: conflicts between records, transactions, and the state file."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cloudflare_double.errors import host_in_use, host_is_cname, identical, no_record
from cloudflare_double.records import ADDRESS_TYPES, PLANS, Record, Rules


class Draft:
    """The records of a zone while one request changes them; nobody else sees it before the request has succeeded."""

    def __init__(self, records: Mapping[str, Record], rules: Rules) -> None:
        self.records = dict(records)
        self._names: dict[str, set[str]] = {}
        for record in records.values():
            self._names.setdefault(record.name, set()).add(record.id)
        self._rules = rules

    def create(self, body: Mapping[str, Any]) -> Record:
        return self._put(self._rules.parse(body, id=secrets.token_hex(16), now=_now()))

    def overwrite(self, id: str, body: Mapping[str, Any]) -> Record:
        """PUT: what ``body`` does not give falls back to its default."""
        return self._put(self._rules.parse(body, id=id, now=_now(), old=self.get(id), keep=False))

    def edit(self, id: str, body: Mapping[str, Any]) -> Record:
        """PATCH: what ``body`` does not give stays."""
        return self._put(self._rules.parse(body, id=id, now=_now(), old=self.get(id)))

    def delete(self, id: str) -> Record:
        record = self.get(id)
        self._forget(record)
        return record

    def get(self, id: str) -> Record:
        if id not in self.records:
            raise no_record()
        return self.records[id]

    def _put(self, new: Record) -> Record:
        if new.id in self.records:
            self._forget(self.records[new.id])
        self._check(new)
        self.records[new.id] = new
        self._names.setdefault(new.name, set()).add(new.id)
        return new

    def _forget(self, record: Record) -> None:
        del self.records[record.id]
        self._names[record.name].discard(record.id)

    def _check(self, new: Record) -> None:
        same_name = [self.records[id] for id in self._names.get(new.name, ())]
        if any(record.data == new.data for record in same_name):
            raise identical()
        if new.type == "CNAME" and any(record.type in (*ADDRESS_TYPES, "CNAME") for record in same_name):
            raise host_in_use()
        if any(record.type == "CNAME" for record in same_name) or (new.type == "CNAME" and same_name):
            raise host_is_cname()


class Zone:
    """One zone. ``records`` is replaced as a whole by every change, so that a reader needs no lock."""

    def __init__(self, name: str, id: str, *, plan: str = "free", quote_txt: bool = True) -> None:
        self.name = name
        self.id = id
        self.plan = PLANS[plan]
        self.rules = Rules(name, self.plan, quote_txt)
        self.records: dict[str, Record] = {}
        self.serial = 1

    def render(self) -> dict[str, Any]:
        """The zone as GET /zones answers it."""
        return {"id": self.id, "name": self.name, "status": "active", "paused": False, "type": "full"}


class Zones:
    """All zones, kept in ``path`` (JSON, 0600) when given. ``zones`` must not be empty; the first is the served one."""

    def __init__(self, zones: list[Zone], path: Path | None = None) -> None:
        self._zones = {zone.id: zone for zone in zones}
        self._path = path
        self._lock = threading.Lock()
        if path and path.exists():
            self._load(path)

    def __iter__(self) -> Iterator[Zone]:
        return iter(self._zones.values())

    def by_id(self, id: str) -> Zone | None:
        return self._zones.get(id)

    def holding(self, name: str) -> Zone | None:
        """The zone that ``name`` (lower-case, no final dot) lies in."""
        fitting = [zone for zone in self if name == zone.name or name.endswith("." + zone.name)]
        return max(fitting, key=lambda zone: len(zone.name), default=None)

    @contextmanager
    def change(self, zone: Zone) -> Iterator[Draft]:
        """A transaction: what the draft holds at the end becomes the zone, unless an exception leaves the block."""
        with self._lock:
            draft = Draft(zone.records, zone.rules)
            yield draft
            zone.records, zone.serial = draft.records, zone.serial + 1
            self._save()

    def _load(self, path: Path) -> None:
        for id, kept in json.loads(path.read_text()).items():
            if id in self._zones:
                self._zones[id].serial = kept["serial"]
                self._zones[id].records = {shown["id"]: Record.load(shown) for shown in kept["records"]}

    def _save(self) -> None:
        if not self._path:
            return
        state = {
            zone.id: {"serial": zone.serial, "records": [record.render() for record in zone.records.values()]}
            for zone in self
        }
        handle, name = tempfile.mkstemp(dir=self._path.parent)  # made with mode 0600
        with os.fdopen(handle, "w") as file:
            json.dump(state, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(self._path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
