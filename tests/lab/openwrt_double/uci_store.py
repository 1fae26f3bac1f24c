"""Packages of sections as `uci` has them in memory, their files, and the deltas that are not committed yet."""

from __future__ import annotations

import os

from .uci_text import Reader, UciError, invalid, not_found, quoted, valid_name, valid_type, valid_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    #: An option; a list stays one with a single item.
    Value = str | list[str]

#: The command of a delta → the character in front of its line in the file.
PREFIXES = {"change": "", "remove": "-", "add": "+", "list": "|", "unlist": "~", "rename": "@", "reorder": "^"}
_COMMANDS = {prefix: command for command, prefix in PREFIXES.items() if prefix}


class Section:
    def __init__(self, type_: str, name: str, anonymous: bool) -> None:
        self.type = type_
        self.name = name
        self.anonymous = anonymous
        self.options: dict[str, Value] = {}


class Delta:
    """One change: `value` is None for a removal without an index."""

    def __init__(self, command: str, section: str, option: str, value: str | None) -> None:
        self.command = command
        self.section = section
        self.option = option
        self.value = value

    def line(self, package: str) -> str:
        key = f"{package}.{self.section}" + (f".{self.option}" if self.option else "")
        return PREFIXES[self.command] + key + ("" if self.value is None else f"={quoted(self.value)}") + "\n"


class Pointer:
    """A tuple PACKAGE[.SECTION[.OPTION]][=VALUE] as it was written."""

    def __init__(self, text: str) -> None:
        key, equals, value = text.partition("=")
        self.value = value if equals else None
        names = key.split(".")
        self.package = names[0]
        self.section = names[1] if len(names) > 1 else None
        self.option = names[2] if len(names) > 2 else None
        wrong = len(names) > 3 or not valid_type(self.package) or not valid_value(value)
        if wrong or (self.option is not None and not valid_name(self.option)):
            raise UciError(5, "Parse error")


