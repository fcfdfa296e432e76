"""Bodies to the pixels a model needs: enough of them, upright, and never too many."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from img2ds.core.failure import Failure
from img2ds.image.encode import make_encoder
from laion.clip import crop
from laion.clip.crop import Crop, decode_crop, max_crop_side
from laion.clip.geometry import PreprocessConfig
from laion.clip.preprocess import Preprocessor

WANTED = PreprocessConfig((32, 32), (0.5,) * 3, (0.5,) * 3)


def decoded(body: bytes, wanted: PreprocessConfig = WANTED) -> Crop:
    found = decode_crop(body, wanted)
    assert isinstance(found, Crop), found
    return found


def plain(width: int, height: int, name: str = "png") -> bytes:
    return make_encoder(name, 1 if name == "png" else 90)(np.full((height, width, 3), 90, np.uint8))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 900),
    st.integers(1, 900),
    st.sampled_from(["png", "jpg"]),
    st.sampled_from(["shortest", "longest", "squash"]),
)
def test_what_is_handed_on_is_bounded(width: int, height: int, name: str, resize: str) -> None:
    wanted = PreprocessConfig((32, 32), (0.5,) * 3, (0.5,) * 3, "bicubic", resize)
    found = decoded(plain(width, height, name), wanted)
    assert max(found.pixels.shape[:2]) <= max_crop_side(32)
    assert found.size == (width, height)
    assert found.pixels.flags.c_contiguous
    prepared = Preprocessor(wanted, "cpu").crops([found])
    assert prepared.shape == (1, 3, 32, 32)
    assert bool(prepared.isfinite().all())


def test_jpegs_are_decoded_at_a_fraction_of_their_size() -> None:
    assert decoded(plain(512, 512, "jpg")).pixels.shape == (64, 64, 3)
    # A third less than enough: the next larger fraction.
    assert decoded(plain(360, 360, "jpg")).pixels.shape == (90, 90, 3)


def test_images_are_turned_upright() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = 255  # stored: the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: the upper half is white
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=exif)
    found = decoded(
        file.getvalue(), PreprocessConfig((32, 32), (0.5,) * 3, (0.5,) * 3, "bicubic", "squash")
    )
    assert found.size == (40, 80)
    levels = Preprocessor(WANTED, "cpu").crops([found])[0, 0]
    assert levels[:14].min() > 0.9
    assert levels[18:].max() < -0.9


def test_transparent_pixels_are_white_and_grey_is_three_channels() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(file, "PNG")
    assert decoded(file.getvalue()).pixels.min() == 255
    file = io.BytesIO()
    Image.new("L", (40, 40), 77).save(file, "JPEG")
    assert decoded(file.getvalue()).pixels.shape == (40, 40, 3)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_an_image"),
        (b"<html>", "not_an_image"),
        (plain(64, 64, "jpg")[:-200], "truncated_image"),
        (plain(64, 64)[:80], "truncated_image"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(8) + b"\x08\x02\0\0\0IEND", "decode_error"),
    ],
)
def test_what_cannot_be_decoded_has_a_reason(body: bytes, reason: str) -> None:
    found = decode_crop(body, WANTED)
    assert isinstance(found, Failure)
    assert found.reason == reason


def test_bombs_are_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crop, "MAX_PIXELS", 63 * 64)
    found = decode_crop(plain(64, 64), WANTED)
    assert isinstance(found, Failure)
    assert found.reason == "image_bomb"
