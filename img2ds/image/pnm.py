"""Decode a PNM, which is not compressed, without a library."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from img2ds.image.canvas import Canvas, shrink
from img2ds.image.headers.pnm import Raster, read_raster
from img2ds.image.orient import Pixels
from img2ds.image.strips import strips

_COMMENT = re.compile(rb"#[^\r\n]*")
_OTHER = re.compile(rb"[^\d \t-\r]")
_BLANKS = b" \t\n\v\f\r"
_DIGIT_0 = ord("0")
#: Most comments among the pixels: each costs as much as hundreds of them.
_MAX_COMMENTS = 10_000
#: Bytes of text that are read at a time.
_CHUNK = 1 << 18


def decode_pnm(body: bytes | bytearray, scale: int = 1) -> Pixels | None:
    """Decode to RGB [height, width, 3] or grey [height, width]; None if pixels are missing.

    Args:
        scale: the divisor of the size.

    Raises:
        ValueError: a plain raster has something else than numbers.
    """
    raster = read_raster(body)
    assert raster is not None  # the header was accepted
    shape = (
        (raster.height, raster.width, 3) if raster.channels == 3 else (raster.height, raster.width)
    )
    if raster.plain:
        pixels = _read_text(_plain_text(body, raster), raster)
        return None if pixels is None else shrink(pixels.reshape(shape), scale)
    if raster.bits:
        row, size = (raster.width + 7) // 8, 1
    else:
        row, size = raster.width * raster.channels, 1 if raster.most <= 255 else 2
    count = raster.height * row
    if len(body) - raster.start < count * size:
        return None
    samples: Pixels = np.frombuffer(body, f">u{size}", count, raster.start)
    if not raster.bits:
        samples = samples.reshape(shape)
        if raster.most == 255:
            return shrink(samples, scale)
    else:
        samples = samples.reshape(raster.height, row)
    canvas = Canvas(shape, scale)
    for rows in strips(raster.height, raster.width, scale):
        strip = samples[rows]
        canvas.put(rows, _bits(strip, raster.width) if raster.bits else _scale(strip, raster.most))
    return canvas.pixels


def _bits(packed: Pixels, width: int) -> Pixels:
    """Return the levels of rows of bits, of which one is black."""
    levels: Pixels = (1 - np.unpackbits(packed, axis=1, count=width)) * np.uint8(255)
    return levels


def _scale(samples: Pixels, most: int) -> Pixels:
    """Scale levels up to `most` to eight bits, rounded."""
    wide = samples.clip(0, most).astype(np.uint32)
    levels: Pixels = ((wide * 510 + most) // (2 * most)).astype(np.uint8)
    return levels


def _plain_text(body: bytes | bytearray, raster: Raster) -> memoryview:
    """Return the text of the pixels without comments."""
    comments = body.count(b"#", raster.start)
    if comments > _MAX_COMMENTS:
        raise ValueError("too many comments")
    text = memoryview(body)[raster.start :]
    return memoryview(_COMMENT.sub(b"", text)) if comments else text


def _read_text(text: memoryview, raster: Raster) -> Pixels | None:
    """Return the levels of text, of all samples in a row."""
    count = raster.height * raster.width * raster.channels
    levels = np.empty(count, np.uint8)
    at = 0
    for part in _digits(text) if raster.bits else _numbers(text):
        part = part[: count - at]
        levels[at : at + part.size] = _scale(part, raster.most)
        at += part.size
        if at == count:
            return 255 - levels if raster.bits else levels
    return None


def _digits(text: memoryview) -> Iterator[Pixels]:
    """Yield bits: one digit each, blanks between them are optional."""
    for at in range(0, len(text), _CHUNK):
        chunk = bytes(text[at : at + _CHUNK]).translate(None, _BLANKS)
        bits = np.frombuffer(chunk, np.uint8) - _DIGIT_0
        if bits.size and bits.max() > 1:
            # What follows the image does not matter.
            yield bits[: int(np.argmax(bits > 1))]
            raise ValueError("PBM with other digits")
        yield bits


def _numbers(text: memoryview) -> Iterator[Pixels]:
    rest = b""
    for at in range(0, len(text), _CHUNK):
        chunk = rest + bytes(text[at : at + _CHUNK])
        rest = b""
        if at + _CHUNK < len(text):  # the last number may go on
            end = max(chunk.rfind(blank) for blank in (b" ", b"\n", b"\r", b"\t"))
            chunk, rest = chunk[: end + 1], chunk[end + 1 :]
            if len(rest) > _CHUNK:
                raise ValueError("a number without end")
        other = _OTHER.search(chunk)
        yield np.fromstring(chunk[: other.start() if other else None], np.int64, sep=" ")
        if other:
            raise ValueError("neither a number nor a blank")
