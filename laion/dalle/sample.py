"""Generates images for prompts with a trained model, and ranks them by CLIP. Needs torch."""

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
from laion.dalle.phases import autocast
from laion.dalle.transformer import Transformer

Pixels = npt.NDArray[np.uint8]

#: Images generated at once.
BATCH = 64

#: zlib's compression level of the PNGs.
PNG_LEVEL = 6


@dataclass(slots=True)
class Sample:
    """One generated image.

    Attributes:
        pixels: uint8 [size, size, 3] in RGB.
        similarity: cosine with its prompt; None if not ranked.
        nearest: whether no other prompt has a higher cosine; None if not ranked.
    """

    pixels: Pixels
    png: bytes
    similarity: float | None = None
    nearest: bool | None = None


@dataclass(slots=True)
class SampleSet:
    """The samples of each prompt, and notes on the prompts. Empty if none are generated."""

    prompts: Sequence[str] = ()
    by_prompt: Sequence[list[Sample]] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Sampler:
    """Generates images; `temperature` and `top_k` are the flags of these names."""

    coder: ImageCoder
    transformer: Transformer
    temperature: float = 1.0
    top_k: int | None = None
    half: bool = False

    def images(self, text: Tensor, seed: int) -> Iterator[Pixels]:
        """Yield images in batches uint8 [m, size, size, 3], one for each text [n, text_length]."""
        device = next(self.transformer.parameters()).device
        generator = torch.Generator(device).manual_seed(seed)

        def choose(logits: Tensor) -> Tensor:
            logits = logits / self.temperature
            if self.top_k is not None and self.top_k < logits.shape[1]:
                least = logits.topk(self.top_k).values[:, -1:]
                logits = logits.masked_fill(logits < least, -torch.inf)
            return torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]

        for at in range(0, len(text), BATCH):
            with torch.no_grad(), autocast(device, self.half):
                codes = self.transformer.generate(text[at : at + BATCH].to(device), choose)
                decoded = self.coder.decode(codes).float()
            levels = ((decoded + 1) * 127.5).round().clamp(0, 255).byte()
            yield levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def as_samples(images: Pixels) -> list[Sample]:
    """Encode generated images, uint8 [n, size, size, 3]."""
    encode = make_encoder("png", PNG_LEVEL)
    return [Sample(pixels, encode(pixels)) for pixels in images]


def rank(
    samples: Sequence[list[Sample]], prompts: Sequence[str], embedder: Embedder | Any
) -> list[list[Sample]]:
    """Sort the samples of each prompt by similarity to it, most similar first.

    The LAION-400M paper ranks DALL-E's samples in the same way (arXiv:2111.02114, 3.3).
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
