"""UCI's text: how a configuration file is cut into words, and how a value is quoted.

Few imports here and in the other uci_*.py: a script calls `uci` dozens of times, and starting it is what costs.
"""

from __future__ import annotations

_BLANKS = " \t\n\v\f\r"  # isspace() in C
_MEANING = _BLANKS + "#;'\"\\"


class UciError(Exception):
    """What `uci` says after its name, and the number that libuci returns for it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def invalid() -> UciError:
    return UciError(2, "Invalid argument")


def not_found() -> UciError:
    return UciError(3, "Entry not found")


def valid_name(text: str) -> bool:
    """Sections and options: what a shell takes as a variable's name."""
    return bool(text) and all(c.isascii() and (c.isalnum() or c == "_") for c in text)


def valid_type(text: str) -> bool:
    """Types and packages."""
    return bool(text) and all(32 < ord(c) < 127 for c in text)


def valid_value(text: str) -> bool:
    return text.isprintable() or all(c >= " " or c in "\t\n\r" for c in text)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


class Reader:
    """Statements of one line each, unless a quoted value or a backslash carries a line on.

    `position` counts from the first character of the statement, as error messages do.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._start = self._here = self._end = 0
        self.line = 0

    def next_line(self) -> bool:
        """Go to the next line, dropping the rest of this one; False at the end of the text."""
        self._start = self._here = self._end
        return self._grow()

    def _grow(self) -> bool:
        if self._end >= len(self._text):
            return False
        newline = self._text.find("\n", self._end)
        self._end = len(self._text) if newline < 0 else newline + 1
        self.line += newline >= 0
        return True

    @property
    def _char(self) -> str:
        """The character here; empty at the line's end."""
        return self._text[self._here] if self._here < self._end else ""

    def error(self, reason: str) -> UciError:
        position = self._here - self._start
        return UciError(5, f"Parse error ({reason}) at line {self.line}, byte {position}")

    def skip_blanks(self) -> None:
        while self._char and self._char in _BLANKS:
            self._here += 1

    def keyword(self) -> str:
        """The first word of a statement, which knows no quotes; empty at the end of the line."""
        while self._char and self._char in " \t":
            self._here += 1
        start = self._here
        while self._char and self._char not in " \t":
            self._here += 1
        word = self._text[start : self._here]
        self._here += 1 if self._char else 0
        return word

    def rest_is_missing(self) -> bool:
        """Whether nothing, not even the blank, followed the keyword."""
        return self._here >= self._end and self._text[self._here - 1 : self._here] not in (" ", "\t")

    def word(self) -> str:
        """The next word without its quotes; empty at the end of the statement. Raises UciError."""
        self.skip_blanks()
        if self._char == ";":
            self._here += 1
            return ""
        found: list[str] = []
        while True:
            char = self._char
            if char == "#":
                self._here = self._end
                return "".join(found)
            if not char or char == ";":
                return "".join(found)
            if char == "'":
                self._single(found)
            elif char == '"':
                self._double(found)
            elif char != "\\":
                found.append(self._plain())
            elif self._backslash():
                found.append(self._char)
                self._here += 1
            if self._char and self._char in _BLANKS:
                self._here += 1
                return "".join(found)

    def _plain(self) -> str:
        """The characters from here to the next one that means something."""
        start = self._here
        self._here += 1
        while self._here < self._end and self._text[self._here] not in _MEANING:
            self._here += 1
        return self._text[start : self._here]

    def _backslash(self) -> bool:
        """Step over it; whether the character behind it is meant as it is. At a line's end it joins the next line."""
        self._here += 1
        if self._char in ("", "\n") or self._text[self._here : self._end] == "\r\n":
            self._here = self._end
            self._grow()
            return False
        return True

    def _single(self, found: list[str]) -> None:
        self._here += 1
        while (end := self._text.find("'", self._here, self._end)) < 0:
            found.append(self._text[self._here : self._end])
            self._here = self._end
            if not self._grow():
                raise self.error("EOF with unterminated '")
        found.append(self._text[self._here : end])
        self._here = end + 1

    def _double(self, found: list[str]) -> None:
        self._here += 1
        while (char := self._char) != '"':
            if not char:
                if not self._grow():
                    raise self.error('EOF with unterminated "')
            elif char != "\\":
                found.append(self._plain())
            elif self._backslash():
                found.append(self._char)
                self._here += 1
        self._here += 1
