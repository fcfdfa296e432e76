"""Behaviours of reply heads: garbage, endless, slow, informational, robots directives."""

from __future__ import annotations

import trio

from tests.server.good_image import good_image
from tests.server.registry import behaviour
from tests.server.web import Behaviour, Peer, Request, head, reply

#: Bytes of the huge header: above what any client takes, below a minute of sending.
HUGE_HEADER = 1 << 20


@behaviour
class Garbage(Behaviour):
    """Bytes that are not HTTP."""

    path = "/garbage"
    reason = "protocol_error"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(bytes(range(128, 256)) * 4 + b"\r\n\r\n")
        return False


@behaviour
class BodyWithoutHead(Behaviour):
    """The JPEG without a head, as in HTTP/0.9."""

    path = "/body-without-head"
    reason = "protocol_error"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(good_image() + b"\r\n\r\n")
        return False


@behaviour
class HugeHeader(Behaviour):
    """One header of a megabyte, then a good body."""

    path = "/huge-header"
    reason = "header_too_large"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(good_image(), x_huge="x" * HUGE_HEADER))
        return False


@behaviour
class EndlessHeader(Behaviour):
    """Header lines that never end."""

    path = "/endless-header"
    reason = "header_too_large"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.send(b"X-More: and more\r\n" * 100)


@behaviour
class EndlessInterim(Behaviour):
    """Endless early hints, as fast as they are read: never an answer, never a pause."""

    path = "/endless-interim"
    reason = "header_too_large"

    async def answer(self, request: Request, peer: Peer) -> bool:
        while True:
            await peer.send(
                b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" * 100
            )


@behaviour
class SlowHeader(Behaviour):
    """One byte of the header every 2 s, for ever: silence never lasts, the head never ends."""

    path = "/slow-header"
    reason = "max_time"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            await trio.sleep(2)
            await peer.send(b"x")


@behaviour
class SilentInHeader(Behaviour):
    """Half a header, then silence."""

    path = "/unresponsive-in-header"
    reason = "stalled"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: ima")
        await trio.sleep_forever()


@behaviour
class Informational(Behaviour):
    """100 Continue and 103 Early Hints before the real reply (RFC 9110 15.2)."""

    path = "/informational"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        await peer.send(reply(good_image()))
        return True


@behaviour
class OddButFine(Behaviour):
    """A head that browsers accept: lone LF, no phrase, odd case, Latin-1."""

    path = "/odd-but-fine"

    async def answer(self, request: Request, peer: Peer) -> bool:
        body = good_image()
        lines = f"HTTP/1.1 200\nserver:caf\xe9\ncOnTeNt-LeNgTh:   {len(body)}  \n\n"
        await peer.send(lines.encode("latin-1") + body)
        return True


@behaviour
class HeaderByteByByte(Behaviour):
    """A good reply whose head comes in one-byte segments."""

    path = "/header-byte-by-byte"

    async def answer(self, request: Request, peer: Peer) -> bool:
        body = good_image()
        for byte in head(content_type="image/jpeg", content_length=len(body)):
            await peer.send(bytes((byte,)))
            await trio.sleep(0.01)
        await peer.send(body)
        return True


class _Robots(Behaviour):
    """An image with an X-Robots-Tag header."""

    tags: tuple[str, ...]

    async def answer(self, request: Request, peer: Peer) -> bool:
        body = good_image()
        lines = "".join(f"X-Robots-Tag: {tag}\r\n" for tag in self.tags).encode("ascii")
        await peer.send(
            b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (lines, len(body), body)
        )
        return True


@behaviour
class RobotsNoai(_Robots):
    """Forbidden to all."""

    path = "/robots-noai"
    reason = "disallowed_by_header"
    tags = ("noai",)


@behaviour
class RobotsSeveral(_Robots):
    """Forbidden by the second directive of the second header, in capitals."""

    path = "/robots-several"
    reason = "disallowed_by_header"
    tags = ("nofollow", "nosnippet, NoImageIndex")


@behaviour
class RobotsOtherAgent(_Robots):
    """Forbidden, but to somebody else."""

    path = "/robots-other-agent"
    tags = ("otherbot: noai, noindex",)


@behaviour
class RobotsThisAgent(_Robots):
    """Forbidden to the user agent token `img2ds-test`; allowed to clients without it."""

    path = "/robots-this-agent"
    tags = ("img2ds-test: noai",)


@behaviour
class TdmReserved(Behaviour):
    """An image whose header reserves text and data mining (TDMRep)."""

    path = "/tdm-reserved"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(good_image(), tdm_reservation=request.text("value", "1")))
        return True
