"""Blur boxes of an image.

The blur is that of ImageNet's face obfuscation (Yang et al. 2022), which img2dataset uses too.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from img2ds.image.boxes import Boxes
from img2ds.image.orient import Pixels

#: Fractions of a box's longer side: the margin that is blurred around the box, and the sigma.
MARGIN = SIGMA = 0.1
#: Pixels; the sigma of a box of 8 pixels, in which no face can be recognized.
MIN_SIGMA = 0.8
#: Sigmas: half the width of a kernel (img2dataset until 1.45), and the distance from the margin
#: within which the mask changes a pixel by half a level of 255 or more.
KERNEL_REACH, MASK_REACH = 4.0, 3.0
#: Pixels. With a larger sigma the image is blurred at a smaller scale, because the time grows with
#: the square of sigma: 20 s for a large face in 12 megapixels. The mean difference is half a level.
FINE_SIGMA = 2.5


def blur(pixels: Pixels, boxes: Boxes) -> Pixels:
    """Blur what is in the boxes, in place if the pixels are writeable.

    Each box is enlarged by a tenth of its longer side. The blurred image, with a sigma of a tenth
    as well, is blended in by a mask blurred in the same way. img2dataset uses the largest box's
    sigma for all boxes, which blurs the masks of small boxes away and leaves small faces as they
    are; here each box has its own sigma. (img2dataset 1.47 also loses two thirds of the sigma,
    because it passes the size of the kernel only.)

    Args:
        pixels: uint8 [height, width, 3].
        boxes: in fractions of the image as given.
    """
    if boxes and not pixels.flags.writeable:
        pixels = pixels.copy()
    height, width = pixels.shape[:2]
    for left, top, right, bottom in boxes:
        longer = max((right - left) * width, (bottom - top) * height)
        sigma = max(SIGMA * longer, MIN_SIGMA)
        margin = MARGIN * longer
        columns, across = _mask(left * width - margin, right * width + margin, sigma, width)
        rows, down = _mask(top * height - margin, bottom * height + margin, sigma, height)
        region = pixels[rows, columns]
        weights = np.outer(down, across)
        region[:] = cv2.blendLinear(_blurred(region, sigma), region, weights, 1 - weights)
    return pixels


def _mask(start: float, stop: float, sigma: float, side: int) -> tuple[slice, Pixels]:
    """Along one axis: the pixels that change, and the weight of the blurred image in each.

    The blurred mask of a rectangle is the product of those of its sides.
    """
    first, last = max(math.floor(start), 0), min(math.ceil(stop), side)
    reach = math.ceil(MASK_REACH * sigma)
    begin, end = max(first - reach, 0), min(last + reach, side)
    line = np.zeros((1, end - begin), np.float32)
    line[0, first - begin : last - begin] = 1
    return slice(begin, end), cv2.GaussianBlur(line, (_kernel(sigma), 1), sigma, sigmaY=1)[0]


def _blurred(pixels: Pixels, sigma: float) -> Pixels:
    height, width = pixels.shape[:2]
    scale = int(sigma / FINE_SIGMA)
    if scale > 1:
        small = max(1, round(width / scale)), max(1, round(height / scale))
        scaled = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
        across, down = sigma * small[0] / width, sigma * small[1] / height
        scaled = cv2.GaussianBlur(scaled, (_kernel(across), _kernel(down)), across, sigmaY=down)
        return cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(pixels, (_kernel(sigma), _kernel(sigma)), sigma)


def _kernel(sigma: float) -> int:
    return 2 * math.ceil(KERNEL_REACH * sigma) + 1
