"""Decodes images with open_clip's own transform: exact, and slower than `crop`.

Its output has the size that the model wants; scaling and normalising are all that is left.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from img2ds.core.failure import Failure, Reason, failure
from laion.clip.crop import Crop, Pixels
from laion.clip.geometry import MAX_PIXELS, Axis, PreprocessConfig, plan_axes
from laion.clip.open_clip_library import require_open_clip


def open_clip_decoder(config: PreprocessConfig) -> Callable[..., Crop | Failure]:
    """Return a decoder whose crops need neither resizing nor cropping, only normalising."""
    require_open_clip()
    from open_clip.transform import image_transform

    transform = image_transform(
        config.size,
        is_train=False,
        mean=config.mean,
        std=config.std,
        resize_mode=config.resize,
        interpolation=config.interpolation,
        fill_color=config.fill,
    )
    kinds = [type(step).__name__ for step in transform.transforms]
    steps = transform.transforms[: kinds.index("MaybeToTensor")]
    rows, columns = (Axis(side, side, 0) for side in config.size)

    def decode(body: bytes, buffer: Pixels | None = None) -> Crop | Failure:
        try:
            with Image.open(io.BytesIO(body)) as image:
                size = image.size
                planned = plan_axes(size[0], size[1], config)
                # The transform scales a line of one pixel up to the height that the model wants.
                if max(planned[0].resized * planned[1].resized, math.prod(size)) > MAX_PIXELS:
                    return failure(Reason.IMAGE_BOMB, f"more than {MAX_PIXELS} pixels")
                step_image: Any = image
                for step in steps:
                    step_image = step(step_image)
                return Crop(np.asarray(step_image), rows, columns, size)
        except UnidentifiedImageError:
            return failure(Reason.NOT_AN_IMAGE)
        except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
            message = str(error).lower()
            truncated = "truncated" in message
            return failure(Reason.TRUNCATED_IMAGE if truncated else Reason.DECODE_ERROR, message)

    return decode
