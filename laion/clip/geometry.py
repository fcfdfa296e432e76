"""How an image is resized and cropped for a model: open_clip's rules in numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: Images with more pixels are not decoded: Pillow's limit and img2ds's default.
MAX_PIXELS = 89_478_484


@dataclass(frozen=True, slots=True)
class PreprocessConfig:
    """The preprocessing configuration of a model, as open_clip has it.

    Attributes:
        size: height and width in pixels.
        mean, std: a value for each colour channel, in [0, 1].
        interpolation: bicubic or bilinear.
        resize: shortest (then cropped), longest (then padded) or squash.
        fill: level of the padding.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resize: str = "shortest"
    fill: int = 0


class Axis(NamedTuple):
    """How the rows (or columns) of an image are resized and cropped.

    Attributes:
        length: pixels of the image.
        resized: pixels after resizing.
        start: first of the resized pixels that the model gets; padding when negative.
        first: number of the first available pixel; those before it were cropped away.
    """

    length: int
    resized: int
    start: int
    first: int = 0


def plan_axes(width: int, height: int, config: PreprocessConfig) -> tuple[Axis, Axis]:
    """Return the rules for rows and columns, with the rounding of torchvision and timm."""
    out_h, out_w = config.size
    if config.resize == "squash":
        return Axis(height, out_h, 0), Axis(width, out_w, 0)
    if config.resize == "longest":
        ratio = max(height / out_h, width / out_w)
        resized = max(round(height / ratio), 1), max(round(width / ratio), 1)
        # Padded on both sides, the odd pixel after.
        starts = [-((o - r) // 2) if r < o else (r - o) // 2
                  for o, r in zip((out_h, out_w), resized, strict=True)]  # fmt: skip
    elif out_h == out_w:
        short = min(width, height)  # the longer side is truncated, not rounded
        resized = int(out_h * height / short), int(out_w * width / short)
        starts = [round((r - out_h) / 2.0) for r in resized]
    else:
        ratio = min(height / out_h, width / out_w)
        resized = round(height / ratio), round(width / ratio)
        starts = [round((r - o) / 2.0) for o, r in zip((out_h, out_w), resized, strict=True)]
    return Axis(height, resized[0], starts[0]), Axis(width, resized[1], starts[1])


def receptive_range(axis: Axis, out: int, support: float = 2.0) -> tuple[int, int]:
    """Return the pixels [first, end) that `out` output pixels depend on.

    Args:
        support: radius of the interpolation kernel in pixels.
    """
    scale = axis.length / axis.resized
    width = support * max(scale, 1.0)
    first = int((axis.start + 0.5) * scale - width)
    end = int((axis.start + out - 0.5) * scale + width) + 2
    return max(first, 0), min(end, axis.length)
