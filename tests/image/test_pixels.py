"""Pixels of every encoding in every resize mode, against Pillow and NumPy.

Tolerances are in 8-bit levels. What is decoded whole agrees to the rounding; a JPEG that
shrinks is decoded at a fraction of its DCT, which is another average of the same pixels.
"""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
import pytest
from PIL import Image

from img2ds.config.options import ImageOptions
from img2ds.core.sample import Encoded
from img2ds.image.transform import Transformer
from tests.image.reference import Floats, Pixels, distance, opened, rendered, upright
from tests.server.encodings import ENCODINGS, jpeg_444, jpeg_oriented, png
from tests.server.image import png_chunk
from tests.server.photos import photo

MODES = ("border", "no", "keep_ratio", "keep_ratio_largest", "center_crop")
#: An image of odd sides, and sizes that shrink it, do both with its sides, and enlarge it.
WIDTH, HEIGHT = 121, 80
SIZES = (32, 100, 150)
#: Largest difference where the same pixels are filtered: rounding before and after turning.
ROUNDING = 1.5
#: Mean and 99th percentile where a JPEG is decoded at a fraction of its size.
SCALED = (3.0, 16.0)
#: The same to the photo itself, for lossy encodings of quality 85 to 90 and 64 to 256 colours.
LOSSY = (4.0, 16.0)


@cache
def source() -> Pixels:
    return photo(7, WIDTH, HEIGHT)


@cache
def encoded(encoding: str) -> bytes:
    return ENCODINGS[encoding](source())


@cache
def truth(encoding: str) -> Floats:
    return upright(encoded(encoding))


def transform(body: bytes, **options: object) -> Encoded:
    options = {"encode_format": "png", "encode_quality": 1, **options}
    transformer = Transformer(ImageOptions(**options))  # type: ignore[arg-type]
    inspected = transformer.inspect(body)
    result = transformer.render(inspected)  # type: ignore[arg-type]
    assert isinstance(result, Encoded), result
    return result


def shown(body: bytes, **options: object) -> Pixels:
    """The pixels made of `body`, at its own size unless the options say otherwise."""
    return opened(transform(body, **{"resize_mode": "no", **options}).data)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_in_every_mode(encoding: str, mode: str, size: int) -> None:
    result = transform(encoded(encoding), image_size=size, resize_mode=mode)
    expected = rendered(truth(encoding), size, mode)
    pixels = opened(result.data)
    assert (result.height, result.width) == pixels.shape[:2]
    assert (result.original_width, result.original_height) == (WIDTH, HEIGHT)
    side = min if mode in ("keep_ratio", "center_crop") else max
    scaled = encoding.startswith("jpeg") and mode != "no" and size < side(WIDTH, HEIGHT)
    if scaled:
        mean, most = distance(pixels, expected)
        assert (mean, most) < SCALED
        assert most < SCALED[1]
    else:
        assert np.abs(pixels - expected).max() < ROUNDING


@pytest.mark.parametrize(
    "encoding", [name for name in ENCODINGS if "grey" not in name and "alpha" not in name
                 and "rgba" not in name],
)  # fmt: skip
def test_the_image_is_the_photo(encoding: str) -> None:
    """The reference itself is held to what was encoded."""
    mean, most = distance(shown(encoded(encoding)), source())
    assert mean < LOSSY[0]
    assert most < LOSSY[1]
    if encoding in ("png", "png_16bit", "webp_lossless"):
        assert (mean, most) == (0, 0)


@pytest.mark.parametrize("encoding", ["jpeg_grey", "png_grey", "png_grey_16bit"])
def test_grey_is_three_equal_channels_of_luma(encoding: str) -> None:
    pixels = shown(encoded(encoding))
    assert (pixels[:, :, :1] == pixels).all()
    luma = source() @ np.array([0.299, 0.587, 0.114])
    mean, most = distance(pixels[:, :, 0], luma)
    assert mean < LOSSY[0]
    assert most < LOSSY[1]


@pytest.mark.parametrize("encoding", ["png_rgba", "webp_alpha"])
def test_what_is_clear_is_white(encoding: str) -> None:
    pixels = shown(encoded(encoding))
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    middle = pixels[30:50, 50:70]
    assert distance(middle, source()[30:50, 50:70])[0] < LOSSY[0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", MODES)
def test_every_orientation_comes_out_alike(orientation: int, mode: str) -> None:
    turned = transform(jpeg_oriented(source(), orientation), image_size=64, resize_mode=mode)
    plain = transform(png(source()), image_size=64, resize_mode=mode)
    assert (turned.width, turned.height) == (plain.width, plain.height)
    assert (turned.original_width, turned.original_height) == (WIDTH, HEIGHT)
    assert distance(opened(turned.data), opened(plain.data))[0] < 5


def test_orientation_of_png_and_webp_counts_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "WEBP"):
        file = io.BytesIO()
        stored = Image.fromarray(np.rot90(source()).copy())
        stored.save(file, kind, exif=exif, lossless=True)
        assert (shown(file.getvalue()) == source()).all()


