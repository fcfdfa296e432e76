"""Large images: decoded strip by strip, in pieces and bands, and at a fraction of their size."""

from __future__ import annotations

import io
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from img2ds.core.failure import Failure, Reason
from img2ds.image import canvas, cost, decode, jpeg_components, native, webp, webp_bands
from img2ds.image.canvas import Canvas, scale_of
from img2ds.image.decode_error import BombError, DecodeError
from img2ds.image.header import Frame, Header
from img2ds.image.orient import Pixels
from img2ds.image.sniff import sniff
from img2ds.image.tiff_page import read_page
from img2ds.image.tiff_pieces import pieces
from tests.image import tiff_files
from tests.image.test_formats import tiff
from tests.image.test_png import adam7
from tests.server.encodings import ENCODINGS, alpha
from tests.server.photos import photo

WIDTH, HEIGHT = 328, 248
SOURCE = photo(4, WIDTH, HEIGHT)


def saved(pixels: Pixels, kind: str, mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def more_kinds() -> dict[str, bytes]:
    wide = alpha(SOURCE).astype(np.uint16) * 257
    one = {278: HEIGHT}
    return {
        "png_16bit_alpha": bytes(cv2.imencode(".png", wide[:, :, [2, 1, 0, 3]])[1]),
        "png_grey_alpha": saved(alpha(SOURCE), "PNG", "LA"),
        "png_interlaced": adam7(SOURCE),
        "png_clear": saved(SOURCE, "PNG", transparency=tuple(int(x) for x in SOURCE[5, 5])),
        "jpeg_progressive_444": saved(SOURCE, "JPEG", progressive=True, subsampling=0),
        "jpeg_progressive_cmyk": saved(SOURCE, "JPEG", "CMYK", progressive=True),
        "jpeg_progressive_rgb": saved(SOURCE, "JPEG", progressive=True, keep_rgb=True),
        "bmp_palette": saved(SOURCE, "BMP", "P"),
        "bmp_1": saved(SOURCE, "BMP", "1"),
        "tiff_raw": saved(SOURCE, "TIFF"),
        "tiff_one_strip": saved(SOURCE, "TIFF", compression="tiff_adobe_deflate", tiffinfo=one),
        "tiff_predicted": saved(
            SOURCE, "TIFF", compression="tiff_adobe_deflate", tiffinfo=one | {317: 2}
        ),
        "tiff_rows": saved(SOURCE, "TIFF", compression="tiff_lzw", tiffinfo={278: 5}),
        "tiff_jpeg": saved(SOURCE, "TIFF", compression="jpeg"),
        "tiff_big": saved(SOURCE, "TIFF", big_tiff=True),
        "tiff_g4": saved(SOURCE, "TIFF", "1", compression="group4"),
        "tiff_cmyk": saved(SOURCE, "TIFF", "CMYK"),
        **strips_and_tiles(),
        "pnm_bits": saved(SOURCE, "PPM", "1"),
        "jpeg2000_tiles": saved(SOURCE, "JPEG2000", tile_size=(64, 64)),
    }


def strips_and_tiles() -> dict[str, bytes]:
    """TIFFs whose strips or tiles are large, in all compressions that are decoded row by row."""
    rgb = Image.fromarray(SOURCE)
    grey, bits = rgb.convert("L"), rgb.convert("1")
    wide = np.asarray(grey).astype(np.uint16) * 256  # bytes that differ
    page = {256: WIDTH, 257: HEIGHT, 258: 16, 259: 8, 262: 1, 273: 0, 277: 1, 278: HEIGHT}
    swapped = zlib.compress(wide.astype(">u2").tobytes())
    predicted = {"compression": "tiff_lzw", "tiffinfo": {317: 2}}
    named = {f"tiff_{name}": tiff_files.strip(rgb, compression=name)
             for name in ("packbits", "zstd", "jpeg")}  # fmt: skip
    return named | {
        "tiff_lzw_predicted": tiff_files.strip(rgb, **predicted),
        "tiff_lzw_palette": tiff_files.strip(rgb.quantize(64), compression="tiff_lzw"),
        "tiff_lzw_cmyk": tiff_files.strip(rgb.convert("CMYK"), compression="tiff_lzw"),
        "tiff_lzw_alpha": tiff_files.strip(Image.fromarray(alpha(SOURCE)), compression="tiff_lzw"),
        "tiff_lzw_16bit": tiff_files.strip(Image.fromarray(wide), **predicted),
        "tiff_16bit_big_endian": tiff(page | {279: len(swapped)}, swapped, ">"),
        "tiff_jpeg_grey": tiff_files.strip(grey, compression="jpeg"),
        "tiff_group3": tiff_files.strip(bits, compression="group3"),
        "tiff_group4": tiff_files.strip(bits, compression="group4"),
        "tiff_fill_order": tiff_files.bits_reversed(tiff_files.strip(rgb, compression="packbits")),
        "tiff_two_strips": saved(SOURCE, "TIFF", compression="tiff_lzw", tiffinfo={278: 131}),
        "tiff_tile": tiff_files.tiled(rgb, 336, 256, compression="tiff_lzw"),
        "tiff_tile_jpeg": tiff_files.tiled(rgb, 336, 256, compression="jpeg"),
        "tiff_tile_group4": tiff_files.tiled(bits, 336, 256, compression="group4"),
        "tiff_tiles": tiff_files.tiled(rgb, 176, 144, compression="tiff_adobe_deflate"),
        "tiff_tiles_raw": tiff_files.tiled(rgb, 176, 144),
        "tiff_planes": tiff_files.planes_apart(rgb, compression="packbits"),
        "tiff_planes_deflate": tiff_files.planes_apart(rgb, compression="tiff_adobe_deflate"),
    }


BODIES = {name: encode(SOURCE) for name, encode in ENCODINGS.items()} | more_kinds()


def read(body: bytes) -> Header:
    header = sniff(body)
    assert not isinstance(header, Failure)
    return header


def decoded(body: bytes, size: tuple[int, int] = (0, 0), **options: Any) -> Pixels:
    return decode.decode(body, read(body), size, 10**9, **options)


@pytest.fixture
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (canvas, cost, decode, jpeg_components, webp):
        monkeypatch.setattr(module, "LARGE", 1000)
    monkeypatch.setattr("img2ds.image.strips._BAND", 5000)
    monkeypatch.setattr("img2ds.image.tiff_pieces._PIECE", 5000)
    monkeypatch.setattr("img2ds.image.headers.tiff_layout._PART", 5000)
    monkeypatch.setattr("img2ds.image.headers.tiff_layout._UNDIVIDED", 5000)


NORMAL = {name: decoded(body) for name, body in BODIES.items()}


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("name", BODIES)
def test_pixels_are_the_same(name: str) -> None:
    found, wanted = decoded(BODIES[name]), NORMAL[name]
    assert found.shape == wanted.shape
    most = 10 if name.startswith("avif") else 1  # chroma between two strips is not interpolated
    assert np.abs(found.astype(int) - wanted).max() <= most


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_fraction_of_the_size_is_the_average(name: str, scale: int) -> None:
    header = read(BODIES[name])
    width, height = (-(-side // scale) for side in (header.width, header.height))
    spare = 1 if header.format == "jpeg" else 2
    size = (width // spare, height // spare)
    assert scale_of(header, size) == scale
    found, wanted = decoded(BODIES[name], size), NORMAL[name]
    if found.ndim < wanted.ndim:
        wanted = wanted[:, :, 0]
    assert abs(found.shape[0] - height) <= 1
    assert abs(found.shape[1] - width) <= 1
    averages = cv2.resize(wanted, found.shape[1::-1], interpolation=cv2.INTER_AREA)
    # The low pass of wavelets is another one.
    most = 7 if header.format == "jpeg2000" else 3
    assert np.abs(found.astype(int) - averages).mean() < most


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("name", [name for name in BODIES if name != "gif_animated"])
def test_what_is_cut_short_is_noticed(name: str) -> None:
    body = BODIES[name][: len(BODIES[name]) * 2 // 3]
    if isinstance(sniff(body), Failure):
        return  # a TIFF's directory is at its end
    for size in ((0, 0), (20, 20)):
        with pytest.raises(DecodeError):
            decoded(body, size)


def test_a_canvas_averages_squares_up_to_the_edges() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (19, 13, 3), np.uint8)
    for scale in (1, 2, 4, 8):
        canvas = Canvas(pixels.shape, scale)
        for top in range(0, 19, 8):
            canvas.put(slice(top, min(top + 8, 19)), pixels[top : top + 8])
        for y in range(-(-19 // scale)):
            for x in range(-(-13 // scale)):
                square = pixels[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
                assert np.abs(canvas.pixels[y, x] - square.mean((0, 1))).max() <= 0.51


def test_scales() -> None:
    large = Header("png", 8000, 6000)
    assert scale_of(large, (256, 192)) == 8
    assert scale_of(large, (600, 450)) == 4
    assert scale_of(large, (2000, 1500)) == 2
    assert scale_of(large, (2001, 1500)) == scale_of(large, (0, 0)) == 1
    assert scale_of(Header("png", 4096, 4096), (10, 10)) == 1
    assert scale_of(Header("png", 1, 40_000_000), (1, 256)) == 8


@pytest.mark.parametrize("alpha_bytes", [0, 1, 2, 5])
@pytest.mark.parametrize("lossless", [False, True])
def test_bands_keep_to_the_memory(lossless: bool, alpha_bytes: int) -> None:
    header = Header("webp", 9000, 9001, lossless=lossless, alpha=alpha_bytes)
    header.transparent = bool(alpha_bytes)
    least = webp_bands.least_memory(header)
    for memory in (least, least * 5 // 4, least * 3):
        bands = webp_bands.plan_bands(header, memory)
        assert bands is not None
        assert [band.start for band in bands[:-1]] == [band.stop for band in bands[1:]]
        assert (bands[0].stop, bands[-1].start) == (9001, 0)
        assert all(band.start % 2 == 0 for band in bands)
        each, once = webp_bands.held(header)
        for band in bands:
            rows = 9000 * (9001 - band.stop)
            own = 9000 * (band.stop - band.start) * (7 if alpha_bytes else 3)
            assert 3 * rows + own + 9000 * (once * 9001 + each * band.stop) <= memory
    assert webp_bands.plan_bands(header, least // 2) is None
    assert webp_bands.plan_bands(header, None) == [slice(0, 9001)]


@pytest.mark.usefixtures("all_are_large")
def test_webps_in_several_bands_and_at_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("webp", "webp_lossless", "webp_alpha"):
        memory = webp_bands.least_memory(read(BODIES[name]))
        assert len(webp_bands.plan_bands(read(BODIES[name]), memory) or ()) > 1 or name == "webp"
        found = decoded(BODIES[name], memory=memory)
        # Chroma at the edge of a band is not interpolated.
        assert np.abs(found.astype(int) - NORMAL[name]).mean() < 0.5
    image = Image.fromarray(SOURCE)
    file = io.BytesIO()
    image.save(file, "WEBP", save_all=True, append_images=[image.rotate(90)], lossless=True)
    body = file.getvalue()
    header = read(body)
    header.width, header.height = WIDTH + 40, HEIGHT + 24
    assert header.frame is not None
    header.frame = Frame(40, 24, WIDTH, HEIGHT, header.frame.at)
    header.transparent = True
    full = decode.decode(body, header, (0, 0), 10**9)
    assert (full[24:, 40:] == SOURCE).all()
    assert (full[:24] == 255).all()
    small = decode.decode(body, header, (20, 20), 10**9)
    assert small.shape[:2] == ((HEIGHT + 24) // 4, (WIDTH + 40) // 4)
    assert (small[:6] == 255).all()
    assert (small[:, :10] == 255).all()
    averages = cv2.resize(SOURCE, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)
    assert np.abs(small[6:, 10:].astype(int) - averages).max() <= 2


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("name", strips_and_tiles())
def test_large_strips_and_tiles_are_divided(name: str) -> None:
    header = read(BODIES[name])
    assert 0 < header.part < 6000 < header.piece
    found = pieces(BODIES[name], 8)
    assert found is not None
    heights = [rows.stop - rows.start for rows, _ in found]
    assert set(heights[:-1]) == {8}
    assert sum(heights) == HEIGHT


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("name", ["tiff_packbits", "tiff_jpeg", "tiff_tiles", "tiff_planes"])
def test_broken_strips_are_noticed(name: str) -> None:
    body = bytearray(BODIES[name])
    page = read_page(body)
    assert page is not None
    start, size = page.offsets[-1], page.sizes[-1]
    body[start : start + size] = bytes(size)
    with pytest.raises(DecodeError):
        decoded(bytes(body))


@pytest.mark.usefixtures("all_are_large")
def test_runs_that_continue_in_the_next_row_are_decoded_as_a_whole() -> None:
    """TIFF forbids them (TIFF 6.0, 9), and libtiff decodes them."""
    data = b"\x81\x07" * (WIDTH * HEIGHT // 128 + 1)
    tags = {256: WIDTH, 257: HEIGHT, 258: 8, 259: 32773, 262: 1, 273: 0, 277: 1, 278: HEIGHT}
    body = tiff(tags | {279: len(data)}, data)
    assert (decoded(body) == 7).all()
    charged = cost.decode_cost(read(body), len(body), (0, 0))
    assert charged.most > charged.least + 5 * WIDTH * HEIGHT
    with pytest.raises(BombError):
        decoded(body, memory=charged.least)


@pytest.mark.usefixtures("all_are_large")
def test_without_libtiff_large_strips_are_charged_and_decoded_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = BODIES["tiff_packbits"]
    header = read(body)
    divided = cost.decode_cost(header, len(body), (20, 20)).least
    monkeypatch.setattr("img2ds.image.libtiff._library", lambda: None)
    assert cost.decode_cost(header, len(body), (20, 20)).least > divided + 5 * WIDTH * HEIGHT
    assert (decoded(body) == NORMAL["tiff_packbits"]).all()


def test_a_page_that_cannot_be_divided_is_decoded_as_a_whole() -> None:
    body = saved(SOURCE, "TIFF", compression="tiff_lzw", tiffinfo={278: HEIGHT})
    found = pieces(body, 8)
    assert found is None or [rows for rows, _ in found] == [slice(0, HEIGHT)]


def test_what_decompressors_have_is_charged() -> None:
    """The coefficients of a progressive JPEG, the window of Zstandard, and data that are turned."""
    rgb = Image.fromarray(photo(4, 1024, 512))
    samples = 3 * 1024 * 512
    data = saved(np.asarray(rgb), "JPEG", progressive=True, subsampling=0)
    page = {256: 1024, 257: 512, 258: 8, 259: 7, 262: 6, 273: 0, 277: 3, 278: 512, 279: len(data)}
    assert read(tiff(page, data)).codec == 2 * samples
    assert read(tiff_files.strip(rgb, compression="jpeg")).codec == 0
    assert read(tiff_files.strip(rgb, compression="zstd")).codec == samples
    packed = tiff_files.strip(rgb, compression="packbits")
    assert read(packed).codec == 0
    assert read(tiff_files.bits_reversed(packed)).codec == pytest.approx(len(packed), abs=100)
    scan = b"\xff\xda\0\x08\1\1\0\1\x3f\0"
    body = tiff(page | {279: len(data) + 1000}, data[:-2] + scan * 100 + data[-2:])
    found = sniff(body)
    assert isinstance(found, Failure)
    assert found.reason == Reason.IMAGE_BOMB


@pytest.mark.skipif(native.load("png") is None, reason="built without it")
def test_sixteen_bits_are_rounded_to_the_nearest() -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    body = bytes(cv2.imencode(".png", levels)[1])
    assert (decoded(body) == np.round(levels / 257)).all()
