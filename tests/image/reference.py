"""The expected pixels of an image, by Pillow and NumPy alone: the reference of the pixel tests."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def upright(body: bytes) -> Floats:
    """RGB [height, width, 3], 0-255: the first frame, rotated as EXIF demands, on white."""
    with Image.open(io.BytesIO(body)) as image:
        image.seek(0)
        image.load()
        shown = ImageOps.exif_transpose(image)
        if shown.mode == "CMYK":
            inks = 1 - np.asarray(shown, np.float64) / 255
            return 255 * inks[:, :, :3] * inks[:, :, 3:]
        if shown.mode.startswith("I"):
            return np.repeat(np.asarray(shown, np.float64)[:, :, None] / 257, 3, axis=2)
        rgba = np.asarray(shown.convert("RGBA"), np.float64)
    cover = rgba[:, :, 3:] / 255
    return rgba[:, :, :3] * cover + 255 * (1 - cover)


def resized(pixels: Floats, width: int, height: int) -> Floats:
    """Averages over areas where the image shrinks, Lanczos with four lobes where it grows."""
    for axis, length in ((0, height), (1, width)):
        before = pixels.shape[axis]
        if length != before:
            weights = areas if length < before else lanczos
            pixels = np.moveaxis(np.tensordot(weights(before, length), pixels, (1, axis)), 0, axis)
    return pixels.clip(0, 255)


def areas(before: int, after: int) -> Floats:
    """[after, before]: the share of each old pixel in each new one."""
    edges = np.arange(after + 1) * before / after
    old = np.arange(before)
    overlap = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return overlap.clip(0) * after / before


def lanczos(before: int, after: int, scale: float | None = None) -> Floats:
    """[after, before]: eight neighbours by sinc(x) sinc(x / 4), the edge pixel repeated.

    `scale`: old pixels a new one, where that is not exactly before / after.
    """
    weights = np.zeros((after, before))
    for new in range(after):
        centre = (new + 0.5) * (scale or before / after) - 0.5
        near = np.floor(centre).astype(int) + np.arange(-3, 5)
        taps = np.sinc(near - centre) * np.sinc((near - centre) / 4)
        np.add.at(weights[new], near.clip(0, before - 1), taps / taps.sum())
    return weights


def rendered(pixels: Floats, size: int, mode: str) -> Floats:
    """An upright image after `resize_mode` and `image_size`."""
    height, width = pixels.shape[:2]
    if mode == "no":
        return pixels
    side = min(width, height) if mode in ("keep_ratio", "center_crop") else max(width, height)
    new_width, new_height = (max(1, round(length * size / side)) for length in (width, height))
    result = resized(pixels, new_width, new_height)
    if mode == "center_crop":
        left, top = (new_width - size) // 2, (new_height - size) // 2
        return result[top : top + size, left : left + size]
    if mode == "border":
        canvas = np.full((size, size, 3), 255.0)
        left, top = (size - new_width) // 2, (size - new_height) // 2
        canvas[top : top + new_height, left : left + new_width] = result
        return canvas
    return result


def opened(data: bytes | bytearray | memoryview) -> Pixels:
    """The pixels of a result, which must be plain RGB."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def distance(one: NDArray[np.generic], other: NDArray[np.generic]) -> tuple[float, float]:
    """Mean and 99th percentile of the absolute differences, in 8-bit levels."""
    assert one.shape == other.shape
    apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return float(apart.mean()), float(np.percentile(apart, 99))
