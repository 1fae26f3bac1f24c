"""Framing, replies, login and the ways a connection ends (facts 1)."""

from __future__ import annotations

import io
import ssl
import time
from collections.abc import Callable
from typing import Any

import librouteros
import pytest
from hypothesis import given
from hypothesis import strategies as st
from librouteros.protocol import encode_length as librouteros_length
from routeros_double import RouterOS
from routeros_double.protocol import ProtocolError, SentenceReader, encode_length, encode_sentence

WORD = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)


def read_all(data: bytes) -> list[list[str]]:
    reader = SentenceReader(io.BytesIO(data).read)
    reader.limited = False
    return list(iter(reader.sentence, None))


@given(st.lists(st.lists(WORD, min_size=1)))
def test_what_is_encoded_is_read_back(sentences: list[list[str]]) -> None:
    assert read_all(b"".join(encode_sentence(words) for words in sentences)) == sentences


@given(st.binary(min_size=1, max_size=64))
def test_any_bytes_of_a_word_come_back_verbatim(data: bytes) -> None:
    framed = encode_length(len(data)) + data + b"\0"
    assert encode_sentence(read_all(framed)[0]) == framed


@pytest.mark.parametrize(
    ("length", "field"),
    [
        (0, "00"),
        (0x7F, "7f"),
        (0x80, "8080"),
        (0x3FFF, "bfff"),
        (0x4000, "c04000"),
        (0x1FFFFF, "dfffff"),
        (0x200000, "e0200000"),
        (0xFFFFFFF, "efffffff"),
        (0x10000000, "f010000000"),
        (0xFFFFFFFF, "f0ffffffff"),
    ],
)
def test_length_field(length: int, field: str) -> None:
    assert encode_length(length).hex() == field
    if length < 0x10000000:
        assert encode_length(length) == librouteros_length(length)


@pytest.mark.parametrize("size", [0x7F, 0x80, 0x3FFF, 0x4000, 0x1FFFFF, 0x200000])
def test_words_of_every_size_are_read(size: int) -> None:
    assert read_all(encode_sentence(["x" * size, "y"])) == [["x" * size, "y"]]


def test_five_byte_length_empty_sentences_and_half_a_sentence() -> None:
    assert read_all(b"\0\0" + bytes.fromhex("f000000001") + b"a\0" + b"\0" + b"\x05half") == [["a"]]


@pytest.mark.parametrize("byte", range(0xF8, 0x100))
def test_a_reserved_control_byte_ends_the_reading(byte: int) -> None:
    with pytest.raises(ProtocolError):
        read_all(bytes([byte]) + b"word\0")


def test_length_beyond_four_bytes_cannot_be_sent() -> None:
    with pytest.raises(ProtocolError):
        encode_length(0x100000000)


def test_a_reserved_control_byte_closes_the_connection(wire: Any) -> None:
    wire.raw(b"\xf8\0")
    assert wire.sentence() is None


def test_values_pass_verbatim(wire: Any, router: RouterOS) -> None:
    comment = "a=b=ü {fw-*} \\ \n"
    wire.ask("/ip/address/add", "=address=10.1.1.1/24", "=interface=ether2", f"=comment={comment}")
    assert wire.rows("/ip/address/print", f"?comment={comment}")[0]["comment"] == comment


def test_tag_comes_back_in_every_sentence(wire: Any) -> None:
    reply = wire.ask("/interface/print", ".tag=t 1", "=.proplist=name")
    assert len(reply) == 8
    assert all(sentence[1] == ".tag=t 1" for sentence in reply)
    assert wire.ask("/nothing/print", ".tag=2") == [
        ["!trap", ".tag=2", "=category=0", "=message=no such command prefix"],
        ["!done", ".tag=2"],
    ]


@pytest.mark.parametrize("tag", [[], [".tag="]])
def test_without_a_tag_there_is_none(wire: Any, tag: list[str]) -> None:
    assert wire.ask("/ip/route/print", *tag, "?comment=none")[-1] == ["!done"]


@pytest.mark.parametrize(
    ("version", "empty"), [("7.12.2", []), ("7.17", []), ("7.18", [["!empty"]]), ("7.24", [["!empty"]])]
)
def test_an_empty_print_says_so_from_7_18(open_wire: Any, version: str, empty: list[list[str]]) -> None:
    with RouterOS(version) as router:
        assert open_wire(router).ask("/interface/wireguard/print") == [*empty, ["!done"]]


