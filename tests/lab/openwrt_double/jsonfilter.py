"""`jsonfilter` with the expressions that scripts use: names, ["names"], indexes, [*] and [@.name="value"]."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_][A-Za-z0-9_-]*|\*)|\[(?P<index>-?\d+|\*)\]|\[(?P<quote>["'])(?P<key>.*?)(?P=quote)\]"""
    r"""|\[@\.(?P<field>[\w-]+)\s*=\s*(?P<value>"[^"]*"|'[^']*'|[\w.-]+)\]"""
)


def find(document: Any, expression: str) -> list[Any]:
    """All matches, in order. Raises ValueError for an expression that this program does not know."""
    if expression[:1] not in ("@", "$"):
        raise ValueError(expression)
    found, position = [document], 1
    while position < len(expression):
        step = _STEP.match(expression, position)
        if step is None:
            raise ValueError(expression)
        position = step.end()
        found = [value for one in found for value in _children(one, step)]
    return found


def _children(value: Any, step: re.Match[str]) -> list[Any]:
    name = step["name"] or step["key"]
    children = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if name == "*" or step["index"] == "*":
        return children
    if name is not None:
        return [value[name]] if isinstance(value, dict) and name in value else []
    if step["index"] is not None:
        index = int(step["index"])
        return [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []
    wanted = step["value"].strip("\"'")
    return [child for child in children if isinstance(child, dict) and _text(child.get(step["field"])) == wanted]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def main() -> int:
    words = sys.argv[1:]
    source, expressions = None, []
    while words:
        flag = words.pop(0)
        if flag not in ("-i", "-s", "-e") or not words:
            sys.stderr.write("Usage: jsonfilter [-i <file> | -s <json>] -e <pattern>\n")
            return 1
        value = words.pop(0)
        if flag == "-e":
            expressions.append(value)
        elif flag == "-s":
            source = value
        else:
            with open(value) as file:
                source = file.read()
    try:
        document = json.loads(sys.stdin.read() if source is None else source)
    except ValueError:
        sys.stderr.write("Failed to parse json data\n")
        return 126
    status = 1
    for expression in expressions:
        try:
            found = find(document, expression)
        except ValueError:
            sys.stderr.write(f"jsonfilter: this double does not know the expression {expression}\n")
            return 2
        for value in found:
            status = 0
            print(_text(value))
    return status
