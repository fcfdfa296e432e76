"""Convert colours from an ICC profile to sRGB, which training code assumes."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from img2ds.image.orient import Pixels

#: Levels of 255. A profile that changes no colour of a probe by more is taken for sRGB.
_SAME = 2


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform to sRGB for images of `mode`; None if there is nothing to convert."""
    space = {"RGB": b"RGB ", "CMYK": b"CMYK"}[mode]
    if profile[16:20] != space:
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError):
        return None  # broken profiles are ignored
    if mode == "RGB":
        levels = np.linspace(0, 255, 9).astype(np.uint8)
        grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)
        moved = np.abs(_apply(grid, transform).astype(np.int16) - grid)
        if moved.max() <= _SAME:
            return None
    return transform


def _apply(pixels: Pixels, transform: ImageCms.ImageCmsTransform) -> Pixels:
    image = ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(pixels)), transform)
    assert image is not None  # None is for conversions in place
    return np.asarray(image)


def is_srgb(profile: bytes) -> bool:
    """Return whether RGB pixels with this profile need no conversion."""
    return _transform(profile, "RGB") is None


def to_srgb(pixels: Pixels, profile: bytes) -> Pixels:
    """Convert RGB pixels [height, width, 3] from `profile` to sRGB."""
    transform = _transform(profile, "RGB")
    return pixels if transform is None else _apply(pixels, transform)


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a CMYK image to sRGB by its profile; without one by plain complement."""
    transform = _transform(profile, "CMYK") if profile is not None else None
    if transform is None:
        return image.convert("RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted
