"""A case: what is sent for one row or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.attack import boxes, frames, jpegs, pngs, rasters, strangers  # noqa: F401 (fill KINDS)
from tests.attack.kind import KINDS
from tests.attack.pngs import interlaced
from tests.image.jpeg_parts import lossless
from tests.server.encodings import ENCODINGS
from tests.server.photos import photo
from tests.server.web import Behaviour, Peer, Request, reply

#: Side of the two halves of an honest image: quickly drawn, and large next to what a row takes.
_HALF = 1000
#: Encodings that only hostile images are compared with.
_RARE = {"jpeg_lossless": lossless, "png_interlaced": interlaced}
HONEST_PIXELS = 2 * _HALF * _HALF


class Bodies(Behaviour):
    """Sends one of the bodies that are there at the moment, `?n=`."""

    path = "/image"

    def __init__(self) -> None:
        self.bodies: Sequence[bytes] = ()

    async def answer(self, request: Request, peer: Peer) -> bool:
        await peer.send(reply(self.bodies[int(request.number("n", 0))]))
        return True


@dataclass(slots=True)
class Case:
    """What is sent for one row or several.

    Attributes:
        pixels, honest: of an image, see `kind.Kind`.
        count: rows.
        size: of what is sent, for people.
    """

    name: str
    behaviour: Behaviour = field(default_factory=Bodies)
    scheme: str = "http"
    pixels: int = 0
    honest: str = ""
    count: int = 1
    size: str = ""

    def fill(self, bodies: Sequence[bytes]) -> None:
        """Keep the bodies for the answers; none to forget them."""
        assert isinstance(self.behaviour, Bodies)
        self.behaviour.bodies = bodies
        if bodies:
            self.size = f"{len(bodies[0]):,}"


def image_cases(words: Sequence[str]) -> list[Case]:
    """All kinds whose names have one of the words."""
    return [
        Case(kind.name, pixels=kind.pixels, honest=kind.honest, count=kind.count)
        for kind in KINDS.values()
        if not words or any(word in kind.name for word in words)
    ]


def honest_cases(cases: Sequence[Case]) -> list[Case]:
    """Honest images of the encodings that `cases` are compared with."""
    names = sorted({case.honest for case in cases if case.honest})
    return [Case(f"honest {name}", pixels=HONEST_PIXELS, honest=name) for name in names]


def make_bodies(name: str) -> list[bytes]:
    """Make the bodies of an image's case, by its name: in another process."""
    if name in KINDS:
        return [KINDS[name].make(number) for number in range(KINDS[name].count)]
    half = photo(3, _HALF, _HALF)
    encode = (ENCODINGS | _RARE)[name.removeprefix("honest ")]
    return [encode(np.concatenate([half, half], 1))]