@pytest.mark.parametrize("name", ["nearest", "linear", "cubic", "lanczos"])
def test_other_filters_get_all_pixels_of_a_jpeg(name: str) -> None:
    body = jpeg_444(source())
    whole = png(np.asarray(Image.open(io.BytesIO(body))))
    options = {"image_size": 30, "resize_mode": "keep_ratio", "downscale_interpolation": name}
    apart = opened(transform(body, **options).data).astype(int) - opened(
        transform(whole, **options).data
    )
    assert np.abs(apart).max() <= 1


def test_filters_differ_and_each_is_used_in_its_direction() -> None:
    body = png(source())
    made = {
        (size, up, down): bytes(
            transform(
                body, image_size=size, upscale_interpolation=up, downscale_interpolation=down
            ).data
        )
        for size in (64, 160)
        for up in ("nearest", "cubic")
        for down in ("nearest", "cubic")
    }
    for one in ("nearest", "cubic"):
        assert made[64, "nearest", one] == made[64, "cubic", one]
        assert made[160, one, "nearest"] == made[160, one, "cubic"]
        assert made[64, one, "nearest"] != made[64, one, "cubic"]
        assert made[160, "nearest", one] != made[160, "cubic", one]


@pytest.mark.parametrize(("name", "tolerance"), [("jpg", 5.0), ("png", 0.5), ("webp", 5.0)])
def test_every_output_format(name: str, tolerance: float) -> None:
    result = transform(png(source()), image_size=64, encode_format=name, encode_quality=None)
    with Image.open(io.BytesIO(result.data)) as image:
        assert image.format == {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[name]
    expected = rendered(source().astype(float), 64, "border")
    assert distance(opened(result.data), expected)[0] < tolerance


def png_of(depth: int, colour: int, row: bytes, *more: tuple[bytes, bytes], width: int) -> bytes:
    """A PNG one pixel high, from its row as stored and further chunks."""
    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


PALETTE = (b"PLTE", bytes([1, 2, 3, 200, 100, 50]))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (png_of(1, 0, b"\xa0", width=3), [255, 0, 255]),
        (png_of(2, 0, b"\x1b", width=4), [0, 85, 170, 255]),
        (png_of(4, 0, b"\x3c", width=2), [51, 204]),
        (png_of(4, 0, b"\x3c", (b"tRNS", b"\0\x03"), width=2), [255, 204]),
        (png_of(1, 0, b"\xa0", (b"tRNS", b"\0\0"), width=3), [255, 255, 255]),
        (png_of(8, 0, b"\x0a\x14", (b"tRNS", b"\0\x0a"), width=2), [255, 20]),
        (png_of(16, 0, b"\x03\xe8\xc3\x50", width=2), [4, 195]),
        (png_of(16, 0, b"\x03\xe8\xc3\x50", (b"tRNS", b"\x03\xe8"), width=2), [255, 195]),
        (png_of(8, 4, b"\x64\x00\x64\x80\x64\xff", width=3), [255, 177, 100]),
        (png_of(16, 4, b"\x64\x64\0\0\x64\x64\x80\x80", width=2), [255, 177]),
        (png_of(8, 2, bytes([1, 2, 3, 4, 5, 6]), (b"tRNS", b"\0\1\0\2\0\3"), width=2),
         [255, (4, 5, 6)]),
        (png_of(16, 6, bytes([9, 9, 9, 9, 9, 9, 0, 0, 9, 9, 9, 9, 9, 9, 255, 255]), width=2),
         [255, 9]),
        (png_of(1, 3, b"\x40", PALETTE, width=2), [(1, 2, 3), (200, 100, 50)]),
        (png_of(4, 3, b"\x01", PALETTE, (b"tRNS", b"\0"), width=2), [255, (200, 100, 50)]),
        (png_of(8, 3, b"\0\1", PALETTE, (b"tRNS", b"\xff\x80"), width=2),
         [(1, 2, 3), (227, 177, 152)]),
    ],
)  # fmt: skip
def test_rare_kinds_of_png(body: bytes, expected: list[int | tuple[int, int, int]]) -> None:
    pixels = shown(body)[0].astype(int)
    wanted = [(level,) * 3 if isinstance(level, int) else level for level in expected]
    assert np.abs(pixels - np.array(wanted)).max() <= 1
