"""The configuration: tables of rows with ids, and the file that keeps them over a power cut."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

#: First id of a table, where it is not *1. `*0` is a real id, routes count from *80000000 (facts 1).
_FIRST_ID = {"/ip/firewall/filter": 0, "/ipv6/nd": 0, "/ip/route": 0x80000001, "/ipv6/route": 0x80000001}


class Row:
    """One row: what was written or generated, in stored form. Defaults that only print shows are not in it."""

    __slots__ = ("_text", "id", "values")

    def __init__(self, item_id: str, values: dict[str, str]) -> None:
        self.id = item_id
        self.values = values
        self._text = ""

    def replace(self, values: dict[str, str]) -> None:
        self.values = values
        self._text = ""

    def text(self) -> str:
        """JSON of this row, kept until the next change: 200 rows are saved 200 times by a client that adds 200."""
        if not self._text:
            self._text = json.dumps({".id": self.id, **self.values})
        return self._text


class Table:
    def __init__(self, first_id: int) -> None:
        self._rows: dict[str, Row] = {}
        self.next_id = first_id

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, item_id: str) -> Row | None:
        return self._rows.get(item_id)

    def insert(self, values: dict[str, str], before: Row | None = None, item_id: str = "") -> Row:
        if not item_id:
            item_id = f"*{self.next_id:X}"
            self.next_id += 1
        row = self._rows[item_id] = Row(item_id, values)
        if before is not None:
            self.move([row], before)
        return row

    def remove(self, row: Row) -> None:
        del self._rows[row.id]

    def move(self, moved: list[Row], before: Row | None) -> None:
        """Put rows before another one, in the order given; without one at the end. Ids stay."""
        rest = [row for row in self if row not in moved]
        place = len(rest) if before is None else rest.index(before)
        self._rows = {row.id: row for row in [*rest[:place], *moved, *rest[place:]]}


class Tree:
    """All tables. `path` is the state file; without one nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._tables: dict[str, Table] = {}

    def table(self, path: str) -> Table:
        if path not in self._tables:
            self._tables[path] = Table(_FIRST_ID.get(path, 1))
        return self._tables[path]

    def find_name(self, table: str, name: str) -> str | None:
        """The id of the row with this name or id. Names are case sensitive."""
        rows = self.table(table)
        if rows.get(name) is not None:
            return name
        return next((row.id for row in rows if row.values.get("name") == name), None)

    def name_of(self, table: str, item_id: str) -> str:
        """The name of a row; of a deleted one the id, as the device prints it (facts 2)."""
        row = self.table(table).get(item_id)
        return item_id if row is None else row.values["name"]

    def load(self) -> bool:
        """Read the state file; False when there is none, or none is kept."""
        if self._path is None or not self._path.exists():
            return False
        for path, saved in json.loads(self._path.read_text())["tables"].items():
            table = self.table(path)
            for values in saved["rows"]:
                table.insert(values, item_id=values.pop(".id"))
            table.next_id = saved["next"]
        return True

    def save(self) -> None:
        """Write the state file whole, or not at all. Only root reads it: it holds the secrets."""
        if self._path is None:
            return
        parts = (
            f'"{path}": {{"next": {table.next_id}, "rows": [{", ".join(row.text() for row in table)}]}}'
            for path, table in self._tables.items()
        )
        temporary = self._path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f'{{"tables": {{{", ".join(parts)}}}}}')
        os.replace(temporary, self._path)
