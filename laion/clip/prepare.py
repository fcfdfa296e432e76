"""Decoded pictures to what a model takes: resized, cropped and normalised, on its device.

The rules are those of open_clip's own transform, which works on one Pillow image at a time. Here
whole batches are resized at once, each picture by its own rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a model wants of its pictures: open_clip's preprocessing configuration.

    `size` is height and width in pixels; `mean` and `std` are a colour channel's, in [0, 1];
    `resize` is shortest (then cropped), longest (then filled up with level `fill`) or squash.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resize: str = "shortest"
    fill: int = 0


class Axis(NamedTuple):
    """How rows (or columns) are resized: `length` pixels become `resized`, of which those from
    `start` on are wanted; negative starts are filled up. Of the `length` pixels, those before
    `first` are not at hand.
    """

    length: int
    resized: int
    start: int
    first: int = 0


@dataclass(slots=True)
class Cut:
    """The part of a decoded picture that is needed, uint8 [height, width, 3] in RGB."""

    pixels: Pixels
    rows: Axis
    columns: Axis
    #: Width and height of the whole picture in pixels, upright.
    size: tuple[int, int]


def plan_axes(width: int, height: int, settings: Settings) -> tuple[Axis, Axis]:
    """The rules for rows and columns of a picture of that size, as torchvision and timm have them."""
    out_h, out_w = settings.size
    if settings.resize == "squash":
        return Axis(height, out_h, 0), Axis(width, out_w, 0)
    if settings.resize == "longest":
        ratio = max(height / out_h, width / out_w)
        resized = round(height / ratio), round(width / ratio)
        # Filled up on both sides, the odd pixel after.
        starts = [-((o - r) // 2) if r < o else (r - o) // 2
                  for o, r in zip((out_h, out_w), resized, strict=True)]  # fmt: skip
    elif out_h == out_w:
        short = min(width, height)  # the longer side is cut off, not rounded
        resized = int(out_h * height / short), int(out_w * width / short)
        starts = [round((r - out_h) / 2.0) for r in resized]
    else:
        ratio = min(height / out_h, width / out_w)
        resized = round(height / ratio), round(width / ratio)
        starts = [round((r - o) / 2.0) for o, r in zip((out_h, out_w), resized, strict=True)]
    return Axis(height, resized[0], starts[0]), Axis(width, resized[1], starts[1])


def reach(axis: Axis, out: int, support: float = 2.0) -> tuple[int, int]:
    """The pixels [first, end) that the wanted ones are made of; `support` is the kernel's."""
    scale = axis.length / axis.resized
    width = support * max(scale, 1.0)
    first = int((axis.start + 0.5) * scale - width)
    end = int((axis.start + out - 0.5) * scale + width) + 2
    return max(first, 0), min(end, axis.length)


