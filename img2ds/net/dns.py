"""DNS messages as bytes: one question out, addresses back. Pure (RFC 1035, RFC 3596)."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum


class RecordType(IntEnum):
    A = 1
    AAAA = 28


class ResponseCode(IntEnum):
    """The codes that the resolver distinguishes (RFC 1035 4.1.1)."""

    NO_ERROR = 0
    SERVER_FAILURE = 2
    NAME_ERROR = 3


class BadMessage(ValueError):
    """Not an answer to the question that was asked, or a name that cannot be asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer: `code` as in the header, addresses as text, `ttl` in seconds."""

    code: int
    truncated: bool
    addresses: tuple[str, ...]
    ttl: int


_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_RECURSION_DESIRED = 0x0100
_RESPONSE = 0x8000
_TRUNCATED = 0x0200
_INTERNET = 1


def encode_query(message_id: int, name: str, record_type: RecordType) -> bytes:
    """Return a recursive question as bytes. `name` is ASCII.

    Raises:
        BadMessage: a label is empty or longer than 63 bytes, or the name than 253.
    """
    labels = name.rstrip(".").encode("ascii").split(b".")
    if len(name) > 254 or not all(0 < len(label) < 64 for label in labels):
        raise BadMessage("name cannot be asked for")
    question = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    header = _HEADER.pack(message_id, _RECURSION_DESIRED, 1, 0, 0, 0)
    return header + question + struct.pack("!HH", record_type, _INTERNET)


def decode_answer(message: bytes, query: bytes) -> Answer:
    """Return the answer to `query`.

    All addresses of the answer section count: a recursive server sends the whole chain of
    aliases, so whatever owns an address there is an alias of what was asked.

    Raises:
        BadMessage: malformed, or an answer to something else.
    """
    try:
        message_id, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
        if message_id != struct.unpack_from("!H", query)[0] or not flags & _RESPONSE:
            raise BadMessage("another message's answer")
        code = flags & 0xF
        if questions == 1:
            end = len(query)
            if message[12:end].lower() != query[12:].lower():
                raise BadMessage("another question's answer")
        elif questions == 0 and code != ResponseCode.NO_ERROR:
            end = 12  # servers may leave the question out of an error
        else:
            raise BadMessage("not one question")
        wanted = struct.unpack_from("!H", query, len(query) - 4)[0]
        addresses, ttl = _addresses(message, end, answers, wanted)
    except (struct.error, IndexError):
        raise BadMessage("cut short") from None
    return Answer(code, bool(flags & _TRUNCATED), addresses, ttl)


def _addresses(message: bytes, at: int, count: int, wanted: int) -> tuple[tuple[str, ...], int]:
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
    return tuple(found), ttl if count else 0


def _after_name(message: bytes, at: int) -> int:
    while True:
        length = message[at]
        if length >= 0xC0:
            return at + 2
        if length == 0:
            return at + 1
        at += 1 + length
