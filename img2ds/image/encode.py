"""RGB pixels to jpg, png or webp, without metadata."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import simplejpeg

from img2ds.image.orient import Pixels


class EncodeError(Exception):
    """The codec refused the picture (WebP and JPEG have a largest size)."""


def make_encoder(name: str, quality: int) -> Callable[[Pixels], bytes]:
    """An encoder of RGB [height, width, 3].

    Args:
        name: jpg (4:2:0, as img2dataset's), png or webp.
        quality: 1-100; for png the compression level, 0-9.
    """
    if name == "jpg":

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
        parameters = [cv2.IMWRITE_WEBP_QUALITY, quality]

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
