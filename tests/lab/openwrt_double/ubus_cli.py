"""The command line of `ubus`: list, call and wait_for. The objects are netifd's (netifd.py) and `system`."""

from __future__ import annotations

import socket
import sys
import time

SOCKET = "/var/run/ubus/ubus.sock"
#: By status number. Without -S and without a terminal, the exit status is 256 less the number.
MESSAGES = {
    1: "Invalid command",
    2: "Invalid argument",
    3: "Method not found",
    4: "Not found",
    5: "No response",
    6: "Permission denied",
    7: "Request timed out",
    8: "Operation not supported",
    9: "Unknown error",
    10: "Connection failed",
    12: "Parsing message data failed",
}
USAGE = "Usage: ubus [<options>] <command> [arguments...]\n"


def ask(*words: str) -> tuple[int, str]:
    """Status number and text of the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(SOCKET)
        except OSError:
            return 10, ""
        connection.sendall("\0".join(words).encode("utf-8", "surrogateescape"))
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    status, _newline, text = answer.partition("\n")
    return int(status or 9), text


def main() -> int:
    words = sys.argv[1:]
    simple = False
    timeout = 30.0
    while words and words[0].startswith("-"):
        flag = words.pop(0)
        if flag == "-S":
            simple = True
        elif flag == "-t" and words:
            timeout = float(words.pop(0))
        elif flag != "-v":
            sys.stderr.write(USAGE)
            return 1
    if not words or words[0] not in ("list", "call", "wait_for"):
        sys.stderr.write(USAGE)
        return 1
    command = words.pop(0)
    if command == "wait_for":
        return wait_for(words, timeout)
    if command == "call" and len(words) not in (2, 3):
        status, text = 2, ""
    else:
        status, text = ask(command, "S" if simple else "", *words)
    if text:
        sys.stdout.write(text + "\n")
    if not status or simple:
        return status
    sys.stderr.write(f"Command failed: ubus {command} {' '.join(words)} ({MESSAGES.get(status, 'Unknown error')})\n")
    # An object that is not there is 4 either way.
    return 4 if status == 4 else 256 - status


def wait_for(names: list[str], timeout: float) -> int:
    deadline = time.monotonic() + timeout
    for name in names:
        while ask("list", "", name)[0]:
            if time.monotonic() > deadline:
                return 7
            time.sleep(0.05)
    return 0
