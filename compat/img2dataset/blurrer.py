"""Blurs boxes of an image: img2ds's blur."""

from __future__ import annotations

from typing import Any

import numpy as np

from img2ds.image.blur import blur
from img2ds.image.boxes import read_boxes


class BoundingBoxBlurrer:
    """Blurs boxes, given as fractions of the image: left, top, right, bottom."""

    def __call__(self, img: Any, bbox_list: Any) -> Any:
        """Return a copy of `img`, uint8 [height, width, 3], with its boxes blurred.

        Raises:
            ValueError: a box is malformed.
        """
        return blur(np.array(img), read_boxes(np.asarray(bbox_list).tolist()))
