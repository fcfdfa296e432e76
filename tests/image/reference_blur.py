"""The expected pixels of blurred boxes: ImageNet's rule, as in img2dataset, in real numbers."""

from __future__ import annotations

import numpy as np

from tests.image.reference import Floats


def gaussian(length: int, sigma: float) -> Floats:
    """[length, length]: the share of each old pixel in each new one; edges mirror the image."""
    reach = int(np.ceil(4 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = np.zeros((length, length))
    period = max(2 * length - 2, 1)
    for new in range(length):
        near = np.abs(np.arange(new - reach, new + reach + 1)) % period
        near = np.where(near < length, near, period - near)
        np.add.at(weights[new], near, taps / taps.sum())
    return weights


def blurred(pixels: Floats, box: tuple[float, ...]) -> Floats:
    """An image [height, width, 3] with one box blurred."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = (
        int(side * length) for side, length in zip(box, (width, height) * 2, strict=True)
    )
    side = max(right - left, bottom - top)
    rows = slice(max(int(top - 0.1 * side), 0), min(int(bottom + 0.1 * side), height - 1))
    columns = slice(max(int(left - 0.1 * side), 0), min(int(right + 0.1 * side), width - 1))
    mask = np.zeros((height, width))
    mask[rows, columns] = 1
    down, across = gaussian(height, 0.1 * side), gaussian(width, 0.1 * side)
    mask = (down @ mask @ across.T)[:, :, None]
    soft = np.stack([down @ pixels[:, :, band] @ across.T for band in range(3)], axis=2)
    found: Floats = pixels * (1 - mask) + soft * mask
    return found
