"""Sizes and offsets of the five resize modes. Pure.

The rules are img2dataset's: scaled sides are rounded half to even, the smaller half of a border
comes first, and a crop starts at the floor of half the excess (albumentations, which it calls).
"""

from __future__ import annotations

from typing import NamedTuple

from img2ds.config.options import ImageOptions


class Geometry(NamedTuple):
    """How an upright image is resized, then padded or cropped. In pixels.

    Attributes:
        resized: width and height after resizing.
        final: width and height of the result: larger than `resized` if a border is added, smaller
            if the image is cropped.
        left, top: where the resized image starts in the result if it is padded; where the result
            starts in the resized image if it is cropped.
        shrinks: whether the side that the mode looks at is reduced.
        changes: whether there is anything to do.
    """

    resized: tuple[int, int]
    final: tuple[int, int]
    left: int = 0
    top: int = 0
    shrinks: bool = False
    changes: bool = True

    @property
    def pads(self) -> bool:
        """Whether a border is added."""
        return self.final != self.resized and (
            self.final[0] >= self.resized[0] and self.final[1] >= self.resized[1]
        )


def plan_geometry(width: int, height: int, options: ImageOptions) -> Geometry:
    """Return the geometry for an upright image of `width` x `height` pixels."""
    mode, size = options.resize_mode, options.image_size
    if mode == "no" or options.disable_all_reencoding:
        return Geometry((width, height), (width, height), changes=False)
    assert isinstance(size, int)  # the options have checked it; a property takes longer
    by_shorter = mode in ("keep_ratio", "center_crop")
    side = min(width, height) if by_shorter else max(width, height)
    shrinks = side > size
    if options.resize_only_if_bigger and not shrinks:
        return Geometry((width, height), (width, height), changes=False)
    scale = size / side
    resized = (round(width * scale) or 1, round(height * scale) or 1)
    if mode == "border":
        return Geometry(
            resized, (size, size), (size - resized[0]) // 2, (size - resized[1]) // 2, shrinks
        )
    if mode == "center_crop":
        return Geometry(
            resized, (size, size), (resized[0] - size) // 2, (resized[1] - size) // 2, shrinks
        )
    return Geometry(resized, resized, shrinks=shrinks)
