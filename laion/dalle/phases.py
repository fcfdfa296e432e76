"""The two phases of a training: losses of a batch, and evaluation on held-out pairs. Needs torch.

First the image coder learns to reconstruct images, then the transformer learns its codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from laion.dalle.checkpoint import CODEBOOK, TRANSFORMER
from laion.dalle.image_coder import ImageCoder
from laion.dalle.transformer import Transformer
from laion.dalle.vocabulary import PAD, Tokens, Vocabulary

#: Weight of the text in the loss (arXiv:2102.12092, 2.2): images matter more.
TEXT_WEIGHT = 1 / 8


class Phase(Protocol):
    """One phase: a module in training, and its losses by name; `loss` is minimized."""

    @property
    def name(self) -> str: ...

    @property
    def module(self) -> nn.Module: ...

    def losses(self, images: Tensor, pieces: Tokens) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            images: uint8 [n, 3, size, size] on the device.
            pieces: int64 [n, length].
        """
        ...

    def evaluate(self) -> dict[str, float]:
        """Compute the losses of the held-out pairs, and other metrics."""
        ...

    def held_out_loss(self, evaluated: dict[str, float]) -> float:
        """Return the loss by which the best weights are chosen, of what `evaluate` returned."""
        ...


class HeldOut:
    """The held-out pairs: images uint8 [n, 3, size, size] on the device, and their pieces."""

    def __init__(self, images: Tensor, pieces: Tokens, batch_size: int) -> None:
        self.images = images
        self.pieces = pieces
        self._batch_size = batch_size

    def batches(self) -> Iterator[tuple[Tensor, Tokens]]:
        for at in range(0, len(self.images), self._batch_size):
            end = at + self._batch_size
            yield self.images[at:end], self.pieces[at:end]


def to_unit_range(images: Tensor) -> Tensor:
    """Convert uint8 levels to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def autocast(device: torch.device, half: bool) -> Any:
    """Return a context that computes in bf16 if `half`."""
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


class CodebookPhase:
    """Trains the image coder. Its error is the mean distance of levels, as a share of all 255."""

    name = CODEBOOK

    def __init__(self, coder: ImageCoder, held_out: HeldOut, half: bool) -> None:
        self.module: ImageCoder = coder
        self._held_out = held_out
        self._half = half

    def losses(self, images: Tensor, pieces: Tokens) -> dict[str, Tensor]:
        wanted = to_unit_range(images)
        with autocast(images.device, self._half):
            made, _, commitment = self.module(wanted)
        away = made.float() - wanted
        error = away.abs().mean()
        # Squares as well: the mean hardly shows a small object of another colour.
        return {"loss": error + (away**2).mean() + commitment, "error": error / 2}

    def evaluate(self) -> dict[str, float]:
        errors = 0.0
        used = torch.zeros(len(self.module.codebook.codes), dtype=torch.bool)
        self.module.eval()
        with torch.no_grad():
            for images, _ in self._held_out.batches():
                wanted = to_unit_range(images)
                with autocast(images.device, self._half):
                    made, numbers, _ = self.module(wanted)
                errors += float((made.float() - wanted).abs().mean() / 2) * len(images)
                used[numbers.flatten().cpu()] = True
        self.module.train()
        return {"error": errors / len(self._held_out.images), "codes_used": int(used.sum())}

    def held_out_loss(self, evaluated: dict[str, float]) -> float:
        return evaluated["error"]


class TransformerPhase:
    """Trains the transformer. Losses are in nats a token; `image` is that of image codes."""

    name = TRANSFORMER

    def __init__(
        self, coder: ImageCoder, transformer: Transformer, vocabulary: Vocabulary,
        held_out: HeldOut, half: bool,
    ) -> None:  # fmt: skip
        self.module = transformer
        self._coder = coder.eval().requires_grad_(False)
        self._vocabulary = vocabulary
        self._held_out = held_out
        self._half = half

    def losses(self, images: Tensor, pieces: Tokens) -> dict[str, Tensor]:
        text = torch.from_numpy(self._vocabulary(pieces)).to(images.device)
        with autocast(images.device, self._half):
            with torch.no_grad():
                codes = self._coder.encode(to_unit_range(images))
            words, image = self.module(text, codes[:, :-1])
        of_image = cross_entropy(image.float().flatten(0, 1), codes.flatten())
        of_text = cross_entropy(
            words.float().flatten(0, 1), text[:, 1:].flatten(), ignore_index=PAD
        )
        loss = TEXT_WEIGHT * of_text + (1 - TEXT_WEIGHT) * of_image
        return {"loss": loss, "image": of_image, "text": of_text}

    def evaluate(self) -> dict[str, float]:
        sums = {"image": 0.0, "text": 0.0}
        self.module.eval()
        with torch.no_grad():
            for images, pieces in self._held_out.batches():
                losses = self.losses(images, pieces)
                for name in sums:
                    sums[name] += float(losses[name]) * len(images)
        self.module.train()
        return {name: total / len(self._held_out.images) for name, total in sums.items()}

    def held_out_loss(self, evaluated: dict[str, float]) -> float:
        return TEXT_WEIGHT * evaluated["text"] + (1 - TEXT_WEIGHT) * evaluated["image"]
