"""A transformer that predicts text tokens, then image tokens, each from those before. Needs torch.

One sequence as in DALL-E (Ramesh et al. 2021, arXiv:2102.12092, 2.2), with full causal attention.
Text and image have separate embeddings and outputs. Attribute names are keys of checkpoint files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

#: Standard deviation of initial weights, as in GPT-2.
_SPREAD = 0.02


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a transformer.

    Attributes:
        vocabulary: different text tokens.
        text_length: tokens of a text.
        codes: different image tokens.
        grid: image tokens of a side.
    """

    vocabulary: int
    text_length: int
    codes: int
    grid: int
    width: int
    layers: int
    heads: int

    @property
    def image_length(self) -> int:
        return self.grid * self.grid


class KeyValueCache:
    """Keys and values of a layer for the positions so far: float [n, heads, length, depth]."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._both: Tensor | None = None
        self._at = 0

    def add(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append positions; return the keys and values of all."""
        if self._both is None:
            n, heads, _, depth = keys.shape
            self._both = keys.new_empty((2, n, heads, self._length, depth))
        end = self._at + keys.shape[2]
        self._both[0, :, :, self._at : end] = keys
        self._both[1, :, :, self._at : end] = values
        self._at = end
        return self._both[0, :, :, :end], self._both[1, :, :, :end]


class Layer(nn.Module):
    """A transformer layer: causal attention and a feed-forward network, both residual."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.before_attention = nn.LayerNorm(width)
        self.questions = nn.Linear(width, 3 * width)
        self.answers = nn.Linear(width, width)
        self.before_widening = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Map float [n, length, width] to the same shape.

        Args:
            cache: earlier positions, which these follow. If it is not empty, `length` must be 1.
        """
        n, length, width = x.shape
        parts = self.questions(self.before_attention(x)).view(n, length, 3, self.heads, -1)
        query, keys, values = parts.permute(2, 0, 3, 1, 4)
        if cache is not None:
            keys, values = cache.add(keys, values)
        seen = scaled_dot_product_attention(query, keys, values, is_causal=length > 1)
        x = x + self.answers(seen.transpose(1, 2).reshape(n, length, width))
        out: Tensor = x + self.narrow(gelu(self.wide(self.before_widening(x))))
        return out


class Transformer(nn.Module):
    """Predicts the logits of each next token."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        self.words = nn.Embedding(shape.vocabulary, width)
        self.places = nn.Embedding(shape.text_length, width)
        self.codes = nn.Embedding(shape.codes, width)
        self.rows = nn.Embedding(shape.grid, width)
        self.columns = nn.Embedding(shape.grid, width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.last = nn.LayerNorm(width)
        self.next_word = nn.Linear(width, shape.vocabulary)
        self.next_code = nn.Linear(width, shape.codes)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                ends = name.endswith(("answers.weight", "narrow.weight"))
                nn.init.normal_(weight, std=_SPREAD / (2 * shape.layers) ** (0.5 * ends))

    def forward(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits for texts and the beginning of their images.

        Args:
            text: int64 [n, text_length].
            image: int64 [n, m], the first `m` codes, at most `image_length` - 1.

        Returns:
            Logits of the text's tokens from the second on, [n, text_length - 1, vocabulary], and
            of the first `m` + 1 codes, [n, m + 1, codes].
        """
        x = torch.cat([self._text(text), self._image(image, 0)], 1)
        for layer in self.layers:
            x = layer(x)
        x = self.last(x)
        length = self.shape.text_length
        return self.next_word(x[:, : length - 1]), self.next_code(x[:, length - 1 :])

    @torch.no_grad()
    def generate(self, text: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Generate the codes of images for texts, code by code: int64 [n, image_length].

        Args:
            choose: given logits float32 [n, codes], returns codes int64 [n].
        """
        length = self.shape.text_length + self.shape.image_length
        caches = [KeyValueCache(length) for _ in self.layers]
        x = self._text(text)
        found: list[Tensor] = []
        while True:
            for layer, cache in zip(self.layers, caches, strict=True):
                x = layer(x, cache)
            code = choose(self.next_code(self.last(x[:, -1])).float())
            found.append(code)
            if len(found) == self.shape.image_length:
                return torch.stack(found, 1)
            x = self._image(code[:, None], len(found) - 1)

    def _text(self, text: Tensor) -> Tensor:
        out: Tensor = self.words(text) + self.places.weight
        return out

    def _image(self, image: Tensor, first: int) -> Tensor:
        place = torch.arange(first, first + image.shape[1], device=image.device)
        grid = self.shape.grid
        out: Tensor = self.codes(image) + self.rows(place // grid) + self.columns(place % grid)
        return out
