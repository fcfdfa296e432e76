"""Encode RGB pixels as jpg, png or webp, and planes as jpg. No metadata is written."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg

from img2ds.image.orient import Pixels
from img2ds.image.planes import Planes

#: Any quality above 100 is lossless to OpenCV.
LOSSLESS_WEBP = 101


class EncodeError(Exception):
    """The codec refused the image (WebP and JPEG have a largest size)."""


def make_encoder(name: str, quality: int) -> Callable[[Pixels], bytes]:
    """Return an encoder of RGB pixels [height, width, 3].

    Args:
        name: jpg (4:2:0, as img2dataset), png or webp.
        quality: 0-100, and above 100 for lossless webp; for png the compression level, 0-9.
    """
    if name == "jpg":
        quality = max(quality, 1)  # libjpeg's lowest, and img2dataset's 0

        def jpeg(pixels: Pixels) -> bytes:
            try:
                data: bytes = simplejpeg.encode_jpeg(pixels, quality, "RGB", "420", fastdct=False)
            except ValueError:
                raise EncodeError("cannot be encoded as jpg") from None
            return data

        return jpeg

    if name == "png":
        parameters = [cv2.IMWRITE_PNG_COMPRESSION, quality]
    else:
        parameters = [cv2.IMWRITE_WEBP_QUALITY, min(quality, LOSSLESS_WEBP)]

    def encode(pixels: Pixels) -> bytes:
        try:
            swapped = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
            done, data = cv2.imencode(f".{name}", swapped, parameters)
        except cv2.error:
            done = False
        if not done:
            raise EncodeError(f"cannot be encoded as {name}")
        return data.tobytes()

    return encode


def make_plane_encoder(quality: int) -> Callable[[Planes], bytes]:
    """Return an encoder of 4:2:0 planes to the same kind of jpg as that of `make_encoder`.

    Grey images get neutral chroma planes, because training sets are read as RGB.
    """
    encode_rgb = make_encoder("jpg", quality)
    quality = max(quality, 1)

    def jpeg(planes: Planes) -> bytes:
        height, width = planes.y.shape
        cb, cr = planes.cb, planes.cr
        if cb is None or cr is None:
            cb = cr = np.full(((height + 1) // 2, (width + 1) // 2), 128, np.uint8)
        if height == 1 or width == 1:
            # simplejpeg derives the subsampling from the planes' sizes; these would mean 4:4:4.
            whole = [plane.repeat(2, 0).repeat(2, 1)[:height, :width] for plane in (cr, cb)]
            return encode_rgb(cv2.cvtColor(np.dstack([planes.y, *whole]), cv2.COLOR_YCrCb2RGB))
        try:
            data: bytes = simplejpeg.encode_jpeg_yuv_planes(
                _even(planes.y), cb, cr, quality, fastdct=False
            )
        except ValueError:
            raise EncodeError("cannot be encoded as jpg") from None
        return data

    return jpeg


def _even(plane: Pixels) -> Pixels:
    """Return the plane as a view of one with even sides, in which the last samples are repeated.

    TurboJPEG reads luma up to the next even side, which would be memory of something else.
    """
    height, width = plane.shape
    if height % 2 == width % 2 == 0:
        return plane
    larger = np.empty((height + height % 2, width + width % 2), np.uint8)
    larger[:height, :width] = plane
    larger[:height, width:] = plane[:, -1:]
    larger[height:] = larger[height - 1]
    return larger[:height, :width]
