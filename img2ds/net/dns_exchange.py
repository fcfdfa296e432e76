"""Questions to one DNS server: over UDP, and over TCP where an answer was truncated."""

from __future__ import annotations

import math
import socket

import trio

from img2ds.net.dns import Answer, BadMessage, decode_answer
from img2ds.net.dns_config import address_family

#: Seconds to wait for AAAA once A is known, or the other way round: some servers drop questions of
#: types they do not know. Ten times RFC 8305's 50 ms; a name is asked for once, for all its URLs.
LATE_ANSWER = 0.5


async def ask_server(server: tuple[str, int], queries: list[bytes]) -> list[Answer]:
    """Send all questions over one UDP socket, and those with truncated answers again over TCP.

    Returns:
        An answer to each question; to some of them when the others' are late.

    Raises:
        OSError: the server cannot be reached, or there is no socket.
    """
    family = address_family(server[0])
    assert family is not None
    answers: dict[bytes, Answer] = {}
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(server)
        for query in queries:
            sock.send(query)
        while len(answers) < len(queries):
            try:
                message = sock.recv(65_535)
            except BlockingIOError:
                known = any(answer.addresses for answer in answers.values())
                with trio.move_on_after(LATE_ANSWER if known else math.inf) as waiting:
                    await trio.lowlevel.wait_readable(sock)
                if waiting.cancelled_caught:
                    break
                continue
            for query in queries:
                try:
                    answers[query] = decode_answer(message, query)
                except BadMessage:
                    continue  # late, forged, or the other question's
    for query, answer in answers.items():
        if answer.truncated:
            answers[query] = await _ask_over_tcp(server, query) or answer
    return list(answers.values())


async def _ask_over_tcp(server: tuple[str, int], query: bytes) -> Answer | None:
    """Ask the same question over TCP (RFC 7766). Returns None when that does not work."""
    try:
        stream = await trio.open_tcp_stream(*server)
    except OSError:
        return None
    async with stream:
        received = b""
        try:
            await stream.send_all(len(query).to_bytes(2, "big") + query)
            while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
                data = await stream.receive_some(65_537)
                if not data:
                    return None
                received += data
            return decode_answer(received[2:], query)
        except (trio.BrokenResourceError, BadMessage):
            return None
