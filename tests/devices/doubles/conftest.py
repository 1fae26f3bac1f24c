"""Clients of the RouterOS double: librouteros as users have it, and a bare socket for what librouteros hides."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import librouteros
import pytest
from routeros_double import RouterOS

Call = Callable[..., list[dict[str, Any]]]


class Wire:
    """A client on a bare socket, with framing of its own: words out, sentences in, as strings."""

    def __init__(self, router: RouterOS, login: bool = True) -> None:
        self.socket = socket.create_connection((router.host, router.port), timeout=5)
        self._stream = self.socket.makefile("rb")
        if login:
            self.send("/login", f"=name={router.user}", f"=password={router.password}")
            assert self.reply() == [["!done"]]

    def send(self, *words: str) -> None:
        self.raw(b"".join(_length(len(word.encode())) + word.encode() for word in words) + b"\0")

    def raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def sentence(self) -> list[str] | None:
        """The next sentence, None at the end of the connection."""
        words: list[str] = []
        while True:
            try:
                first = self._stream.read(1)
            except ConnectionResetError:
                return None
            if not first:
                return None
            byte = first[0]
            more = 0 if byte < 0x80 else 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3
            length = int.from_bytes(first + self._stream.read(more), "big") & (1 << 7 * (more + 1)) - 1
            if not length:
                return words
            words.append(self._stream.read(length).decode())

    def reply(self) -> list[list[str]]:
        """Sentences up to `!done` or `!fatal`."""
        found: list[list[str]] = []
        while not found or found[-1][0] not in ("!done", "!fatal"):
            sentence = self.sentence()
            assert sentence is not None, f"the connection ended after {found}"
            found.append(sentence)
        return found

    def ask(self, *words: str) -> list[list[str]]:
        self.send(*words)
        return self.reply()

    def rows(self, *words: str) -> list[dict[str, str]]:
        """The rows of a print."""
        rows = [sentence[1:] for sentence in self.ask(*words) if sentence[0] == "!re"]
        return [{word[1:].partition("=")[0]: word[1:].partition("=")[2] for word in row} for row in rows]

    def close(self) -> None:
        self._stream.close()
        self.socket.close()


def _length(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    return (length | 0x8000).to_bytes(2, "big") if length < 0x4000 else (length | 0xC00000).to_bytes(3, "big")


def connect(router: RouterOS, name: str = "", password: str = "") -> Call:
    """A logged in librouteros: `call("/ip/address/add", address=…)`; `_` in names stands for `-`."""
    api = librouteros.connect(
        router.host, name or router.user, password or router.password, port=router.port, encoding="utf-8", timeout=5
    )

    def call(command: str, more: dict[str, Any] | None = None, **arguments: Any) -> list[dict[str, Any]]:
        return list(
            api(command, **{name.replace("_", "-"): value for name, value in arguments.items()}, **(more or {}))
        )

    return call


@pytest.fixture
def router() -> Iterator[RouterOS]:
    with RouterOS() as running:
        yield running


@pytest.fixture
def call(router: RouterOS) -> Call:
    return connect(router)


@pytest.fixture
def wire(router: RouterOS) -> Iterator[Wire]:
    client = Wire(router)
    yield client
    client.close()


@pytest.fixture(scope="session")
def open_wire() -> type[Wire]:
    """For tests that start their own routers."""
    return Wire


@pytest.fixture
def open_api() -> Callable[..., Call]:
    return connect
