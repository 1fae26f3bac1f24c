"""One connection: login, then commands in order, each answered before the next is read."""

from __future__ import annotations

import hmac
import socket
import struct
from typing import Protocol

from .engine import WRITES, Reply
from .protocol import ProtocolError, SentenceReader, encode_sentence
from .record import Record
from .words import Command, Refused, Trap, parse


class Device(Protocol):
    """What a session needs of the router."""

    record: Record

    def policies(self, name: str, password: str) -> frozenset[str] | None:
        """The policies of a user whose password is right, None otherwise."""

    def run(self, command: Command, policies: frozenset[str]) -> Reply:
        """Execute one command; traps when it is refused."""


#: Sentences that a client may send before it has logged in. That there is a limit is a fact, this one is a choice.
_BEFORE_LOGIN = 16


class _Cut(Exception):
    """The connection is to end now, without a word."""


class Session:
    """Serves one connected socket until it ends."""

    def __init__(self, number: int, connection: socket.socket, device: Device) -> None:
        self._number = number
        self._connection = connection
        self._device = device
        self._user = ""
        # As they were at login: a change of the group acts at the next one (facts 4).
        self._policies: frozenset[str] | None = None

    def serve(self) -> None:
        with self._connection, self._connection.makefile("rb") as stream:
            reader = SentenceReader(stream.read)
            strangers = 0
            try:
                for words in iter(reader.sentence, None):
                    strangers += self._policies is None
                    if strangers > _BEFORE_LOGIN or not self._answer(words):
                        return
                    reader.limited = self._policies is None
            except _Cut:
                self._reset()
            except (OSError, ProtocolError, ValueError):
                return  # the client went away, or sent what no reader can follow

    def _answer(self, words: list[str]) -> bool:
        """Answer one sentence; False when the connection ends with it."""
        fatal = ""
        try:
            command = parse(words)
        except Refused as refusal:
            self._log(words, None, f"trap: {refusal.message}")
            self._send([refusal.words(), ["!done"]], refusal.tag)
            return True
        if words[0] == "/login":
            reply = self._login(command)
        elif words[0] == "/quit":
            fatal = "session terminated on request"
        elif self._policies is None:
            fatal = "not logged in"
        elif words[0] == "/cancel":
            # No command of this double runs on after its answer, so there is never one left to cancel.
            reply = [["!done"]]
        else:
            self._send(self._command(words, command, self._policies), command.tag)
            return True
        self._log(words, None, "fatal" if fatal else _outcome(reply))
        self._send([["!fatal", fatal]] if fatal else reply, "" if fatal else command.tag)
        return not fatal

    def _login(self, command: Command) -> Reply:
        name = command.attributes.get("name", "")
        policies = self._device.policies(name, command.attributes.get("password", ""))
        if policies is None:
            return [Trap("invalid user name or password (6)").words(), ["!done"]]
        self._user, self._policies = name, policies
        return [["!done"]]

    def _command(self, words: list[str], command: Command, policies: frozenset[str]) -> Reply:
        number, cut = self._device.record.count() if command.verb in WRITES else (None, None)
        if cut == "before":
            self._log(words, number, "cut before")
            raise _Cut
        try:
            reply = self._device.run(command, policies)
        except Trap as refusal:
            reply = [refusal.words(), ["!done"]]
        self._log(words, number, "cut after" if cut else _outcome(reply))
        if cut:
            raise _Cut
        return reply

    def _log(self, words: list[str], write: int | None, outcome: str) -> None:
        self._device.record.note(self._number, self._user, words, write, outcome)

    def _send(self, reply: Reply, tag: str) -> None:
        tagged = [f".tag={tag}"] if tag else []
        self._connection.sendall(b"".join(encode_sentence([sentence[0], *tagged, *sentence[1:]]) for sentence in reply))

    def _reset(self) -> None:
        # Lingering for no time makes closing a reset, as a link that breaks is seen by a client.
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _outcome(reply: Reply) -> str:
    if reply[0][0] != "!trap":
        return "done"
    return "trap: " + next(word for word in reply[0] if word.startswith("=message=")).removeprefix("=message=")


def same(one: str, other: str) -> bool:
    """Compare passwords."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))
