"""AVIF, BMP, TIFF, JPEG 2000 and PNM: their kinds against Pillow, and what headers may ask for."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from img2ds.core.failure import Reason
from img2ds.image.header import Header
from img2ds.image.sniff import sniff
from tests.image.avif_files import coded, full_box, still
from tests.image.icc_profiles import BLUE, GREEN, RED, rgb_profile
from tests.image.reference import distance, upright
from tests.image.test_png import outcome, reason, shown
from tests.server.encodings import alpha
from tests.server.photos import photo

SOURCE = photo(12, 64, 48)
RGB = Image.fromarray(SOURCE)
RGBA = Image.fromarray(alpha(SOURCE))
GREY = RGB.convert("L")
GREY16 = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)
LA = Image.merge("LA", (GREY, RGBA.getchannel("A")))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def header(body: bytes) -> Header:
    found = sniff(body)
    assert isinstance(found, Header), found
    return found


@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (RGB, "AVIF", {"quality": 40}),
        (GREY, "AVIF", {}),
        (RGBA, "AVIF", {}),
        (RGB, "AVIF", {"tile_rows": 1, "tile_cols": 1}),
        (GREY, "BMP", {}),
        (RGB.quantize(16), "BMP", {}),
        (RGB.convert("1"), "BMP", {}),
        (RGBA, "BMP", {}),
        (RGB, "TIFF", {"compression": "jpeg"}),
        (RGB, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (RGB, "TIFF", {"compression": "packbits"}),
        (RGB, "TIFF", {"compression": "tiff_lzw", "tiffinfo": {317: 2}}),
        (RGB, "TIFF", {"big_tiff": True}),
        (RGB, "TIFF", {"tiffinfo": {278: 5}}),
        (RGB.convert("1"), "TIFF", {"compression": "group4"}),
        (RGB.quantize(16), "TIFF", {}),
        (RGB.convert("YCbCr"), "TIFF", {}),
        (RGB.convert("CMYK"), "TIFF", {}),
        (GREY, "TIFF", {"tiffinfo": {262: 0}}),
        (LA, "TIFF", {}),
        (RGBA, "TIFF", {"compression": "tiff_lzw"}),
        (RGB, "JPEG2000", {"irreversible": True, "quality_layers": [20]}),
        (RGB, "JPEG2000", {"no_jp2": True}),
        (RGB, "JPEG2000", {"tile_size": (32, 32)}),
        (GREY, "JPEG2000", {}),
        (GREY16, "JPEG2000", {}),
        (LA, "JPEG2000", {}),
        (RGBA, "JPEG2000", {}),
        (GREY, "PPM", {}),
        (GREY16, "PPM", {}),
        (RGB.convert("1"), "PPM", {}),
    ],
)
def test_kinds_are_pillows(image: Image.Image, kind: str, options: dict[str, Any]) -> None:
    body = saved(image, kind, **options)
    if options.get("tiffinfo", {}).get(262) == 0:
        assert header(body).channels == 1
    assert np.abs(shown(body) - upright(body)).max() < 1.5
    found = header(body)
    assert (found.width, found.height) == image.size
    assert found.complete
    assert found.transparent is (image.mode in ("RGBA", "LA") and kind != "BMP")


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_cut_files(kind: str) -> None:
    body = saved(RGB, kind)
    for share in (0.5, 0.97):
        assert reason(body[: int(len(body) * share)]) == Reason.TRUNCATED_IMAGE


def test_sixteen_bits_a_sample() -> None:
    wide = SOURCE.astype(np.uint16) * 257
    ppm = b"P6 64 48 65535\n" + wide.astype(">u2").tobytes()
    assert (shown(ppm) == SOURCE).all()
    tags = {256: 64, 257: 48, 258: 16, 259: 1, 262: 2, 273: 0, 277: 3, 278: 48, 279: wide.nbytes}
    for order, stored in (("<", "<u2"), (">", ">u2")):
        body = tiff(tags, wide.astype(stored).tobytes(), order)
        assert header(body).depth == 16
        assert np.abs(shown(body).astype(int) - SOURCE).max() <= 1
    grey = np.asarray(GREY)
    assert (shown(saved(GREY16, "TIFF"))[:, :, 0] == grey).all()


def tiff(tags: dict[int, int], data: bytes, order: str = "<", kind: int = 4) -> bytes:
    """A page of tags with one value each; 273, where the pixels are, is filled in."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(order + "HHII", tag, kind, 1, start if tag == 273 else value)
        for tag, value in sorted(tags.items())
    )
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return (mark + struct.pack(order + "IH", 8, len(tags)) + entries + bytes(4) + data)  # fmt: skip