class Package:
    """The sections of one file, in their order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sections: list[Section] = []
        self.fresh: list[Delta] = []  # made by this command
        self.saved: list[Delta] = []  # found in the delta files
        self._count = 0  # sections ever seen, which anonymous names are made of

    def section(self, name: str) -> Section | None:
        return next((section for section in self.sections if section.name == name), None)

    def find(self, name: str) -> Section | None:
        """A section by its name or as @TYPE[INDEX], @[INDEX]. Raises UciError for a name that cannot be one."""
        if valid_name(name):
            return self.section(name)
        head, bracket, index = name.partition("[")
        digits = index[:-1].removeprefix("-")
        if not (head.startswith("@") and bracket and index.endswith("]") and digits.isdigit()):
            raise invalid()
        same = [section for section in self.sections if head == "@" or section.type == head[1:]]
        number = int(index[:-1])
        return same[number] if -len(same) <= number < len(same) else None

    # What commands do. `record` is off for what comes from a file.

    def add(self, type_: str, record: bool = True) -> Section:
        if not valid_type(type_):
            raise invalid()
        number = 5381
        for byte in type_.encode():
            number = (number * 33 + byte) & 0xFFFFFFFF
        self._count += 1
        section = Section(type_, f"cfg{self._count:02x}{number & 0xFFFF:04x}", anonymous=True)
        self.sections.append(section)
        self._note(record, "add", section.name, "", type_)
        return section

    def set(self, name: str, option: str | None, value: str, record: bool = True) -> Section | None:
        """Create or change; an empty value deletes."""
        section = self.section(name)
        if option is not None and section is None:
            raise invalid()
        if not option and value and not valid_type(value):
            raise invalid()
        if not value:
            if section is None or (option and option not in section.options):
                return section
            self.delete(section, option, None, record)
            return None
        if option:
            assert section
            if section.options.get(option) == value:
                return section
            section.options[option] = value
        elif section is None:
            self._count += 1
            section = Section(value, name, anonymous=False)
            self.sections.append(section)
        else:
            section.type = value
        self._note(record, "change", name, option or "", value)
        return section

    def delete(self, section: Section, option: str | None, value: str | None, record: bool = True) -> None:
        """`value` names an item of a list by its index: the number that it begins with."""
        if option and value and isinstance(items := section.options[option], list):
            index = _leading_number(value)
            if index is None:
                raise UciError(1, "")
            if 0 <= index < len(items):
                del items[index]
                self._note(record, "remove", section.name, option, value)
            return
        self._note(record, "remove", section.name, option or "", None)
        if option:
            del section.options[option]
        else:
            self.sections.remove(section)

    def add_list(self, section: Section | None, option: str | None, value: str | None, record: bool = True) -> None:
        if section is None or value is None or not option:
            raise invalid()
        old = section.options.get(option, [])
        section.options[option] = [*([old] if isinstance(old, str) else old), value]
        self._note(record, "list", section.name, option, value)

    def del_list(self, section: Section | None, option: str | None, value: str | None, record: bool = True) -> None:
        """A value that is not there leaves a delta all the same."""
        if section is None or value is None or not option:
            raise invalid()
        if isinstance(items := section.options.get(option), list):
            self._note(record, "unlist", section.name, option, value)
            section.options[option] = [item for item in items if item != value]

    def rename(self, section: Section | None, option: str | None, value: str | None, record: bool = True) -> None:
        if section is None or (option and option not in section.options):
            raise not_found()
        if value is None or not valid_name(value):
            raise invalid()
        self._note(record, "rename", section.name, option or "", value)
        if option:
            section.options = {value if name == option else name: v for name, v in section.options.items()}
        else:
            section.name, section.anonymous = value, False

    def reorder(self, section: Section | None, value: str | None, record: bool = True) -> None:
        if section is None or value is None:
            raise not_found()
        self.sections.remove(section)
        position = _leading_number(value) or 0
        self.sections.insert(position if position >= 0 else len(self.sections), section)
        self._note(record, "reorder", section.name, "", str(position))

    def _note(self, record: bool, command: str, section: str, option: str, value: str | None) -> None:
        if record:
            self.fresh.append(Delta(command, section, option, value))

    def replay(self, delta: Delta) -> None:
        """Carry out what a delta file says. Raises UciError; libuci then goes on with the next one."""
        section = self.section(delta.section)
        option, value = delta.option or None, delta.value
        if delta.command == "remove":
            if section is None or (option and option not in section.options):
                raise not_found()
            self.delete(section, option, value, record=False)
        elif delta.command == "list":
            self.add_list(section, option, value, record=False)
        elif delta.command == "unlist":
            self.del_list(section, option, value, record=False)
        elif delta.command == "rename":
            self.rename(section, option, value, record=False)
        elif delta.command == "reorder":
            self.reorder(section, value, record=False)
        else:
            made = self.set(delta.section, option, value or "", record=False)
            if made and delta.command == "add":
                made.anonymous = True

    # Files

    def parse(self, reader: Reader, record: bool, strict: bool) -> Iterator[str]:
        """Read statements into this package, which then ends; yields the names of `package` statements."""
        section: Section | None = None
        while reader.next_line():
            try:
                reader.skip_blanks()
                while keyword := reader.keyword():
                    if keyword[0] == "#":
                        break
                    if keyword in ("p", "package"):
                        section = None
                        yield self._words(reader, "package", 1)[0]
                    elif keyword in ("c", "config"):
                        section = self._open(reader, record, strict)
                    elif keyword in ("o", "option", "l", "list"):
                        self._option(reader, section, keyword[0] == "l", record)
                    else:
                        raise reader.error("invalid command")
            except UciError:
                if strict:
                    raise

    @staticmethod
    def _words(reader: Reader, keyword: str, required: int) -> list[str]:
        if reader.rest_is_missing():
            raise reader.error(f"{keyword} without name")
        words = [reader.word()]
        if not words[0]:
            raise reader.error("insufficient arguments")
        if required == 2:
            words.append(reader.word())
        if reader.word():
            raise reader.error("too many arguments")
        return words

    def _open(self, reader: Reader, record: bool, strict: bool) -> Section:
        if reader.rest_is_missing():
            raise reader.error("config without name")
        type_, name = self._words(reader, "config", 2)
        if not valid_type(type_):
            raise reader.error("invalid character in type field")
        if not name:
            return self.add(type_, record)
        if not valid_name(name):
            raise reader.error("invalid character in name field")
        old = self.section(name)
        if old and old.type != type_ and strict:
            raise reader.error("section of different type overwrites prior section with same name")
        made = self.set(name, None, type_, record)
        assert made
        return made

    def _option(self, reader: Reader, section: Section | None, is_list: bool, record: bool) -> None:
        if section is None:
            raise reader.error("option/list command found before the first section")
        name, value = self._words(reader, "option", 2)
        if not valid_name(name):
            raise reader.error("invalid character in name field")
        if is_list:
            self.add_list(section, name, value, record)
        elif value:
            self.set(section.name, name, value, record)

    def text(self, names: bool) -> str:
        """The file's content; `names` shows the generated names of anonymous sections."""
        lines: list[str] = []
        for section in self.sections:
            name = f" {quoted(section.name)}" if names or not section.anonymous else ""
            lines.append(f"\nconfig {section.type}{name}\n")
            for option, value in section.options.items():
                if isinstance(value, str):
                    lines.append(f"\toption {option} {quoted(value)}\n")
                else:
                    lines += [f"\tlist {option} {quoted(item)}\n" for item in value]
        return "".join([*lines, "\n"])