@pytest.mark.parametrize("password", ["", "wrong"])
def test_wrong_password_is_refused_and_may_be_tried_again(router: RouterOS, open_wire: Any, password: str) -> None:
    wire = open_wire(router, login=False)
    refused = [["!trap", "=message=invalid user name or password (6)"], ["!done"]]
    assert wire.ask("/login", f"=name={router.user}", f"=password={password}") == refused
    assert wire.ask("/login", "=name=nobody", f"=password={router.password}") == refused
    assert wire.ask("/login", f"=name={router.user}", f"=password={router.password}") == [["!done"]]


def test_librouteros_sees_the_wrong_password(router: RouterOS) -> None:
    with pytest.raises(librouteros.exceptions.TrapError, match="invalid user name or password"):
        librouteros.connect(router.host, router.user, "wrong", port=router.port)


def test_a_command_before_login_is_fatal(router: RouterOS, open_wire: Any) -> None:
    wire = open_wire(router, login=False)
    assert wire.ask("/interface/print") == [["!fatal", "not logged in"]]
    assert wire.sentence() is None


@pytest.mark.parametrize(
    "flood",
    [encode_sentence(["/login"]) * 17, encode_sentence(["/login", *["=a=b"] * 64]), encode_sentence(["x" * 16385])],
)
def test_a_stranger_may_not_flood(router: RouterOS, open_wire: Any, flood: bytes) -> None:
    wire = open_wire(router, login=False)
    wire.raw(flood)
    while wire.sentence() is not None:
        pass


def test_quit(wire: Any) -> None:
    wire.send("/quit")
    assert wire.reply()[0][0] == "!fatal"
    assert wire.sentence() is None


def test_cancel_is_answered(wire: Any) -> None:
    assert wire.ask("/cancel", "=tag=7", ".tag=8") == [["!done", ".tag=8"]]


def test_trap_has_only_message_and_category_and_done_follows(wire: Any) -> None:
    assert wire.ask("/ip/address/add", "=address=10.1.1.1/24", "=interface=none") == [
        ["!trap", "=category=1", "=message=input does not match any value of interface"],
        ["!done"],
    ]


def test_a_word_that_is_no_attribute_is_refused(wire: Any) -> None:
    assert wire.ask("/interface/print", "where", ".tag=1")[0] == ["!trap", ".tag=1", "=message=unknown parameter where"]


def test_connections_work_side_by_side(router: RouterOS, open_api: Callable[..., Any]) -> None:
    calls = [open_api(router) for number in range(5)]
    for number, call in enumerate(calls):
        call("/interface/wireguard/add", name=f"wg{number}")
    assert all(len(call("/interface/wireguard/print")) == 5 for call in calls)
    assert {sentence.session for sentence in router.sentences} == {1, 2, 3, 4, 5}


def through(context: ssl.SSLContext, router: RouterOS, name: str = "127.0.0.1") -> list[dict[str, Any]]:
    api = librouteros.connect(
        router.host,
        router.user,
        router.password,
        port=router.tls_port,
        ssl_wrapper=lambda plain: context.wrap_socket(plain, server_hostname=name),
    )
    return list(api("/system/identity/print"))


def test_tls_with_a_certificate(router: RouterOS) -> None:
    assert through(ssl.create_default_context(cafile=str(router.certificate_path)), router) == [{"name": "mikrotik-gw"}]
    with pytest.raises(ssl.SSLCertVerificationError):
        through(ssl.create_default_context(), router)
    with pytest.raises(ssl.SSLCertVerificationError):
        through(ssl.create_default_context(cafile=str(router.certificate_path)), router, "other.example")


def test_tls_without_a_certificate_is_anonymous() -> None:
    with RouterOS(certificate=False) as router:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            through(ssl.create_default_context(), router)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ADH:@SECLEVEL=0")
        assert through(context, router) == [{"name": "mikrotik-gw"}]


def test_a_router_is_there_at_once_and_gone_at_once() -> None:
    began = time.monotonic()
    with RouterOS() as router:
        pass
    assert time.monotonic() - began < 5  # a stuck thread or a blocked accept, not slowness, is what this would show
    with pytest.raises(OSError, match="refused"):
        librouteros.connect(router.host, router.user, router.password, port=router.port)
