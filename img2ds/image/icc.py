"""ICC profiles to sRGB, which is what everyone who trains on pixels takes them for."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from img2ds.image.orient import Pixels

#: A profile that moves no colour of the probe further, in 8-bit levels, is sRGB by another name.
_SAME = 2


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From `profile` to sRGB for pictures of `mode`; None when there is nothing to convert."""
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
        return None  # a broken profile says nothing
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
    """Whether colours by this profile are sRGB's, or it says nothing of RGB."""
    return _transform(profile, "RGB") is None


def to_srgb(pixels: Pixels, profile: bytes) -> Pixels:
    """RGB pixels [height, width, 3] in the colours that `profile` gives them."""
    transform = _transform(profile, "RGB")
    return pixels if transform is None else _apply(pixels, transform)


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A CMYK picture as RGB; by its profile, or by plain complement without one."""
    transform = _transform(profile, "CMYK") if profile is not None else None
    if transform is None:
        return image.convert("RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted
