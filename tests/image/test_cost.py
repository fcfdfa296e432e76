"""What decoding takes, by the cost that is charged for it: an upper bound, and not far off.

Peaks are measured by the kernel in a process of its own: libraries allocate where tracemalloc does
not see it. There images count as large from a megapixel on.
"""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason
from img2ds.image import native
from img2ds.image.cost import decode_cost
from img2ds.image.header import Header
from img2ds.image.headers.tiff_tags import INTEGERS, read_directory
from img2ds.image.sniff import sniff
from img2ds.image.transform import InspectedImage, Transformer
from tests.attack.jpegs import empty
from tests.attack.jpegs import image as jpeg_of
from tests.image import tiff_files
from tests.image.avif_files import coded, still
from tests.image.test_formats import bmp_of_runs, tiff
from tests.image.test_png import adam7
from tests.server.image import png_chunk

SIDE = 1500
LARGE = 1 << 20
#: Bytes that the kernel's count may be off by.
NOISE = 3_000_000

PROGRAM = """
import ctypes, sys
from pathlib import Path
from img2ds.image import canvas, cost, decode, jpeg_components, webp
from img2ds.image.headers import tiff_layout
from img2ds.image.sniff import sniff

for module in (canvas, cost, decode, jpeg_components, webp):
    module.LARGE = int(sys.argv[1])
tiff_layout._UNDIVIDED = int(sys.argv[1])
# Freed memory goes back at once: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD.
mallopt = ctypes.CDLL(None).mallopt
mallopt(-3, 1 << 16), mallopt(-1, 0)
peak = lambda: int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
for warm, name in zip(sys.argv[2::2], sys.argv[3::2]):
    body = bytearray(Path(warm).read_bytes())
    header = sniff(body)
    decode.decode(body, header, (0, 0), 10**9)
    decode.decode(body, header, (1, 1), 10**9)
    body = bytearray(Path(name).read_bytes())
    for size in ((0, 0), (40, 40)):
        header = sniff(body)
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        decode.decode(body, header, size, 10**9)
        print(name, size[0], peak() - before, cost.decode_cost(header, len(body), size).least)
"""


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def source(side: int) -> Any:
    """Gradients, half transparent."""
    rgba = np.full((side, side, 4), 128, np.uint8)
    rgba[:, :, 0] = np.arange(side) % 256
    rgba[:, :, 1] = (np.arange(side) % 256)[:, None]
    return rgba


