"""Transforms one image: img2ds's transformer with img2dataset's arguments and results."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, BinaryIO

import numpy as np

from img2dataset.blurrer import BoundingBoxBlurrer
from img2ds.config.options import Options
from img2ds.core.failure import Failure
from img2ds.image.boxes import BoxError, read_boxes
from img2ds.image.transform import Transformer

#: The image, width, height, original width, original height, and why there is none.
Resized = tuple[bytes | None, int | None, int | None, int | None, int | None, str | None]


class ResizeMode(Enum):
    """The values of `resize_mode`."""

    no = 0
    keep_ratio = 1
    center_crop = 2
    border = 3
    keep_ratio_largest = 4


class Resizer:
    """Decodes, resizes and encodes images, one at a time.

    Args:
        blurrer: a `BoundingBoxBlurrer` if boxes are to be blurred; no other is called.

    Raises:
        ValueError: an argument has a wrong value.
    """

    def __init__(
        self,
        image_size: Any,
        resize_mode: str | ResizeMode,
        resize_only_if_bigger: bool,
        upscale_interpolation: str = "lanczos",
        downscale_interpolation: str = "area",
        encode_quality: int = 95,
        encode_format: str = "jpg",
        skip_reencode: bool = False,
        disable_all_reencoding: bool = False,
        min_image_size: int = 0,
        max_image_area: float = math.inf,
        max_aspect_ratio: float = math.inf,
        blurrer: BoundingBoxBlurrer | None = None,
    ) -> None:
        flags = {name: value for name, value in locals().items() if name not in ("self", "blurrer")}
        if blurrer is not None and not isinstance(blurrer, BoundingBoxBlurrer):
            raise ValueError("blurrer must be a BoundingBoxBlurrer")
        self.blurrer = blurrer
        self._transformer = Transformer(Options.from_flags({"url_list": "-", **flags}).image)

    def __call__(self, img_stream: BinaryIO, blurring_bbox_list: Any = None) -> Resized:
        """Return the image in `img_stream`, or a message."""
        given = blurring_bbox_list
        if given is not None and self.blurrer is None:
            return _failed("blurrer not defined")
        try:
            boxes = read_boxes(None if given is None else np.asarray(given).tolist())
        except BoxError as error:
            return _failed(str(error))
        img_stream.seek(0)
        image = self._transformer.inspect(img_stream.read(), boxes)
        if isinstance(image, Failure):
            return _failed(image.error_message)
        encoded = self._transformer.render(image)
        if isinstance(encoded, Failure):
            return _failed(encoded.error_message)
        original = encoded.original_width, encoded.original_height
        return bytes(encoded.data), encoded.width, encoded.height, *original, None


def _failed(message: str) -> Resized:
    return None, None, None, None, None, message
