"""Resizes, crops and normalises decoded images for a model, on its device.

The result is that of open_clip's own transform, which handles one Pillow image at a time. Here
whole batches are resized at once, each image by its own rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from laion.clip.batch import ImageBatch, stack
from laion.clip.crop import Crop
from laion.clip.geometry import Axis, PreprocessConfig

if TYPE_CHECKING:
    import torch


class Preprocessor:
    """Turns images into float32 [n, 3, height, width] on a torch device."""

    def __init__(self, config: PreprocessConfig, device: Any) -> None:
        import torch

        self.config = config
        self.device = torch.device(device)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(config.mean, device=self.device).view(shape)
        self._std = torch.tensor(config.std, device=self.device).view(shape)

    def crops(self, crops: Sequence[Crop]) -> torch.Tensor:
        """Return float32 [n, 3, height, width] for decoded images, normalised."""
        return self.batch(stack(crops))

    def batch(self, batch: ImageBatch) -> torch.Tensor:
        """Return float32 [n, 3, height, width] on the device, normalised."""
        # The order of torchvision's operations, so that equal levels give equal floats.
        return self.levels(batch).div_(255).sub_(self._mean).div_(self._std)

    def levels(self, batch: ImageBatch) -> torch.Tensor:
        """Return float32 [n, 3, height, width] of whole numbers from 0 to 255."""
        import torch

        flat = torch.as_tensor(batch.pixels)
        if flat.device.type != self.device.type:
            batch = batch.to(self.device)
            flat = batch.pixels
        out = torch.empty((len(batch.axes), 3, *self.config.size), device=self.device)
        for members in batch.groups(on_cpu=self.device.type == "cpu"):
            levels = self._resize(batch.canvas(flat, members), batch.axes[members])
            if len(members) == len(out):
                out.copy_(levels)
            else:
                out[torch.as_tensor(members, device=self.device)] = levels.float()
        return out

    def _resize(self, pixels: torch.Tensor, axes: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return levels [n, 3, height, width]; on a CPU torch has vector code for 8 bits."""
        rows, columns = (Axis(*map(int, line[:4])) for line in axes[0])
        available = int(axes[0, 0, 4]), int(axes[0, 1, 4])
        if self.device.type == "cpu" and available == (rows.length, columns.length):
            return self._interpolate(pixels.permute(0, 3, 1, 2), rows, columns)
        return self.resample(pixels, axes)

    def _interpolate(self, pixels: torch.Tensor, rows: Axis, columns: Axis) -> torch.Tensor:
        """Resize uint8 [n, 3, height, width], then crop or pad."""
        from torch.nn.functional import interpolate, pad

        out_h, out_w = self.config.size
        if (rows.length, columns.length) != (rows.resized, columns.resized):
            pixels = interpolate(
                pixels,
                (rows.resized, columns.resized),
                mode=self.config.interpolation,
                antialias=True,
            )
        top, left = rows.start, columns.start
        pixels = pixels[:, :, max(top, 0) : top + out_h, max(left, 0) : left + out_w]
        above, before = max(-top, 0), max(-left, 0)
        below, after = out_h - above - pixels.shape[2], out_w - before - pixels.shape[3]
        if above or before or below or after:
            pixels = pad(pixels, (before, after, above, below), value=self.config.fill)
        return pixels

    def resample(self, pixels: torch.Tensor, axes: npt.NDArray[np.int64]) -> torch.Tensor:
        """Resize by two matrix products, each image with its own matrices.

        Columns come first and are rounded, as Pillow does.

        Args:
            pixels: uint8 [n, height, width, 3].

        Returns:
            Levels, float32 [n, 3, height, width].
        """
        import torch

        out_h, out_w = self.config.size
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
        if self.config.resize == "longest" and self.config.fill:
            empty = (down.sum(2) == 0)[:, :, None] | (across.sum(2) == 0)[:, None, :]
            levels = torch.where(empty[:, :, None, :], float(self.config.fill), levels)
        return levels.permute(0, 2, 1, 3).contiguous()

    def _weights(self, rules: torch.Tensor, out: int, width: int) -> torch.Tensor:
        """Return float32 [n, out, width]: the weight of each available pixel in each output pixel.

        Antialiased as in Pillow: the kernel is stretched by the scale when shrinking, and pixels
        beyond the edges of the image count for nothing.
        """
        import torch

        length, resized, start, first, present = (c.double().view(-1, 1) for c in rules.unbind(1))
        scale = length / resized
        wanted = torch.arange(out, device=rules.device).double() + start
        centre = (wanted + 0.5) * scale
        stretch = scale.clamp(min=1.0)
        support = (2.0 if self.config.interpolation == "bicubic" else 1.0) * stretch
        low = (centre - support + 0.5).floor().clamp(min=0)
        high = torch.minimum((centre + support + 0.5).floor(), length)
        place = torch.arange(width, device=rules.device).double() + first  # [n, width]
        x = ((place[:, None, :] + 0.5 - centre[:, :, None]) / stretch[:, :, None]).abs().float()
        weights = _cubic(x) if self.config.interpolation == "bicubic" else (1 - x).clamp_(min=0)
        inside = (place[:, None, :] >= low[:, :, None]) & (place[:, None, :] < high[:, :, None])
        inside &= (place < first + present)[:, None, :]
        inside &= ((wanted >= 0) & (wanted < resized))[:, :, None]
        weights = weights * inside
        return weights / weights.sum(2, keepdim=True).clamp(min=1e-6)


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Return Keys' kernel with a = -0.5, as Pillow has it, at distances x >= 0."""
    import torch

    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
