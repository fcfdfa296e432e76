"""Damaged JPEGs: kept if no pixel is lost, with the pixels of the undamaged file."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest
from PIL import Image

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason
from img2ds.core.sample import Encoded
from img2ds.image.transform import InspectedImage, Transformer
from tests.image.jpeg_faults import END_FAULTS, HALVES, HEADER_FAULTS, half
from tests.image.jpeg_parts import Pixels, lossless
from tests.image.reference import distance, opened
from tests.server.encodings import jpeg, jpeg_444, jpeg_cmyk, jpeg_grey, jpeg_progressive
from tests.server.photos import photo

SOURCE = photo(5, 96, 72)


def rgb(pixels: Pixels) -> bytes:
    """Components R, G and B."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=87, keep_rgb=True)
    return file.getvalue()


KINDS = {
    kind.__name__: kind
    for kind in (jpeg, jpeg_444, jpeg_progressive, jpeg_grey, jpeg_cmyk, rgb, lossless)
}


@cache
def whole(kind: str) -> bytes:
    return KINDS[kind](SOURCE)


def outcome(body: bytes, size: int = 0) -> Encoded | Failure:
    """All pixels as PNG, or a JPEG of a smaller `size`."""
    options = ImageOptions(resize_mode="no", encode_format="png", encode_quality=1)
    if size:
        options = ImageOptions(image_size=size)
    transformer = Transformer(options)
    found = transformer.inspect(body)
    return transformer.render(found) if isinstance(found, InspectedImage) else found


def shown(body: bytes, size: int = 0) -> Pixels:
    result = outcome(body, size)
    assert isinstance(result, Encoded), result
    return opened(result.data)


@cache
def expected(kind: str, size: int) -> Pixels:
    return shown(whole(kind), size)


def assert_kept(body: bytes, kind: str) -> None:
    assert np.array_equal(shown(body), expected(kind, 0))
    # The built-in decoder keeps luma and chroma; what it declines goes through RGB.
    mean, most = distance(shown(body, 24), expected(kind, 24))
    assert mean < 1.9
    assert most < 12


@pytest.mark.parametrize("fault", HEADER_FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_of_the_header(kind: str, fault: str) -> None:
    if fault.startswith(("adobe", "JFIF")) and kind in ("jpeg_cmyk", "rgb", "lossless"):
        pytest.skip("states another kind of colour")
    assert_kept(HEADER_FAULTS[fault](whole(kind)), kind)


@pytest.mark.parametrize("fault", END_FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_of_the_end(kind: str, fault: str) -> None:
    assert_kept(END_FAULTS[fault](whole(kind)), kind)


@pytest.mark.parametrize("kind", ["jpeg", "jpeg_grey", "jpeg_cmyk"])
def test_damage_of_both(kind: str) -> None:
    assert_kept(END_FAULTS["zeros"](HEADER_FAULTS["text"](whole(kind))), kind)


@pytest.mark.parametrize("fault", HALVES)
@pytest.mark.parametrize("kind", KINDS)
def test_half_an_image_is_none(kind: str, fault: str) -> None:
    if fault == "half and end" and kind in ("jpeg_cmyk", "lossless"):
        pytest.skip("Pillow, which decodes these, does not tell")
    for size in (0, 24):
        result = outcome(HALVES[fault](whole(kind)), size)
        assert isinstance(result, Failure)
        assert result.reason in (Reason.TRUNCATED_IMAGE, Reason.DECODE_ERROR)


def test_an_image_of_one_colour_whose_end_is_missing() -> None:
    """Its scans are shorter than the bytes that may be garbage."""
    for kind in (jpeg_progressive, jpeg):
        body = kind(np.full((64, 64, 3), 255, np.uint8))
        assert (shown(body[:-2]) == 255).all()


@pytest.mark.parametrize("kind", ["jpeg", "jpeg_progressive"])
def test_a_broken_header_with_half_an_image(kind: str) -> None:
    result = outcome(half(HEADER_FAULTS["icc all 1"](whole(kind))) + b"\xff\xd9")
    assert isinstance(result, Failure)
    assert result.reason == Reason.TRUNCATED_IMAGE


def test_a_second_frame_header_is_refused() -> None:
    """Decoders would have to choose one of two sizes."""
    body = whole("jpeg")
    at = body.index(b"\xff\xc0")
    frame = body[at : at + 19]
    result = outcome(body[:at] + frame + body[at:])
    assert isinstance(result, Failure)
    assert result.message == "broken JPEG header"
