"""One WireGuard interface that really carries packets: a wireguard-go process, told what to do over its socket.

The socket speaks WireGuard's cross-platform protocol (what `wg` speaks too), so a change costs well under a
millisecond, names only the peers it concerns, and no key ever stands in an argument list.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .rows import Live

_SOCKETS = Path("/var/run/wireguard")

Address = tuple[str, int]


class TunnelError(Exception):
    """WireGuard refused, or is not there. The text holds no key."""


@dataclass(frozen=True)
class PeerSettings:
    """What the data plane shall know of one peer. `preshared` is "" without one, `endpoint` None while unknown."""

    preshared: str
    endpoint: Address | None
    keepalive: int
    allowed: tuple[str, ...]


class Tunnel:
    """The interface `kernel`, from its creation to `close`."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel
        self.mtu = ""
        self.peers: dict[str, PeerSettings] = {}
        self._device: tuple[str, int] | None = None
        self._socket = _SOCKETS / f"{kernel}.sock"
        self._await_predecessor()
        # In the foreground, so that the process is ours; the interface lives as long as it does.
        self._process = subprocess.Popen(
            ["wireguard-go", "-f", kernel], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._await()

    def _await_predecessor(self) -> None:
        """Of a router that was killed: its process ends with its device, and takes the socket's name away late."""
        for _attempt in range(1000):
            if not self._answers():
                break
            time.sleep(0.002)
        self._socket.unlink(missing_ok=True)

    def _await(self) -> None:
        """The socket has its name before anybody listens on it."""
        for _attempt in range(2000):
            if self._answers():
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.002)
        self._process.kill()
        self._process.wait()
        raise TunnelError(f"wireguard-go made no interface {self.kernel}")

    def _answers(self) -> bool:
        try:
            self._talk("get=1\n\n")
        except TunnelError:
            return False
        return True

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def configure(self, private: str, port: int) -> None:
        """Set key and port, if they are not what they were: setting a key again would end every session."""
        if self._device == (private, port):
            return
        wanted = []
        if self._device is None or self._device[0] != private:
            wanted.append(f"private_key={_hex(private)}")
        if self._device is None or self._device[1] != port:
            wanted.append(f"listen_port={port}")
        self._set(wanted)
        self._device = (private, port)

    def set_peers(self, wanted: dict[str, PeerSettings]) -> None:
        """Bring the peers to `wanted` in one transaction that names only those that differ."""
        lines: list[str] = []
        for public in self.peers.keys() - wanted.keys():
            lines += [f"public_key={_hex(public)}", "remove=true"]
        for public, peer in wanted.items():
            old = self.peers.get(public)
            if old is not None and old.endpoint and not peer.endpoint:
                # There is no way to take an endpoint away; this peer starts again.
                lines += [f"public_key={_hex(public)}", "remove=true"]
                old = None
            if old != peer:
                lines += [f"public_key={_hex(public)}", *_difference(old, peer)]
        if lines:
            self._set(lines)
        self.peers = wanted

    def live(self) -> dict[str, Live]:
        """State of every peer by public key, as it is now."""
        found: dict[str, Live] = {}
        peer = Live()
        for line in self._talk("get=1\n\n").splitlines():
            name, _equals, value = line.partition("=")
            if name == "public_key":
                peer = found[base64.b64encode(bytes.fromhex(value)).decode()] = Live()
            elif name == "rx_bytes":
                peer.rx = int(value)
            elif name == "tx_bytes":
                peer.tx = int(value)
            elif name == "last_handshake_time_sec":
                peer.handshake = int(value)
            elif name == "endpoint":
                host, _colon, port = value.rpartition(":")
                peer.endpoint = (host.strip("[]"), int(port))
        return found

    def _set(self, lines: list[str]) -> None:
        answer = self._talk("set=1\n" + "".join(f"{line}\n" for line in lines) + "\n")
        error = int(answer.strip().removeprefix("errno="))
        if error:
            raise TunnelError(f"{self.kernel}: {os.strerror(abs(error))}")

    def _talk(self, request: str) -> str:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self._socket))
                connection.sendall(request.encode())
                answer = b""
                while not answer.endswith(b"\n\n"):
                    part = connection.recv(65536)
                    if not part:
                        break
                    answer += part
        except OSError as error:
            raise TunnelError(f"{self.kernel}: {error.strerror}") from None
        return answer.decode()


def _difference(old: PeerSettings | None, new: PeerSettings) -> list[str]:
    lines = []
    if old is None or old.preshared != new.preshared:
        lines.append(f"preshared_key={_hex(new.preshared) if new.preshared else '0' * 64}")
    # Only a changed endpoint: setting the same one again would undo roaming.
    if new.endpoint and (old is None or old.endpoint != new.endpoint):
        host, port = new.endpoint
        lines.append(f"endpoint=[{host}]:{port}" if ":" in host else f"endpoint={host}:{port}")
    if old is None or old.keepalive != new.keepalive:
        lines.append(f"persistent_keepalive_interval={new.keepalive}")
    before = set() if old is None else set(old.allowed)
    if before - set(new.allowed):
        lines.append("replace_allowed_ips=true")
        before = set()
    lines += [f"allowed_ip={prefix}" for prefix in new.allowed if prefix not in before]
    return lines


def _hex(key: str) -> str:
    return base64.b64decode(key).hex()


def resolve(host: str) -> str | None:
    """The address of a host name, IPv4 first; None while it does not resolve. An address is its own answer."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return None
    return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])
