"""Sizes and places of the five resize modes: properties, and a table of img2dataset's results."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2ds.config.options import ImageOptions
from img2ds.image.geometry import Geometry, plan_geometry

steady = settings(derandomize=True, deadline=None)

MODES = ("border", "no", "keep_ratio", "keep_ratio_largest", "center_crop")
sides = st.integers(1, 5000)


def plan(width: int, height: int, size: int, mode: str, only_if_bigger: bool = False) -> Geometry:
    options = ImageOptions(image_size=size, resize_mode=mode, resize_only_if_bigger=only_if_bigger)
    return plan_geometry(width, height, options)


#: Width, height, image_size; then what img2dataset 1.47 made of a black image of that size on
#: white, measured: the final size of keep_ratio and of keep_ratio_largest, and (left, top, width,
#: height) of the black within border's square.
IMG2DATASET = [
    (1, 1, 256, (256, 256), (256, 256), (0, 0, 256, 256)),
    (1, 7, 256, (256, 1792), (37, 256), (109, 0, 37, 256)),
    (7, 1, 256, (1792, 256), (256, 37), (0, 109, 256, 37)),
    (1, 300, 256, (256, 76800), (1, 256), (127, 0, 1, 256)),
    (300, 1, 256, (76800, 256), (256, 1), (0, 127, 256, 1)),
    (255, 256, 256, (256, 257), (255, 256), (0, 0, 255, 256)),
    (257, 256, 256, (257, 256), (256, 255), (0, 0, 256, 255)),
    (256, 256, 256, (256, 256), (256, 256), (0, 0, 256, 256)),
    (640, 480, 256, (341, 256), (256, 192), (0, 32, 256, 192)),
    (481, 640, 256, (256, 341), (192, 256), (32, 0, 192, 256)),
    (333, 517, 256, (256, 397), (165, 256), (45, 0, 165, 256)),
    (100, 33, 256, (776, 256), (256, 84), (0, 86, 256, 84)),
    (3, 2, 256, (384, 256), (256, 171), (0, 42, 256, 171)),
    (512, 511, 256, (257, 256), (256, 256), (0, 0, 256, 256)),
    (101, 67, 256, (386, 256), (256, 170), (0, 43, 256, 170)),
    (513, 5, 256, (26266, 256), (256, 2), (0, 127, 256, 2)),
    (5, 513, 256, (256, 26266), (2, 256), (127, 0, 2, 256)),
    (1000, 3, 256, (85333, 256), (256, 1), (0, 127, 256, 1)),
    (640, 480, 64, (85, 64), (64, 48), (0, 8, 64, 48)),
    (481, 640, 64, (64, 85), (48, 64), (8, 0, 48, 64)),
    (333, 517, 64, (64, 99), (41, 64), (11, 0, 41, 64)),
    (100, 33, 64, (194, 64), (64, 21), (0, 21, 64, 21)),
    (101, 67, 64, (96, 64), (64, 42), (0, 11, 64, 42)),
    (5, 513, 64, (64, 6566), (1, 64), (31, 0, 1, 64)),
    (1, 7, 5, (5, 35), (1, 5), (2, 0, 1, 5)),
    (640, 480, 5, (7, 5), (5, 4), (0, 0, 5, 4)),
    (100, 33, 5, (15, 5), (5, 2), (0, 1, 5, 2)),
    (3, 2, 5, (8, 5), (5, 3), (0, 1, 5, 3)),
    (513, 5, 5, (513, 5), (5, 1), (0, 2, 5, 1)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("width", "height", "size", "by_shorter", "by_longer", "place"), IMG2DATASET
)
def test_sizes_are_img2datasets(
    width: int,
    height: int,
    size: int,
    by_shorter: tuple[int, int],
    by_longer: tuple[int, int],
    place: tuple[int, int, int, int],
) -> None:
    assert plan(width, height, size, "keep_ratio").final == by_shorter
    assert plan(width, height, size, "keep_ratio_largest").final == by_longer
    border = plan(width, height, size, "border")
    assert border.final == (size, size)
    assert (border.left, border.top, *border.resized) == place
    crop = plan(width, height, size, "center_crop")
    assert crop.final == (size, size)
    assert crop.resized == by_shorter
    assert (crop.left, crop.top) == ((by_shorter[0] - size) // 2, (by_shorter[1] - size) // 2)
    assert plan(width, height, size, "no").final == (width, height)


@pytest.mark.parametrize(
    ("width", "height", "mode", "final"),
    [
        (333, 517, "border", (64, 64)),
        (333, 517, "keep_ratio", (64, 99)),
        (100, 33, "keep_ratio", (100, 33)),
        (100, 33, "center_crop", (100, 33)),
        (100, 33, "border", (64, 64)),
        (100, 33, "keep_ratio_largest", (64, 21)),
        (3, 2, "border", (3, 2)),
        (3, 2, "keep_ratio_largest", (3, 2)),
        (64, 64, "border", (64, 64)),
        (101, 67, "center_crop", (64, 64)),
    ],
)
def test_only_if_bigger_is_img2datasets(
    width: int, height: int, mode: str, final: tuple[int, int]
) -> None:
    assert plan(width, height, 64, mode, only_if_bigger=True).final == final


@steady
@given(sides, sides, st.integers(1, 1024))
def test_shorter_side_becomes_the_size(width: int, height: int, size: int) -> None:
    geometry = plan(width, height, size, "keep_ratio")
    assert min(geometry.resized) == size
    assert geometry.final == geometry.resized
    assert (geometry.left, geometry.top) == (0, 0)
    assert geometry.shrinks == (min(width, height) > size)


@steady
@given(sides, sides, st.integers(1, 1024))
def test_longer_side_becomes_the_size(width: int, height: int, size: int) -> None:
    geometry = plan(width, height, size, "keep_ratio_largest")
    assert max(geometry.resized) == size
    assert min(geometry.resized) >= 1
    assert geometry.final == geometry.resized
    assert geometry.shrinks == (max(width, height) > size)


@steady
@given(sides, sides, st.integers(1, 1024), st.sampled_from(MODES))
def test_ratio_holds_within_half_a_pixel(width: int, height: int, size: int, mode: str) -> None:
    resized = plan(width, height, size, mode).resized
    if mode == "no":
        assert resized == (width, height)
        return
    side = min if mode in ("keep_ratio", "center_crop") else max
    scale = size / side(width, height)
    for before, after in zip((width, height), resized, strict=True):
        assert abs(after - max(1.0, before * scale)) <= 0.5 + 1e-6


@steady
@given(sides, sides, st.integers(1, 1024))
def test_border_is_a_square_with_the_image_in_its_middle(
    width: int, height: int, size: int
) -> None:
    geometry = plan(width, height, size, "border")
    assert geometry.final == (size, size)
    for begin, length in zip((geometry.left, geometry.top), geometry.resized, strict=True):
        end = size - begin - length
        assert begin >= 0
        assert end - begin in (0, 1)  # the smaller half first


@steady
@given(sides, sides, st.integers(1, 1024))
def test_crop_is_a_square_from_the_middle(width: int, height: int, size: int) -> None:
    geometry = plan(width, height, size, "center_crop")
    assert geometry.final == (size, size)
    for begin, length in zip((geometry.left, geometry.top), geometry.resized, strict=True):
        end = length - begin - size
        assert begin >= 0
        assert end - begin in (0, 1)


@steady
@given(sides, sides, st.integers(1, 1024), st.sampled_from(MODES))
def test_only_if_bigger_never_enlarges(width: int, height: int, size: int, mode: str) -> None:
    always = plan(width, height, size, mode)
    bigger = plan(width, height, size, mode, only_if_bigger=True)
    if always.shrinks:
        assert bigger == always
    else:
        assert bigger.final == (width, height)
        assert not bigger.changes


@steady
@given(sides, sides, st.integers(1, 1024), st.sampled_from(MODES))
def test_sides_are_treated_alike(width: int, height: int, size: int, mode: str) -> None:
    one, other = plan(width, height, size, mode), plan(height, width, size, mode)
    assert one.resized == other.resized[::-1]
    assert one.final == other.final[::-1]
    assert (one.left, one.top) == (other.top, other.left)


@steady
@given(sides, sides, st.sampled_from(MODES))
def test_nothing_changes_without_reencoding(width: int, height: int, mode: str) -> None:
    options = ImageOptions(resize_mode=mode, disable_all_reencoding=True)
    geometry = plan_geometry(width, height, options)
    assert geometry.final == (width, height)
    assert not geometry.changes
