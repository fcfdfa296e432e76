"""What is damaged in a PNG without need for its pixels loses none of them, whatever their kind."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2ds.config.options import ImageOptions
from img2ds.core.failure import Failure, Reason
from img2ds.core.sample import Encoded
from img2ds.image.header import Header
from img2ds.image.sniff import sniff
from img2ds.image.transform import Transformer
from tests.image.reference import Pixels, opened
from tests.server.image import png_chunk
from tests.server.photos import photo

SOURCE = photo(3, 61, 40)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Bytes of the signature and IHDR, and of IEND.
HEAD, END = 33, 12
KINDS = ("RGB", "P", "LA", "1", "APNG", "RGB16", "interlaced")


def outcome(body: bytes, **options: Any) -> Encoded | Failure:
    options = {"resize_mode": "no", "encode_format": "png", **options}
    transformer = Transformer(ImageOptions(**options))
    inspected = transformer.inspect(body)
    return inspected if isinstance(inspected, Failure) else transformer.render(inspected)


def shown(body: bytes) -> Pixels:
    result = outcome(body)
    assert isinstance(result, Encoded), result
    return opened(result.data)


def reason(body: bytes) -> str:
    result = outcome(body)
    assert isinstance(result, Failure)
    return result.reason


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def adam7(pixels: Pixels) -> bytes:
    """An interlaced RGB PNG."""
    height, width = pixels.shape[:2]
    raw = b""
    for x, y, across, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
                               (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):  # fmt: skip
        raw += b"".join(b"\0" + row.tobytes() for row in pixels[y::down, x::across])
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", ihdr), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return SIGNATURE + b"".join(png_chunk(*chunk) for chunk in chunks)


def picture(kind: str) -> bytes:
    image = Image.fromarray(SOURCE)
    if kind == "P":
        return saved(image.quantize(64))
    if kind == "LA":
        grey = image.convert("L")
        return saved(Image.merge("LA", (grey, grey.transpose(Image.Transpose.ROTATE_180))))
    if kind == "1":
        return saved(image.convert("1"))
    if kind == "APNG":
        return saved(image, save_all=True, append_images=[Image.fromarray(255 - SOURCE)])
    if kind == "RGB16":
        rows = (b"\0" + (row.astype(">u2") * 257).tobytes() for row in SOURCE)
        ihdr = struct.pack(">IIBBBBB", *SOURCE.shape[1::-1], 16, 2, 0, 0, 0)
        data = zlib.compress(b"".join(rows))
        chunks = ((b"IHDR", ihdr), (b"IDAT", data), (b"IEND", b""))
        return SIGNATURE + b"".join(png_chunk(*chunk) for chunk in chunks)
    return adam7(SOURCE) if kind == "interlaced" else saved(image)


def wrong(kind: bytes, data: bytes) -> bytes:
    """A chunk with a wrong CRC."""
    chunk = png_chunk(kind, data)
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


PACKED = zlib.compress(bytes(3_000_000), 9)
PROFILE = zlib.compress(bytes(200))
DAMAGE = {
    "tEXt-crc": wrong(b"tEXt", b"Comment\0hello"),
    "iCCP-crc": wrong(b"iCCP", b"x\0\0" + PROFILE),
    "iCCP-3MB": png_chunk(b"iCCP", b"x\0\0" + PACKED),
    "zTXt-3MB": png_chunk(b"zTXt", b"x\0\0" + PACKED),
    "iTXt-3MB": png_chunk(b"iTXt", b"x\0\1\0\0\0" + PACKED),
    "zTXt-method": png_chunk(b"zTXt", b"x\0\7" + PROFILE),
    "cHRM-short": png_chunk(b"cHRM", bytes(5)),
    "gAMA-short": png_chunk(b"gAMA", bytes(2)),
    "sRGB-empty": png_chunk(b"sRGB", b""),
    "pHYs-short": png_chunk(b"pHYs", bytes(3)),
    "acTL-without-frames": png_chunk(b"acTL", bytes(8)),
    "acTL-short": png_chunk(b"acTL", bytes(2)),
    "tRNS-crc": wrong(b"tRNS", bytes(2)),
    "tRNS-long": png_chunk(b"tRNS", bytes(300)),
    "eXIf-garbage": png_chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
    "own": png_chunk(b"abCd", bytes(10)),
}


@pytest.mark.parametrize("place", ["IHDR", "IEND"])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_beside_the_pixels(kind: str, damage: str, place: str) -> None:
    body = picture(kind)
    at = HEAD if place == "IHDR" else len(body) - END
    assert (shown(body[:at] + DAMAGE[damage] + body[at:]) == shown(body)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [1, END, END + 2, END + 4])
def test_an_end_that_no_pixel_needs(kind: str, missing: int) -> None:
    body = picture(kind)
    if kind == "APNG":  # whose second frame lies behind
        body = body[: body.index(b"fdAT") - 4] + body[-END:]
    assert (shown(body[:-missing]) == shown(body)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_that_are_missing(kind: str) -> None:
    body = picture(kind)
    data = body.rindex(b"IDAT")
    assert reason(body[: data + 200]) == Reason.TRUNCATED_IMAGE
    assert reason(body[: data + 4]) == Reason.TRUNCATED_IMAGE
    assert reason(body[:HEAD]) == Reason.TRUNCATED_IMAGE


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_crc_of_pixels_whose_own_checksum_is_right(kind: str) -> None:
    body = bytearray(picture(kind))
    at = body.index(b"IDAT")
    (length,) = struct.unpack_from(">I", body, at - 4)
    body[at + 4 + length] ^= 1
    assert (shown(bytes(body)) == shown(picture(kind))).all()
    body[at + length] ^= 1  # zlib's checksum
    assert reason(bytes(body)) == Reason.DECODE_ERROR


def exif(orientation: int) -> bytes:
    return b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x0112, 3, 1, orientation) + bytes(4)


@pytest.mark.parametrize("kind", KINDS)
def test_exif_behind_the_pixels(kind: str) -> None:
    body = picture(kind)
    turned = shown(body[:-END] + png_chunk(b"eXIf", exif(6)) + body[-END:])
    assert (turned == np.rot90(shown(body), -1)).all()
    ignored = shown(body[:-END] + wrong(b"eXIf", exif(6)) + body[-END:])
    assert (ignored == shown(body)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_comment_that_precedes_the_header(kind: str) -> None:
    body = picture(kind)
    comment = png_chunk(b"tEXt", b"Comment\0" + b"\xff" * 50)
    assert (shown(SIGNATURE + comment + body[8:]) == shown(body)).all()


def test_a_palette_image_without_its_palette() -> None:
    body = picture("P")
    start, end = body.index(b"PLTE") - 4, body.index(b"IDAT") - 4
    assert reason(body[:start] + body[end:]) == Reason.DECODE_ERROR
    broken = bytearray(body)
    broken[start + 8] ^= 1  # libpng refuses a wrong CRC here, too
    assert reason(bytes(broken)) == Reason.DECODE_ERROR


def test_what_is_clear_by_a_chunk_that_fits() -> None:
    """As libpng reads it: more levels than colours, or a chunk in the wrong place, are ignored."""
    body = picture("P")
    end = body.index(b"IDAT") - 4
    colours = struct.unpack_from(">I", body, body.index(b"PLTE") - 4)[0] // 3

    def clear(at: int, count: int) -> bytes:
        return body[:at] + png_chunk(b"tRNS", bytes(count)) + body[at:]

    assert (shown(clear(end, colours)) == 255).all()
    assert (shown(clear(end, colours + 1)) == shown(body)).all()
    assert (shown(clear(HEAD, colours)) == shown(body)).all()
    assert (shown(clear(len(body) - END, colours)) == shown(body)).all()
    found = sniff(clear(end, colours + 1))
    assert isinstance(found, Header)
    assert not found.transparent
