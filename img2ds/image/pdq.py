"""PDQ, the perceptual hash of Meta's ThreatExchange: 256 bits, as lists of known images hold them.

Hashes are those of the reference implementation, but for bits at the median: box filters, 64 x 64
samples, the lowest 16 x 16 frequencies of a cosine transform but for the constant ones, and one bit
for each that is above the median. See "The TMK+PDQF Video-Hashing Algorithm and the PDQ
Image-Hashing Algorithm" (Facebook, 2019); `core.pdq` has what is said of distances there.

There is a package, pdqhash, without wheels for Linux; OpenCV, which is here anyway, does the work.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from img2ds.core.pdq import PdqHash
from img2ds.image.orient import Pixels

#: The least side of an image that has a hash.
LEAST_SIDE = 5

_SIDE, _FREQUENCIES = 64, 16
#: Box filters run one after the other, in either direction.
_PASSES = 2
#: Gradients, in percent of the range of grey levels, that make one point of quality.
_GRADIENT = 90

_ROWS = np.arange(1, _FREQUENCIES + 1)[:, None] * (2 * np.arange(_SIDE) + 1)
_COSINES = (np.sqrt(2 / _SIDE) * np.cos(np.pi / 2 / _SIDE * _ROWS)).astype(np.float32)

Grey = npt.NDArray[np.float32]


def pdq_hash(pixels: Pixels) -> PdqHash | None:
    """Return the hash of an image, RGB [height, width, 3] or grey [height, width].

    None for images with a side of less than `LEAST_SIDE` pixels.
    """
    return hash_grey(grey_levels(pixels))


def grey_levels(pixels: Pixels) -> Grey:
    """Return the luma of an image as float32 [height, width], 0 to 255."""
    if pixels.ndim == 2:
        return pixels.astype(np.float32)
    return np.asarray(cv2.transform(pixels.astype(np.float32), _LUMA))


_LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)


def resized(grey: Grey, side: int) -> Grey:
    """Return an image of `side` x `side` grey levels."""
    method = cv2.INTER_AREA if min(grey.shape) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (side, side), interpolation=method), np.float32)


def hash_grey(grey: Grey) -> PdqHash | None:
    """Return the hash of an image of grey levels, see `pdq_hash`."""
    return hash_samples(_samples(grey)) if min(grey.shape) >= LEAST_SIDE else None


def hash_reduced(grey: Grey | Pixels, size: tuple[int, int]) -> PdqHash | None:
    """Return the hash of an image of which only a smaller one is at hand, but for a few bits.

    The filters of its own size are applied to the smaller one: those of another size would move
    the samples by a part of a pixel, which changes 20 bits.

    Args:
        grey: the image, made smaller by averaging; or as it is.
        size: its own width and height.
    """
    if min(size) < LEAST_SIDE:
        return None
    rows = _sample_rows(grey, size[1])
    return hash_samples(np.ascontiguousarray(_sample_rows(rows.T, size[0]).T))


def _sample_rows(grey: Grey | Pixels, side: int) -> Grey:
    """Return the samples of each column of an image that had `side` rows."""
    # Not as a product of matrices, which would start threads.
    found = np.zeros((_SIDE, grey.shape[1]), np.float32)
    for rows, weights in _weights(side, len(grey)):
        found += weights[:, None] * grey[rows]
    return found


@lru_cache(maxsize=256)
def _weights(side: int, cells: int) -> list[tuple[npt.NDArray[np.intp], Grey]]:
    """Return what a sample of an axis that is reduced to `cells` is a sum of.

    Returns:
        For each summand, the cells of all samples, and the weight of each.
    """
    window = _window(side)
    kernel = np.convolve(np.ones(window), np.ones(window))
    places = ((np.arange(_SIDE) + 0.5) * side / _SIDE).astype(np.intp)
    first = places - _PASSES * _anchor(window)
    edges = np.arange(cells + 1) * (side / cells) - first[:, None]
    sums = np.interp(edges, np.arange(len(kernel) + 1), np.append(0, np.cumsum(kernel)))
    weights = np.diff(sums, axis=1)
    weights /= weights.sum(axis=1, keepdims=True)
    starts = (weights > 0).argmax(axis=1)
    summands = []
    for step in range(int((weights > 0).sum(axis=1).max())):
        chosen = np.minimum(starts + step, cells - 1)
        own = np.where(starts + step < cells, weights[np.arange(_SIDE), chosen], 0)
        summands.append((chosen, own.astype(np.float32)))
    return summands


def hash_samples(samples: Grey) -> PdqHash:
    """Return the hash of 64 x 64 samples of an image."""
    frequencies = _COSINES @ samples @ _COSINES.T
    # The lower one of two middle values, as the reference takes it.
    median = np.partition(frequencies, frequencies.size // 2 - 1, axis=None)[
        frequencies.size // 2 - 1
    ]
    bits = (frequencies > median).ravel()
    return PdqHash(np.packbits(bits[::-1]).tobytes(), _quality(samples))


def _samples(grey: Grey) -> Grey:
    """Return 64 x 64 samples of the image, blurred so that they stand for all of it."""
    height, width = grey.shape
    size = (_window(width), _window(height))
    anchor = _anchor(size[0]), _anchor(size[1])
    counts = np.outer(_counts(height, size[1], anchor[1]), _counts(width, size[0], anchor[0]))
    for _ in range(_PASSES):
        sums = cv2.boxFilter(
            grey, cv2.CV_32F, size, anchor=anchor, normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        grey = np.asarray(sums, np.float32) / counts
    rows, columns = (
        ((np.arange(_SIDE) + 0.5) * side / _SIDE).astype(np.intp) for side in (height, width)
    )
    return grey[np.ix_(rows, columns)]


def _window(side: int) -> int:
    return -(-side // (2 * _SIDE))


def _anchor(window: int) -> int:
    # Windows of an even length reach one further to the right, as there.
    return window - (window + 2) // 2


def _counts(side: int, window: int, anchor: int) -> Grey:
    """Return how many pixels each window along a side covers."""
    first = np.arange(side) - anchor
    return (np.minimum(first + window, side) - np.maximum(first, 0)).astype(np.float32)


def _quality(samples: Grey) -> int:
    total = sum(
        int(np.abs(np.trunc(np.diff(samples, axis=axis) * np.float32(100 / 255))).sum())
        for axis in (0, 1)
    )
    return min(total // _GRADIENT, 100)
