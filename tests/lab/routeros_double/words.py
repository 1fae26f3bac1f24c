"""The words of a command sentence: path, attributes, tag, and the query's stack machine (facts 1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Attributes whose value is never logged, and read as ***** by a user without the policy `sensitive` (facts 4).
SECRETS = frozenset({"password", "private-key", "preshared-key"})

HIDDEN = "*****"


class Trap(Exception):
    """A refusal in the device's words. `category` as in the API, None where the device sends none."""

    def __init__(self, message: str, category: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.category = category

    def words(self) -> list[str]:
        category = [] if self.category is None else [f"=category={self.category}"]
        return ["!trap", *category, f"=message={self.message}"]


@dataclass
class Command:
    """One command sentence, e.g. path `/ip/address`, verb `add`, attributes {"address": "10.0.0.1/24"}."""

    path: str
    verb: str
    attributes: dict[str, str] = field(default_factory=dict)
    queries: list[str] = field(default_factory=list)
    tag: str = ""


def parse(words: list[str]) -> Command:
    """The command of a sentence. Traps on a word that is no attribute, query or API attribute."""
    path, _slash, verb = words[0].rpartition("/")
    command = Command(path, verb)
    bad = ""
    for word in words[1:]:
        if word.startswith("=") and "=" in word[1:]:
            # Split at the second "=" only: a value may contain more of them.
            name, value = word[1:].split("=", 1)
            command.attributes[name] = value
        elif word.startswith("?"):
            command.queries.append(word)
        elif word.startswith(".tag="):
            command.tag = word[5:]
        else:
            bad = bad or word
    if bad:
        raise Refused(command.tag, f"unknown parameter {bad}")
    return command


class Refused(Trap):
    """A refusal while the sentence is still being read; carries the tag that its reply needs."""

    def __init__(self, tag: str, message: str) -> None:
        super().__init__(message)
        self.tag = tag


def redacted(words: Iterable[str]) -> list[str]:
    """The words as they may be logged: values of secrets are replaced by *****."""
    shown = []
    for word in words:
        name = re.match(r"[=?<>-]*([^=]*)=", word)
        secret = name is not None and name.group(1) in SECRETS and name.end() < len(word)
        shown.append(f"{word[: name.end()]}{HIDDEN}" if secret and name else word)
    return shown


def matches(row: Mapping[str, str], queries: Iterable[str]) -> bool:
    """Whether the row passes the query words: no value of the final stack may be false."""
    stack: list[bool] = []
    for word in queries:
        text = word[1:]
        if text.startswith("#"):
            _operate(stack, text[1:])
        elif text.startswith("-"):
            stack.append(text[1:] not in row)
        elif text[:1] in ("<", ">", "="):
            name, _equals, wanted = text[1:].partition("=")
            stack.append(name in row and _compare(text[0], row[name], wanted))
        elif "=" in text:
            name, _equals, wanted = text.partition("=")
            stack.append(row.get(name) == wanted)
        else:
            stack.append(text in row)
    return all(stack)


def _compare(operator: str, have: str, wanted: str) -> bool:
    if operator == "=":
        return have == wanted
    try:
        difference = int(have) - int(wanted)
    except ValueError:
        difference = (have > wanted) - (have < wanted)
    return difference < 0 if operator == "<" else difference > 0


def _operate(stack: list[bool], operations: str) -> None:
    """Apply `?#…`. Below the stack's bottom lie endless trues, so that any index exists."""

    def at(index: int) -> bool:
        return stack[-1 - index] if index < len(stack) else True

    def pop() -> bool:
        return stack.pop() if stack else True

    for index, character in re.findall(r"(\d*)(\D?)", operations):
        if index and not character:
            stack[:] = [at(int(index))]
            return
        if index:
            stack.append(at(int(index)))
        if character == "!":
            stack.append(not pop())
        elif character == "&":
            one, other = pop(), pop()
            stack.append(one and other)
        elif character == "|":
            one, other = pop(), pop()
            stack.append(one or other)
        elif character == "." and not index:
            stack.append(at(0))
        elif character and character != ".":
            raise Trap(f"unknown query operation {character}")