class Preparer:
    """Makes float32 [n, 3, height, width] of pictures, on a torch device."""

    def __init__(self, settings: Settings, device: Any) -> None:
        import torch

        self.settings = settings
        self.device = torch.device(device)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(settings.mean, device=self.device).view(shape)
        self._std = torch.tensor(settings.std, device=self.device).view(shape)

    def cuts(self, cuts: Sequence[Cut]) -> torch.Tensor:
        """Prepare decoded pictures."""
        return self.canvas(*stack(cuts))

    def canvas(self, canvas: Any, axes: npt.NDArray[np.int64]) -> torch.Tensor:
        """Prepare a batch as `stack` makes it; `canvas` may be a tensor, here or on the device."""
        # The order of torchvision's operations, so that equal levels give equal floats.
        return self.levels(canvas, axes).div_(255).sub_(self._mean).div_(self._std)

    def levels(self, canvas: Any, axes: npt.NDArray[np.int64]) -> torch.Tensor:
        """The same before it is scaled and normalised: whole numbers of 0 to 255."""
        import torch

        pixels = torch.as_tensor(canvas)
        if self.device.type == "cpu":
            return self._on_cpu(pixels, axes)
        return self.resample(pixels.to(self.device, non_blocking=True), axes)

    def _on_cpu(self, pixels: torch.Tensor, axes: npt.NDArray[np.int64]) -> torch.Tensor:
        """Pictures of one rule together: torch has vector code for 8 bits, Pillow's arithmetic."""
        import torch

        groups: dict[bytes, list[int]] = defaultdict(list)
        for row in range(len(axes)):
            groups[axes[row].tobytes()].append(row)
        out = torch.empty((len(axes), 3, *self.settings.size))
        for members in groups.values():
            rows, columns = (Axis(*map(int, line[:4])) for line in axes[members[0]])
            height, width = int(axes[members[0], 0, 4]), int(axes[members[0], 1, 4])
            whole = (height, width) == (rows.length, columns.length)
            mine = pixels if len(members) == len(axes) else pixels[members]
            if not whole:
                out[members] = self.resample(mine, axes[members])
                continue
            levels = self._whole(mine[:, :height, :width].permute(0, 3, 1, 2), rows, columns)
            if len(members) == len(axes):
                out.copy_(levels)
            else:
                out[members] = levels.float()
        return out

    def _whole(self, pixels: torch.Tensor, rows: Axis, columns: Axis) -> torch.Tensor:
        """uint8 [n, 3, height, width], resized and cropped or filled up."""
        from torch.nn.functional import interpolate, pad

        out_h, out_w = self.settings.size
        if (rows.length, columns.length) != (rows.resized, columns.resized):
            pixels = interpolate(
                pixels,
                (rows.resized, columns.resized),
                mode=self.settings.interpolation,
                antialias=True,
            )
        top, left = rows.start, columns.start
        pixels = pixels[:, :, max(top, 0) : top + out_h, max(left, 0) : left + out_w]
        above, beside = max(-top, 0), max(-left, 0)
        below, after = out_h - above - pixels.shape[2], out_w - beside - pixels.shape[3]
        if above or beside or below or after:
            pixels = pad(pixels, (beside, after, above, below), value=self.settings.fill)
        return pixels

    def resample(self, pixels: torch.Tensor, axes: npt.NDArray[np.int64]) -> torch.Tensor:
        """Levels float32 [n, 3, height, width] by two products of matrices, each picture its own.

        Columns first and rounded between, as Pillow does.
        """
        import torch

        out_h, out_w = self.settings.size
        rules = torch.as_tensor(axes)
        if bool((rules == rules[:1]).all()):
            rules = rules[:1]  # one pair of matrices for all
        rules = rules.to(pixels.device, non_blocking=True)
        n, height, width = pixels.shape[:3]
        across = self._weights(rules[:, 1], out_w, width)  # [n or 1, out_w, width]
        levels = pixels.float().permute(0, 1, 3, 2)  # [n, height, 3, width]
        levels = levels.reshape(n, height * 3, width) @ across.transpose(1, 2)
        levels = levels.round_().clamp_(0, 255).view(n, height, 3 * out_w)
        down = self._weights(rules[:, 0], out_h, height)
        levels = (down @ levels).round_().clamp_(0, 255).view(n, out_h, 3, out_w)
        if self.settings.resize == "longest" and self.settings.fill:
            empty = (down.sum(2) == 0)[:, :, None] | (across.sum(2) == 0)[:, None, :]
            levels = torch.where(empty[:, :, None, :], float(self.settings.fill), levels)
        return levels.permute(0, 2, 1, 3).contiguous()

    def _weights(self, rules: torch.Tensor, out: int, width: int) -> torch.Tensor:
        """float32 [n, out, width]: what each pixel at hand adds to each wanted one.

        Antialiased as in Pillow: the kernel is stretched by the scale when shrinking, and pixels
        beyond the picture's edges count for nothing.
        """
        import torch

        length, resized, start, first, present = (c.double().view(-1, 1) for c in rules.unbind(1))
        scale = length / resized
        wanted = torch.arange(out, device=rules.device).double() + start
        centre = (wanted + 0.5) * scale
        stretch = scale.clamp(min=1.0)
        support = (2.0 if self.settings.interpolation == "bicubic" else 1.0) * stretch
        low = (centre - support + 0.5).floor().clamp(min=0)
        high = torch.minimum((centre + support + 0.5).floor(), length)
        place = torch.arange(width, device=rules.device).double() + first  # [n, width]
        x = ((place[:, None, :] + 0.5 - centre[:, :, None]) / stretch[:, :, None]).abs().float()
        weights = _cubic(x) if self.settings.interpolation == "bicubic" else (1 - x).clamp_(min=0)
        there = (place[:, None, :] >= low[:, :, None]) & (place[:, None, :] < high[:, :, None])
        there &= (place < first + present)[:, None, :]
        there &= ((wanted >= 0) & (wanted < resized))[:, :, None]
        weights = weights * there
        return weights / weights.sum(2, keepdim=True).clamp(min=1e-6)


def stack(
    cuts: Sequence[Cut], canvas: Pixels | None = None
) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Pictures side by side: uint8 [n, height, width, 3] as large as the largest, and their rules.

    The rules are int64 [n, 2, 5]: for rows and columns an `Axis`, and the pixels that are there.
    """
    height = max(cut.pixels.shape[0] for cut in cuts)
    width = max(cut.pixels.shape[1] for cut in cuts)
    if canvas is None:
        canvas = np.zeros((len(cuts), height, width, 3), np.uint8)
    axes = np.empty((len(cuts), 2, 5), np.int64)
    for place, cut in enumerate(cuts):
        h, w = cut.pixels.shape[:2]
        canvas[place, :h, :w] = cut.pixels
        axes[place] = (*cut.rows, h), (*cut.columns, w)
    return canvas, axes


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Keys' kernel with a = -0.5, as Pillow has it, at distances x >= 0."""
    import torch

    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
