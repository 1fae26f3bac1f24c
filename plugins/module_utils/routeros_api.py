# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to RouterOS's binary API: sentences out, rows of plain text in, every failure one DeviceError.

librouteros brings the framing. Its casts are not used: they are lossy (a comment `yes` would arrive as True), and its
reading of a trap raises TypeError on an attribute it does not know.
"""

from __future__ import annotations

import re
import socket
import ssl
import traceback
from typing import Any, Mapping, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.converge import DeviceError, NotAllowedError
from ansible_collections.homelab.fabric.plugins.module_utils.routeros_rows import Row, Sentence
from ansible_collections.homelab.fabric.plugins.module_utils.values import REDACTED

LIBRARY_PROBLEM: str | None = None
try:
    import librouteros
    from librouteros.exceptions import ConnectionClosed, LibRouterosError
except ImportError:
    LIBRARY_PROBLEM = traceback.format_exc()

OLDEST = (7, 12)
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}

CONNECTION_ARGUMENTS: dict[str, Any] = {
    "hostname": {"type": "str", "required": True},
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "port": {"type": "int"},
    "tls": {"type": "bool", "default": False, "aliases": ["ssl"]},
    "force_no_cert": {"type": "bool", "default": False},
    "validate_certs": {"type": "bool", "default": True},
    "validate_cert_hostname": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "encoding": {"type": "str", "default": "utf-8"},
    "timeout": {"type": "int", "default": 10},
}


class Trap(Exception):
    """The router refused one sentence; the message is its own."""


class _OtherService(Exception):
    """What answered is no RouterOS API; holds its first bytes."""


class _Greeted:
    """A socket that sees from the first two bytes of the first reply whether RouterOS's API answers.

    Another service's greeting would be taken for the length of a word, and waited for. A reply begins with a word such
    as `!done`, its length in one byte.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._seen = b""
        self.sendall = sock.sendall
        self.close = sock.close
        self.local_address = str(sock.getsockname()[0]).partition("%")[0]

    def recv(self, size: int) -> bytes:
        data = self._sock.recv(size)
        if len(self._seen) < 2:
            self._seen += data
            if self._seen[:1] > b"\x7f" or self._seen[1:2] not in (b"", b"!"):
                raise _OtherService(self._seen)
        return data


