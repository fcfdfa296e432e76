"""Convert colours from an ICC profile to sRGB, which training code assumes."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from img2ds.image.header import Header
from img2ds.image.icc_tables import has_its_tables
from img2ds.image.orient import Pixels

#: Converts uint8 pixels, grey [height, width] or RGB [height, width, 3], to sRGB.
Conversion = Callable[[Pixels], Pixels]

#: Profiles that are kept, of up to 2 MB each.
_KEPT = 16
#: Levels of 255. A profile that changes no colour of a probe by more is taken for sRGB.
_SAME = 2
#: The colour space of a profile (ICC.1:2022, 7.2.6), as Pillow names it.
_MODES = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}


@lru_cache(maxsize=_KEPT)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return the transform to sRGB from the profile's space; None if it is broken or unknown."""
    mode = _MODES.get(profile[16:20])
    if mode is None or not has_its_tables(profile):
        return None
    try:
        return ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError):
        return None  # broken profiles are ignored


def _apply(pixels: Pixels, transform: ImageCms.ImageCmsTransform) -> Pixels:
    image = ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(pixels)), transform)
    assert image is not None  # None is for conversions in place
    return np.asarray(image)


@lru_cache(maxsize=_KEPT)
def conversion(profile: bytes, channels: int) -> Conversion | None:
    """Return the conversion of images with this profile; None if they need none.

    Args:
        channels: 1 or 3, of the image as stored. The levels of a grey image may have a profile of
            RGB: they are equal amounts of each. Their conversion accepts RGB of equal channels too.
    """
    space = profile[16:20]
    if space != b"RGB " and not (space == b"GRAY" and channels == 1):
        return None
    transform = _transform(profile)
    if transform is None:
        return None
    if channels == 1:
        return _grey_conversion(transform, space)
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)
    if np.abs(_apply(grid, transform).astype(np.int16) - grid).max() <= _SAME:
        return None
    return lambda pixels: _apply(pixels, transform)


def early_conversion(header: Header) -> Conversion | None:
    """Return the conversion that comes before white is put behind an image."""
    if header.icc is None or not header.transparent:
        return None
    return conversion(header.icc, header.channels)


def _grey_conversion(transform: ImageCms.ImageCmsTransform, space: bytes) -> Conversion | None:
    levels = np.arange(256, dtype=np.uint8)[np.newaxis]
    stored = np.stack([levels] * 3, -1) if space == b"RGB " else levels
    table = _apply(stored, transform)[0].mean(1).round().astype(np.uint8)
    if np.abs(table.astype(np.int16) - levels[0]).max() <= _SAME:
        return None
    return lambda pixels: table[pixels]


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a CMYK image to sRGB by its profile; without one by plain complement."""
    matches = profile is not None and profile[16:20] == b"CMYK"
    transform = _transform(profile) if profile is not None and matches else None
    if transform is None:
        return image.convert("RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted
