"""The built-in JPEG decoder against libjpeg-turbo: the same levels, or a refusal."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from img2ds.image.header import Header
from img2ds.image.jpeg import decode_planes, decode_rgb, reduction
from img2ds.image.orient import Pixels
from img2ds.image.sniff import sniff
from tests.image.extension import require
from tests.image.jpeg_parts import split
from tests.server.photos import photo

_jpeg = require("jpeg")

SCALES = (1, 2, 4, 8)
#: Bytes that are more than any image here takes.
LIMIT = 1 << 30
SUBSAMPLINGS = {0: (1, 1), 1: (2, 1), 2: (2, 2)}


def jpeg(pixels: Pixels, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def noise(seed: int, width: int, height: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def libjpeg(body: bytes, scale: int, colours: str) -> Pixels:
    """simplejpeg's result. Raises ValueError if it warns."""
    width, height = Image.open(io.BytesIO(body)).size
    least = (-(-width // scale), -(-height // scale)) if scale > 1 else (0, 0)
    found: Pixels = simplejpeg.decode_jpeg(body, colours, min_width=least[0], min_height=least[1])
    return found


def header_of(body: bytes) -> Header:
    header = sniff(body)
    assert isinstance(header, Header)
    return header


def rgb(body: bytes, scale: int = 1) -> Pixels | None:
    return decode_rgb(body, header_of(body), scale, None)


def is_libjpeg_s(body: bytes, scale: int = 1) -> bool:
    return np.array_equal(rgb(body, scale), libjpeg(body, scale, "RGB"))  # type: ignore[arg-type]


@pytest.fixture(params=[True, False], ids=["modern", "plain"])
def machine(request: pytest.FixtureRequest) -> Iterator[None]:
    if _jpeg.use_modern(request.param) != request.param:
        pytest.skip("this machine has no AVX2")
    yield
    _jpeg.use_modern(True)


@pytest.mark.usefixtures("machine")
def test_levels_are_libjpeg_s_whatever_the_kind() -> None:
    """Every mix of sampling, scans, tables and restarts, at every scale and odd sizes."""

    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(
        size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
        seed=st.integers(0, 20),
        quality=st.integers(3, 100),
        subsampling=st.sampled_from(sorted(SUBSAMPLINGS)),
        progressive=st.booleans(),
        optimize=st.booleans(),
        restart=st.integers(0, 7),
    )
    def check(
        size: tuple[int, int], seed: int, quality: int, subsampling: int, progressive: bool,
        optimize: bool, restart: int,
    ) -> None:  # fmt: skip
        # Photos are smooth, so blocks of one level are common; noise fills every coefficient.
        pixels = noise(seed, *size) if seed % 2 else photo(seed, 70, 70)[: size[1], : size[0]]
        body = jpeg(
            np.ascontiguousarray(pixels), quality=quality, subsampling=subsampling,
            progressive=progressive, optimize=optimize, restart_marker_blocks=restart,
        )  # fmt: skip
        for scale in SCALES:
            if scale > 1 and min(size) < 17:
                break  # other eighths round to the same size, and simplejpeg may choose those
            planes = decode_planes(body, header_of(body), scale)
            assert planes is not None
            assert (planes.y == libjpeg(body, scale, "GRAY")[:, :, 0]).all()
            found = rgb(body, scale)
            if found is None:  # where libjpeg repeats samples instead of weighing them
                assert SUBSAMPLINGS[subsampling] != (1, 1)
                assert scale == 8 or size[0] <= 4 * scale
            else:
                assert (found == libjpeg(body, scale, "RGB")).all()

    check()


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", sorted(SUBSAMPLINGS))
def test_larger_photos_are_the_same(progressive: bool, subsampling: int) -> None:
    body = jpeg(photo(3, 333, 251), quality=91, subsampling=subsampling, progressive=progressive)
    for scale in SCALES[:3]:
        assert is_libjpeg_s(body, scale)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("size", [(83, 61), (3, 40), (40, 3)])
def test_chroma_halved_only_downwards(size: tuple[int, int]) -> None:
    """4:4:0, which Pillow does not write: images turned without loss have it."""
    body: bytes = simplejpeg.encode_jpeg(photo(7, *size), 90, "RGB", "440")
    for scale in SCALES[:3] if min(size) > 16 else (1,):
        assert is_libjpeg_s(body, scale)


@pytest.mark.parametrize("subsampling", sorted(SUBSAMPLINGS))
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("coarse", [False, True])
def test_planes_of_chroma_are_averages(subsampling: int, scale: int, coarse: bool) -> None:
    """The reduced transform is not quite the mean, so only nearly so."""
    body = jpeg(photo(4, 173, 129), quality=95, subsampling=subsampling)
    planes = decode_planes(body, header_of(body), scale, coarse=coarse)
    assert planes is not None
    whole = np.asarray(Image.open(io.BytesIO(body)).convert("YCbCr"), np.float64)
    pitch = SUBSAMPLINGS[subsampling]
    if coarse and pitch == (1, 1) and scale < 8:
        pitch = (2, 2)
    assert planes.pitch == pitch
    for channel, plane in enumerate((planes.y, planes.cb, planes.cr)):
        assert plane is not None
        across, down = (scale * samples for samples in (pitch if channel else (1, 1)))
        height, width = -(-129 // down), -(-173 // across)
        assert plane.shape == (height, width)
        full = whole[: 129 // down * down, : 173 // across * across, channel]
        means = full.reshape(129 // down, down, 173 // across, across).mean((1, 3))
        apart = np.abs(plane[: means.shape[0], : means.shape[1]] - means)
        assert apart.mean() < 1.5


@pytest.mark.parametrize("progressive", [False, True])
def test_grey_is_one_plane(progressive: bool) -> None:
    body = jpeg(photo(5, 61, 47)[:, :, 0].copy(), progressive=progressive)
    planes = decode_planes(body, header_of(body), 1)
    assert planes is not None
    assert planes.cb is planes.cr is None
    assert (planes.y == libjpeg(body, 1, "GRAY")[:, :, 0]).all()
    pixels = np.empty((47, 61, 3), np.uint8)
    assert _jpeg.decode_rgb(body, 8, pixels, LIMIT) is not True


GOOD = jpeg(photo(6, 64, 48), quality=85)
GRADUAL = jpeg(photo(6, 64, 48), quality=85, progressive=True)


def with_adobe(body: bytes, transform: int) -> bytes:
    """The same without its JFIF header and with Adobe's, which tells the colours' kind."""
    rest = b"".join(part for part in split(body)[1:] if part[1] != 0xE0)
    adobe = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform)
    return b"\xff\xd8\xff\xee" + struct.pack(">H", 2 + len(adobe)) + adobe + rest


def test_adobe_s_ycc_is_taken_and_its_rgb_is_not() -> None:
    body = with_adobe(GOOD, 1)
    assert is_libjpeg_s(body)
    assert rgb(with_adobe(GOOD, 0)) is None


def scans_of(body: bytes) -> list[int]:
    return [i for i, part in enumerate(split(body)) if part[1] == 0xDA]


def without(body: bytes, number: int) -> bytes:
    parts = split(body)
    return b"".join(parts[:number] + parts[number + 1 :])


@pytest.mark.parametrize("number", range(len(scans_of(GRADUAL))))
def test_what_lacks_a_scan_is_left_to_libjpeg(number: int) -> None:
    """It smooths such images, or complains."""
    body = without(GRADUAL, scans_of(GRADUAL)[number])
    assert rgb(body) is None or is_libjpeg_s(body)
    if number in (0, 1):
        assert rgb(body) is None


def test_a_scan_that_comes_twice_is_left_to_libjpeg() -> None:
    parts = split(GRADUAL)
    for number in scans_of(GRADUAL):
        body = b"".join([*parts[: number + 1], *parts[number:]])
        assert rgb(body) is None


@pytest.mark.parametrize(
    "body",
    [
        GOOD[: len(GOOD) // 2],
        GOOD[:-2] + b"\0\0\0" + GOOD[-2:],  # more data than the image has
        GOOD[:-40] + GOOD[-2:],  # less
        GOOD[:2] + b"\0" + GOOD[2:],  # a stray byte between markers
        GOOD.replace(b"\xff\xc0", b"\xff\xc3", 1),  # lossless
        GOOD.replace(b"\xff\xc0", b"\xff\xc9", 1),  # arithmetic coding
        GOOD.replace(b"\x08\x00\x30\x00\x40\x03", b"\x0c\x00\x30\x00\x40\x03", 1),  # 12 bits
        GOOD.replace(b"\x08\x00\x30\x00\x40\x03", b"\x08\x00\x00\x00\x40\x03", 1),  # no height
        without(GOOD, 2),  # a quantisation table
        without(GOOD, 5),  # a Huffman table
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8",
        b"",
    ],
)
def test_what_is_odd_or_broken_is_left_to_libjpeg(body: bytes) -> None:
    pixels = np.empty((48, 64, 3), np.uint8)
    for side in (8, 4, 2, 1):
        assert not isinstance(_jpeg.decode_planes(body, side, False, LIMIT), tuple)
        assert _jpeg.decode_rgb(body, side, pixels, LIMIT) is not True


def test_cmyk_is_left_to_pillow() -> None:
    file = io.BytesIO()
    Image.fromarray(photo(1, 40, 40)).convert("CMYK").save(file, "JPEG")
    body = file.getvalue()
    assert decode_planes(body, header_of(body), 1) is None


@settings(derandomize=True, deadline=None, max_examples=400)
@given(
    gradual=st.booleans(),
    at=st.integers(2, len(GOOD) - 1),
    cut=st.integers(0, 30),
    more=st.binary(max_size=4),
    side=st.sampled_from([8, 4, 2, 1]),
)
def test_damage_ends_in_an_image_or_in_none(
    gradual: bool, at: int, cut: int, more: bytes, side: int
) -> None:
    """Every read and write stays where it belongs: run it under AddressSanitizer to be sure."""
    body = GRADUAL if gradual else GOOD
    body = body[:at] + more + body[at + cut :]
    found = _jpeg.decode_planes(body, side, False, LIMIT)
    if isinstance(found, tuple):
        for offset, stride, width, height in found[2]:
            assert offset + stride * (height - 1) + width <= len(found[0])


def test_pixels_of_another_size_are_refused() -> None:
    for shape in ((48, 64), (48, 64, 4), (47, 64, 3), (0,)):
        assert not _jpeg.decode_rgb(GOOD, 8, np.empty(shape, np.uint8), LIMIT)
    with pytest.raises(ValueError, match="8, 4, 2 or 1"):
        _jpeg.decode_planes(GOOD, 3, False, LIMIT)
    with pytest.raises((TypeError, BufferError)):
        _jpeg.decode_rgb(GOOD, 8, bytes(48 * 64 * 3), LIMIT)


def test_threads_do_not_disturb_each_other() -> None:
    """Tables are kept between images, fewer than there are here."""
    bodies = [
        jpeg(noise(i, 300 + i, 200), quality=40 + 3 * i, optimize=True, progressive=i % 3 == 0)
        for i in range(16)
    ]
    expected = [libjpeg(body, 1, "RGB") for body in bodies]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(rgb, 4 * bodies), 4 * expected, strict=True):
            assert np.array_equal(found, wanted)  # type: ignore[arg-type]


def test_reductions_leave_enough() -> None:
    header = Header("jpeg", 1001, 500, 3, 8)
    assert reduction(header, (0, 0)) == 1
    assert reduction(header, (501, 250)) == 2
    assert reduction(header, (502, 250)) == 1
    assert reduction(header, (126, 63)) == 8
