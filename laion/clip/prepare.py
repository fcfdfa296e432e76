"""Decoded pictures to what a model takes: resized, cropped and normalised, on its device.

The rules are those of open_clip's own transform, which works on one Pillow image at a time. Here
whole batches are resized at once, each picture by its own rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]

#: Pixels above which a picture is not opened, Pillow's limit and img2ds's default.
MAX_PIXELS = 89_478_484

#: Bytes of pictures that are resized at once; four times as much is needed for their floats.
CANVAS_BYTES = 64 << 20


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


@dataclass(slots=True)
class Batch:
    """Decoded pictures in one memory, anywhere in it.

    `pixels` is uint8 [bytes], an array or a tensor; `axes` int64 [n, 2, 5]: for rows and columns
    an `Axis`, and how many are at hand; `offsets` int64 [n] says where each picture begins.
    """

    pixels: Any
    axes: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each picture."""
        lengths: npt.NDArray[np.int64] = self.axes[:, 0, 4] * self.axes[:, 1, 4] * 3
        return lengths

    def to(self, device: Any) -> Batch:
        """The same on a torch device, without what lies between the pictures.

        The copies from pinned memory may still be under way.
        """
        import torch

        lengths = self.lengths
        offsets = _one_after_the_other(lengths)
        pixels = torch.as_tensor(self.pixels)
        packed = torch.empty(int(lengths.sum()), dtype=torch.uint8, device=device)
        # Pictures that follow each other go in one copy.
        breaks = np.flatnonzero(self.offsets[1:] != self.offsets[:-1] + lengths[:-1]) + 1
        for first, end in pairwise([0, *breaks.tolist(), len(lengths)]):
            size = int(lengths[first:end].sum())
            at, start = int(offsets[first]), int(self.offsets[first])
            packed[at : at + size].copy_(pixels[start : start + size], non_blocking=True)
        return Batch(packed, self.axes, offsets)


def plan_axes(width: int, height: int, settings: Settings) -> tuple[Axis, Axis]:
    """The rules for rows and columns of a picture, as torchvision and timm have them."""
    out_h, out_w = settings.size
    if settings.resize == "squash":
        return Axis(height, out_h, 0), Axis(width, out_w, 0)
    if settings.resize == "longest":
        ratio = max(height / out_h, width / out_w)
        resized = max(round(height / ratio), 1), max(round(width / ratio), 1)
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
        return self.batch(stack(cuts))

    def batch(self, batch: Batch) -> torch.Tensor:
        """Prepare a batch: float32 [n, 3, height, width] on the device, normalised."""
        # The order of torchvision's operations, so that equal levels give equal floats.
        return self.levels(batch).div_(255).sub_(self._mean).div_(self._std)

    def levels(self, batch: Batch) -> torch.Tensor:
        """The same before it is scaled and normalised: whole numbers of 0 to 255."""
        import torch

        flat = torch.as_tensor(batch.pixels)
        if flat.device.type != self.device.type:
            batch = batch.to(self.device)
            flat = batch.pixels
        out = torch.empty((len(batch.axes), 3, *self.settings.size), device=self.device)
        for members in self._groups(batch):
            axes = batch.axes[members]
            levels = self._group(_canvas(flat, batch, members), axes)
            if len(members) == len(out):
                out.copy_(levels)
            else:
                out[torch.as_tensor(members, device=self.device)] = levels.float()
        return out

    def _groups(self, batch: Batch) -> Iterator[list[int]]:
        """Which pictures are resized together: all of them when they are of one kind.

        On a CPU those of one kind, elsewhere those of about one size, in no more than
        `CANVAS_BYTES`: many small products cost more there than padding.
        """
        count = len(batch.axes)
        if (batch.axes == batch.axes[:1]).all():
            step = max(1, CANVAS_BYTES // (3 * int(batch.axes[0, 0, 4] * batch.axes[0, 1, 4])))
            for at in range(0, count, step):
                yield list(range(at, min(at + step, count)))
            return
        if self.device.type == "cpu":
            kinds: dict[bytes, list[int]] = defaultdict(list)
            for place in range(count):
                kinds[batch.axes[place].tobytes()].append(place)
            yield from kinds.values()
            return
        heights, widths = batch.axes[:, 0, 4], batch.axes[:, 1, 4]
        group: list[int] = []
        height = width = 0
        for place in np.lexsort((widths, heights)).tolist():
            height, width = max(height, int(heights[place])), max(width, int(widths[place]))
            if group and 3 * height * width * (len(group) + 1) > CANVAS_BYTES:
                yield group
                group, height, width = [], int(heights[place]), int(widths[place])
            group.append(place)
        yield group

    def _group(self, pixels: torch.Tensor, axes: npt.NDArray[np.int64]) -> torch.Tensor:
        """Levels [n, 3, height, width] of a canvas: on a CPU torch has vector code for 8 bits."""
        rows, columns = (Axis(*map(int, line[:4])) for line in axes[0])
        there = int(axes[0, 0, 4]), int(axes[0, 1, 4])
        if self.device.type == "cpu" and there == (rows.length, columns.length):
            return self._whole(pixels.permute(0, 3, 1, 2), rows, columns)
        return self.resample(pixels, axes)

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


def stack(cuts: Sequence[Cut]) -> Batch:
    """Pictures one after the other."""
    axes = np.array(
        [[(*cut.rows, cut.pixels.shape[0]), (*cut.columns, cut.pixels.shape[1])] for cut in cuts],
        np.int64,
    )
    lengths = np.array([cut.pixels.size for cut in cuts], np.int64)
    pixels = np.concatenate([cut.pixels.reshape(-1) for cut in cuts])
    return Batch(pixels, axes, _one_after_the_other(lengths))


def _one_after_the_other(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where things of these lengths begin that follow each other."""
    starts = np.zeros(len(lengths), np.int64)
    np.cumsum(lengths[:-1], out=starts[1:])
    return starts


def _canvas(flat: torch.Tensor, batch: Batch, members: list[int]) -> torch.Tensor:
    """uint8 [n, height, width, 3] as large as the largest of the pictures, on their device."""
    import torch

    sizes = batch.axes[members][:, :, 4]
    height, width = (int(n) for n in sizes.max(axis=0))
    offsets = batch.offsets[members]
    each = height * width * 3
    if (sizes == sizes[:1]).all() and (np.diff(offsets) == each).all():
        start = int(offsets[0])
        return flat[start : start + each * len(members)].view(-1, height, width, 3)
    canvas = torch.zeros((len(members), height, width, 3), dtype=torch.uint8, device=flat.device)
    for place, (offset, (h, w)) in enumerate(zip(offsets.tolist(), sizes.tolist(), strict=True)):
        canvas[place, :h, :w] = flat[offset : offset + h * w * 3].view(h, w, 3)
    return canvas


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Keys' kernel with a = -0.5, as Pillow has it, at distances x >= 0."""
    import torch

    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
