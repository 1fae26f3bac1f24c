"""Commands on menus: print, add, set, unset, remove, move, enable, disable, each refused as the device refuses it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from .menus import NAMED, SINGLE, Menu
from .rows import Shown, View, rows
from .rules import COMPLETE, RULES, Change
from .tree import Row, Tree
from .versions import Version
from .words import HIDDEN, SECRETS, Command, Trap, matches

#: Verbs that change the configuration; everything else reads.
WRITES = frozenset(["add", "set", "unset", "remove", "move", "enable", "disable"])
#: Verbs of the table that are the console's, or that this double does not act out.
_NOT_MODELLED = frozenset(["comment", "edit", "export", "find", "get", "reset", "listen"])
_PRINT_ARGUMENTS = frozenset([".proplist", "count-only", "detail", "stats", "without-paging"])

Reply = list[list[str]]


class Engine:
    """Executes commands of one version on a tree. `committed` is called with the menu's path after each change."""

    def __init__(
        self,
        tree: Tree,
        running: Version,
        menus: dict[str, Menu],
        view: Callable[[Menu], View],
        committed: Callable[[str], None],
        ping: Callable[[str, str, float], float | None],
    ) -> None:
        self._tree = tree
        self._running = running
        self._menus = menus
        self._view = view
        self._committed = committed
        self._ping = ping

    def run(self, command: Command, policies: frozenset[str]) -> Reply:
        """The reply's sentences, without tags. Traps when the command is refused; then nothing has changed."""
        if (command.path, command.verb) == ("", "ping"):
            return self._pinged(command, policies)
        menu = self._menus.get(command.path)
        if menu is None:
            parents = {path.rsplit("/", 1)[0] for path in self._menus} | set(self._menus)
            known = any(parent == command.path or parent.startswith(f"{command.path}/") for parent in parents)
            raise Trap("no such command" if known else "no such command prefix", 0)
        if command.verb not in menu.commands:
            raise Trap("no such command", 0)
        if command.verb in _NOT_MODELLED:
            raise Trap(f"failure: this double does not act out {command.path}/{command.verb}")
        needed = "read" if command.verb in ("print", "getall") else "write"
        if needed not in policies or (
            needed == "write" and command.path.startswith("/user") and "policy" not in policies
        ):
            raise Trap("not enough permissions (9)")
        if command.verb in ("print", "getall"):
            return self._print(menu, command, "sensitive" in policies)
        if command.queries:
            raise Trap(f"unknown parameter {command.queries[0]}")
        action: Callable[[Menu, dict[str, str]], Reply] = getattr(self, f"_{command.verb}")
        return action(menu, dict(command.attributes))

    def insert(self, path: str, arguments: dict[str, str]) -> str:
        """Add a row as `add` does; the id. For the factory configuration and for tests that play a second person."""
        return self._add(self._menus[path], dict(arguments))[0][1].removeprefix("=ret=")

    # Reading

    def _print(self, menu: Menu, command: Command, sensitive: bool) -> Reply:
        for name in command.attributes:
            if name not in _PRINT_ARGUMENTS:
                raise Trap(f"unknown parameter {name}")
        wanted = [name for name in command.attributes.get(".proplist", "").split(",") if name]
        found = []
        for row in rows(self._view(menu)):
            if not sensitive:
                row = {name: HIDDEN if name in SECRETS else text for name, text in row.items()}
            if matches(row, command.queries):
                found.append(row)
        if "count-only" in command.attributes:
            return [["!done", f"=ret={len(found)}"]]
        reply = [_re(row, wanted) for row in found]
        if not found and self._running >= (7, 18):
            reply = [["!empty"]]
        return [*reply, ["!done"]]

    def _pinged(self, command: Command, policies: frozenset[str]) -> Reply:
        """One packet. The names are those that MikroTik documents for the console; the reply is as clients show it."""
        if "test" not in policies:
            raise Trap("not enough permissions (9)")
        for name in command.attributes:
            if name not in ("address", "count", "interval", "src-address"):
                raise Trap(f"unknown parameter {name}")
        if "address" not in command.attributes:
            raise Trap("missing =address=")
        if command.attributes.get("count") != "1":
            raise Trap("failure: this double sends one packet at a time, with =count=1")
        for name in {"address", "src-address"} & set(command.attributes):
            try:
                ipaddress.ip_address(command.attributes[name])
            except ValueError:
                raise Trap(f"invalid value for argument {name}") from None
        host = command.attributes["address"]
        source = command.attributes.get("src-address", "")
        interval = re.fullmatch(r"(\d+)(m?)s", command.attributes.get("interval", "1s"))
        seconds = int(interval[1]) / (1000 if interval[2] else 1) if interval else 0
        if not 0.01 <= seconds <= 5:
            raise Trap("failure: this double knows intervals of 10ms to 5s, which MikroTik documents")
        taken = self._ping(host, source, seconds)
        if taken is None:
            words = ["=status=timeout", "=sent=1", "=received=0", "=packet-loss=100"]
        else:
            time = f"{int(taken)}ms{int(taken * 1000) % 1000}us"
            words = ["=size=56", "=ttl=63", f"=time={time}", "=sent=1", "=received=1", "=packet-loss=0"]
        return [["!re", "=seq=0", f"=host={host}", *words], ["!done"]]

    # Writing

    def _add(self, menu: Menu, arguments: dict[str, str]) -> Reply:
        before = None
        if menu.ordered and "place-before" in arguments:
            before = self._find(menu, arguments.pop("place-before"))
        if "copy-from" in arguments:
            raise Trap("failure: this double does not act out copy-from")
        values = self._parsed(menu, arguments)
        if menu.path in COMPLETE:
            COMPLETE[menu.path](values)
        change = Change(self._tree, self._running, menu.table, None, values, set(arguments))
        self._check(menu, change)
        row = self._tree.table(menu.table).insert(change.values, before)
        self._committed(menu.path)
        return [["!done", f"=ret={row.id}"]]

    def _set(self, menu: Menu, arguments: dict[str, str]) -> Reply:
        row = self._only(menu) if menu.path in SINGLE else self._addressed(menu, arguments)
        removed = {name[1:] for name in arguments if name.startswith("!")}
        for name in removed:
            if name not in menu.fields or arguments.pop(f"!{name}"):
                raise Trap(f"unknown parameter !{name}")
        written = self._parsed(menu, arguments)
        self._replace(menu, row, {**_without(row.values, removed), **written}, set(written) | removed)
        return [["!done"]]

    def _unset(self, menu: Menu, arguments: dict[str, str]) -> Reply:
        row = self._addressed(menu, arguments)
        name = arguments.pop("value-name", None)
        _none_left(arguments)
        if name is None:
            raise Trap("missing =value-name=")
        if name not in menu.unset:
            raise Trap("input does not match any value of value-name")
        self._replace(menu, row, _without(row.values, {name}), {name})
        return [["!done"]]

    def _enable(self, menu: Menu, arguments: dict[str, str], disabled: str = "false") -> Reply:
        row = self._addressed(menu, arguments)
        _none_left(arguments)
        self._replace(menu, row, {**row.values, "disabled": disabled}, {"disabled"})
        return [["!done"]]

    def _disable(self, menu: Menu, arguments: dict[str, str]) -> Reply:
        return self._enable(menu, arguments, "true")

    def _remove(self, menu: Menu, arguments: dict[str, str]) -> Reply:
        found = self._several(menu, arguments)
        _none_left(arguments)
        for row in found:
            if {"builtin", "default", "dynamic"} & set(row.values):
                raise Trap("failure: can not remove builtin or dynamic entry")
        for row in found:
            self._tree.table(menu.table).remove(row)
        self._committed(menu.path)
        return [["!done"]]

    def _move(self, menu: Menu, arguments: dict[str, str]) -> Reply:
        destination = arguments.pop("destination", "")
        moved = self._several(menu, arguments)
        _none_left(arguments)
        if destination in [row.id for row in moved]:
            raise Trap("failure: can not move object before itself")
        # A missing or unknown destination silently means the end (facts 7).
        self._tree.table(menu.table).move(moved, self._tree.table(menu.table).get(destination))
        self._committed(menu.path)
        return [["!done"]]

    # Parts of writing

    def _parsed(self, menu: Menu, arguments: dict[str, str]) -> dict[str, str]:
        for name in arguments:
            if name not in menu.fields:
                raise Trap(f"unknown parameter {name}")
        return {name: menu.fields[name].parse(name, text, self._tree) for name, text in arguments.items()}

    def _check(self, menu: Menu, change: Change) -> None:
        for name in menu.required:
            if name not in change.values:
                raise Trap(f"missing ={name}=")
        rule = RULES.get(menu.path)
        if rule is not None:
            rule(change)

    def _replace(self, menu: Menu, row: Row, values: dict[str, str], written: set[str]) -> None:
        change = Change(self._tree, self._running, menu.table, row, values, written)
        self._check(menu, change)
        row.replace(change.values)
        self._committed(menu.path)

    # Addressing rows

    def _only(self, menu: Menu) -> Row:
        return next(iter(self._tree.table(menu.table)))

    def _find(self, menu: Menu, text: str) -> Row:
        """One row by id, or by name where the menu has names. Lists and positions are refused."""
        row = self._tree.table(menu.table).get(text)
        if row is None and menu.path in NAMED:
            row = next((one for one in self._tree.table(menu.table) if one.values.get("name") == text), None)
        if row is None or menu.part not in (None, row.values.get("type")):
            raise Trap("no such item (4)")
        return row

    def _addressed(self, menu: Menu, arguments: dict[str, str]) -> Row:
        text = arguments.pop(".id", None) or arguments.pop("numbers", None)
        if text is None:
            raise Trap("missing =.id=")
        return self._find(menu, text)

    def _several(self, menu: Menu, arguments: dict[str, str]) -> list[Row]:
        text = arguments.pop(".id", None) or arguments.pop("numbers", None)
        if text is None:
            raise Trap("missing =.id=")
        try:
            return list({row.id: row for row in (self._find(menu, part) for part in text.split(","))}.values())
        except Trap:
            raise Trap("no such item") from None


def _re(row: Shown, wanted: list[str]) -> list[str]:
    names = [name for name in wanted if name in row] if wanted else list(row)
    return ["!re", *(f"={name}={row[name]}" for name in names)]


def _without(values: dict[str, str], names: set[str]) -> dict[str, str]:
    return {name: text for name, text in values.items() if name not in names}


def _none_left(arguments: dict[str, str]) -> None:
    for name in arguments:
        raise Trap(f"unknown parameter {name}")
