"""libavif, called to decode large images strip by strip, in place of Pillow.

It is the library that Pillow brings along, called by ctypes; its structures keep their layout since
version 1.0. Where it cannot be found, or has another interface, Pillow decodes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from img2ds.image.header import Header
from img2ds.image.orient import Pixels
from img2ds.image.strips import strips

#: `AVIF_RGB_FORMAT_RGB` and `AVIF_RGB_FORMAT_RGBA`.
_RGB, _RGBA = 0, 1
#: Rows of a strip are a multiple of this. Chroma is not interpolated between two strips.
_GRAIN = 64


#: Members of a new `avifDecoder` by which its layout is known: the limits of pixels and of a side.
_SIZE_LIMIT, _DIMENSION_LIMIT = 16384 * 16384, 32768


class _Decoder(ctypes.Structure):
    """`avifDecoder` up to what is used; the library allocates it."""

    _fields_ = [
        ("codec", ctypes.c_int),
        ("max_threads", ctypes.c_int),
        ("source", ctypes.c_int),
        ("progressive", ctypes.c_int),
        ("incremental", ctypes.c_int),
        ("ignore_exif", ctypes.c_int),
        ("ignore_xmp", ctypes.c_int),
        ("size_limit", ctypes.c_uint32),
        ("dimension_limit", ctypes.c_uint32),
        ("count_limit", ctypes.c_uint32),
        ("strict", ctypes.c_uint32),
        ("image", ctypes.c_void_p),
    ]


class _Image(ctypes.Structure):
    """`avifImage` up to what is used."""

    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("width", "height", "depth")),
        ("format", ctypes.c_int),
        ("range", ctypes.c_int),
        ("siting", ctypes.c_int),
        ("planes", ctypes.c_void_p * 3),
        ("strides", ctypes.c_uint32 * 3),
        ("owns_planes", ctypes.c_int),
        ("alpha", ctypes.c_void_p),
        ("alpha_stride", ctypes.c_uint32),
    ]


class _Colours(ctypes.Structure):
    """`avifRGBImage`, with room for members that later versions may add."""

    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("width", "height", "depth")),
        *(
            (name, ctypes.c_int)
            for name in (
                "format", "upsampling", "downsampling", "avoid_libyuv", "ignore_alpha",
                "premultiplied", "is_float", "max_threads",
            )
        ),
        ("pixels", ctypes.c_void_p),
        ("stride", ctypes.c_uint32),
        ("room", ctypes.c_uint8 * 64),
    ]  # fmt: skip


class _Rectangle(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("x", "y", "width", "height")]


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """Return the library that Pillow's extension is linked to, if its interface is known."""
    try:
        from PIL import _avif

        # Symbols of a library's dependencies are found by its own handle.
        library = ctypes.CDLL(_avif.__file__)
        library.avifVersion.restype = ctypes.c_char_p
        for name in ("avifDecoderCreate", "avifImageCreateEmpty"):
            getattr(library, name).restype = ctypes.c_void_p
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        for name, arguments in (
            ("avifDecoderSetIOMemory", (pointer, pointer, size)),
            ("avifDecoderParse", (pointer,)),
            ("avifDecoderNextImage", (pointer,)),
            ("avifDecoderDestroy", (pointer,)),
            ("avifImageSetViewRect", (pointer, pointer, pointer)),
            ("avifImageDestroy", (pointer,)),
            ("avifRGBImageSetDefaults", (pointer, pointer)),
            ("avifImageYUVToRGB", (pointer, pointer)),
        ):
            getattr(library, name).argtypes = arguments
    except (ImportError, OSError, AttributeError):
        return None
    return library if library.avifVersion().startswith(b"1.") and _is_known(library) else None


def _is_known(library: ctypes.CDLL) -> bool:
    """Return whether a decoder has the layout that is known, by its defaults."""
    handle = library.avifDecoderCreate()
    if not handle:
        return False
    decoder = _Decoder.from_address(handle)
    known = (decoder.size_limit, decoder.dimension_limit) == (_SIZE_LIMIT, _DIMENSION_LIMIT)
    library.avifDecoderDestroy(handle)
    return known


def is_there() -> bool:
    """Return whether `decode_avif` can be called."""
    return _library() is not None


def decode_avif(
    body: bytes, header: Header, channels: int, take: Callable[[slice, Pixels], None]
) -> bool:
    """Decode an AVIF, and hand its pixels over strip by strip.

    Args:
        channels: 3 for RGB, 4 for RGBA.
        take: is given the rows of each strip and its pixels, uint8 [rows, width, channels].

    Returns:
        False if it is broken, or of another size than the header states.
    """
    library = _library()
    assert library is not None
    handle = library.avifDecoderCreate()
    if not handle:
        raise MemoryError
    decoder = _Decoder.from_address(handle)
    try:
        # A worker has one core: its codecs must not start threads.
        decoder.max_threads, decoder.ignore_exif, decoder.ignore_xmp = 1, 1, 1
        data = np.frombuffer(body, np.uint8)
        failed = (
            library.avifDecoderSetIOMemory(handle, data.ctypes.data, data.size)
            or library.avifDecoderParse(handle)
            or library.avifDecoderNextImage(handle)
        )
        if failed or not decoder.image:
            return False
        image = _Image.from_address(decoder.image)
        if (image.width, image.height) != (header.width, header.height):
            return False
        return _convert(library, decoder.image, image, channels, take)
    finally:
        library.avifDecoderDestroy(handle)


def _convert(
    library: ctypes.CDLL,
    source: int,
    image: _Image,
    channels: int,
    take: Callable[[slice, Pixels], None],
) -> bool:
    view = library.avifImageCreateEmpty()
    if not view:
        raise MemoryError
    try:
        for rows in strips(image.height, image.width, _GRAIN):
            count = rows.stop - rows.start
            pixels = np.empty((count, image.width, channels), np.uint8)
            rectangle = _Rectangle(0, rows.start, image.width, count)
            colours = _Colours()
            if library.avifImageSetViewRect(view, source, ctypes.byref(rectangle)):
                return False
            library.avifRGBImageSetDefaults(ctypes.byref(colours), view)
            colours.depth, colours.format = 8, _RGBA if channels == 4 else _RGB
            colours.ignore_alpha = channels == 3
            colours.max_threads = 1
            colours.pixels, colours.stride = pixels.ctypes.data, channels * image.width
            if library.avifImageYUVToRGB(view, ctypes.byref(colours)):
                return False
            take(rows, pixels)
    finally:
        library.avifImageDestroy(view)
    return True
