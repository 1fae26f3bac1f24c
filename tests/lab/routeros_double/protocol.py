"""The binary API's framing: words and sentences as bytes (facts 1, documented by MikroTik)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

# Upper limit (exclusive) of a length, size of its field, marker bits of the first byte.
_FORMS = ((0x80, 1, 0x00), (0x4000, 2, 0x80), (0x200000, 3, 0xC0), (0x10000000, 4, 0xE0), (0x100000000, 5, 0xF0))

#: No real word is longer; a client that announces more is broken, and the double must not allocate for it.
LONGEST_WORD = 64 * 1024 * 1024


class ProtocolError(Exception):
    """The bytes cannot be a sentence; the reader cannot go on, the connection has to be closed."""


def encode_length(length: int) -> bytes:
    """The length field of a word of so many bytes, one to five bytes, big endian."""
    for limit, size, marker in _FORMS:
        if length < limit:
            return (length | marker << 8 * (size - 1)).to_bytes(size, "big")
    raise ProtocolError(f"a word of {length} bytes cannot be sent")


def encode_sentence(words: Iterable[str]) -> bytes:
    """Bytes of one sentence, with the zero-length word that ends it."""
    parts = []
    for word in words:
        # surrogateescape on both sides: whatever bytes a client stored come back verbatim.
        raw = word.encode("utf-8", "surrogateescape")
        parts += [encode_length(len(raw)), raw]
    return b"".join(parts) + b"\0"


class SentenceReader:
    """Reads sentences from `read(n)`, which returns n bytes, or fewer at the end of the stream.

    `limited` caps words and bytes of one sentence, as the device does before login.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.limited = True

    def sentence(self) -> list[str] | None:
        """The next sentence that has words; None at the end of the stream, ProtocolError on nonsense."""
        words: list[str] = []
        size = 0
        while True:
            length = self._length()
            if length is None:
                return None
            if length == 0:
                if words:
                    return words
                continue  # an empty sentence is ignored
            size += length
            if self.limited and (size > 16384 or len(words) >= 64):
                raise ProtocolError("too much before login")
            raw = self._read(length)
            if len(raw) < length:
                return None
            words.append(raw.decode("utf-8", "surrogateescape"))

    def _length(self) -> int | None:
        first = self._read(1)
        if not first:
            return None
        byte = first[0]
        if byte >= 0xF8:
            raise ProtocolError(f"reserved control byte {byte:#x}")
        more = 0 if byte < 0x80 else 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        rest = self._read(more) if more else b""
        if len(rest) < more:
            return None
        marker = (0x00, 0x80, 0xC0, 0xE0, 0xF0)[more]
        length = int.from_bytes(bytes([byte ^ marker if more < 4 else 0]) + rest, "big")
        if length > LONGEST_WORD:
            raise ProtocolError(f"a word of {length} bytes")
        return length
