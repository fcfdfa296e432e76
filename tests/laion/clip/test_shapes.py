"""Images of shapes: repeatable, of every kind, and what their captions say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from laion.clip.shapes import COLOURS, SHAPES, ShapeImage, draw, ground, shape_images


def test_the_same_seed_draws_the_same_images() -> None:
    first, again = list(shape_images(7, 5)), list(shape_images(7, 5))
    for one, other in zip(first, again, strict=True):
        assert one.caption == other.caption
        assert np.array_equal(one.pixels, other.pixels)
    assert any(
        one.pixels.shape != other.pixels.shape or not np.array_equal(one.pixels, other.pixels)
        for one, other in zip(first, shape_images(8, 5), strict=True)
    )


def test_every_kind_comes_equally_often() -> None:
    kinds = Counter((p.shape, p.colour) for p in shape_images(1, 64, (48, 48)))
    assert kinds == {(shape, colour): 2 for shape in SHAPES for colour in COLOURS}


def test_captions_say_what_is_drawn() -> None:
    for image in shape_images(2, 64, (32, 32)):
        assert image.shape in image.caption
        assert image.colour in image.caption


@pytest.mark.parametrize("size", [(64, 64), (200, 90), (90, 200), (33, 61)])
def test_images_have_the_size_asked_for(size: tuple[int, int]) -> None:
    (image,) = shape_images(3, 1, size)
    assert image.pixels.shape == (size[1], size[0], 3)
    assert image.pixels.dtype == np.uint8


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_the_shape_has_its_colour_and_lies_in_the_central_square(shape: str, colour: str) -> None:
    image = draw(np.random.default_rng(5), 180, 90, shape, colour)
    away = np.abs(image.pixels.astype(int) - COLOURS[colour]).max(axis=2)
    painted = away <= 13
    assert painted.mean() > 0.02
    columns = np.flatnonzero(painted.sum(axis=0) > 6)
    assert columns.min() >= 45 - 2
    assert columns.max() < 135 + 2


def _share(image: ShapeImage) -> float:
    """The shape's area over its bounding box's."""
    away = np.abs(image.pixels.astype(int) - COLOURS[image.colour]).max(axis=2)
    rows, columns = np.nonzero(away <= 13)
    box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    return len(rows) / float(box)


def test_shapes_fill_their_boxes_as_geometry_has_it() -> None:
    """Circle pi/4; a triangle half; a star of five points about a third; a square up to all."""

    def shares(shape: str) -> list[float]:
        rng = np.random.default_rng(6)
        # Purple is far from every dull ground.
        return [_share(draw(rng, 300, 300, shape, "purple")) for _ in range(8)]

    assert all(abs(share - np.pi / 4) < 0.03 for share in shares("circle"))
    assert all(0.38 < share < 0.55 for share in shares("triangle"))
    assert all(0.27 < share < 0.36 for share in shares("star"))
    assert all(0.57 < share <= 1 for share in shares("square"))


def test_a_ground_has_the_size_asked_for() -> None:
    assert ground(np.random.default_rng(0), 40, 30).shape == (30, 40, 3)
