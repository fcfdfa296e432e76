"""PDQ hashes: those of the reference implementation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from img2ds.core.pdq import DUPLICATE
from img2ds.image.orient import Pixels
from img2ds.image.pdq import grey_levels, hash_grey, hash_reduced, pdq_hash, resized

#: Seed, height and width of an image; its hash and quality by Meta's C++, through pdqhash 0.2.8.
REFERENCE = [
    (0, 64, 64, "d3dc1ce0bad1bce1b1b99d234d06152be648ea54f0f862dcce46431ec52e839f", 100),
    (1, 5, 9, "ee1111ef51ecee10162fc4b9863f6b4269d031e7ee1311ef11ecee18162f84b9", 100),
    (2, 100, 300, "d226b4e8c9b6fc611b937da0178b138b1ae6ec74e874825fe46c039e36c98b17", 100),
    (3, 256, 256, "435d071fcb160ad748c622dd2f05faf0152f054fd0fadd22b739f52830e1fce0", 100),
    (4, 129, 65, "552275aa79ba1c701b920b853399db92a06de46dcc66707ce46de38f8e61aad5", 100),
    (5, 512, 513, "bda4ada5b0f9f1b8a8752da579b044ee3a51bb11864f525a578a0e474f86525a", 100),
    (6, 33, 900, "a70dd70a513a019fdad2f468ae454ec64ec630f971b8cad6213dfd20b649eec4", 100),
]


def picture(seed: int, height: int, width: int) -> Pixels:
    """Eight by eight tiles with noise."""
    random = np.random.default_rng(seed)
    tiles = random.integers(0, 240, (8, 8, 3))
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    noise = random.integers(0, 16, (height, width, 3))
    return (tiles[np.ix_(rows, columns)] + noise).astype(np.uint8)


def bits(one: bytes, other: bytes) -> int:
    """The distance of two hashes."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


@pytest.mark.parametrize(("seed", "height", "width", "expected", "quality"), REFERENCE)
def test_it_is_that_of_the_reference(
    seed: int, height: int, width: int, expected: str, quality: int
) -> None:
    found = pdq_hash(picture(seed, height, width))
    assert found is not None
    # Sums in another order may move a bit at the median.
    assert bits(found.bytes, bytes.fromhex(expected)) <= 2
    assert abs(found.quality - quality) <= 1


@pytest.mark.parametrize(("seed", "height", "width", "expected", "quality"), REFERENCE)
def test_a_smaller_image_has_the_hash_of_the_whole(
    seed: int, height: int, width: int, expected: str, quality: int
) -> None:
    """Other filters than those of its own size would change 20 bits."""
    grey = grey_levels(picture(seed, height, width))
    same = hash_reduced(grey, (width, height))
    assert same is not None
    assert bits(same.bytes, bytes.fromhex(expected)) <= 2
    small = cv2.resize(grey, (min(width, 160), min(height, 160)), interpolation=cv2.INTER_AREA)
    found = hash_reduced(np.asarray(small, np.float32), (width, height))
    assert found is not None
    assert bits(found.bytes, bytes.fromhex(expected)) <= 12
    assert hash_reduced(grey[:4, :4], (4, 4)) is None


def test_grey_images_have_one_and_tiny_ones_none() -> None:
    grey = picture(0, 60, 60)[:, :, 0]
    assert pdq_hash(grey) == pdq_hash(np.repeat(grey[:, :, None], 3, axis=2))
    assert pdq_hash(picture(0, 4, 60)) is None
    assert pdq_hash(np.full((40, 40, 3), 200, np.uint8)).quality == 0  # type: ignore[union-attr]


def test_sizes_hardly_change_it_and_images_do() -> None:
    greys = [grey_levels(picture(*size)) for size in ((1, 512, 512), (1, 90, 128), (2, 512, 512))]
    large, small, other = (hash_grey(resized(grey, 256)) for grey in greys)
    assert large is not None
    assert small is not None
    assert other is not None
    assert bits(large.bytes, small.bytes) <= DUPLICATE
    assert bits(large.bytes, other.bytes) > 90
