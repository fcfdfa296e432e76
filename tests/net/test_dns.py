"""DNS messages, against answers written out from RFC 1035."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2ds.net.dns import BadMessage, RecordType, decode_answer, encode_query, mix_case

QUERY = encode_query(0x1234, "www.a.example", RecordType.A)


def answer(*records: bytes, flags: int = 0x8180, message_id: int = 0x1234) -> bytes:
    header = struct.pack("!HHHHHH", message_id, flags, 1, len(records), 0, 0)
    return header + QUERY[12:] + b"".join(records)


def record(kind: int, data: bytes, ttl: int = 300) -> bytes:
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


ADDRESS = record(1, bytes((93, 184, 216, 34)))


def test_a_question_on_the_wire() -> None:
    assert QUERY == (
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
        b"\x03www\x01a\x07example\x00\x00\x01\x00\x01"
    )
    assert encode_query(0x1234, "www.a.example.", RecordType.A) == QUERY


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64 + ".example", "a." * 130 + "b"])
def test_names_that_cannot_be_asked_for(name: str) -> None:
    with pytest.raises(BadMessage):
        encode_query(1, name, RecordType.A)


def test_an_answer() -> None:
    found = decode_answer(answer(ADDRESS, record(1, bytes((1, 2, 3, 4)), ttl=60)), QUERY)
    assert found.addresses == ("93.184.216.34", "1.2.3.4")
    assert found.ttl == 60
    assert not found.truncated


def test_a_chain_of_aliases() -> None:
    alias = record(5, b"\x03cdn\x07example\x00", ttl=20)
    found = decode_answer(answer(alias, ADDRESS), QUERY)
    assert found.addresses == ("93.184.216.34",)
    assert found.ttl == 20


def test_no_such_name() -> None:
    found = decode_answer(answer(flags=0x8183), QUERY)
    assert (found.code, found.addresses) == (3, ())


def test_truncated() -> None:
    assert decode_answer(answer(flags=0x8380), QUERY).truncated


@pytest.mark.parametrize(
    "message",
    [
        b"",
        answer(ADDRESS)[:-1],
        answer(ADDRESS, message_id=1),
        answer(ADDRESS, flags=0x0100),
        answer(ADDRESS).replace(b"www", b"xxx"),
    ],
)
def test_not_an_answer_to_this(message: bytes) -> None:
    with pytest.raises(BadMessage):
        decode_answer(message, QUERY)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(tail: bytes) -> None:
    for message in (
        tail,
        answer() + tail,
        struct.pack("!HHHHHH", 0x1234, 0x8180, 1, 9, 0, 0) + QUERY[12:] + tail,
    ):
        try:
            decode_answer(message, QUERY)
        except BadMessage:
            continue


def test_the_case_of_letters_alone_is_mixed() -> None:
    name = "www.a-9.example"
    assert mix_case(name, 0) == name
    assert mix_case(name, (1 << 8 * len(name)) - 1) == name.upper()
    assert mix_case(name, 0x20) == "www.a-9.examplE"


def test_edns() -> None:
    query = encode_query(0x1234, "www.a.example", RecordType.A, edns=True)
    assert query[:10] == QUERY[:10]
    assert query[10:12] == b"\x00\x01"
    assert query[12:] == QUERY[12:] + b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
    assert decode_answer(answer(ADDRESS), query).addresses == ("93.184.216.34",)


@pytest.mark.parametrize(("ttl", "minimum", "kept"), [(900, 60, 60), (30, 60, 30)])
def test_how_long_there_is_none(ttl: int, minimum: int, kept: int) -> None:
    data = b"\x00\x00" + struct.pack("!IIIII", 1, 2, 3, 4, minimum)
    header = struct.pack("!HHHHHH", 0x1234, 0x8183, 1, 0, 1, 0)
    found = decode_answer(header + QUERY[12:] + record(6, data, ttl), QUERY)
    assert (found.code, found.addresses, found.ttl) == (3, (), kept)


def test_a_name_in_another_case_is_told() -> None:
    assert decode_answer(answer(ADDRESS), QUERY).exact
    assert not decode_answer(answer(ADDRESS).replace(b"www", b"wWw"), QUERY).exact
