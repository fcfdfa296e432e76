"""Kinds of hostile images: how one is made, and the honest image that it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Side in pixels of the largest images: 88.4 of the 89.5 million pixels that are allowed.
SIDE = 9400
#: Bytes of bodies without pixels: a little less than a body may have.
FILL = 49_500_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of hostile image.

    Attributes:
        make: returns the body; of a number where there are several different ones.
        pixels: that a decoder goes over; 0 without.
        honest: an encoding of `tests.server.encodings`: what photos of as many pixels may cost is
            what this one may cost, twice.
        count: how many are sent one after another.
    """

    name: str
    make: Callable[[int], bytes]
    pixels: int
    honest: str
    count: int = 1


#: Every kind by its name; the modules of formats register theirs.
KINDS: dict[str, Kind] = {}


def kind(
    name: str, pixels: int = 0, honest: str = "", count: int = 1
) -> Callable[[Callable[..., bytes]], Callable[..., bytes]]:
    """Function decorator that registers a maker of a body."""

    def register(make: Callable[..., bytes]) -> Callable[..., bytes]:
        assert name not in KINDS
        KINDS[name] = Kind(name, make if count > 1 else lambda _: make(), pixels, honest, count)
        return make

    return register
