"""The compiled loops against OpenCV's and libpng's, and the run without them."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2ds.image import png
from img2ds.image.header import Header
from img2ds.image.orient import Pixels
from img2ds.image.sniff import sniff
from tests.image.extension import require
from tests.server.encodings import ENCODINGS
from tests.server.image import png_chunk
from tests.server.photos import photo

_resample = require("resample")
_png = require("png")

CHANNELS = {1: 0, 3: 2, 4: 6}


def noise(seed: int, *shape: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@settings(derandomize=True, deadline=None)
@given(
    source=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    target=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    grey=st.booleans(),
    seed=st.integers(0, 10),
)
def test_resampling_is_opencv_s_within_a_level(
    source: tuple[int, int], target: tuple[int, int], grey: bool, seed: int
) -> None:
    pixels = noise(seed, *source) if grey else noise(seed, *source, 3)
    found = np.empty((*target, *pixels.shape[2:]), np.uint8)
    kernels = [(_resample.LANCZOS, cv2.INTER_LANCZOS4)]
    if target[0] <= source[0] and target[1] <= source[1]:
        kernels.append((_resample.AREA, cv2.INTER_AREA))
    for ours, theirs in kernels:
        _resample.resample(pixels, found, ours)
        expected = cv2.resize(pixels, target[::-1], interpolation=theirs)
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_resampling_into_a_part_touches_nothing_else() -> None:
    pixels = noise(1, 40, 30, 3)
    canvas = np.full((50, 60, 3), 7, np.uint8)
    _resample.resample(pixels, canvas[10:30, 20:45], _resample.LANCZOS)
    alone = np.empty((20, 25, 3), np.uint8)
    _resample.resample(pixels, alone, _resample.LANCZOS)
    assert (canvas[10:30, 20:45] == alone).all()
    canvas[10:30, 20:45] = 7
    assert (canvas == 7).all()


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((4, 4, 3), (4, 4)),
        ((4, 4, 4), (4, 4, 4)),
        ((4, 4), (4, 5)),  # AREA may not grow
        ((0, 4, 3), (4, 4, 3)),
        ((4, 4, 3), (4, 0, 3)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    source: tuple[int, ...], target: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="cannot be resampled"):
        _resample.resample(np.zeros(source, np.uint8), np.zeros(target, np.uint8), _resample.AREA)


def filtered(pixels: Pixels, filters: list[int]) -> bytes:
    """The IDAT data of an image with these row filters, by the definitions of PNG 9.2."""
    height, width, size = pixels.shape
    rows = pixels.reshape(height, -1).astype(int)
    data = bytearray()
    for y in range(height):
        kind = filters[y % len(filters)]
        data.append(kind)
        for i in range(width * size):
            a = rows[y, i - size] if i >= size else 0
            b = rows[y - 1, i] if y else 0
            c = rows[y - 1, i - size] if y and i >= size else 0
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            data.append((rows[y, i] - (0, a, b, (a + b) // 2, nearest)[kind]) % 256)
    return bytes(data)


def png_of(pixels: Pixels, data: bytes, pieces: int = 1) -> bytes:
    height, width, size = pixels.shape
    packed = zlib.compress(data)
    step = -(-len(packed) // pieces)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, CHANNELS[size], 0, 0, 0))
        + b"".join(png_chunk(b"IDAT", packed[i : i + step]) for i in range(0, len(packed), step))
        + png_chunk(b"IEND", b"")
    )


def header_of(body: bytes) -> Header:
    header = sniff(body)
    assert isinstance(header, Header)
    return header


@settings(derandomize=True, deadline=None)
@given(
    size=st.sampled_from([1, 3, 4]),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    filters=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    seed=st.integers(0, 10),
    pieces=st.integers(1, 4),
)
def test_every_filter_is_undone(
    size: int, shape: tuple[int, int], filters: list[int], seed: int, pieces: int
) -> None:
    pixels = noise(seed, *shape, size)
    body = png_of(pixels, filtered(pixels, filters), pieces)
    found = png.decode_png(body, header_of(body))
    assert found is not None
    assert (found == pixels).all()


@pytest.mark.parametrize("name", ["png", "png_rgba", "png_grey"])
def test_common_pngs_take_the_fast_way(name: str) -> None:
    body = ENCODINGS[name](photo(5, 90, 61))
    assert png.decode_png(body, header_of(body)) is not None


@pytest.mark.parametrize("name", ["png_palette", "png_16bit", "png_grey_16bit"])
def test_others_are_left_to_the_general_decoder(name: str) -> None:
    body = ENCODINGS[name](photo(5, 90, 61))
    assert png.decode_png(body, header_of(body)) is None


def test_broken_ones_are_left_to_the_general_decoder() -> None:
    pixels = noise(2, 6, 6, 3)
    good = filtered(pixels, [4])
    for data in (good[:-1], good + b"\0", b"\5" + good[1:], good + bytes(10_000_000)):
        body = png_of(pixels, data)
        assert png.decode_png(body, header_of(body)) is None
    for place in (60, 28):  # a checksum that no longer matches; declared as interlaced
        damaged = bytearray(png_of(pixels, good))
        damaged[place] ^= 1
        assert png.decode_png(damaged, header_of(bytes(damaged))) is None
