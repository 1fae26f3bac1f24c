"""The router: its configuration, its users, its two API ports. `with RouterOS(version="7.22.3") as router: …`."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from . import factory as factories
from . import tls
from .engine import Engine, Reply
from .menus import Menu, menus
from .record import Place, Record, Sentence
from .rows import Live, Shown, View, rows
from .session import Session, same
from .tree import Tree
from .versions import version as parsed_version
from .words import Command


class Plane:
    """Where packets flow. This one is none: the in-process router forwards nothing and knows what tests tell it."""

    def __init__(self) -> None:
        self.told: dict[str, dict[str, Live]] = {}
        self.answering: dict[str, float] = {}

    def start(self, tree: Tree, lock: threading.RLock) -> None:
        """Bring everything up. `lock` is held whenever the tree changes, and during this call."""

    def apply(self, tree: Tree, path: str) -> None:
        """A row of the menu `path` has changed."""

    def live(self, interface_id: str) -> Mapping[str, Live]:
        """Live state of an interface's peers by public key."""
        return self.told.get(interface_id, {})

    def ping(self, address: str, source: str, seconds: float) -> float | None:
        """The milliseconds of a packet's round trip, None if it is not there after `seconds`. `source` is empty where
        any will do."""
        taken = self.answering.get(address)
        return taken if taken is not None and taken <= seconds * 1000 else None

    def stop(self) -> None:
        """Take everything down: the power is off."""


class RouterOS:
    """A RouterOS 7 device for tests.

    In process it listens on 127.0.0.1, on random ports, and has the configuration `factory` (menu → rows), whose
    menus replace those of `factory.DEFAULT`. `certificate` is a pair of files, True for a self-signed one
    (`certificate_path` is then the file to trust), False for a router without one. `directory` keeps the state.
    """

    def __init__(
        self,
        version: str = "7.22.3",
        factory: factories.Factory | None = None,
        *,
        certificate: bool | tuple[Path, Path] = True,
        directory: Path | None = None,
        host: str = "127.0.0.1",
        ports: tuple[int, int] = (0, 0),
        plane: Plane | None = None,
    ) -> None:
        self.version = version
        self.host = host
        self.user, self.password = factories.USER, factories.PASSWORD
        self.record = Record(directory)
        self.plane = plane or Plane()
        self.certificate_path: Path | None = None
        self._running = parsed_version(version)
        self._menus = menus(self._running)
        self._tree = Tree(directory / "state.json" if directory else None)
        self._engine = Engine(self._tree, self._running, self._menus, self._view, self._committed, self.plane.ping)
        self._lock = threading.RLock()
        self._started = time.monotonic()
        self._on = False
        if not self._tree.load():
            factories.apply(factory or {}, self._tree, self._engine)
            self._tree.save()
        self._on = True
        self._context = self._tls(certificate)
        self._listeners = [_listen(host, port) for port in ports]
        self.port, self.tls_port = (listener.getsockname()[1] for listener in self._listeners)
        self._sessions: set[socket.socket] = set()
        self._numbers = 0

    # Life

    def start(self) -> RouterOS:
        with self._lock:
            self.plane.start(self._tree, self._lock)
        for listener, context in zip(self._listeners, (None, self._context), strict=True):
            threading.Thread(target=self._accept, args=(listener, context), daemon=True).start()
        return self

    def stop(self) -> None:
        """Switch off: connections break, packets no longer flow, the state file stays."""
        for end in [*self._listeners, *self._sessions]:
            _shut(end)
        with self._lock:
            self._on = False  # a command that is still under way must not bring anything up again
            self.plane.stop()
            self.record.close()

    def __enter__(self) -> RouterOS:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # For tests

    @property
    def sentences(self) -> list[Sentence]:
        """Every command that arrived, secrets redacted."""
        return self.record.sentences

    @property
    def writes(self) -> int:
        """How many write sentences arrived, refused ones too."""
        return self.record.writes

    def cut(self, place: Place, write: int = 1) -> None:
        """Break the connection before or after a write, counted from now (1 = the next one), once."""
        self.record.cut(place, write)

    def rows(self, path: str) -> list[Shown]:
        """The rows of a menu as a user with all rights sees them, `.id` included. Not in the log."""
        with self._lock:
            return list(rows(self._view(self._menus[path])))

    def add(self, path: str, **arguments: str) -> str:
        """Add a row as another person would (`_` in names stands for `-`); the id. Not counted as a write."""
        with self._lock:
            return self._engine.insert(path, {name.replace("_", "-"): text for name, text in arguments.items()})

    def handshake(self, interface: str, public_key: str, live: Live) -> None:
        """Let a peer of the in-process router appear alive."""
        found = self._tree.find_name("/interface", interface)
        assert found is not None, f"no interface {interface}"
        self.plane.told.setdefault(found, {})[public_key] = live

    def delegate(self, prefix: str) -> None:
        """Let the provider delegate a prefix to every DHCPv6 client, as `2001:db8:a::/56`; again to change it."""
        from .delegation import delegate

        with self._lock:
            delegate(self._tree, prefix)
            self._committed("/ipv6/address")

    # For sessions

    def policies(self, name: str, password: str) -> frozenset[str] | None:
        with self._lock:
            user = next((row for row in self._tree.table("/user") if row.values["name"] == name), None)
            if user is None or not same(user.values.get("password", ""), password):
                return None
            group = self._tree.table("/user/group").get(user.values["group"])
            granted = frozenset(group.values.get("policy", "").split(",")) if group else frozenset()
            return granted if "api" in granted and user.values.get("disabled") != "true" else None

    def run(self, command: Command, policies: frozenset[str]) -> Reply:
        with self._lock:
            return self._engine.run(command, policies)

    # Inside

    def _view(self, menu: Menu) -> View:
        return View(self._tree, menu, self._running, self.plane.live, self._resource)

    def _resource(self) -> Shown:
        return {
            "uptime": f"{int(time.monotonic() - self._started)}s",
            "version": f"{self.version} (stable)",
            "architecture-name": "arm64",
            "board-name": "double",
            "platform": "MikroTik",
        }

    def _committed(self, path: str) -> None:
        if self._on:
            self._tree.save()
            self.plane.apply(self._tree, path)

    def _tls(self, certificate: bool | tuple[Path, Path]) -> ssl.SSLContext:
        if certificate is True:
            self._directory = tempfile.TemporaryDirectory(prefix="routeros-double-")
            certificate = tls.self_signed(Path(self._directory.name))
        if certificate is False:
            return tls.server_context(None)
        self.certificate_path = certificate[0]
        return tls.server_context(certificate)

    def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                connection, _client = listener.accept()
            except OSError:
                return  # switched off
            self._numbers += 1
            threading.Thread(target=self._serve, args=(self._numbers, connection, context), daemon=True).start()

    def _serve(self, number: int, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            try:
                connection = context.wrap_socket(connection, server_side=True)
            except (OSError, ssl.SSLError):
                connection.close()
                return
        self._sessions.add(connection)
        try:
            Session(number, connection, self).serve()
        finally:
            self._sessions.discard(connection)


def _listen(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), reuse_port=False)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # not connected any more
        end.shutdown(socket.SHUT_RDWR)
    end.close()
