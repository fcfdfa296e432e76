"""Decode a PNM, which is not compressed, without a library."""

from __future__ import annotations

import re

import numpy as np

from img2ds.image.headers.pnm import Raster, read_raster
from img2ds.image.orient import Pixels
from img2ds.image.strips import strips

_COMMENT = re.compile(rb"#[^\r\n]*")
_OTHER = re.compile(rb"[^\d \t-\r]")
_DIGIT_0 = ord("0")


def decode_pnm(body: bytes | bytearray) -> Pixels | None:
    """Decode to RGB [height, width, 3] or grey [height, width]; None if pixels are missing.

    Raises:
        ValueError: a plain raster has something else than numbers.
    """
    raster = read_raster(body)
    assert raster is not None  # the header was accepted
    shape = (
        (raster.height, raster.width, 3) if raster.channels == 3 else (raster.height, raster.width)
    )
    count = raster.height * raster.width * raster.channels
    if raster.bits:
        return _decode_bits(body, raster)
    samples = _read_text(body, raster, count) if raster.plain else _read_binary(body, raster, count)
    if samples is None:
        return None
    return _scale(samples.reshape(shape), raster.most)


def _decode_bits(body: bytes | bytearray, raster: Raster) -> Pixels | None:
    if raster.plain:  # one digit a pixel, blanks between them are optional
        text = _COMMENT.sub(b"", bytes(body[raster.start :]))
        digits = np.frombuffer(text.translate(None, b" \t\n\v\f\r"), np.uint8)
        bits = digits[: raster.height * raster.width] - _DIGIT_0
        if bits.size and bits.max() > 1:
            raise ValueError("PBM with other digits")
    else:
        row = (raster.width + 7) // 8
        data = np.frombuffer(body, np.uint8, offset=raster.start)[: raster.height * row]
        if data.size < raster.height * row:
            return None
        bits = np.unpackbits(data.reshape(raster.height, row), axis=1, count=raster.width)
    if bits.size < raster.height * raster.width:
        return None
    pixels: Pixels = (1 - bits.reshape(raster.height, raster.width)) * np.uint8(255)
    return pixels


def _read_text(body: bytes | bytearray, raster: Raster, count: int) -> Pixels | None:
    text = bytes(body[raster.start :])
    if b"#" in text:
        text = _COMMENT.sub(b"", text)
    other = _OTHER.search(text)
    samples = np.fromstring(text[: other.start() if other else None], np.int64, sep=" ")
    if samples.size >= count:
        return samples[:count]
    if other:
        raise ValueError("neither a number nor a blank")
    return None


def _read_binary(body: bytes | bytearray, raster: Raster, count: int) -> Pixels | None:
    kind = np.dtype(">u2" if raster.most > 255 else np.uint8)
    if len(body) - raster.start < count * kind.itemsize:
        return None
    return np.frombuffer(body, kind, count, raster.start)


def _scale(samples: Pixels, most: int) -> Pixels:
    """Scale levels up to `most` to eight bits, rounded."""
    if most == 255 and samples.dtype == np.uint8:
        return samples
    pixels = np.empty(samples.shape, np.uint8)
    for rows in strips(*samples.shape[:2]):
        wide = samples[rows].clip(0, most).astype(np.uint32)
        pixels[rows] = (wide * 510 + most) // (2 * most)
    return pixels