PAGE = {256: 64, 257: 48, 258: 8, 259: 1, 262: 2, 273: 0, 277: 3, 278: 48, 279: SOURCE.nbytes}


def test_a_tiff_by_hand() -> None:
    body = tiff(PAGE, SOURCE.tobytes())
    assert (shown(body) == SOURCE).all()
    assert reason(tiff({257: 48}, b"")) == Reason.DECODE_ERROR


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_tiff_is_applied_once(orientation: int) -> None:
    body = tiff(PAGE | {274: orientation}, SOURCE.tobytes())
    assert (shown(body) == upright(body)).all()


@pytest.mark.parametrize(
    "change",
    [
        {322: 100_000, 323: 100_000, 324: 8, 325: 9},  # a tile of 30 GB
        {259: 5, 322: 60_000, 323: 60_000, 324: 8, 325: 9},
    ],
)
def test_tiles_larger_than_their_tiff(change: dict[int, int]) -> None:
    assert reason(tiff(PAGE | change, b"")) == Reason.IMAGE_BOMB


def test_tiff_tags_of_more_than_the_file() -> None:
    body = bytearray(tiff(PAGE, SOURCE.tobytes()))
    tables = b"".join(struct.pack("<HHII", 320, 3, 4000, 8) for _ in range(500))
    struct.pack_into("<H", body, 8, 500 + len(PAGE))
    assert reason(bytes(body[:10]) + tables + bytes(body[10:])) == Reason.IMAGE_BOMB
    many = struct.pack("<HHII", 273, 4, 200_000, 8)
    body[10 + 5 * 12 : 10 + 6 * 12] = many
    struct.pack_into("<H", body, 8, len(PAGE))
    assert reason(bytes(body) + bytes(800_000)) == Reason.IMAGE_BOMB
    struct.pack_into("<H", body, 8, 60_000)
    assert reason(bytes(body) + bytes(800_000)) == Reason.IMAGE_BOMB


def test_tiff_metadata_stay_out_of_the_decoder() -> None:
    """Pillow would copy the tags of every directory it is led to."""
    exif = Image.Exif()
    exif[0x010F] = "Sample"
    body = saved(RGB, "TIFF", exif=exif, description="mine")
    assert (shown(body) == SOURCE).all()
    result = outcome(body)
    assert '"Image Make":"Sample"' in str(getattr(result, "exif", ""))
    from img2ds.image.hidden import plain_tiff

    with Image.open(io.BytesIO(plain_tiff(body))) as image:
        assert not {270, 271} & set(image.getexif())


@pytest.mark.parametrize(
    ("kind", "options"),
    [("AVIF", {"quality": 100, "subsampling": "4:4:4"}), ("TIFF", {})],
)  # fmt: skip
def test_profiles_of_formats(kind: str, options: dict[str, Any]) -> None:
    """In this profile the first channel is sRGB's green and the second its red."""
    stored = Image.fromarray(SOURCE[:, :, [1, 0, 2]].copy())
    body = saved(stored, kind, icc_profile=rgb_profile(GREEN, RED, BLUE), **options)
    mean, most = distance(shown(body), SOURCE)
    assert mean < 2
    assert most < 8


def test_a_profile_in_a_jp2() -> None:
    profile = rgb_profile(GREEN, RED, BLUE)
    stored = Image.fromarray(SOURCE[:, :, [1, 0, 2]].copy())
    body = saved(stored, "JPEG2000")
    at = body.index(b"colr") - 4
    (size,) = struct.unpack_from(">I", body, at)
    colour = struct.pack(">I", 11 + len(profile)) + b"colr\2\0\0" + profile
    head = body.index(b"jp2h") - 4
    (length,) = struct.unpack_from(">I", body, head)
    longer = struct.pack(">I", length - size + len(colour))
    changed = body[:head] + longer + body[head + 4 : at] + colour + body[at + size :]
    assert header(changed).icc == profile
    assert distance(shown(changed), SOURCE)[0] < 2
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert srgb != profile


