"""A small web of photo-like images under several host names, some of its links broken.

The outcome of every URL is known, so that tests can count exactly.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import trio

# Importing them registers their behaviours.
from tests.server import body, connection, header, image, redirect, status  # noqa: F401
from tests.server.encodings import ENCODINGS, content_type
from tests.server.photos import photo, scene
from tests.server.registry import BEHAVIOURS
from tests.server.web import Peer, Request, Server, reply

#: Host names of the sample web; reserved for examples (RFC 2606).
HOSTS = tuple(
    f"{name}.example"
    for name in ("alps", "cabins", "cdn.lakes", "forest", "img.meadow", "morning", "photos",
                 "static.shore", "sunset", "travel", "village", "winter")
)  # fmt: skip

#: One image in so many has a kind of its own; the others are plain JPEGs.
_SPECIAL_EVERY = 3
_SPECIAL = tuple(
    name for name in ENCODINGS
    if name != "jpeg" and name.startswith(("jpeg_", "png", "webp", "gif"))
)  # fmt: skip

#: Broken links: the path of a misbehaviour that shows at once, and the reason it must get.
BROKEN = (
    "/404", "/410", "/403", "/500", "/html-as-image", "/truncated-jpeg", "/png-bomb",
    "/redirect-loop", "/resets-without-reply", "/404", "/robots-noai", "/204",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Link:
    """One row of the list; `reason` is None where the link is good."""

    url: str
    caption: str
    reason: str | None


def size_of(number: int) -> tuple[int, int]:
    """Width and height of image `number`: landscape, portrait and square in turn."""
    return ((480, 320), (320, 440), (400, 400), (640, 360))[number % 4]


def encoding_of(number: int) -> str:
    """The encoding of image `number`."""
    if number % _SPECIAL_EVERY:
        return "jpeg"
    return _SPECIAL[number // _SPECIAL_EVERY % len(_SPECIAL)]


def links(images: int) -> Iterator[Link]:
    """`images` good links, and a broken one after every sixth of them."""
    for number in range(images):
        host = HOSTS[number % len(HOSTS)]
        url = f"http://{host}/photo/{number}.{encoding_of(number).partition('_')[0]}"
        yield Link(url, scene(number).caption, None)
        if number % 6 == 5:
            path = BROKEN[number // 6 % len(BROKEN)]
            kind = BEHAVIOURS[path]
            yield Link(f"http://{host}{path}?n={number}", "a link that leads nowhere", kind.reason)


def draw(number: int) -> bytes:
    """Image `number`, encoded; some 50 ms of work."""
    return ENCODINGS[encoding_of(number)](photo(number, *size_of(number)))


def draw_all(images: int) -> list[bytes]:
    """The images from 0 on, drawn on all cores."""
    # Forking is no option in a process that has threads, and the caller may well have some.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return list(pool.map(draw, range(images), chunksize=8))


class SampleWeb(Server):
    """All hosts on one port, distinguished by the Host header.

    Args:
        images: served as `/photo/NUMBER.EXT`.
    """

    def __init__(self, images: Sequence[bytes]) -> None:
        super().__init__(BEHAVIOURS)
        self._images = images

    async def respond(self, request: Request, peer: Peer) -> bool:
        if not request.path.startswith("/photo/"):
            return await super().respond(request, peer)
        number = int(request.path.rpartition("/")[2].partition(".")[0])
        kind = content_type(encoding_of(number))
        await peer.send(reply(self._images[number], content_type=kind))
        return True


class BackgroundWeb:
    """A sample web in a thread of this process; a context manager that gives its address.

    Args:
        port: 0 for a free one.
    """

    def __init__(self, images: Sequence[bytes], port: int = 0) -> None:
        self.web = SampleWeb(images)
        self.web.port = port

    def __enter__(self) -> str:
        started = threading.Event()

        async def serve() -> None:
            self._token = trio.lowlevel.current_trio_token()
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self.web.serve)
                    started.set()

        self._thread = threading.Thread(target=trio.run, args=(serve,), daemon=True)
        self._thread.start()
        started.wait()
        return self.web.address

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()