def _leading_number(text: str) -> int | None:
    """What scanf("%d") finds."""
    text = text.lstrip()
    length = 1 if text[:1] in ("-", "+") else 0
    while length < len(text) and text[length] in "0123456789":
        length += 1
    try:
        return int(text[:length])
    except ValueError:
        return None


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


class Store:
    """The directories: `configuration`, and those with deltas, of which the last one takes new deltas."""

    def __init__(self, configuration: str = "/etc/config", deltas: str = "/tmp/.uci") -> None:
        self.configuration = configuration
        self.deltas = [deltas]
        self.strict = True

    def names(self) -> list[str]:
        """All packages. Raises UciError without any."""
        try:
            found = [name for name in os.listdir(self.configuration) if "." not in name and valid_type(name)]
        except OSError:
            found = []
        if not found:
            raise not_found()
        return sorted(name for name in found if not os.path.isdir(f"{self.configuration}/{name}"))

    def load(self, name: str) -> Package:
        """With the deltas of all directories. Raises UciError."""
        package = self._load_file(name)
        for directory in self.deltas:
            self._replay(package, directory)
        return package

    def _load_file(self, name: str) -> Package:
        try:
            text = read(f"{self.configuration}/{name}")
        except OSError:
            raise not_found() from None
        package = Package(name)
        for _other in package.parse(Reader(text), record=False, strict=self.strict):
            pass  # the file's name counts
        return package

    def _replay(self, package: Package, directory: str) -> int:
        """Carry out the deltas in a directory; how many."""
        deltas = [delta for delta in self._deltas(package.name, directory) if delta is not None]
        for delta in deltas:
            package.saved.append(delta)
            try:
                package.replay(delta)
            except UciError:
                continue  # as libuci: the rest is kept
        return len(deltas)

    @staticmethod
    def _deltas(name: str, directory: str) -> Iterator[Delta]:
        try:
            reader = Reader(read(f"{directory}/{name}"))
        except OSError:
            return
        while reader.next_line():
            try:
                text = reader.word()
                command = _COMMANDS.get(text[:1], "change")
                pointer = Pointer(text[1:] if command != "change" else text)
            except UciError:
                continue
            if pointer.section and valid_name(pointer.section) and pointer.package == name:
                yield Delta(command, pointer.section, pointer.option or "", pointer.value)

    def save(self, package: Package) -> None:
        """Append what the command changed to the deltas."""
        if not package.fresh:
            return
        directory = self.deltas[-1]
        if not os.path.isdir(directory):
            os.makedirs(directory, os.stat(self.configuration).st_mode & 0o7777)
        with open(f"{directory}/{package.name}", "a", encoding="utf-8", errors="surrogateescape") as file:
            file.write("".join(delta.line(package.name) for delta in package.fresh))
        package.fresh = []

    def revert(self, name: str, section: str | None, option: str | None) -> None:
        """Forget deltas. Only the last directory is looked at."""
        path = f"{self.deltas[-1]}/{name}"
        kept = [
            delta.line(name)
            for delta in self._deltas(name, self.deltas[-1])
            if (section is not None and delta.section != section) or (option is not None and delta.option != option)
        ]
        if os.path.exists(path):
            with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write("".join(kept))

    def commit(self, name: str) -> None:
        """Write everybody's deltas to the file; those of the last directory are done with."""
        package = self._load_file(name)
        mine = 0
        for directory in self.deltas:
            mine = self._replay(package, directory)
        if mine:
            # Emptied before the file is written: a kill in between loses the deltas, as on the device.
            open(f"{self.deltas[-1]}/{name}", "w").close()
            self.write(package)

    def write(self, package: Package) -> None:
        """Replace the file at once; it keeps its mode."""
        path = f"{self.configuration}/{package.name}"
        new = f"{self.configuration}/.{package.name}.uci-{os.getpid()}"
        mode = os.stat(path).st_mode & 0o7777 if os.path.exists(path) else 0o600
        with open(new, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(package.text(names=False))
        os.chmod(new, mode)
        os.rename(new, os.path.realpath(path))