@pytest.mark.parametrize("text", [
    b"P1 4 2\n# bits\n1 0 0 1\n0110\n",
    b"P2\n# a comment\n3 2\n# another\n100\n0 50 100 # end of the row\n1 2\n3",
    b"P3 2 1 255 1 2 3 40 50 60",
    b"P5 3 1 100 " + bytes([0, 50, 100]),
    b"P6 1 2 31\n" + bytes([0, 15, 31, 1, 2, 3]),
    b"P5 2 1 1000\n" + struct.pack(">2H", 500, 1000),
    b"P4 10 2 " + bytes([0b10101010, 0xFF, 0x0F, 0x00]),
])  # fmt: skip
def test_plain_and_rare_pnms(text: bytes) -> None:
    assert np.abs(shown(text) - upright(text)).max() <= 1


def test_broken_pnms() -> None:
    for body in (b"P3 2 1 255 1 2 3 40 50", b"P1 4 2 0 1 1", b"P5 3 2 255 abc", b"P4 10 2 abc"):
        assert reason(body) == Reason.TRUNCATED_IMAGE
    for body in (b"P3 2 1 255 1 2 3 x", b"P1 4 1 0 1 1 7", b"P5 3 2 70000 abc", b"P5 3x 2 255 abcd",
                 b"P6 3 2 0 " + bytes(40)):  # fmt: skip
        assert reason(body) == Reason.DECODE_ERROR
    assert reason(b"P3 2 1 255 -1 2 3 4 5 6") == Reason.DECODE_ERROR


def test_rows_of_a_bmp_from_the_top() -> None:
    body = bytearray(saved(RGB, "BMP"))
    struct.pack_into("<i", body, 22, -48)
    assert (shown(bytes(body)) == SOURCE[::-1]).all()


