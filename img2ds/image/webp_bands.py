"""How libwebp decodes a large WebP at its full size within a limit of memory. Pure.

Of a lossless image, and of alpha, the decoder has the pixels of all rows down to the last one that
is wanted. So the image is decoded in bands from below: the lowest one takes the memory of all rows
besides its own result, the next ones take less, besides the results of those below them.
"""

from __future__ import annotations

from img2ds.image.header import Header

#: Bytes of a lossless pixel, and a pixel's share of the transforms, which are there at once.
_ARGB, _TRANSFORMS = 4, 0.75
#: RGB, and pixels with alpha, which become RGB.
_RGB, _RGBA = 3, 4
#: Most bands: each is decoded from the top of the image.
_MAX_BANDS = 4
#: Bytes a pixel between two limits that are tried.
_STEP = 0.125


def held(header: Header) -> tuple[float, float]:
    """Return what libwebp has besides its result: bytes of each pixel above a row, and of all."""
    if header.lossless:
        return _ARGB, _TRANSFORMS
    return header.alpha, _TRANSFORMS if header.alpha > 1 else 0


def plan_bands(header: Header, memory: int | None) -> list[slice] | None:
    """Return the rows of each band, the lowest first; None if none keep to the memory.

    Args:
        memory: most bytes to allocate; None for any.
    """
    frame = header.frame or header
    width, height = frame.width, frame.height
    if memory is None:
        return [slice(0, height)]
    each, once = held(header)
    more = width * (_RGBA + _RGB if header.transparent else _RGB)
    bands: list[slice] = []
    bottom = height
    while bottom and len(bands) < _MAX_BANDS:
        taken = width * (_RGB * (height - bottom) + once * height + each * bottom)
        rows = min(bottom, max(0, int((memory - taken) // more)))
        top = bottom - rows
        top += top % 2  # chroma belongs to two rows
        if top >= bottom:
            return None
        bands.append(slice(top, bottom))
        bottom = top
    return None if bottom else bands


def least_memory(header: Header) -> int:
    """Return the least bytes by which an image can be decoded at its full size."""
    frame = header.frame or header
    pixels = frame.width * frame.height
    memory = sum(held(header)) * pixels
    while plan_bands(header, int(memory)) is None:
        memory += _STEP * pixels
    return int(memory)
