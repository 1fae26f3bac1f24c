"""The command line of `uci`, which agrees with the recorded cases of the real one (tests/devices/doubles)."""

from __future__ import annotations

import sys

from .uci_store import Package, Pointer, Section, Store, read
from .uci_text import Reader, UciError, invalid, not_found, quoted, valid_name, valid_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .uci_store import Value

USAGE = """\
Usage: uci [<options>] <command> [<arguments>]

Commands:
\tbatch
\texport     [<config>]
\timport     [<config>]
\tchanges    [<config>]
\tcommit     [<config>]
\tadd        <config> <section-type>
\tadd_list   <config>.<section>.<option>=<string>
\tdel_list   <config>.<section>.<option>=<string>
\tshow       [<config>[.<section>[.<option>]]]
\tget        <config>.<section>[.<option>]
\tset        <config>.<section>[.<option>]=<value>
\tdelete     <config>[.<section>[[.<option>][=<id>]]]
\trename     <config>.<section>[.<option>]=<name>
\trevert     <config>[.<section>[.<option>]]
\treorder    <config>.<section>=<position>

Options:
\t-c <path>  set the search path for config files (default: /etc/config)
\t-C <path>  set the search path for config override files (default: /var/run/uci)
\t-d <str>   set the delimiter for list values in uci show
\t-f <file>  use <file> as input instead of stdin
\t-m         when importing, merge data into an existing package
\t-n         name unnamed sections on export (default)
\t-N         don't name unnamed sections
\t-p <path>  add a search path for config change files
\t-P <path>  add a search path for config change files and use as default
\t-t <path>  set save path for config change files
\t-q         quiet mode (don't print error messages)
\t-s         force strict mode (stop on parser errors, default)
\t-S         disable strict mode
\t-X         do not use extended syntax on 'show'

"""
_WITH_ARGUMENT = "cCdfpPt"
_BARE = "mnNqsSX"
_PACKAGE_COMMANDS = ("show", "changes", "export", "commit")
_SECTION_COMMANDS = ("get", "set", "add_list", "del_list", "delete", "rename", "revert", "reorder")
_SYNONYMS = {"del": "delete", "ren": "rename"}