def pictures(side: int) -> Iterator[tuple[str, bytes]]:
    """The kinds of images that take memory of their own kind."""
    pixels = source(side)
    rgba = Image.fromarray(pixels)
    rgb, grey, palette = rgba.convert("RGB"), rgba.convert("L"), rgba.convert("RGB").quantize(64)
    yield "jpeg", saved(rgb, "JPEG")
    yield "jpeg_444", saved(rgb, "JPEG", subsampling=0)
    yield "jpeg_grey", saved(grey, "JPEG")
    yield "jpeg_progressive", saved(rgb, "JPEG", progressive=True)
    yield "jpeg_progressive_444", saved(rgb, "JPEG", progressive=True, subsampling=0)
    yield "jpeg_cmyk", saved(rgb.convert("CMYK"), "JPEG")
    yield "jpeg_progressive_cmyk", saved(rgb.convert("CMYK"), "JPEG", progressive=True)
    yield "jpeg_progressive_rgb", saved(rgb, "JPEG", progressive=True, keep_rgb=True)
    yield (
        "jpeg_lossless",
        jpeg_of(side, 0xC3, empty(b"\1\2\3", 1, 0), bytes(3 * side * side // 8 + 1)),
    )
    yield "png", saved(rgb, "PNG", compress_level=1)
    yield "png_rgba", saved(rgba, "PNG", compress_level=1)
    yield "png_grey_alpha", saved(rgba.convert("LA"), "PNG", compress_level=1)
    yield "png_palette", saved(palette, "PNG")
    yield "png_1", saved(grey.convert("1"), "PNG")
    yield "png_interlaced", adam7(pixels[:, :, :3])
    yield "png_16", bytes(cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1])
    yield "webp", saved(rgb, "WEBP", method=0)
    yield "webp_alpha", saved(rgba, "WEBP", method=0)
    yield "webp_lossless", saved(rgb, "WEBP", lossless=True, quality=0, method=0)
    yield "webp_lossless_alpha", saved(rgba, "WEBP", lossless=True, quality=0, method=0)
    yield "gif", saved(palette, "GIF")
    yield "avif", saved(rgb, "AVIF", speed=10)
    yield "avif_444", saved(rgb, "AVIF", speed=10, subsampling="4:4:4")
    yield "avif_alpha", saved(rgba, "AVIF", speed=10)
    across = 1 + (side >= 128)  # tiles have 64 pixels a side at least
    tile = side // across
    data, config = coded(pixels[:tile, :tile, :3])
    grid = struct.pack(">BBBBHH", 0, 0, across - 1, across - 1, side, side)
    items = [(b"grid", grid), *[(b"av01", data)] * across**2]
    yield "avif_grid", still((side, side), items, config, tile=(tile, tile))
    yield "bmp", saved(rgb, "BMP")
    yield "bmp_palette", saved(palette, "BMP")
    runs = bytes([250, 1] * (side // 250) + [side % 250, 2, 0, 0]) * side
    yield "bmp_runs", bmp_of_runs(8, bytes(1024), side, side, runs + b"\0\1")
    yield "tiff", saved(rgb, "TIFF")
    yield "tiff_alpha", saved(rgba, "TIFF", compression="tiff_adobe_deflate")
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"tiff_{compression}_strip", tiff_files.strip(rgb, compression=compression)
    yield "tiff_group4_strip", tiff_files.strip(grey.convert("1"), compression="group4")
    yield "tiff_tile", tiff_files.tiled(rgb, -(-side // 16) * 16, -(-side // 16) * 16)
    yield "tiff_planes", tiff_files.planes_apart(rgb, compression="tiff_lzw")
    data = saved(rgb, "JPEG", progressive=True, subsampling=0)
    tags = {256: side, 257: side, 258: 8, 259: 7, 262: 6, 273: 0, 277: 3, 278: side, 279: len(data)}
    yield "tiff_progressive_jpeg", tiff(tags, data)
    yield "jpeg2000", saved(rgb, "JPEG2000")
    yield "jpeg2000_alpha", saved(rgba, "JPEG2000", num_resolutions=1)
    yield "ppm", saved(rgb, "PPM")
    yield "ppm_plain", b"P3 %d %d 255 " % (side, side) + b"1 " * (3 * side**2)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
@pytest.mark.skipif(len(native.loaded()) < 4, reason="measures the compiled parts")
@pytest.mark.parametrize("large", [LARGE, 1 << 24], ids=["large", "small"])
def test_what_is_charged_is_an_upper_bound(large: int, tmp_path: Path) -> None:
    files = []
    for side in (64, SIDE):
        for kind, body in pictures(side):
            files.append(tmp_path / f"{kind}-{side}")
            files[-1].write_bytes(body)
    half = len(files) // 2
    pairs = [str(file) for pair in zip(files[:half], files[half:], strict=True) for file in pair]
    command = [sys.executable, "-c", PROGRAM, str(large), *pairs]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wrong = []
    for line in done.stdout.splitlines():
        name, size, taken, charged = line.split()
        if not int(taken) <= int(charged) + NOISE <= 3 * int(taken) + 30_000_000:
            wrong.append(f"{Path(name).name} {size}: {int(taken) / 1e6} of {int(charged) / 1e6} MB")
    assert not wrong


def bomb(width: int, height: int, depth: int, colour: int) -> bytes:
    """The head of a PNG: nothing is decoded of it."""
    ihdr = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = ((b"IHDR", ihdr), (b"PLTE", b"abc"), (b"IDAT", b"x"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def inspect(body: bytes, **options: Any) -> InspectedImage | Failure:
    return Transformer(ImageOptions(**options)).inspect(body)


@pytest.mark.skipif(native.load("png") is None, reason="without it others are refused, too")
def test_more_than_is_allowed_is_refused_by_its_header() -> None:
    for depth, colour in ((8, 6), (16, 6), (1, 0), (8, 3)):
        assert isinstance(inspect(bomb(9459, 9459, depth, colour)), InspectedImage)
        found = inspect(bomb(9459, 9459, depth, colour), max_decode_memory=10_000_000)
        assert found == Failure(
            Reason.IMAGE_BOMB.value, "takes more memory to decode than --max_decode_memory"
        )
    assert isinstance(inspect(bomb(9459, 9459, 8, 2), resize_mode="no"), InspectedImage)
    assert isinstance(inspect(bomb(89_478_484, 1, 8, 2)), Failure)  # a row is decoded as a whole


def test_bodies_that_are_kept_are_not_decoded() -> None:
    body = bomb(9459, 9459, 16, 6)
    found = inspect(body, disable_all_reencoding=True, max_decode_memory=1)
    assert isinstance(found, InspectedImage)
    assert found.memory == 0


@pytest.mark.skipif(len(native.loaded()) < 4, reason="of the compiled parts")
def test_every_picture_of_the_largest_size_fits() -> None:
    """By its header, of any kind whose samples have eight bits, at a fraction of its size."""
    limit = ImageOptions().max_decode_memory
    for kind, body in pictures(64):
        if kind in ("jpeg2000_alpha", "tiff_progressive_jpeg", "png_16"):
            continue  # see docs/images.md
        header = sniff(body)
        assert isinstance(header, Header)
        if header.format == "tiff":  # of which some numbers are by the layout
            large = bytearray(body)
            for tag in read_directory(large):
                if tag.number in (256, 257, 278, 322, 323) and tag.count == 1:
                    struct.pack_into(f"<{INTEGERS[tag.kind]}", large, tag.start, 9472)
            header = sniff(large)
            assert isinstance(header, Header)
        scale = (9459 / 64) ** 2
        header.width = header.height = 9459
        header.planes = tuple(int(samples * scale) for samples in header.planes)
        header.blocks = int(header.blocks * scale)
        if header.format != "tiff":
            header.piece = int(header.piece * scale)
        assert decode_cost(header, 10_000_000, (256, 256)).least < limit, kind
