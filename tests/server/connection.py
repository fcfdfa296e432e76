"""Behaviours of connections: resets, silence, keep-alive that is not kept."""

from __future__ import annotations

import trio

from tests.server.good_image import good_image
from tests.server.registry import behaviour
from tests.server.web import Behaviour, Peer, Request, head, reply


@behaviour
class Good(Behaviour):
    """A JPEG, as it should be."""

    path = "/good.jpg"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(good_image()))
        return True


@behaviour
class NeverAnswers(Behaviour):
    """Reads the request and never responds."""

    path = "/never-answers"
    reason = "stalled"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await trio.sleep_forever()


@behaviour
class SlowToAnswer(Behaviour):
    """A good reply, after `?seconds=` (5) of silence: within the usual limits."""

    path = "/slow-to-answer"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await trio.sleep(request.number("seconds", 5))
        await peer.send(reply(good_image()))
        return True


@behaviour
class ClosesWithoutReply(Behaviour):
    """Closes in good order before the first byte."""

    path = "/closes-without-reply"
    reason = "closed_before_reply"

    async def answer(self, request: Request, peer: Peer) -> bool:
        return False


@behaviour
class ResetsWithoutReply(Behaviour):
    """A reset before the first byte."""

    path = "/resets-without-reply"
    reason = "connect_reset"

    async def answer(self, request: Request, peer: Peer) -> bool:
        peer.reset()
        return False


@behaviour
class ResetsInHeader(Behaviour):
    """A reset when half of the header was sent."""

    path = "/resets-in-header"
    reason = "connect_reset"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: ima")
        await trio.sleep(0.1)  # a reset also drops what the client has not read yet
        peer.reset()
        return False


@behaviour
class ClosesInHeader(Behaviour):
    """A close when half of the header was sent."""

    path = "/closes-in-header"
    reason = "closed_before_reply"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: ima")
        return False


@behaviour
class ResetsInBody(Behaviour):
    """A reset when half of the body was sent."""

    path = "/resets-in-body"
    reason = "incomplete_body"

    async def answer(self, request: Request, peer: Peer) -> bool:
        whole = reply(good_image())
        await peer.send(whole[: len(whole) // 2])
        await trio.sleep(0.1)
        peer.reset()
        return False


@behaviour
class KeepAliveClosedAtOnce(Behaviour):
    """Promises keep-alive and closes right behind the reply: a kept connection is dead."""

    path = "/keep-alive-closed-at-once"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(good_image(), connection="keep-alive"))
        return False


@behaviour
class KeepAliveClosedByNextRequest(Behaviour):
    """Keeps the connection, reads the next request, and closes instead of answering it."""

    path = "/keep-alive-closed-by-next-request"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(good_image(), connection="keep-alive"))
        await peer.read_head()
        return False


@behaviour
class KeepAliveResetByNextRequest(Behaviour):
    """The same with a reset."""

    path = "/keep-alive-reset-by-next-request"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(good_image(), connection="keep-alive"))
        await peer.read_head()
        peer.reset()
        return False


@behaviour
class KeepAliveEndsAfter(Behaviour):
    """Closes unannounced after `?turns=` (3) requests on a connection."""

    path = "/keep-alive-ends-after"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(good_image()))
        return request.turn < request.number("turns", 3)


@behaviour
class ClosesAsAnnounced(Behaviour):
    """Sends `Connection: close` and closes."""

    path = "/connection-close"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(good_image(), connection="close"))
        return False


@behaviour
class KeepAliveHttp10(Behaviour):
    """HTTP/1.0 that names keep-alive, with a length."""

    path = "/http10-keep-alive"

    async def answer(self, request: Request, peer: Peer) -> bool:
        body = good_image()
        await peer.send(
            head(version="1.0", content_length=len(body), connection="keep-alive") + body
        )
        return True


@behaviour
class ExtraBytes(Behaviour):
    """A whole second reply behind the body, never asked for: the connection is spoilt."""

    path = "/extra-bytes"

    async def answer(self, request: Request, peer: Peer) -> bool:
        stray = reply(b"stray reply: it must not be taken for an answer")
        await peer.send(reply(good_image()) + stray)
        return True
