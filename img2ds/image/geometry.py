"""Sizes and places of the five resize modes. Pure; the rules are img2dataset's.

The scaled sides are rounded half to even, a border is split with its smaller half first, a crop
begins at the floor of half the excess (albumentations, which img2dataset calls).
"""

from __future__ import annotations

from dataclasses import dataclass

from img2ds.config.options import ImageOptions


@dataclass(frozen=True, slots=True)
class Geometry:
    """What to do to an upright picture, in pixels.

    First it is resized to `resized`. The result has size `final`: larger than `resized` where a
    border is added, smaller where it is cropped; (`left`, `top`) is where the resized picture
    begins in the result, or the result in the resized picture.
    """

    resized: tuple[int, int]
    final: tuple[int, int]
    left: int = 0
    top: int = 0
    shrinks: bool = False
    changes: bool = True

    @property
    def pads(self) -> bool:
        """Whether there is a border to be added."""
        return self.final != self.resized and (
            self.final[0] >= self.resized[0] and self.final[1] >= self.resized[1]
        )


def plan_geometry(width: int, height: int, options: ImageOptions) -> Geometry:
    """The geometry for an upright picture of `width` x `height` pixels."""
    mode, size = options.resize_mode, options.image_size
    same = Geometry((width, height), (width, height), changes=False)
    if mode == "no" or options.disable_all_reencoding:
        return same
    by_shorter = mode in ("keep_ratio", "center_crop")
    side = min(width, height) if by_shorter else max(width, height)
    shrinks = side > size
    if options.resize_only_if_bigger and not shrinks:
        return same
    scale = size / side
    resized = (max(1, round(width * scale)), max(1, round(height * scale)))
    if mode == "border":
        return Geometry(
            resized, (size, size), (size - resized[0]) // 2, (size - resized[1]) // 2, shrinks
        )
    if mode == "center_crop":
        return Geometry(
            resized, (size, size), (resized[0] - size) // 2, (resized[1] - size) // 2, shrinks
        )
    return Geometry(resized, resized, shrinks=shrinks)
