"""The expected planes after resizing, by NumPy in real numbers."""

from __future__ import annotations

import numpy as np

from img2ds.image.geometry import Geometry
from img2ds.image.orient import upright
from img2ds.image.planes import Planes
from tests.image.reference import Floats, Pixels, areas, lanczos


def planes_of(rgb: Floats | Pixels, pitch: tuple[int, int]) -> Planes:
    """By JFIF's equations; each sample of chroma is the mean of what it covers, rounded."""
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    cb, cr = (blue - luma) / 1.772 + 128, (red - luma) / 1.402 + 128

    def rounded(plane: Floats) -> Pixels:
        return (plane + 0.5).clip(0, 255).astype(np.uint8)

    def coarse(plane: Floats) -> Pixels:
        return np.ascontiguousarray(rounded(means(means(plane, pitch[1]).T, pitch[0]).T))

    return Planes(rounded(luma), coarse(cb), coarse(cr), pitch)


def means(plane: Floats, size: int) -> Floats:
    """Means of `size` rows each; of fewer at the end."""
    return np.array([plane[at : at + size].mean(0) for at in range(0, len(plane), size)])


def luma_weights(extent: int, pitch: int, resized: int, filter_name: str) -> Floats:
    """[resized, samples]: what each sample, which covers `pitch` pixels, is to each new pixel."""
    samples = -(-extent // pitch)
    if filter_name == "area" or extent == resized:
        weights = np.zeros((resized, samples))
        for pixel, column in enumerate(areas(extent, resized).T):
            weights[:, pixel // pitch] += column
        return weights
    return lanczos(samples, resized, extent / resized / pitch)


def resized_plane(plane: Floats, extent: tuple[int, int], pitch: tuple[int, int],
                  resized: tuple[int, int], filter_name: str) -> Floats:  # fmt: skip
    """At the size of luma; sizes and pitches are (across, down). Not clipped."""
    across, down = (
        luma_weights(*of_axis, filter_name) for of_axis in zip(extent, pitch, resized, strict=True)
    )
    found: Floats = down @ plane @ across.T
    return found


def placed(plane: Floats, geometry: Geometry, border: float) -> Floats:
    """With its border, or cropped."""
    (width, height), (final_width, final_height) = geometry.resized, geometry.final
    left, top = geometry.left, geometry.top
    if not geometry.pads:
        return plane[top : top + final_height, left : left + final_width]
    canvas = np.full((final_height, final_width), float(border))
    canvas[top : top + height, left : left + width] = plane
    return canvas


def resized_planes(
    planes: Planes, geometry: Geometry, orientation: int, filter_name: str
) -> tuple[Floats, Floats, Floats]:
    """Y, Cb and Cr in 4:2:0: each resized to luma's size, turned, put in place; chroma's means."""
    extent = (planes.y.shape[1], planes.y.shape[0])
    size = geometry.resized if orientation < 5 else geometry.resized[::-1]

    def made(plane: Pixels, pitch: tuple[int, int], border: float) -> Floats:
        found = resized_plane(plane.astype(np.float64), extent, pitch, size, filter_name)
        return placed(upright(found, orientation), geometry, border)

    assert planes.cb is not None
    assert planes.cr is not None
    cb, cr = (made(plane, planes.pitch, 128) for plane in (planes.cb, planes.cr))
    return (
        made(planes.y, (1, 1), 255).clip(0, 255),
        *(means(means(plane, 2).T, 2).T.clip(0, 255) for plane in (cb, cr)),
    )
