"""Decode common JPEGs, baseline and progressive, by the extension `_jpeg`. x86-64 only.

It takes half the time of libjpeg-turbo, and its pixels are the same. It declines whatever is rare
or broken; the general decoder then decodes it, or states the error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from img2ds.image.decode_error import CUT_SHORT, DecodeError
from img2ds.image.header import Header
from img2ds.image.native import load
from img2ds.image.orient import Pixels
from img2ds.image.planes import Planes

_jpeg = load("jpeg")

#: The reduced sizes that JPEGs are decoded at, as divisors: those whose inverse DCT is vectorised.
#: The other eighths take longer than the next larger one, resizing included.
DCT_SCALES = (8, 4, 2)

#: Pixels a side of a DCT block.
_SIDE = 8
#: The place of the component that has the resolution of the first.
_BLACK = 3
#: The divisor of a size at which all scans are read, and so the end is found.
_SURE = 4
#: Bytes of a stored coefficient, with its share of the mask of those that are not zero.
_COEFFICIENT = 2 + 1 / 8
#: Most bytes of coefficients of all components; of more, each component has a pass of its own.
_ONE_PASS = 128_000_000
#: Bytes of planes from which on they give way to the pixels that are made of them.
CONSUMED = 32 << 20
#: Bytes of tables and of rows besides.
_BESIDES = 100_000


@dataclass(frozen=True, slots=True)
class Components:
    """The components of a JPEG of any colours.

    Attributes:
        planes: uint8, of the first and the fourth [height, width]; the others as in `Planes`.
        pitch: see `Planes`.
        ycc: whether the first three are YCbCr.
    """

    planes: list[Pixels]
    pitch: tuple[int, int]
    ycc: bool


def reduction(header: Header, min_size: tuple[int, int]) -> int:
    """Return the largest divisor at which the image has at least `min_size`, width and height.

    Sides are rounded up. (0, 0) asks for the full size, which is 1. So does a lossless JPEG:
    libjpeg-turbo writes all its pixels whatever size was asked for, past the end of the memory.
    """
    if min_size != (0, 0) and not header.lossless:
        width, height = min_size
        for scale in DCT_SCALES:
            if -(-header.width // scale) >= width and -(-header.height // scale) >= height:
                return scale
    return 1


def is_there() -> bool:
    """Return whether the extension is."""
    return _jpeg is not None


def has_components() -> bool:
    """Return whether the extension has `decode_components`."""
    return hasattr(_jpeg, "decode_components")


def plane_bytes(header: Header, scale: int) -> int:
    """Return the most bytes of the planes at 1 / `scale` of the size: chroma may be as fine as luma
    where it is stored at half of that.
    """
    planes = header.planes or _samples(header)
    if scale == 1:
        return sum(planes)
    return -(-len(planes) * max(planes) // scale**2)


def _samples(header: Header) -> tuple[int, ...]:
    return header.planes or (header.width * header.height,) * header.channels


def memory_bound(header: Header, length: int, scale: int) -> int:
    """Return the most bytes that the extension allocates for a JPEG, besides the pixels returned.

    These are planes, up to 3 bytes a pixel, and what `working_bytes` returns.

    Args:
        length: of the file, in bytes.
    """
    return plane_bytes(header, scale) + working_bytes(header, length, scale)


def working_bytes(header: Header, length: int, scale: int) -> int:
    """Return the most bytes that the extension allocates besides planes: a scan without stuffing.

    And of an image of several scans the coefficients: of all components, 6.4 bytes a pixel, or of
    one after the other.
    """
    if not header.passes:
        return length + _BESIDES
    planes = _samples(header)
    each = [_COEFFICIENT * samples for samples in planes]
    if scale == _SIDE:  # blocks of luma are a pixel, of chroma they may be four
        for black_or_luma in range(0, len(planes), _BLACK):
            each[black_or_luma] = 2 * planes[black_or_luma] / _SIDE**2
    stored = sum(each) if sum(each) <= _ONE_PASS else max(each)
    return int(stored) + length + _BESIDES


def decode_rgb(
    body: bytes | bytearray,
    header: Header,
    scale: int,
    buffer: Pixels | None = None,
    limit: int | None = None,
) -> Pixels | None:
    """Decode a JPEG in colour to RGB [height, width, 3], at 1 / `scale` of its size.

    Args:
        buffer: memory, uint8 [bytes], to decode into if it fits.
        limit: most bytes to allocate besides; None: the `memory_bound`.

    Returns:
        The pixels, larger if the end could not be found at this scale. None if the extension
        declines.

    Raises:
        DecodeError: the body is cut short.
    """
    if _jpeg is None:
        return None
    shape = -(-header.height // scale), -(-header.width // scale), 3
    size = shape[0] * shape[1] * 3
    if buffer is None or size > len(buffer):
        buffer = np.empty(size, np.uint8)
    pixels = buffer[:size].reshape(shape)
    most = memory_bound(header, len(body), scale) if limit is None else limit
    done = _jpeg.decode_rgb(body, _SIDE // scale, pixels, most)
    if done is True:
        return pixels
    if _is_unsure(done) and scale > _SURE:
        return decode_rgb(body, header, _SURE, None, limit)
    return None


def decode_planes(
    body: bytes | bytearray,
    header: Header,
    scale: int,
    *,
    coarse: bool = False,
    limit: int | None = None,
) -> Planes | None:
    """Decode a JPEG, grey or in colour, to planes at 1 / `scale` of its size.

    Args:
        coarse: decode chroma at half the size of luma even if it is stored at the same size.
        limit: most bytes to allocate, planes included; None: the `memory_bound`.

    Returns:
        The planes, larger if the end could not be found at this scale. None if the extension
        declines.

    Raises:
        DecodeError: the body is cut short.
    """
    if _jpeg is None:
        return None
    most = memory_bound(header, len(body), scale) if limit is None else limit
    decoded = _jpeg.decode_planes(body, _SIDE // scale, coarse, most)
    if not isinstance(decoded, tuple):
        if _is_unsure(decoded) and (scale > _SURE or coarse):
            return decode_planes(body, header, min(scale, _SURE), limit=limit)
        return None
    y, *chroma = _views(decoded)
    cb, cr = chroma or (None, None)
    return Planes(y, cb, cr, decoded[1])


def decode_components(body: bytes | bytearray, header: Header, scale: int) -> Components | None:
    """Decode a JPEG of any colours to planes at 1 / `scale` of its size.

    Returns:
        The planes, larger if the end could not be found at this scale. None if the extension
        declines.

    Raises:
        DecodeError: the body is cut short.
    """
    assert _jpeg is not None
    decoded = _jpeg.decode_components(body, _SIDE // scale, memory_bound(header, len(body), scale))
    if not isinstance(decoded, tuple):
        if _is_unsure(decoded) and scale > _SURE:
            return decode_components(body, header, _SURE)
        return None
    planes, ycc = decoded
    return Components(_views(planes), planes[1], ycc)


def _views(decoded: tuple[bytes, tuple[int, int], tuple[tuple[int, ...], ...]]) -> list[Pixels]:
    """Return the planes that the extension has decoded into a buffer."""
    buffer, _, layout = decoded
    return [
        np.ndarray((height, width), np.uint8, buffer, offset, (stride, 1))
        for offset, stride, width, height in layout
    ]


def _is_unsure(declined: int | None) -> bool:
    """Return whether an image that was declined has to be decoded at a larger size.

    Raises:
        DecodeError: it is cut short.
    """
    assert _jpeg is not None
    if declined and declined == getattr(_jpeg, "CUT", None):
        raise DecodeError(CUT_SHORT, truncated=True)
    return bool(declined) and declined == getattr(_jpeg, "UNSURE", None)