class Uci:
    """One call of the program."""

    def __init__(self) -> None:
        self.store = Store()
        self.delimiter = " "
        self.input = ""
        self.merge = self.quiet = self.names = self.no_commit = self.in_batch = False
        self.extended = True

    def say(self, text: str) -> None:
        # The very bytes that were read.
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))

    def complain(self, text: str) -> None:
        if not self.quiet and text:
            sys.stdout.flush()
            sys.stderr.write(f"{text}\n")

    def main(self, words: list[str]) -> int:
        """The exit status."""
        try:
            rest = self._options(words)
        except UciError as error:
            sys.stderr.write(f"{error}\n{USAGE}")
            return 0
        if not rest:
            sys.stderr.write(USAGE)
            return 0
        status = self.run(rest)
        if status == 255:
            sys.stderr.write(USAGE)
        return status

    def _options(self, words: list[str]) -> list[str]:
        """Apply them, wherever they stand, as getopt does; the other words."""
        rest: list[str] = []
        words = list(words)
        while words:
            word = words.pop(0)
            if word == "--":
                return rest + words
            if word[:1] != "-" or word == "-":
                rest.append(word)
                continue
            flags = word[1:]
            while flags:
                flag, flags = flags[0], flags[1:]
                if flag in _BARE:
                    self._flag(flag)
                    continue
                if flag not in _WITH_ARGUMENT:
                    raise UciError(0, f"uci: invalid option -- '{flag}'")
                if not flags and not words:
                    raise UciError(0, f"uci: option requires an argument -- '{flag}'")
                self._setting(flag, flags or words.pop(0))
                flags = ""
        return rest

    def _flag(self, flag: str) -> None:
        if flag == "m":
            self.merge = True
        elif flag in "nN":
            self.names = flag == "n"
        elif flag == "q":
            self.quiet = True
        elif flag in "sS":
            self.store.strict = flag == "s"
        else:
            self.extended = False

    def _setting(self, flag: str, value: str) -> None:
        if flag == "c":
            self.store.configuration = value
        elif flag == "C":
            sys.exit("uci: this double knows no override files (-C)")
        elif flag == "d":
            self.delimiter = value
        elif flag == "f":
            self.input = value
        elif flag == "p":
            self.store.deltas.insert(0, value)
        else:
            # The directory that took deltas until now is still read.
            self.store.deltas.append(value)
            self.no_commit |= flag == "P"

    def run(self, words: list[str]) -> int:
        """One command; 255 when it is unknown or has the wrong number of words."""
        command = _SYNONYMS.get(words[0].lower(), words[0].lower())
        arguments = words[1:]
        try:
            if command == "batch" and not self.in_batch:
                return self.batch()
            if command in _PACKAGE_COMMANDS and len(arguments) < 2:
                return self.packages(command, arguments)
            if command in _SECTION_COMMANDS and len(arguments) == 1:
                return self.section(command, arguments[0])
            if command == "add" and len(arguments) == 2:
                return self.add(*arguments)
            if command == "import" and (len(arguments) == 1 or (not arguments and not self.merge)):
                return self.import_(*arguments)
            if command == "help":
                sys.stderr.write(USAGE)
                return 0
        except UciError as error:
            self.complain(str(error) and f"uci: {error}")
            return error.code if command == "add" else 1
        return 255

    def batch(self) -> int:
        """A command a line; whatever fails, the rest goes on and the status is 0."""
        self.in_batch = True
        reader = Reader(self._read_input())
        while reader.next_line():
            try:
                words: list[str] = []
                while word := reader.word():
                    words.append(word)
                    if len(words) == 4:
                        raise UciError(1, "")
            except UciError as error:
                self.complain(f"uci: {error}" if str(error) else "Too many arguments")
                continue
            if words and words[0].lower() == "exit":
                break
            if words and self.run(words) == 255:
                self.complain("Unknown command")
        return 0

    def _read_input(self) -> str:
        return read(self.input) if self.input else sys.stdin.buffer.read().decode("utf-8", "surrogateescape")

    def packages(self, command: str, arguments: list[str]) -> int:
        if arguments:
            self.package(command, arguments[0])
            return 0
        for name in self.store.names():
            try:
                self.package(command, name)
            except UciError as error:
                self.complain(f"uci: {error}")
        return 0

    def package(self, command: str, text: str) -> None:
        pointer = Pointer(text)
        package = self.store.load(pointer.package)
        section = package.find(pointer.section) if pointer.section is not None else None
        if command == "commit":
            if not self.no_commit:
                self.store.commit(package.name)
        elif command == "changes":
            for delta in package.saved:
                self.say(_change(package, delta.command, delta.section, delta.option, delta.value))
        elif command == "export":
            self.say(f"package {package.name}\n{package.text(self.names)}")
        else:
            self.show(package, pointer, section)

    def show(self, package: Package, pointer: Pointer, section: Section | None) -> None:
        if pointer.section is None:
            counts: dict[str, int] = {}
            for each in package.sections:
                number = counts[each.type] = counts.get(each.type, -1) + 1
                short = self.extended and each.anonymous
                self._show_section(package, each, f"@{each.type}[{number}]" if short else each.name)
        elif section is None or (pointer.option and pointer.option not in section.options):
            raise not_found()
        elif pointer.option:
            self._show_option(package, section.name, pointer.option, section.options[pointer.option])
        else:
            self._show_section(package, section, section.name)

    def _show_section(self, package: Package, section: Section, name: str) -> None:
        self.say(f"{package.name}.{name}={section.type}\n")
        for option, value in section.options.items():
            self._show_option(package, name, option, value)

    def _show_option(self, package: Package, section: str, option: str, value: Value) -> None:
        items = [value] if isinstance(value, str) else value
        self.say(f"{package.name}.{section}.{option}={self.delimiter.join(map(quoted, items))}\n")

    def section(self, command: str, text: str) -> int:
        pointer = Pointer(text)
        package = self.store.load(pointer.package)
        section = package.find(pointer.section) if pointer.section is not None else None
        option, value = pointer.option, pointer.value
        if value is not None and command in ("get", "revert"):
            return 1
        if command == "get":
            self.get(pointer, section)
            return 0
        if command == "revert":
            self.store.revert(package.name, section.name if section else pointer.section, option)
            return 0
        if command == "set":
            self._set(package, pointer, section)
        elif command == "add_list":
            package.add_list(section, option, value)
        elif command == "del_list":
            package.del_list(section, option, value)
        elif command == "rename":
            package.rename(section, option, value)
        elif command == "reorder":
            package.reorder(section, value)
        elif section is None or (option and option not in section.options):
            raise invalid() if pointer.section is None else not_found()
        else:
            package.delete(section, option, value)
        self.store.save(package)
        return 0

    @staticmethod
    def _set(package: Package, pointer: Pointer, section: Section | None) -> None:
        if pointer.value is None or pointer.section is None:
            raise invalid()
        # Only an existing section can be meant by @TYPE[INDEX].
        if section is None and not valid_name(pointer.section):
            raise invalid()
        package.set(section.name if section else pointer.section, pointer.option, pointer.value)

    def get(self, pointer: Pointer, section: Section | None) -> None:
        if pointer.section is None:
            return
        if section is None or (pointer.option and pointer.option not in section.options):
            raise not_found()
        if not pointer.option:
            self.say(f"{section.type}\n")
            return
        value = section.options[pointer.option]
        if not isinstance(value, str):
            value = self.delimiter.join(quoted(v) if any(c in v for c in " \t\r\n") else v for v in value)
        self.say(f"{value}\n")

    def add(self, name: str, type_: str) -> int:
        package = self.store.load(name)
        section = package.add(type_)
        self.store.save(package)
        self.say(f"{section.name}\n")
        return 0

    def import_(self, name: str = "") -> int:
        """Replace packages by what comes in, or with -m add it to one as deltas."""
        if name and not valid_type(name):
            raise invalid()
        reader = Reader(self._read_input())
        if self.merge:
            package = self.store.load(name)
            for _other in package.parse(reader, record=True, strict=self.store.strict):
                pass
            self.store.save(package)
            return 0
        packages = [Package(name)]
        statements = packages[0].parse(reader, record=False, strict=self.store.strict)
        while (other := next(statements, None)) is not None:
            if not name:
                packages.append(Package(other))
                statements = packages[-1].parse(reader, record=False, strict=self.store.strict)
        if packages[0].sections and not name:
            raise UciError(5, "Parse error (attempting to import a file without a package name) at line 1, byte 0")
        for package in packages:
            if package.name:
                self.store.write(package)
        return 0


def _change(package: Package, command: str, section: str, option: str, value: str | None) -> str:
    """A line of `uci changes`."""
    key = f"{package.name}.{section}" + (f".{option}" if option else "")
    if command == "remove":
        return f"-{key}\n" if value is None else f"-{key}={quoted(value)}\n"
    sign = {"list": "+=", "unlist": "-="}.get(command, "=")
    return f"{key}{sign}{quoted(value or '')}\n"


def main() -> int:
    status = Uci().main(sys.argv[1:])
    sys.stdout.flush()
    return status
