"""ICC profiles are converted to sRGB, before anything is added to an image."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from img2ds.image import icc
from tests.image.icc_profiles import BLUE, GREEN, RED, grey_profile, rgb_profile, srgb_level
from tests.image.jpeg_parts import Pixels
from tests.image.reference import distance, rendered
from tests.image.test_pixels import SCALED, png_of, shown, source
from tests.server.image import png_chunk

#: Light rises with the level itself, where sRGB's rises with its 2.2th power.
LINEAR = grey_profile(1.0)
#: Half as bright as sRGB: its white is grey.
RED_2, GREEN_2, BLUE_2 = (tuple(x / 2 for x in colour) for colour in (RED, GREEN, BLUE))
DIM = rgb_profile(RED_2, GREEN_2, BLUE_2)


def saved(pixels: Pixels, kind: str, profile: bytes, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, icc_profile=profile, **options)
    return file.getvalue()


def lightened(levels: Pixels) -> Pixels:
    """Grey levels under LINEAR as RGB."""
    table = np.array([srgb_level(level / 255) for level in range(256)])
    grey: Pixels = np.repeat(table[levels][..., None], 3, -1)
    return grey


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_profile_is_converted_to_srgb(kind: str) -> None:
    """In this profile the first channel is sRGB's green and the second its red."""
    stored = source()[:, :, [1, 0, 2]].copy()
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True}
    body = saved(stored, kind, rgb_profile(GREEN, RED, BLUE), **options)
    mean, most = distance(shown(body), source())
    assert mean < 2
    assert most < 8
    small = shown(body, resize_mode="border", image_size=40)
    assert distance(small, rendered(source().astype(float), 40, "border"))[0] < SCALED[0]


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        rgb_profile(),
        rgb_profile(GREEN, RED, BLUE)[:200],  # cut short
        rgb_profile(GREEN, RED, BLUE).replace(b"RGB ", b"GRAY", 1),
        LINEAR,
        b"no profile" * 20,
        b"x",
    ],
)
def test_a_profile_that_says_nothing_changes_nothing(profile: bytes) -> None:
    assert (shown(saved(source(), "PNG", profile)) == source()).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("profile", [LINEAR, rgb_profile(gamma=1.0)], ids=["grey", "rgb"])
def test_profiles_of_grey_images(kind: str, profile: bytes) -> None:
    grey = source()[:, :, 1].copy()
    body = saved(grey, kind, profile, **({"quality": 98} if kind == "JPEG" else {}))
    mean, most = distance(shown(body), lightened(grey))
    assert mean < (1.5 if kind == "JPEG" else 0.6)
    assert most < (12 if kind == "JPEG" else 1.1)
    small = shown(body, resize_mode="border", image_size=40)
    expected = lightened(rendered(grey[:, :, None].astype(float), 40, "keep_ratio_largest")
                         [:, :, 0].round().astype(np.uint8))  # fmt: skip
    top = (40 - expected.shape[0]) // 2
    assert distance(small[top : top + expected.shape[0]], expected)[0] < SCALED[0]
    assert (small[:top] == 255).all()


def test_a_grey_profile_of_srgb_s_curve_changes_nothing() -> None:
    grey = source()[:, :, 1].copy()
    assert (shown(saved(grey, "PNG", grey_profile(2.2)))[:, :, 0] == grey).mean() < 0.9
    assert (shown(saved(grey, "PNG", rgb_profile())) == grey[:, :, None]).all()


def packed(profile: bytes) -> tuple[bytes, bytes]:
    """The chunk that Pillow writes."""
    body = saved(np.zeros((1, 1), np.uint8), "PNG", profile)
    at = body.index(b"iCCP")
    length = int.from_bytes(body[at - 4 : at], "big")
    assert png_chunk(b"iCCP", body[at + 4 : at + 4 + length]) in body
    return b"iCCP", body[at + 4 : at + 4 + length]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "clear", "levels"),
    [
        (8, 4, b"\x40\xff\x80\xff\x40\x00", None, [0x40, 0x80, None]),
        (16, 4, b"\x40\x40\xff\xff\x40\x40\0\0", None, [0x40, None]),
        (8, 0, b"\x40\x80", b"\0\x40", [None, 0x80]),
        (16, 0, b"\x40\x40\x80\x80", b"\x40\x40", [None, 0x80]),
        (16, 0, b"\x40\x40\x80\x80", None, [0x40, 0x80]),
        (4, 0, b"\x48", b"\0\x04", [None, 0x88]),
        (4, 0, b"\x48", None, [0x44, 0x88]),
    ],
)
def test_grey_pngs_of_every_kind(
    depth: int, colour: int, row: bytes, clear: bytes | None, levels: list[int | None]
) -> None:
    """None: clear, hence white."""
    chunks = [packed(LINEAR), *([(b"tRNS", clear)] if clear else [])]
    pixels = shown(png_of(depth, colour, row, *chunks, width=len(levels)))[0]
    expected = [255.0 if level is None else srgb_level(level / 255) for level in levels]
    assert np.abs(pixels - np.array(expected)[:, None]).max() < 1.1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_border_is_white_under_any_profile(kind: str) -> None:
    body = saved(np.full((20, 40, 3), 255, np.uint8), kind, DIM)
    pixels = shown(body, resize_mode="border", image_size=40)
    assert (pixels[:10] == 255).all()
    assert np.abs(pixels[12:28].astype(int) - round(srgb_level(0.5))).max() <= 1


@pytest.mark.parametrize("mode", ["border", "no"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_clear_is_white_under_any_profile(kind: str, mode: str) -> None:
    pixels = np.full((24, 24, 4), 255, np.uint8)
    pixels[:12, :, 3] = 0
    pixels[12:18, :, 3] = 128
    found = shown(saved(pixels, kind, DIM, lossless=True), resize_mode=mode, image_size=24)
    dim = srgb_level(0.5)
    assert (found[:12] == 255).all()
    assert np.abs(found[12:18] - (255 * 127 + dim * 128) / 255).max() < 1.1
    assert np.abs(found[18:] - dim).max() < 1.1


def test_alpha_that_is_announced_but_missing() -> None:
    """The flags of an extended WebP may say so."""
    body = bytearray(saved(np.full((9, 9, 3), 255, np.uint8), "WEBP", DIM, lossless=True))
    body[20] |= 0x10
    assert np.abs(shown(bytes(body)) - srgb_level(0.5)).max() < 1.1


def test_a_palette_with_alpha() -> None:
    palette = (b"PLTE", bytes([255, 255, 255, 0, 0, 0]))
    body = png_of(8, 3, b"\0\1", packed(DIM), palette, (b"tRNS", b"\xff\0"), width=2)
    assert np.abs(shown(body)[0] - np.array([[srgb_level(0.5)], [255]])).max() < 1.1


def test_crops_of_converted_images() -> None:
    body = saved(source(), "PNG", DIM)
    pixels = shown(body, resize_mode="center_crop", image_size=30)
    assert pixels.shape == (30, 30, 3)
    assert pixels.max() <= round(srgb_level(0.5)) + 1


def test_images_without_a_profile_meet_no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(*_: object) -> None:
        pytest.fail("a conversion was looked for")

    monkeypatch.setattr(icc, "_transform", reached)
    icc.conversion.cache_clear()
    assert (shown(saved(source(), "PNG", b"")) == source()).all()
