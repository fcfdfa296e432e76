"""Decode PNGs of 8 and 16 bits strip by strip, by the extension `_png`: interlaced ones, ones with
a transparent colour, and large ones, which are reduced on the way.

Their pixels are in memory only as they are returned: eight bits, without alpha. Palettes and fewer
bits are left to the general decoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from img2ds.image.canvas import Canvas, shrink
from img2ds.image.header import Header
from img2ds.image.headers.png import chunks, fits, has_crc
from img2ds.image.icc import Conversion, early_conversion
from img2ds.image.native import load
from img2ds.image.orient import Pixels
from img2ds.image.png import CHANNELS
from img2ds.image.png_data import HAS_IGZIP, Inflater, idat
from img2ds.image.png_plain import ADAM7
from img2ds.image.strips import on_white, strips

_png = load("png")

#: Most bytes of a pixel: RGBA of 16 bits.
_SIZE = 8


def is_there() -> bool:
    """Return whether the extension is, in its newest version, and what inflates for it."""
    return HAS_IGZIP and getattr(_png, "MAX_SIZE", 0) >= _SIZE


def can_decode(body: bytes | bytearray, header: Header) -> bool:
    """Return whether a PNG is of a kind that is decoded here."""
    return (
        is_there()
        and header.depth in (8, 16)
        and body[12:16] == b"IHDR"
        and body[25] in CHANNELS
        and not any(body[26:28])
    )


def decode_strips(
    body: bytes | bytearray, header: Header, scale: int, *, trusted: bool = False
) -> Pixels | None:
    """Decode to RGB [height, width, 3] or grey [height, width], at 1 / `scale` of the size.

    Args:
        body: one that `can_decode` accepts.
        trusted: whether the pixels were checked: the data need not end with them.

    Returns:
        None if it is damaged.
    """
    packed = idat(body)
    if packed is None:
        return None
    kind = _Kind.of(body, header)
    channels = 3 if body[25] & 2 else 1
    data = Inflater(packed)
    shape = (header.height, header.width, channels)
    if header.passes:
        pixels = _interlaced(data, kind, shape)
        pixels = None if pixels is None else shrink(pixels, scale)
    else:
        pixels = _in_order(data, kind, shape, scale)
    if pixels is None or not (trusted or data.ends()):
        return None
    return pixels if channels == 3 else pixels[:, :, 0]


def _in_order(
    data: Inflater, kind: _Kind, shape: tuple[int, int, int], scale: int
) -> Pixels | None:
    canvas = Canvas(shape, scale)
    for rows, strip in _rows(data, shape[0], shape[1], kind.size, scale):
        if strip is None:
            return None
        canvas.put(rows, kind.finished(strip).reshape(len(strip), *shape[1:]))
    return canvas.pixels


def _interlaced(data: Inflater, kind: _Kind, shape: tuple[int, int, int]) -> Pixels | None:
    pixels = np.empty(shape, np.uint8)
    # All samples of a pixel at once: NumPy takes a third of the time.
    whole = pixels.view(f"V{shape[2]}")[:, :, 0]
    for left, top, across, down in ADAM7:
        part = whole[top::down, left::across]
        if not part.size:
            continue
        for rows, strip in _rows(data, part.shape[0], part.shape[1], kind.size, 1):
            if strip is None:
                return None
            finished = np.ascontiguousarray(kind.finished(strip))
            part[rows] = finished.reshape(-1).view(whole.dtype).reshape(strip.shape[:2])
    return pixels


def _rows(
    data: Inflater, height: int, width: int, size: int, grain: int
) -> Iterator[tuple[slice, Pixels | None]]:
    """Yield rows without their filters, uint8 [rows, width, size]; None where they are damaged.

    Args:
        size: bytes of a pixel.
        grain: see `strips`.
    """
    assert _png is not None
    length = 1 + width * size
    above = b""
    for rows in strips(height, width, grain):
        count = rows.stop - rows.start
        raw = data.read(count * length)
        # The row above goes along, unfiltered: the filters refer to it.
        strip = np.empty((count + bool(above), width, size), np.uint8)
        if len(raw) != count * length or not _png.unfilter(above + raw, strip):
            yield rows, None
            return
        del raw
        above = b"\0" + strip[-1].tobytes() if rows.stop < height else b""
        yield rows, strip[-count:]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How the bytes of a row become pixels.

    Attributes:
        size: bytes of a pixel.
        wide: whether a sample has 16 bits.
        alpha: whether the last sample is alpha.
        clear: the samples of the transparent colour.
    """

    size: int
    wide: bool
    alpha: bool
    clear: tuple[int, ...] | None
    convert: Conversion | None

    @classmethod
    def of(cls, body: bytes | bytearray, header: Header) -> _Kind:
        colour, wide = body[25], header.depth == 16
        alpha = bool(colour & 4)
        clear = None if alpha or not header.transparent else _clear(body, colour)
        size = CHANNELS[colour] * (2 if wide else 1)
        return cls(size, wide, alpha, clear, early_conversion(header))

    def finished(self, strip: Pixels) -> Pixels:
        """Return RGB or grey of 8 bits, on white, from the bytes of samples."""
        samples = strip.view(">u2").astype(np.uint16) if self.wide else strip
        hidden = None if self.clear is None else cv2.inRange(samples, self.clear, self.clear)
        if self.wide:  # rounds to the nearest of 257
            samples = (samples.astype(np.uint32) * 255 + 32895 >> 16).astype(np.uint8)
        if self.alpha:
            return _on_white(samples, self.convert)
        if self.convert is not None:
            samples = self.convert(samples if samples.shape[2] == 3 else samples[:, :, 0])
        if hidden is not None:  # white where it is
            samples = samples | hidden.reshape(hidden.shape + (1,) * (samples.ndim - 2))
        return samples


def _on_white(samples: Pixels, convert: Conversion | None) -> Pixels:
    if samples.shape[2] == 4:
        return on_white(samples, convert)
    if convert is not None:
        samples = np.dstack([convert(np.ascontiguousarray(samples[:, :, 0])), samples[:, :, 1]])
    return on_white(samples)


def _clear(body: bytes | bytearray, colour: int) -> tuple[int, ...] | None:
    """Return the samples of the transparent colour, of which the first valid chunk counts."""
    for kind, start, end in chunks(body):
        if kind == b"IDAT":
            break
        if kind == b"tRNS" and fits(colour, end - start, 0) and has_crc(body, start, end):
            return tuple(int.from_bytes(body[at : at + 2], "big") for at in range(start, end, 2))
    return None