def bmp_of_runs(bits: int, colours: bytes, width: int, height: int, runs: bytes) -> bytes:
    """A BMP of colours [B, G, R, 0] each."""
    sizes = struct.pack("<IiiHH", 40, width, height, 1, bits)
    head = sizes + struct.pack("<IIiiII", 2 - bits // 8, len(runs), 0, 0, len(colours) // 4, 0)
    start = 14 + len(head) + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + head + colours + runs


def test_a_bmp_of_runs() -> None:
    """Eight bits: two rows of two runs."""
    palette = bytes([1, 2, 3, 0, 9, 8, 7, 0])
    body = bmp_of_runs(8, palette, 5, 2, bytes([2, 0, 3, 1, 0, 0, 1, 1, 4, 0, 0, 1]))
    rows = [[1, 0, 0, 0, 0], [0, 0, 1, 1, 1]]
    expected = np.array([[3, 2, 1], [7, 8, 9]], np.uint8)[np.array(rows)]
    assert (shown(body) == expected).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_every_colour_of_a_bmp_of_runs(bits: int) -> None:
    """A run of a pixel each; those without a colour are black."""
    levels = 1 << bits
    colours = np.random.default_rng(3).integers(0, 256, (levels, 4), np.uint8)
    colours[:, 3] = 0
    known = levels - 3
    runs = bytes(byte for n in range(levels) for byte in (1, n << 4 if bits == 4 else n))
    body = bmp_of_runs(bits, colours[:known].tobytes(), levels, 1, runs + b"\0\1")
    colours[known:] = 0
    assert (shown(body)[0] == colours[:, 2::-1]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_an_avif(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Sample"
    body = saved(RGB, "AVIF", exif=exif)
    assert header(body).orientation == orientation
    assert np.abs(shown(body) - upright(body)).max() < 1.5
    assert '"Image Make":"Sample"' in str(getattr(outcome(body), "exif", ""))


def test_the_orientation_that_exif_adds_to_an_avif_does_not_count() -> None:
    """As MIAF and browsers have it."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 1, "Sample"
    body = saved(RGB, "AVIF", exif=exif)
    entry = struct.pack("<HHI", 0x0112, 3, 1)
    swapped = body.replace(entry + b"\1\0", entry + b"\6\0")
    swapped = swapped.replace(
        struct.pack(">HHIH", 0x0112, 3, 1, 1), struct.pack(">HHIH", 0x0112, 3, 1, 6)
    )
    assert (shown(swapped) == shown(body)).all()


def test_the_first_frame_of_an_avif_sequence() -> None:
    body = saved(RGB, "AVIF", save_all=True, append_images=[Image.fromarray(255 - SOURCE)])
    assert body[8:12] == b"avis"
    assert distance(shown(body), SOURCE)[0] < 4


DATA, CONFIG = coded(SOURCE)


def test_an_avif_by_hand() -> None:
    body = still((64, 48), [(b"av01", DATA)], CONFIG)
    assert distance(shown(body), SOURCE)[0] < 4
    rotated = still((64, 48), [(b"av01", DATA)], CONFIG, more=(b"\0\0\0\x09irot\1",))
    assert (shown(rotated) == np.rot90(shown(body))).all()
    other = still((64, 48), [(b"av01", DATA)], CONFIG, brands=b"miaf\0\0\0\0mif1miafavif")
    assert (shown(other) == shown(body)).all()


def grid(rows: int, columns: int, width: int, height: int) -> bytes:
    return struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)


def test_an_avif_of_tiles() -> None:
    square = photo(12, 64, 64)
    data, config = coded(square)
    items = [(b"grid", grid(1, 2, 128, 64)), (b"av01", data), (b"av01", data)]
    pixels = shown(still((128, 64), items, config, tile=(64, 64)))
    assert (pixels[:, 2:62] == pixels[:, 66:126]).all()  # chroma is interpolated at the seam
    assert distance(pixels[:, :64], square)[0] < 4
    narrow = [(b"grid", grid(1, 2, 128, 48)), (b"av01", DATA), (b"av01", DATA)]
    assert reason(still((128, 48), narrow, CONFIG, tile=(64, 48))) == Reason.DECODE_ERROR


def test_avifs_that_ask_for_more_than_their_size() -> None:
    big = coded(np.zeros((400, 400, 3), np.uint8))[0]
    assert reason(still((64, 48), [(b"av01", big)], CONFIG)) == Reason.IMAGE_BOMB
    items = [(b"grid", grid(1, 1, 60_000, 60_000)), (b"av01", DATA)]
    assert reason(still((64, 48), items, CONFIG)) == Reason.IMAGE_BOMB
    copies = [(0, 900)] * 500
    assert reason(still((64, 48), [(b"av01", DATA)], CONFIG, extents=copies)) == Reason.IMAGE_BOMB


def test_an_avif_of_a_million_parts_is_not_read() -> None:
    body = still((64, 48), [(b"av01", DATA)] * 300, CONFIG, extents=[(0, 1)] * 60_000)
    assert reason(body) == Reason.DECODE_ERROR


def test_avifs_without_an_image() -> None:
    body = still((64, 48), [(b"av01", DATA)], CONFIG)
    assert reason(body.replace(b"pitm\0\0\0\0\0\1", b"pitm\0\0\0\0\0\7")) == Reason.DECODE_ERROR
    assert reason(body.replace(b"ispe", b"xxxx")) == Reason.DECODE_ERROR
    sequence = body[:24] + struct.pack(">I", 8) + b"moov"
    assert reason(sequence) == Reason.DECODE_ERROR
    assert full_box(b"free") not in body


def test_jpeg_2000_headers_that_differ() -> None:
    body = saved(RGB, "JPEG2000")
    size = struct.pack(">II", 64, 48)
    at = body.index(b"\xff\x4f\xff\x51")
    inside = body.index(size, at)
    grown = body[:inside] + struct.pack(">II", 6400, 4800) + body[inside + 8 :]
    assert reason(grown) == Reason.DECODE_ERROR
    count = at + 4 + 36
    assert struct.unpack_from(">H", body, count) == (3,)
    assert reason(body[:count] + b"\x40\0" + body[count + 2 :]) == Reason.DECODE_ERROR


def test_jpeg_2000_parts_that_are_too_small() -> None:
    body = saved(RGB, "JPEG2000", no_jp2=True)
    tile = 4 + 4 + 16
    assert struct.unpack_from(">II", body, tile) == (64, 48)
    tiny = body[:tile] + struct.pack(">II", 1, 1) + body[tile + 8 :]
    assert reason(tiny) == Reason.IMAGE_BOMB
    large = photo(1, 1000, 800)
    fine = saved(Image.fromarray(large), "JPEG2000", no_jp2=True, codeblock_size=(4, 4))
    assert reason(fine) == Reason.IMAGE_BOMB
    narrow = saved(Image.fromarray(large), "JPEG2000", no_jp2=True, precinct_size=(8, 8),
                   codeblock_size=(4, 4))  # fmt: skip
    assert reason(narrow) == Reason.IMAGE_BOMB
    usual = saved(Image.fromarray(large), "JPEG2000", no_jp2=True, precinct_size=(128, 128))
    assert (shown(usual) == large).all()
