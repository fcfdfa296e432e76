"""Boxes: what is read as one, that all in one is blurred, and nothing far from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2ds.config.options import ImageOptions
from img2ds.core.sample import Encoded
from img2ds.image.blur import blur
from img2ds.image.boxes import MAX_BOXES, BoxError, orient_boxes, read_boxes
from img2ds.image.orient import upright
from img2ds.image.transform import InspectedImage, Transformer
from tests.image.reference import Floats, Pixels, distance, opened, rendered
from tests.image.reference import upright as decoded
from tests.image.reference_blur import blurred
from tests.server.encodings import ENCODINGS, jpeg, jpeg_oriented, png
from tests.server.photos import photo

BOX = (0.25, 0.125, 0.5, 0.75)


@pytest.mark.parametrize(
    ("cell", "boxes"),
    [
        (None, ()), ("", ()), (" ", ()), ("[]", ()), ("null", ()), ([], ()), (b"", ()),
        ([[0, 0, 1, 1]], ((0, 0, 1, 1),)),
        ([list(BOX), BOX], (BOX, BOX)),
        ("[[0.25, 0.125, 0.5, 0.75]]", (BOX,)), (b" [[0.25,0.125,0.5,0.75]]", (BOX,)),
        ([[-0.1, 0.5, 0.2, 1.3]], ((0, 0.5, 0.2, 1),)),
    ],
)  # fmt: skip
def test_boxes_are_read(cell: Any, boxes: Any) -> None:
    assert read_boxes(cell) == boxes


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("[[0.1, 0.2", "neither a list nor JSON"), ("cut off", "neither a list nor JSON"),
        ("0.5", "a list, not float"), (7, "a list, not int"), ({"a": 1}, "a list, not dict"),
        ([0.1, 0.2, 0.3, 0.4], "four numbers"), ([[0.1, 0.2, 0.3]], "four numbers"),
        ([[0.1, 0.2, 0.3, 0.4, 0.9]], "four numbers"), ([None], "four numbers"),
        ([[0.1, 0.2, 0.3, None]], "four numbers"), ([[0.1, 0.2, 0.3, "0.4"]], "four numbers"),
        ([[0.1, 0.2, 0.3, float("nan")]], "four numbers"), ([[0, 0, 1, True]], "four numbers"),
        ([[0.1, 0.2, float("inf"), 0.4]], "four numbers"), ([[10**400, 0, 1, 1]], "four numbers"),
        ([[0.5, 0.2, 0.3, 0.4]], "no area"), ([[0.1, 0.4, 0.3, 0.2]], "no area"),
        ([[0, 0, 0, 0]], "no area"), ([BOX, [0.1, 0.1, 0.1, 0.3]], "no area"),
        ([[120, 80, 200, 160]], "fractions"), ([[0, 0, 50, 50]], "fractions"),
        ([[1.1, 0.1, 1.3, 0.3]], "fractions"), ([[0.1, -0.5, 0.2, -0.1]], "fractions"),
        ([BOX] * (MAX_BOXES + 1), "more than 1000 boxes"),
    ],
    ids=str,
)  # fmt: skip
def test_an_invalid_box_is_never_ignored(cell: Any, words: str) -> None:
    with pytest.raises(BoxError, match=words):
        read_boxes(cell)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_their_image(orientation: int) -> None:
    pixels = np.zeros((16, 8, 3), np.uint8)
    pixels[2:12, 2:4] = 255
    (box,) = orient_boxes((BOX,), orientation)
    shown = upright(pixels, orientation)
    height, width = shown.shape[:2]
    left, top, right, bottom = (
        round(side * length) for side, length in zip(box, (width, height) * 2, strict=True)
    )
    assert shown[top:bottom, left:right].min() == 255
    assert shown.astype(int).sum() == 255 * 3 * (bottom - top) * (right - left)


@pytest.mark.parametrize(
    "box",
    [BOX, (0, 0, 0.4, 0.5), (0.8, 0.7, 1, 1), (0, 0, 1, 1), (0.4, 0.4, 0.45, 0.9),
     (0.1, 0.4, 0.3, 0.6)],
)  # fmt: skip
@pytest.mark.parametrize("size", [(128, 128), (256, 170), (90, 300)])
def test_a_box_is_blurred_as_by_the_rule(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> None:
    pixels = photo(3, *size)
    wanted = blurred(pixels.astype(np.float64), box)
    found = blur(pixels.copy(), (box,))
    mean, most = distance(found, wanted)
    # Sides are rounded outwards here, and to the left and up there: an edge lies a pixel apart.
    assert mean < 0.9
    assert most < 6
    assert distance(pixels, wanted)[0] > 3 * mean


def detail(pixels: Floats | Pixels) -> float:
    """The contrast of a pattern of single pixels: 0 if all are equal, 127 in a chessboard."""
    return float(pixels.astype(np.float64).std())


def board(width: int, height: int) -> Pixels:
    grid = (np.add.outer(np.arange(height), np.arange(width)) % 2 * 255).astype(np.uint8)
    return np.repeat(grid[:, :, None], 3, axis=2)


sides = st.tuples(st.floats(0, 0.9), st.floats(0.05, 1)).map(lambda s: (s[0], min(1, sum(s))))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.tuples(sides, sides), min_size=1, max_size=4), st.sampled_from([60, 200]))
def test_no_box_is_left_sharp_and_nothing_far_is_changed(spans: Any, width: int) -> None:
    boxes = tuple((x[0], y[0], x[1], y[1]) for x, y in spans)
    before = board(width, 80)
    after = blur(before.copy(), boxes)
    far = np.ones((80, width), bool)
    for left, top, right, bottom in boxes:
        x, y = slice(int(left * width), int(np.ceil(right * width))), None
        y = slice(int(top * 80), int(np.ceil(bottom * 80)))
        assert detail(after[y, x]) < 0.4 * detail(board(40, 40))
        side = max((right - left) * width, (bottom - top) * 80)
        reach = int(0.1 * side + 3 * max(0.1 * side, 0.8)) + 3
        far[max(y.start - reach, 0) : y.stop + reach, max(x.start - reach, 0) : x.stop + reach] = 0
    assert (after[far] == before[far]).all()


def test_a_small_box_next_to_a_large_one_is_blurred_too() -> None:
    """By one sigma for both, as img2dataset has it, five sixths of the pattern would stay."""
    small, large = (0.05, 0.05, 0.09, 0.09), (0.3, 0.1, 0.9, 0.9)
    after = blur(board(256, 256), (large, small))
    assert detail(after[13:23, 13:23]) < 30


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (3, 2000), (7, 9)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    pixels = board(*size)
    for box in ((0.0, 0.0, 1.0, 1.0), (1 - 1e-9, 0.0, 1.0, 1e-9), BOX):
        found = blur(pixels.copy(), (box,))
        assert found.shape == pixels.shape
        assert found.dtype == np.uint8


def test_pixels_that_may_not_be_written_to_are_copied() -> None:
    pixels = board(64, 64)
    pixels.flags.writeable = False
    assert detail(blur(pixels, (BOX,))) < detail(pixels)
    assert blur(pixels, ()) is pixels


def transformed(body: bytes, *boxes: tuple[float, ...], **options: Any) -> Encoded:
    transformer = Transformer(ImageOptions(**{"encode_format": "png", **options}))
    inspected = transformer.inspect(body, read_boxes(list(boxes)))
    assert isinstance(inspected, InspectedImage)
    encoded = transformer.render(inspected)
    assert isinstance(encoded, Encoded)
    return encoded


WIDTH, HEIGHT = 300, 200


@pytest.mark.parametrize(
    "mode", ["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]
)
@pytest.mark.parametrize("encoding", [jpeg, png])
@pytest.mark.parametrize("encode_format", ["png", "jpg"])
def test_boxes_are_blurred_in_every_mode(mode: str, encoding: Any, encode_format: str) -> None:
    """After resizing, before anything is cut or added."""
    body = encoding(photo(5, WIDTH, HEIGHT))
    box = (0.05, 0.3, 0.5, 0.9)  # the crop's edge goes through it
    uncut = {"border": "keep_ratio_largest", "center_crop": "keep_ratio"}.get(mode, mode)
    wanted = blurred(rendered(decoded(body), 128, uncut), box)
    if uncut != mode:
        height, width = wanted.shape[:2]
        wanted = cut(wanted, int((width - 128) / 2), int((height - 128) / 2))
    result = transformed(body, box, resize_mode=mode, image_size=128, encode_format=encode_format)
    found = opened(result.data)
    assert (result.width, result.height) == (found.shape[1], found.shape[0])
    assert (result.original_width, result.original_height) == (WIDTH, HEIGHT)
    mean, most = distance(found, wanted)
    # JPEGs are decoded at a fraction of their size, and encoded with half of the colours.
    assert mean < 0.8 + 0.8 * (encoding is jpeg) + 1.3 * (encode_format == "jpg")
    assert most < 15


def cut(pixels: Floats, left: int, top: int) -> Floats:
    """128 x 128 of an image from there; white where there is none."""
    canvas = np.full((128, 128, 3), 255.0)
    height, width = pixels.shape[:2]
    inner = pixels[max(top, 0) : max(top, 0) + 128, max(left, 0) : max(left, 0) + 128]
    canvas[max(-top, 0) :, max(-left, 0) :][: inner.shape[0], : inner.shape[1]] = inner
    assert min(height, width) <= 128
    return canvas


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_kind_of_image_is_blurred(encoding: str) -> None:
    body = ENCODINGS[encoding](photo(5, 96, 64))
    for mode in ("border", "no"):
        options = {"resize_mode": mode, "image_size": 64}
        plain = opened(transformed(body, **options).data).astype(np.float64)
        found = opened(transformed(body, (0.2, 0.2, 0.8, 0.8), **options).data)
        assert distance(found, plain)[0] > 0.5
        assert found.shape == plain.shape


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [{"image_size": 90, "resize_mode": "keep_ratio"},
                                     {"resize_mode": "no", "skip_reencode": True}])  # fmt: skip
def test_boxes_are_those_of_the_image_as_stored(orientation: int, options: dict[str, Any]) -> None:
    """Whichever way EXIF turns it: a white square, and the box around it, end in one place."""
    stored = np.full((120, 180, 3), 40, np.uint8)
    stored[20:40, 100:140] = 250
    shown = upright(stored, orientation)
    body = jpeg_oriented(shown, orientation)
    box = (90 / 180, 10 / 120, 150 / 180, 50 / 120)
    plain = opened(transformed(body, **options).data).astype(int)
    found = opened(transformed(body, box, **options).data).astype(int)
    square = plain.min(2) > 150
    edges = np.abs(np.diff(found[:, :, 0], axis=0)).max()
    assert edges < 0.7 * np.abs(np.diff(plain[:, :, 0], axis=0)).max()
    assert (plain - found)[square].mean() > 15
    changed = np.argwhere(np.abs(found - plain).max(2) > 2)
    centre = np.argwhere(square).mean(0)
    assert np.abs(changed.mean(0) - centre).max() < 2


def test_nothing_that_has_boxes_is_kept_as_it_is() -> None:
    body = jpeg(photo(5, 96, 64))
    for keeping in ({"skip_reencode": True}, {"disable_all_reencoding": True}):
        options = {"resize_mode": "no", "encode_format": "jpg", **keeping}
        assert transformed(body, **options).data == body
        blurred_one = opened(transformed(body, (0.2, 0.2, 0.8, 0.8), **options).data)
        assert distance(blurred_one, opened(body))[0] > 0.5


def test_images_without_boxes_are_what_they_were() -> None:
    body = jpeg(photo(5, WIDTH, HEIGHT))
    transformer = Transformer(ImageOptions())
    one, other = transformer.inspect(body), transformer.inspect(body, read_boxes([]))
    assert isinstance(one, InspectedImage)
    assert isinstance(other, InspectedImage)
    assert transformer.render(one) == transformer.render(other)
