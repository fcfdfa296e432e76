"""The two halves of a training: what a batch teaches, and how well held-out pairs go. Needs torch.

First the picture coder learns to make pictures again, then the transformer learns its codes.
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

#: Weight of the text in the loss (arXiv:2102.12092, 2.2): pictures are what is wanted.
TEXT_WEIGHT = 1 / 8


class Phase(Protocol):
    """One half: a module in training, and its losses by name, of which `loss` is descended."""

    @property
    def name(self) -> str: ...

    @property
    def module(self) -> nn.Module: ...

    def learn(self, pictures: Tensor, pieces: Tokens) -> dict[str, Tensor]:
        """Losses of a batch: uint8 [n, 3, size, size] on the device, pieces int64 [n, length]."""
        ...

    def judge(self) -> dict[str, float]:
        """The same of the held-out pairs, and other figures."""
        ...


class HeldOut:
    """The held-out pairs: pictures uint8 [n, 3, size, size], on the device, and their pieces."""

    def __init__(self, pictures: Tensor, pieces: Tokens, batch_size: int) -> None:
        self.pictures = pictures
        self.pieces = pieces
        self._batch_size = batch_size

    def batches(self) -> Iterator[tuple[Tensor, Tokens]]:
        for at in range(0, len(self.pictures), self._batch_size):
            end = at + self._batch_size
            yield self.pictures[at:end], self.pieces[at:end]


def scaled(pictures: Tensor) -> Tensor:
    """uint8 levels to float32 in [-1, 1]."""
    return pictures.float() / 127.5 - 1


def casting(device: torch.device, half: bool) -> Any:
    """Arithmetic in bf16 where that is wanted."""
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


class CodebookPhase:
    """The picture coder. Its error is the mean distance of levels, as a share of all 255."""

    name = CODEBOOK

    def __init__(self, coder: ImageCoder, held_out: HeldOut, half: bool) -> None:
        self.module: ImageCoder = coder
        self._held_out = held_out
        self._half = half

    def learn(self, pictures: Tensor, pieces: Tokens) -> dict[str, Tensor]:
        wanted = scaled(pictures)
        with casting(pictures.device, self._half):
            made, _, commitment = self.module(wanted)
        away = made.float() - wanted
        error = away.abs().mean()
        # Squares as well: of a small thing in a colour of its own the mean says little.
        return {"loss": error + (away**2).mean() + commitment, "error": error / 2}

    def judge(self) -> dict[str, float]:
        errors = 0.0
        used = torch.zeros(len(self.module.codebook.codes), dtype=torch.bool)
        self.module.eval()
        with torch.no_grad():
            for pictures, _ in self._held_out.batches():
                wanted = scaled(pictures)
                with casting(pictures.device, self._half):
                    made, numbers, _ = self.module(wanted)
                errors += float((made.float() - wanted).abs().mean() / 2) * len(pictures)
                used[numbers.flatten().cpu()] = True
        self.module.train()
        return {"error": errors / len(self._held_out.pictures), "codes_used": int(used.sum())}


class TransformerPhase:
    """The transformer. Losses are in nats a token; `image` says how well codes are foretold."""

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

    def learn(self, pictures: Tensor, pieces: Tokens) -> dict[str, Tensor]:
        text = torch.from_numpy(self._vocabulary(pieces)).to(pictures.device)
        with casting(pictures.device, self._half):
            with torch.no_grad():
                codes = self._coder.encode(scaled(pictures))
            words, image = self.module(text, codes[:, :-1])
        of_image = cross_entropy(image.float().flatten(0, 1), codes.flatten())
        of_text = cross_entropy(
            words.float().flatten(0, 1), text[:, 1:].flatten(), ignore_index=PAD
        )
        loss = TEXT_WEIGHT * of_text + (1 - TEXT_WEIGHT) * of_image
        return {"loss": loss, "image": of_image, "text": of_text}

    def judge(self) -> dict[str, float]:
        sums = {"image": 0.0, "text": 0.0}
        self.module.eval()
        with torch.no_grad():
            for pictures, pieces in self._held_out.batches():
                losses = self.learn(pictures, pieces)
                for name in sums:
                    sums[name] += float(losses[name]) * len(pictures)
        self.module.train()
        return {name: total / len(self._held_out.pictures) for name, total in sums.items()}
