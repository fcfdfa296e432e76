"""A batch of decoded images of any sizes in one piece of memory, and its way to a device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from laion.clip.crop import Crop

if TYPE_CHECKING:
    import torch

#: Bytes of images that are resized together; their floats take four times as much.
CANVAS_BYTES = 64 << 20


@dataclass(slots=True)
class ImageBatch:
    """Decoded images, anywhere in one piece of memory.

    Attributes:
        pixels: uint8 [bytes], an array or a tensor.
        axes: int64 [n, 2, 5]; for rows and columns the four numbers of an `Axis`, and the number
            of available pixels.
        offsets: int64 [n], the first byte of each image.
    """

    pixels: Any
    axes: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each image."""
        lengths: npt.NDArray[np.int64] = self.axes[:, 0, 4] * self.axes[:, 1, 4] * 3
        return lengths

    def to(self, device: Any) -> ImageBatch:
        """Copy to a torch device, without the gaps between images.

        Copies from pinned memory may still be in progress on return.
        """
        import torch

        lengths = self.lengths
        offsets = packed_offsets(lengths)
        pixels = torch.as_tensor(self.pixels)
        packed = torch.empty(int(lengths.sum()), dtype=torch.uint8, device=device)
        # One copy for images that follow each other.
        breaks = np.flatnonzero(self.offsets[1:] != self.offsets[:-1] + lengths[:-1]) + 1
        for first, end in pairwise([0, *breaks.tolist(), len(lengths)]):
            size = int(lengths[first:end].sum())
            at, start = int(offsets[first]), int(self.offsets[first])
            packed[at : at + size].copy_(pixels[start : start + size], non_blocking=True)
        return ImageBatch(packed, self.axes, offsets)

    def groups(self, on_cpu: bool) -> Iterator[list[int]]:
        """Yield the images that are resized together, in at most `CANVAS_BYTES` where possible.

        On a CPU these are images with equal axes. On other devices they have similar sizes: there,
        many small products cost more than padding.
        """
        count = len(self.axes)
        heights, widths = self.axes[:, 0, 4], self.axes[:, 1, 4]
        if (self.axes == self.axes[:1]).all():
            step = max(1, CANVAS_BYTES // (3 * int(heights[0] * widths[0])))
            for at in range(0, count, step):
                yield list(range(at, min(at + step, count)))
            return
        if on_cpu:
            kinds: dict[bytes, list[int]] = defaultdict(list)
            for place in range(count):
                kinds[self.axes[place].tobytes()].append(place)
            yield from kinds.values()
            return
        group: list[int] = []
        height = width = 0
        for place in np.lexsort((widths, heights)).tolist():
            height, width = max(height, int(heights[place])), max(width, int(widths[place]))
            if group and 3 * height * width * (len(group) + 1) > CANVAS_BYTES:
                yield group
                group, height, width = [], int(heights[place]), int(widths[place])
            group.append(place)
        yield group

    def canvas(self, flat: torch.Tensor, members: list[int]) -> torch.Tensor:
        """Return some images as uint8 [n, height, width, 3], padded to the largest of them.

        Args:
            flat: `pixels` as a tensor; the canvas is on its device.
        """
        import torch

        sizes = self.axes[members][:, :, 4]
        height, width = (int(n) for n in sizes.max(axis=0))
        offsets = self.offsets[members]
        each = height * width * 3
        if (sizes == sizes[:1]).all() and (np.diff(offsets) == each).all():
            start = int(offsets[0])
            return flat[start : start + each * len(members)].view(-1, height, width, 3)
        canvas = torch.zeros(
            (len(members), height, width, 3), dtype=torch.uint8, device=flat.device
        )
        for place, (offset, (h, w)) in enumerate(
            zip(offsets.tolist(), sizes.tolist(), strict=True)
        ):
            canvas[place, :h, :w] = flat[offset : offset + h * w * 3].view(h, w, 3)
        return canvas


def stack(crops: Sequence[Crop]) -> ImageBatch:
    """Return a batch of crops, copied one after the other."""
    axes = np.array(
        [
            [(*crop.rows, crop.pixels.shape[0]), (*crop.columns, crop.pixels.shape[1])]
            for crop in crops
        ],
        np.int64,
    )
    lengths = np.array([crop.pixels.size for crop in crops], np.int64)
    pixels = np.concatenate([crop.pixels.reshape(-1) for crop in crops])
    return ImageBatch(pixels, axes, packed_offsets(lengths))


def packed_offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the offsets of pieces of these lengths that follow each other."""
    starts = np.zeros(len(lengths), np.int64)
    np.cumsum(lengths[:-1], out=starts[1:])
    return starts
