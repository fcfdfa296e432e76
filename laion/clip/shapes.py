"""Images of one shape in one colour, with captions: data that a small model can learn.

Distance functions draw them, so that edges are smooth at any size. The same seed draws the same
images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

SHAPES = ("circle", "square", "triangle", "star")

#: sRGB of each colour; drawn ones differ from it by up to `COLOUR_SPREAD`.
COLOURS = {
    "red": (215, 30, 35),
    "green": (40, 160, 60),
    "blue": (35, 70, 205),
    "yellow": (245, 220, 40),
    "orange": (245, 135, 20),
    "purple": (130, 45, 165),
    "black": (18, 18, 20),
    "white": (248, 248, 246),
}

#: Largest deviation of a colour channel, in levels.
COLOUR_SPREAD = 12

#: Least distance between the mean levels of a shape and its background.
GROUND_CONTRAST = 45.0

#: Width of the shape as a share of the shorter side of the image.
SHAPE_SIZE = (0.45, 0.85)

#: Inner over outer radius of a five-pointed star whose edges lie on a pentagram.
_STAR_RATIO = (3 - math.sqrt(5)) / 2

#: Captions that name both; {s} is the shape and {c} the colour.
BOTH = (
    "a {c} {s}",
    "{c} {s}",
    "the {c} {s}",
    "one {c} {s}",
    "a picture of a {c} {s}",
    "a photo of a {c} {s}",
    "an image of a {c} {s}",
    "a drawing of a {c} {s}",
    "a {s} in {c}",
    "a {s} that is {c}",
    "a {s} painted {c}",
    "this {s} is {c}",
    "a {c} {s} on a plain background",
    "a {c} {s} on a noisy background",
)
SHAPE_ALONE = ("a {s}", "{s}", "{s}s", "the {s}", "a picture of a {s}", "a photo of a {s}")
COLOUR_ALONE = (
    "{c}",
    "a {c} shape",
    "something {c}",
    "a {c} picture",
    "a photo of something {c}",
    "a {c} thing",
    "{c} shapes",
)


@dataclass(frozen=True, slots=True)
class ShapeImage:
    """An image, uint8 [height, width, 3] in RGB, what it shows, and a caption that says so."""

    pixels: Pixels
    shape: str
    colour: str
    caption: str


def draw(
    rng: np.random.Generator,
    width: int = 256,
    height: int = 256,
    shape: str | None = None,
    colour: str | None = None,
) -> ShapeImage:
    """Draw one image of the given size in pixels; a missing shape or colour is random.

    The whole shape lies in the central square, so that a crop to a square keeps it.
    """
    shape = shape or SHAPES[rng.integers(len(SHAPES))]
    colour = colour or list(COLOURS)[rng.integers(len(COLOURS))]
    ground = _ground(rng, width, height, np.mean(COLOURS[colour]))
    cover = _cover(rng, width, height, shape)[:, :, np.newaxis]
    spread = rng.integers(-COLOUR_SPREAD, COLOUR_SPREAD + 1, 3)
    paint = np.clip(np.array(COLOURS[colour]) + spread, 0, 255).astype(np.float32)
    mixed = ground * (1 - cover) + paint * cover
    pixels = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return ShapeImage(pixels, shape, colour, caption(rng, shape, colour))


def shape_images(
    seed: int,
    count: int,
    size: tuple[int, int] | None = None,
    shorter: tuple[int, int] = (160, 360),
) -> Iterator[ShapeImage]:
    """Draw `count` images: every shape in every colour equally often, in random order.

    Args:
        size: width and height in pixels. By default each image has its own, with a shorter
            side in the range `shorter` and an aspect ratio of up to 2.
    """
    rng = np.random.default_rng(seed)
    kinds = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    order = np.concatenate([rng.permutation(len(kinds)) for _ in range(-(-count // len(kinds)))])
    for number in order[:count]:
        width, height = size or _any_size(rng, shorter)
        yield draw(rng, width, height, *kinds[number])


def caption(rng: np.random.Generator, shape: str | None, colour: str | None) -> str:
    """Return a caption that names what is given: both, the shape alone or the colour alone."""
    forms = BOTH if shape and colour else SHAPE_ALONE if shape else COLOUR_ALONE
    return forms[rng.integers(len(forms))].format(s=shape, c=colour)


def _any_size(rng: np.random.Generator, shorter: tuple[int, int]) -> tuple[int, int]:
    side = int(rng.integers(shorter[0], shorter[1] + 1))
    longer = int(side * rng.choice([1.0, rng.uniform(1.0, 2.0)]))
    return (side, longer) if rng.integers(2) else (longer, side)


def ground(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """Draw an image without a shape."""
    mixed = _ground(rng, width, height, rng.choice([0.0, 255.0]))
    pixels: Pixels = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return pixels


def _ground(rng: np.random.Generator, width: int, height: int, away_from: Any) -> Any:
    """Draw a plain or noisy dull background, float32 [height, width, 3].

    Its mean level differs from `away_from` by at least `GROUND_CONTRAST`.
    """
    while True:
        base = rng.uniform(35, 225) + rng.uniform(-14, 14, 3)
        if abs(base.mean() - away_from) >= GROUND_CONTRAST:
            break
    pixels = np.broadcast_to(base.astype(np.float32), (height, width, 3))
    kind = rng.integers(3)
    if kind == 0:
        return pixels
    strength = rng.uniform(4, 22)
    if kind == 1:  # grain, grey or coloured
        grain = rng.standard_normal((height, width, int(rng.choice([1, 3]))), np.float32)
        return pixels + grain * np.float32(strength)
    rows, columns = (np.linspace(0, 1, n, dtype=np.float32)[:, np.newaxis] for n in (height, width))
    waves = np.zeros((height, width), np.float32)
    for _ in range(3):  # blotches
        turns = rng.uniform(-5, 5, 2)
        start = rng.uniform(0, 2 * np.pi)
        waves += np.sin(2 * np.pi * (rows * turns[0] + columns.T * turns[1]) + start)
    return pixels + (waves * np.float32(strength / 2))[:, :, np.newaxis]


def _cover(rng: np.random.Generator, width: int, height: int, shape: str) -> Any:
    """Return the share of each pixel that the shape covers, float32 [height, width]."""
    side = min(width, height)
    radius = side * rng.uniform(*SHAPE_SIZE) / 2
    room = side / 2 - radius
    x0 = width / 2 + rng.uniform(-room, room)
    y0 = height / 2 + rng.uniform(-room, room)
    angle = rng.uniform(-0.35, 0.35)
    x = np.arange(width, dtype=np.float32) + np.float32(0.5 - x0)
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5 - y0))[:, np.newaxis]
    distance: Any
    if shape == "circle":
        distance = np.hypot(x, y) - np.float32(radius)
    else:
        cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        x, y = x * cos - y * sin, x * sin + y * cos
        distance = _DISTANCES[shape](x, y, np.float32(radius))
    return np.clip(np.float32(0.5) - distance, 0, 1)


def _square(x: Any, y: Any, radius: Any) -> Any:
    return np.maximum(np.abs(x), np.abs(y)) - radius * np.float32(0.72)


def _polygon(x: Any, y: Any, radius: Any, corners: int) -> Any:
    """Return the distance to a regular polygon with a corner on top."""
    distance: Any = None
    for k in range(corners):
        angle = math.pi / 2 + math.pi / corners + 2 * math.pi * k / corners
        line = x * np.float32(math.cos(angle)) - y * np.float32(math.sin(angle))
        distance = line if distance is None else np.maximum(distance, line)
    return distance - radius * np.float32(math.cos(math.pi / corners))


def _star(x: Any, y: Any, radius: Any) -> Any:
    """Return the distance to a star, folded into the wedge beside one point, where it is a line."""
    turn = 2 * math.pi / 5
    angle = np.arctan2(x, -y)
    folded = np.abs(angle - np.float32(turn) * np.rint(angle / np.float32(turn)))
    away = np.hypot(x, y)
    u, v = away * np.cos(folded), away * np.sin(folded)
    inner = _STAR_RATIO
    tip, dent = (1.0, 0.0), (inner * math.cos(turn / 2), inner * math.sin(turn / 2))
    normal = (dent[1] - tip[1], tip[0] - dent[0])
    length = math.hypot(*normal)
    a, b = np.float32(normal[0] / length), np.float32(normal[1] / length)
    return (u - radius) * a + v * b


_DISTANCES = {
    "square": _square,
    "triangle": lambda x, y, radius: _polygon(x, y, radius, 3),
    "star": _star,
}