class Router:
    """A connection that logs in at its first use. `writes` counts the sentences that `run` sent."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._api: Any = None
        self._socket: _Greeted | None = None
        self.writes = 0

    @property
    def where(self) -> str:
        """host:port, as messages name it."""
        return f"{self._params['hostname']}:{self._port}"

    @property
    def _port(self) -> int:
        return self._params.get("port") or (8729 if self._params["tls"] else 8728)

    @property
    def local_address(self) -> str:
        """The address from which this connection is made."""
        return self._socket.local_address if self._socket else ""

    def connect(self) -> None:
        """Connect, log in and check the version. Raises DeviceError."""
        try:
            self._api = librouteros.connect(
                host=self._params["hostname"],
                port=self._port,
                timeout=self._params["timeout"],
                encoding=self._params["encoding"],
                ssl_wrapper=self._wrap,
                username="",
                password="",
                login_method=lambda *_credentials: None,  # done below, where its refusal is ours to word
            )
            self._talk("/login", f"=name={self._params['username']}", f"=password={self._params['password']}")
        except Trap as trap:
            raise DeviceError(
                f"username, password: {self.where} refuses the login ({trap}): check both, and that the user's group"
                " has the policies api, read and write"
            ) from None
        except (LibRouterosError, _OtherService, OSError, ValueError, LookupError) as error:
            raise DeviceError(_refusal(error, self._params, self.where)) from None
        self._check_version()

    def close(self) -> None:
        if self._api is not None:
            self._api.close()
            self._api = None

    def rows(self, menu: str, properties: Sequence[str] = (), *any_of: tuple[str, str]) -> list[Row]:
        """The rows of a menu, those that have one of the properties `any_of` if given, every value as text.

        `properties` are the only ones asked for (`.id` comes anyway); () is all that are set.
        """
        words = [f"{menu}/print"]
        if properties:
            words.append("=.proplist=" + ",".join([".id", *properties]))
        words += [f"?{name}={value}" for name, value in any_of]
        if len(any_of) > 1:
            words.append("?#" + "|" * (len(any_of) - 1))
        return self._ask(f"{menu}/print", words, ())

    def run(self, sentence: Sentence) -> None:
        """Execute one change. Raises DeviceError."""
        self.writes += 1
        self._ask(str(sentence), sentence.words(), sentence.secrets())

    def ping(self, address: str, source: str = "", seconds: float = 1) -> tuple[float | None, str]:
        """Send one packet: its round trip in milliseconds, or None and what the router says. Raises DeviceError.

        `seconds`, 0.01 to 5: an answer that has not come then is lost.
        """
        words = ["/ping", f"=address={address}", "=count=1", f"=interval={round(seconds * 1000)}ms"]
        words += [f"=src-address={source}"] if source else []
        try:
            row = next(iter(self._ask("/ping", words, ())), {})
        except DeviceError as error:
            if "not enough permissions" not in str(error):
                raise
            raise NotAllowedError(
                f"username: {self.where} does not let this user ping: give the user's group the policy test"
            ) from None
        if row.get("received", "0") == "0":
            return None, row.get("status") or "no answer"
        parts = re.findall(r"(\d+)(us|ms|s)", row.get("time", ""))
        return sum(int(number) * _MILLISECONDS[unit] for number, unit in parts), ""

    def _ask(self, text: str, words: Sequence[str], secrets: Sequence[str]) -> list[Row]:
        try:
            return self._talk(*words)
        except Trap as trap:
            message = str(trap)
            for secret in secrets:
                message = message.replace(secret, REDACTED)
            raise DeviceError(_trapped(self.where, text, message)) from None
        except UnicodeEncodeError as error:
            raise DeviceError(
                f"encoding: {error.object[error.start]!r} cannot be written in {error.encoding}: leave it at utf-8"
            ) from None
        except (LibRouterosError, OSError, ValueError, LookupError) as error:
            raise self._lost(text, error) from None

    def _lost(self, text: str, error: Exception) -> DeviceError:
        # librouteros trips over a !fatal without a reason.
        reason = "the router ended the session without a reason" if isinstance(error, IndexError) else str(error)
        return DeviceError(
            f"hostname: the connection to {self.where} was lost at `{text}` ({reason}): run the task again, it goes"
            " on where this run stopped"
        )

    def _talk(self, *words: str) -> list[Row]:
        protocol = self._api.protocol
        protocol.writeSentence(*words)
        rows: list[Row] = []
        traps: list[str] = []
        while True:
            reply, reply_words = protocol.readSentence()
            # A value may hold more of `=`; a word without them is none of ours (.tag).
            attributes = dict(word[1:].split("=", 1) for word in reply_words if re.match(r"=[^=]+=", word))
            if reply == "!re":
                rows.append(attributes)
            elif reply == "!trap":
                traps.append(attributes.get("message", "no reason given").replace("\r\n", " ").strip())
            elif reply == "!done":
                if traps:
                    raise Trap(", ".join(traps))
                return rows

    def _wrap(self, sock: socket.socket, **_ignored: object) -> _Greeted:
        if self._params["tls"]:
            sock = self._wrap_tls(sock)
        greeted = self._socket = _Greeted(sock)
        return greeted

    def _wrap_tls(self, sock: socket.socket) -> socket.socket:
        try:
            return _tls_context(self._params).wrap_socket(sock, server_hostname=self._params["hostname"])
        except ssl.SSLError:
            raise
        except OSError as error:  # silence, or the end
            raise DeviceError(_no_tls(self.where, str(error))) from None

    def _check_version(self) -> None:
        text = next(iter(self.rows("/system/resource", ["version"])), {}).get("version", "")
        match = re.match(r"(\d+)\.(\d+)", text)
        if not match or (int(match.group(1)), int(match.group(2))) < OLDEST:
            raise DeviceError(
                f"hostname: {self.where} runs RouterOS {text or '(version unknown)'}, and this module needs"
                f" {OLDEST[0]}.{OLDEST[1]} or later: upgrade the router"
            )


def _tls_context(params: Mapping[str, Any]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=params["ca_path"])
    except (OSError, ssl.SSLError) as error:
        raise DeviceError(
            f"ca_path: {params['ca_path']!r} cannot be used ({error.strerror or error}): give a readable file of"
            " certificates in PEM"
        ) from None
    context.check_hostname = bool(params["validate_certs"] and params["validate_cert_hostname"])
    if params["force_no_cert"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # Without a certificate RouterOS offers anonymous Diffie-Hellman alone, which TLS 1.3 has not and OpenSSL hides.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ADH:@SECLEVEL=0")
    elif not params["validate_certs"]:
        context.verify_mode = ssl.CERT_NONE
    return context


def _refusal(error: Exception, params: Mapping[str, Any], where: str) -> str:
    """Why there is no connection: the argument, the problem, the remedy."""
    service = "api-ssl" if params["tls"] else "api"
    if isinstance(error, _OtherService):
        return _other_service(error.args[0], where, service)
    if isinstance(error, ssl.SSLError):
        return _tls_refusal(error, params, where)
    if isinstance(error, socket.gaierror):
        return f"hostname: {params['hostname']!r} is not found ({error.strerror}): give a name or address of the router"
    if isinstance(error, UnicodeError):
        return f"encoding: the user's name or password cannot be written in {params['encoding']}: leave it at utf-8"
    if isinstance(error, LookupError) and not isinstance(error, IndexError):
        return f"encoding: Python knows no {params['encoding']!r}: leave it at utf-8"
    if isinstance(error, socket.timeout):
        return (
            f"hostname: {where} does not answer as RouterOS's API within {params['timeout']} s: check that the router"
            f" is up, that this is the port of its /ip/service {service}, and its firewall"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"port: nothing listens on {where}: enable /ip/service {service} on the router, or give its port"
    if isinstance(error, (ConnectionClosed, ConnectionError, IndexError)):
        return (
            f"port: {where} closed the connection before the login: check that this is the port of /ip/service"
            f" {service}, as tls={str(params['tls']).lower()} needs it, and that the service allows this address"
        )
    reason = getattr(error, "strerror", None) or str(error)
    return f"hostname: {where} cannot be reached ({reason}): check hostname, port and the way there"


def _other_service(first_bytes: bytes, where: str, service: str) -> str:
    if first_bytes.startswith((b"\x15\x03", b"\x16\x03")):
        return f"tls: {where} speaks TLS: set tls to true, or give the port of /ip/service api"
    shown = first_bytes.decode("ascii", "replace").split("\n")[0].strip()[:40]
    return f"port: {where} is another service (it says {shown!r}): give the port of the router's /ip/service {service}"


def _tls_refusal(error: ssl.SSLError, params: Mapping[str, Any], where: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH
        if error.verify_code in (62, 64):
            return (
                f"hostname: the certificate of {where} is for another name ({error.verify_message}): use a name that"
                " is in the certificate, or set validate_cert_hostname to false"
            )
        return (
            f"ca_path: the certificate of {where} is not trusted ({error.verify_message}): give the certificate of the"
            " authority that signed it"
        )
    reason = error.reason or str(error)
    if "HANDSHAKE_FAILURE" in reason or "NO_SHARED_CIPHER" in reason:
        remedy = (
            "it has a certificate, so set force_no_cert to false"
            if params["force_no_cert"]
            else "give /ip/service api-ssl a certificate; without one only force_no_cert=true connects, unprotected"
        )
        return f"tls: {where} refuses the TLS handshake ({reason}): {remedy}"
    return _no_tls(where, reason)


def _no_tls(where: str, reason: str) -> str:
    return f"tls: {where} does not speak TLS ({reason}): give the port of /ip/service api-ssl, or set tls to false"


def _trapped(where: str, text: str, message: str) -> str:
    if "not enough permissions" in message:
        return (
            f"username: {where} does not allow this user `{text}` ({message}): give the user's group the policies api,"
            " read and write"
        )
    return (
        f"{where} refuses `{text}` ({message}): correct the argument that this is about; if it is right, look whether"
        " somebody else is changing the router"
    )
