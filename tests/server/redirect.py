"""Behaviours of redirects: those that lead somewhere, and those that must not."""

from __future__ import annotations

from typing import ClassVar

from tests.server.good_image import good_image
from tests.server.registry import behaviour
from tests.server.web import Behaviour, Peer, Request, head, reply

#: Where good redirects end.
GOAL = "/good.jpg"


@behaviour
class Redirect(Behaviour):
    """A redirect with `?status=` (302) to `?to=` (the good image); `%H` is the Host asked."""

    path = "/redirect"

    async def answer(self, request: Request, peer: Peer) -> bool:
        location = request.text("to", GOAL).replace("%H", request.host)
        await peer.send(reply(b"", int(request.number("status", 302)), location=location))
        return True


class _To(Behaviour):
    """A redirect to one place."""

    status: ClassVar[int] = 302
    location: ClassVar[str] = GOAL

    async def answer(self, request: Request, peer: Peer) -> bool:
        location = self.location.replace("%H", request.host)
        body = b"<a href=here>moved</a>"
        await peer.send(reply(body, self.status, "text/html", location=location))
        return True


@behaviour
class MovedPermanently(_To):
    """301 to an absolute URL."""

    path = "/redirect-301-absolute"
    status = 301
    location = "http://%H" + GOAL


@behaviour
class Found(_To):
    """302 to an absolute path."""

    path = "/redirect-302-path"


@behaviour
class SeeOther(_To):
    """303 to a relative path with dots in it."""

    path = "/redirect-303-relative"
    status = 303
    location = "./somewhere/.." + GOAL


@behaviour
class TemporaryRedirect(_To):
    """307 to a URL without its scheme."""

    path = "/redirect-307-no-scheme"
    status = 307
    location = "//%H" + GOAL


@behaviour
class PermanentRedirect(_To):
    """308 with a fragment, which is not sent on."""

    path = "/redirect-308-fragment"
    status = 308
    location = GOAL + "#top"


@behaviour
class RedirectChain(Behaviour):
    """`?hops=` (3) redirects, then the image."""

    path = "/redirect-chain"

    async def answer(self, request: Request, peer: Peer) -> bool:
        hops = int(request.number("hops", 3))
        if hops:
            await peer.send(reply(b"", 301, location=f"{self.path}?hops={hops - 1}"))
        else:
            await peer.send(reply(good_image()))
        return True


@behaviour
class RedirectLoop(_To):
    """To itself, for ever."""

    path = "/redirect-loop"
    reason = "too_many_redirects"
    location = "/redirect-loop"


@behaviour
class RedirectEndless(Behaviour):
    """Always to a URL not seen before."""

    path = "/redirect-endless"
    reason = "too_many_redirects"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(
            reply(b"", 302, location=f"{self.path}?n={int(request.number('n', 0)) + 1}")
        )
        return True


@behaviour
class RedirectToPrivate(_To):
    """To a private address (RFC 1918)."""

    path = "/redirect-to-private"
    reason = "blocked_address"
    location = "http://10.0.0.1/good.jpg"


@behaviour
class RedirectToMetadata(_To):
    """To the address where clouds keep credentials (RFC 3927 link-local)."""

    path = "/redirect-to-metadata"
    reason = "blocked_address"
    location = "http://169.254.169.254/latest/meta-data/"


@behaviour
class RedirectToLoopback(_To):
    """To IPv6 loopback."""

    path = "/redirect-to-loopback"
    reason = "blocked_address"
    location = "http://[::1]:9/good.jpg"


@behaviour
class RedirectToFtp(_To):
    """To another scheme."""

    path = "/redirect-to-ftp"
    reason = "unsupported_scheme"
    location = "ftp://ftp.example/good.jpg"


@behaviour
class RedirectToFile(_To):
    """To a file of the client's own."""

    path = "/redirect-to-file"
    reason = "unsupported_scheme"
    location = "file:///etc/passwd"


@behaviour
class RedirectToData(_To):
    """To a data URL."""

    path = "/redirect-to-data"
    reason = "unsupported_scheme"
    location = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


@behaviour
class RedirectToPlainHttp(Behaviour):
    """From https to http on `?port=`: browsers follow it, so do we."""

    path = "/redirect-to-plain-http"

    async def answer(self, request: Request, peer: Peer) -> bool:
        host = request.host.partition(":")[0]
        port = int(request.number("port", 80))
        await peer.send(reply(b"", 302, location=f"http://{host}:{port}{GOAL}"))
        return True


@behaviour
class RedirectWithoutLocation(Behaviour):
    """302 that does not say where to."""

    path = "/redirect-without-location"
    reason = "http_302"

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(head(302, content_length=0))
        return True
