"""A discrete autoencoder: images to a grid of codes and back. Needs torch.

VQ-VAE (van den Oord et al. 2017, arXiv:1711.00937), whose codes are moving averages of the latents
assigned to them (appendix A.1). Unused codes are restarted (Jukebox, arXiv:2005.00341, 3.1).

Attribute names of the modules are keys of checkpoint files.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss, pixel_shuffle

#: Dimension of a code; low, so that distances between codes are meaningful.
CODE_WIDTH = 16

#: Decay of the moving averages. The paper's 0.99 (arXiv:1711.00937, A.1) suits longer training.
DECAY = 0.98

#: A code with fewer latents a batch, on average, is restarted, with the second number as its
#: average: it has some seventy batches to become used.
MIN_USE, FIRST_USE = 0.05, 0.2

#: Weight of the commitment loss, which keeps latents near their codes (arXiv:1711.00937, 3.2).
COMMITMENT = 0.25


class Codebook(nn.Module):
    """Replaces each latent by the nearest of `count` codes."""

    codes: Tensor
    uses: Tensor
    sums: Tensor
    begun: Tensor

    def __init__(self, count: int, width: int = CODE_WIDTH) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randn(count, width))
        self.register_buffer("uses", torch.ones(count))
        self.register_buffer("sums", self.codes.clone())
        self.register_buffer("begun", torch.tensor(False))

    def nearest(self, latents: Tensor) -> Tensor:
        """Return the nearest code of each latent of float32 [n, width]: int64 [n]."""
        # Distances are differences of large numbers, too inexact in 16 bits.
        with torch.autocast(latents.device.type, enabled=False):
            squares = (self.codes**2).sum(1)
            return (squares - 2 * latents @ self.codes.T).argmin(1)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize latents, float [n, width, h, w].

        Returns:
            The codes, of the same shape, whose gradient passes straight through to the latents;
            their numbers, int64 [n, h, w]; and the commitment loss.
        """
        n, width, h, w = latents.shape
        flat = latents.permute(0, 2, 3, 1).reshape(-1, width).float()
        with torch.no_grad():
            if self.training and not bool(self.begun):
                self.codes.copy_(self._sample(flat, len(self.codes)))
                self.sums.copy_(self.codes)
                self.begun.fill_(True)
            numbers = self.nearest(flat)
            chosen = self.codes[numbers]
            if self.training:
                self._learn(flat, numbers)
        loss = COMMITMENT * mse_loss(flat, chosen)
        through = flat + (chosen - flat).detach()
        quantized = through.view(n, h, w, width).permute(0, 3, 1, 2)
        return quantized, numbers.view(n, h, w), loss

    def look_up(self, numbers: Tensor) -> Tensor:
        """Return the codes of numbers, int64 [n, h, w]: float32 [n, width, h, w]."""
        return self.codes[numbers].permute(0, 3, 1, 2)

    def _learn(self, flat: Tensor, numbers: Tensor) -> None:
        uses = torch.bincount(numbers, minlength=len(self.codes)).float()
        sums = torch.zeros_like(self.sums).index_add_(0, numbers, flat)
        self.uses.lerp_(uses, 1 - DECAY)
        self.sums.lerp_(sums, 1 - DECAY)
        idle = self.uses < MIN_USE
        fresh = self._sample(flat, len(self.codes))
        self.uses[idle] = FIRST_USE
        self.sums[idle] = FIRST_USE * fresh[idle]
        self.codes.copy_(self.sums / self.uses[:, None])

    @staticmethod
    def _sample(flat: Tensor, count: int) -> Tensor:
        picked = torch.randint(len(flat), (count,), device=flat.device)
        return flat[picked] + 1e-3 * torch.randn_like(flat[picked])


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.GroupNorm(_groups(width), width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(_groups(width), width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branch(x)
        return out


class _Upsample(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return interpolate(x, scale_factor=2.0, mode="nearest")


def _groups(width: int) -> int:
    return next(groups for groups in (8, 4, 2, 1) if width % groups == 0)


class ImageCoder(nn.Module):
    """Encodes images to codes and decodes them, with `downsampling` pixels of a side to a code.

    Images are float [n, 3, size, size] in [-1, 1]. Only the first and the last convolution work at
    full size, where most of the time would be spent.
    """

    def __init__(self, codes: int, width: int, downsampling: int) -> None:
        super().__init__()
        halvings = downsampling.bit_length() - 1
        widths = [width * min(2**n, 4) for n in range(halvings)]
        down: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 2, 1)]
        for before, after in pairwise(widths):
            down += [nn.SiLU(), nn.Conv2d(before, after, 4, 2, 1), _Residual(after)]
        down += [
            _Residual(widths[-1]),
            nn.GroupNorm(_groups(widths[-1]), widths[-1]),
            nn.SiLU(),
            nn.Conv2d(widths[-1], CODE_WIDTH, 1),
        ]
        up: list[nn.Module] = [
            nn.Conv2d(CODE_WIDTH, widths[-1], 3, padding=1),
            _Residual(widths[-1]),
        ]
        for before, after in pairwise(widths[::-1]):
            up += [_Residual(before), _Upsample(), nn.Conv2d(before, after, 3, padding=1)]
        up += [
            nn.GroupNorm(_groups(widths[0]), widths[0]),
            nn.SiLU(),
            nn.Conv2d(widths[0], 12, 3, padding=1),
        ]
        self.encoder = nn.Sequential(*down)
        self.codebook = Codebook(codes)
        self.decoder = nn.Sequential(*up)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstructed images, their codes int64 [n, h, w], and the commitment loss."""
        quantized, numbers, loss = self.codebook(self.encoder(images))
        return self._render(quantized), numbers, loss

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes of images, row by row: int64 [n, h * w]."""
        latents = self.encoder(images)
        flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1]).float()
        return self.codebook.nearest(flat).view(len(images), -1)

    def decode(self, numbers: Tensor) -> Tensor:
        """Return images in [-1, 1] of the codes of square grids, int64 [n, h * w]."""
        side = int(numbers.shape[1] ** 0.5)
        codes = self.codebook.look_up(numbers.view(-1, side, side))
        return self._render(codes).clamp(-1, 1)

    def _render(self, quantized: Tensor) -> Tensor:
        return pixel_shuffle(self.decoder(quantized), 2)
