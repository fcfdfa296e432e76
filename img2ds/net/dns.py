"""DNS messages as bytes: one question out, addresses back. Pure (RFC 1035, 3596, 2308, 6891)."""

from __future__ import annotations

import socket
import struct
from enum import IntEnum
from typing import NamedTuple


class RecordType(IntEnum):
    A = 1
    AAAA = 28


class ResponseCode(IntEnum):
    """The codes that the resolver distinguishes (RFC 1035 4.1.1)."""

    NO_ERROR = 0
    FORMAT_ERROR = 1
    SERVER_FAILURE = 2
    NAME_ERROR = 3
    NOT_IMPLEMENTED = 4


class BadMessage(ValueError):
    """Not an answer to the question that was asked, or a name that cannot be asked for."""


class Answer(NamedTuple):
    """A server's answer.

    Attributes:
        code: as in the header.
        truncated: there is more than fits in the message.
        addresses: as text.
        ttl: seconds that the answer may be kept; of an answer without records those of the zone's
            SOA (RFC 2308 5), 0 without one.
        exact: whether the name came back in the case in which it was asked for.
    """

    code: int
    truncated: bool
    addresses: tuple[str, ...]
    ttl: int
    exact: bool = True


#: Largest UDP answer that passes nearly everywhere without fragments (DNS flag day 2020).
EDNS_SIZE = 1232

_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_RECURSION_DESIRED = 0x0100
_RESPONSE = 0x8000
_TRUNCATED = 0x0200
_INTERNET = 1
_SOA, _OPT = 6, 41
#: For each byte the bit that is its case, if it is a letter.
_CASE_BITS = bytes(0x20 if chr(byte).isalpha() and byte < 128 else 0 for byte in range(256))
#: An OPT record: root name, type, size, no extended code or flags, no options.
_EDNS = b"\0" + struct.pack("!HHIH", _OPT, EDNS_SIZE, 0, 0)


def encode_query(
    message_id: int, name: str, record_type: RecordType, *, edns: bool = False
) -> bytes:
    """Return a recursive question as bytes. `name` is ASCII.

    Raises:
        BadMessage: a label is empty or longer than 63 bytes, or the name than 253.
    """
    labels = name.rstrip(".").encode("ascii").split(b".")
    if len(name) > 254 or not all(0 < len(label) < 64 for label in labels):
        raise BadMessage("name cannot be asked for")
    question = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    header = _HEADER.pack(message_id, _RECURSION_DESIRED, 1, 0, 0, 1 if edns else 0)
    query = header + question + struct.pack("!HH", record_type, _INTERNET)
    return query + _EDNS if edns else query


def mix_case(name: str, bits: int) -> str:
    """Return `name` with the case of its letters changed where `bits` says.

    Args:
        bits: random, eight for each character.

    Servers send the name back as it was asked for, so that who forges an answer has to guess these
    bits too (draft-vixie-dnsext-dns0x20).
    """
    raw = name.encode("ascii", "replace")
    letters = int.from_bytes(raw.translate(_CASE_BITS), "big")
    return (int.from_bytes(raw, "big") ^ bits & letters).to_bytes(len(raw), "big").decode()


def decode_answer(message: bytes, query: bytes) -> Answer:
    """Return the answer to `query`.

    All addresses of the answer section count: a recursive server sends the whole chain of
    aliases, so whatever owns an address there is an alias of what was asked.

    Raises:
        BadMessage: malformed, or an answer to something else.
    """
    try:
        message_id, flags, questions, answers, authorities, _ = _HEADER.unpack_from(message)
        if message_id != struct.unpack_from("!H", query)[0] or not flags & _RESPONSE:
            raise BadMessage("another message's answer")
        code = flags & 0xF
        end = _after_name(query, 12) + 4
        wanted = struct.unpack_from("!H", query, end - 4)[0]
        exact = True
        if questions == 1:
            exact = message[12:end] == query[12:end]
            if not exact and message[12:end].lower() != query[12:end].lower():
                raise BadMessage("another question's answer")
        elif questions == 0 and code != ResponseCode.NO_ERROR:
            end = 12  # servers may leave the question out of an error
        else:
            raise BadMessage("not one question")
        addresses, ttl, end = _addresses(message, end, answers, wanted)
        if not addresses:
            ttl = _negative_ttl(message, end, authorities)
    except (struct.error, IndexError):
        raise BadMessage("cut short") from None
    return Answer(code, bool(flags & _TRUNCATED), addresses, ttl, exact)


def _addresses(
    message: bytes, at: int, count: int, wanted: int
) -> tuple[tuple[str, ...], int, int]:
    """Return the addresses of the answer section, their TTL, and where the section ends."""
    found: list[str] = []
    ttl = 2**31 - 1
    for _ in range(count):
        at = _after_name(message, at)
        kind, _, record_ttl, length = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        data = message[at : at + length]
        at += length
        if len(data) != length:
            raise BadMessage("cut short")
        ttl = min(ttl, record_ttl)
        if kind != wanted:
            continue
        if kind == RecordType.A and length == 4:
            found.append(socket.inet_ntop(socket.AF_INET, data))
        elif kind == RecordType.AAAA and length == 16:
            found.append(socket.inet_ntop(socket.AF_INET6, data))
    return tuple(found), ttl if count else 0, at


def _negative_ttl(message: bytes, at: int, count: int) -> int:
    """Return how long "there is none" holds: the TTL of the SOA or its minimum (RFC 2308 5)."""
    for _ in range(count):
        at = _after_name(message, at)
        kind, _, ttl, length = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        if kind == _SOA:
            (minimum,) = struct.unpack_from("!I", message, at + length - 4)
            return int(min(ttl, minimum))
        at += length
    return 0


def _after_name(message: bytes, at: int) -> int:
    while True:
        length = message[at]
        if length >= 0xC0:
            return at + 2
        if length == 0:
            return at + 1
        at += 1 + length
