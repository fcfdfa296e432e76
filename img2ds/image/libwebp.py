"""libwebp's advanced decoder, which scales and crops: for large images, in place of OpenCV.

It is the library that Pillow brings along, called by ctypes. Where it cannot be found, or has
another interface, OpenCV decodes at the full size.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import numpy as np

from img2ds.image.orient import Pixels

#: `WEBP_DECODER_ABI_VERSION` of libwebp 0.5 and later, whose upper byte has to match.
_ABI_VERSION = 0x0208
#: `MODE_RGB` and `MODE_RGBA` of `WEBP_CSP_MODE`.
_RGB, _RGBA = 0, 1


class _Features(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("width", "height", "has_alpha", "animated", "format")),
        ("pad", ctypes.c_uint32 * 5),
    ]


class _Rgba(ctypes.Structure):
    _fields_ = [("pixels", ctypes.c_void_p), ("stride", ctypes.c_int), ("size", ctypes.c_size_t)]


class _Yuva(ctypes.Structure):
    """The other, larger member of the union."""

    _fields_ = [
        ("planes", ctypes.c_void_p * 4),
        ("strides", ctypes.c_int * 4),
        ("sizes", ctypes.c_size_t * 4),
    ]


class _Memory(ctypes.Union):
    _fields_ = [("rgba", _Rgba), ("yuva", _Yuva)]


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("colours", ctypes.c_int),
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("external", ctypes.c_int),
        ("memory", _Memory),
        ("pad", ctypes.c_uint32 * 4),
        ("private", ctypes.c_void_p),
    ]


class _Options(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int)
            for name in (
                "bypass_filtering", "no_fancy_upsampling",
                "crops", "crop_left", "crop_top", "crop_width", "crop_height",
                "scales", "scaled_width", "scaled_height",
                "use_threads", "dithering", "flip", "alpha_dithering",
            )
        ),
        ("pad", ctypes.c_uint32 * 5),
    ]  # fmt: skip


class _Config(ctypes.Structure):
    _fields_ = [("input", _Features), ("output", _Buffer), ("options", _Options)]


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """Return the library that Pillow's extension is linked to, if its interface is known."""
    try:
        from PIL import _webp

        # Symbols of a library's dependencies are found by its own handle.
        library = ctypes.CDLL(_webp.__file__)
        known = library.WebPInitDecoderConfigInternal(ctypes.byref(_Config()), _ABI_VERSION)
        library.WebPDecode.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    except (ImportError, OSError, AttributeError):
        return None
    return library if known else None


def is_there() -> bool:
    """Return whether `decode_webp` can be called."""
    return _library() is not None


def decode_webp(
    body: bytes | bytearray,
    channels: int,
    size: tuple[int, int],
    rows: slice | None = None,
    target: Pixels | None = None,
) -> Pixels | None:
    """Decode a WebP that is no animation; None if it is broken.

    Args:
        channels: 3 for RGB, 4 for RGBA.
        size: width and height of the result; an image of another size is scaled to it.
        rows: of the image, which are cropped; they are not scaled. The first is even.
        target: memory for the result, uint8 [height, width, channels], contiguous.
    """
    library = _library()
    assert library is not None
    width, height = size if rows is None else (size[0], rows.stop - rows.start)
    pixels = np.empty((height, width, channels), np.uint8) if target is None else target
    config = _Config()
    library.WebPInitDecoderConfigInternal(ctypes.byref(config), _ABI_VERSION)
    options, output = config.options, config.output
    if rows is None:
        options.scales, options.scaled_width, options.scaled_height = 1, width, height
    else:
        options.crops, options.crop_top = 1, rows.start
        options.crop_width, options.crop_height = width, height
    output.colours, output.external = (_RGBA if channels == 4 else _RGB), 1
    output.memory.rgba.pixels = pixels.ctypes.data
    output.memory.rgba.stride = channels * width
    output.memory.rgba.size = pixels.nbytes
    data = np.frombuffer(body, np.uint8)
    done = library.WebPDecode(data.ctypes.data, data.size, ctypes.byref(config)) == 0
    return pixels if done else None
