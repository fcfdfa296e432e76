"""Pictures of a trained model for prompts, and their order by a CLIP model. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from img2ds.image.encode import make_encoder
from laion.clip.embed import Embedder
from laion.dalle.image_coder import ImageCoder
from laion.dalle.phases import casting
from laion.dalle.transformer import Transformer

Pixels = npt.NDArray[np.uint8]

#: Pictures that are drawn at once.
TOGETHER = 64

#: zlib's level of the PNGs.
PNG_LEVEL = 6


@dataclass(slots=True)
class Sample:
    """One picture, uint8 [size, size, 3] in RGB, and as PNG; `similarity` is its cosine with the
    prompt, and `nearest` whether no other prompt's is higher; None where no model ranks.
    """

    pixels: Pixels
    png: bytes
    similarity: float | None = None
    nearest: bool | None = None


@dataclass(frozen=True, slots=True)
class Sampler:
    """How pictures are drawn from a model: see the flags of the same names."""

    coder: ImageCoder
    transformer: Transformer
    temperature: float = 1.0
    top_k: int | None = None
    half: bool = False

    def pictures(self, text: Tensor, seed: int) -> Iterator[Pixels]:
        """One for each text, int64 [n, text_length], in batches uint8 [m, size, size, 3]."""
        device = next(self.transformer.parameters()).device
        generator = torch.Generator(device).manual_seed(seed)

        def choose(logits: Tensor) -> Tensor:
            logits = logits / self.temperature
            if self.top_k is not None and self.top_k < logits.shape[1]:
                least = logits.topk(self.top_k).values[:, -1:]
                logits = logits.masked_fill(logits < least, -torch.inf)
            return torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]

        for at in range(0, len(text), TOGETHER):
            with torch.no_grad(), casting(device, self.half):
                codes = self.transformer.draw(text[at : at + TOGETHER].to(device), choose)
                made = self.coder.decode(codes).float()
            levels = ((made + 1) * 127.5).round().clamp(0, 255).byte()
            yield levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def as_samples(pictures: Pixels) -> list[Sample]:
    """Drawn pictures, uint8 [n, size, size, 3], encoded."""
    encode = make_encoder("png", PNG_LEVEL)
    return [Sample(pixels, encode(pixels)) for pixels in pictures]


def rank(
    samples: Sequence[list[Sample]], prompts: Sequence[str], embedder: Embedder | Any
) -> list[list[Sample]]:
    """Each prompt's samples by their similarity to it, the most similar first.

    As the paper ranks those of DALL-E (arXiv:2111.02114, 3.3), by the PNGs as they are written.
    """
    texts = embedder.texts(prompts)
    ranked = []
    for place, some in enumerate(samples):
        cosines = embedder.images([sample.png for sample in some]) @ texts.T
        for sample, row in zip(some, cosines, strict=True):
            sample.similarity = float(row[place])
            sample.nearest = bool(row[place] >= row.max())
        ranked.append(sorted(some, key=lambda sample: -(sample.similarity or 0.0)))
    return ranked
