"""Behaviours of status codes: errors that stay, and errors that pass."""

from __future__ import annotations

from typing import ClassVar

from tests.server.good_image import good_image
from tests.server.registry import behaviour
from tests.server.web import Behaviour, Peer, Request, head, reply


@behaviour
class FailsThenWorks(Behaviour):
    """Fails `?times=` (2) times with `?status=` (503), then serves the image.

    Any further query parameter makes a new URL with a count of its own.
    """

    path = "/fails-then-works"
    reason = "http_503"

    async def answer(self, request: Request, peer: Peer) -> bool:
        if request.times > request.number("times", 2):
            await peer.send(reply(good_image()))
        else:
            await peer.send(reply(b"busy", int(request.number("status", 503)), "text/plain"))
        return True


class _Status(Behaviour):
    """A status with a short page."""

    code: ClassVar[int]
    retry_after: ClassVar[str | None] = None

    async def answer(self, request: Request, peer: Peer) -> bool:
        more = {} if self.retry_after is None else {"retry_after": self.retry_after}
        body = b"<html><body>nothing for you here</body></html>"
        await peer.send(reply(body, self.code, "text/html", **more))
        return True


@behaviour
class NoContent(Behaviour):
    """204, which has no body and no length."""

    path = "/204"
    reason = "http_204"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(204))
        return True


@behaviour
class NotModified(Behaviour):
    """304 to a request that had no condition; the length is that of a body that does not come."""

    path = "/304"
    reason = "http_304"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(304, content_length=len(good_image())))
        return True


@behaviour
class Forbidden(_Status):
    path = "/403"
    reason = "http_403"
    code = 403


@behaviour
class NotFound(_Status):
    path = "/404"
    reason = "http_404"
    code = 404


@behaviour
class Gone(_Status):
    path = "/410"
    reason = "http_410"
    code = 410


@behaviour
class TooManyRequests(_Status):
    """Asks to come back in two minutes."""

    path = "/429"
    reason = "http_429"
    code = 429
    retry_after = "120"


@behaviour
class ServerError(_Status):
    path = "/500"
    reason = "http_500"
    code = 500


@behaviour
class Unavailable(_Status):
    """Retry-After as a date, long past (RFC 9110 10.2.3)."""

    path = "/503"
    reason = "http_503"
    code = 503
    retry_after = "Wed, 21 Oct 2015 07:28:00 GMT"


@behaviour
class UnheardOf(_Status):
    """A number that no RFC knows."""

    path = "/999"
    reason = "http_999"
    code = 999
