"""A transformer over text tokens and then image tokens, each told from those before. Needs torch.

One stream as in DALL-E (Ramesh et al. 2021, arXiv:2102.12092, 2.2), with full causal attention;
text and image have embeddings and outputs of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

#: Of weights, GPT-2's.
_SPREAD = 0.02


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a transformer: text tokens that are told apart and those of a text, codes and
    codes of a side; width, layers and heads.
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
    """Keys and values of one layer for the positions so far: float [n, heads, length, depth]."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._both: Tensor | None = None
        self._at = 0

    def add(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Those of all positions, these included."""
        if self._both is None:
            n, heads, _, depth = keys.shape
            self._both = keys.new_empty((2, n, heads, self._length, depth))
        end = self._at + keys.shape[2]
        self._both[0, :, :, self._at : end] = keys
        self._both[1, :, :, self._at : end] = values
        self._at = end
        return self._both[0, :, :, :end], self._both[1, :, :, :end]


class Layer(nn.Module):
    """Causal attention, then a network for each position by itself; both add to their input."""

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

    def forward(self, x: Tensor, memory: KeyValueCache | None = None) -> Tensor:
        """float [n, length, width] to the same; with a memory, positions that follow its own.

        More than one position goes in only while the memory is empty.
        """
        n, length, width = x.shape
        parts = self.questions(self.before_attention(x)).view(n, length, 3, self.heads, -1)
        query, keys, values = parts.permute(2, 0, 3, 1, 4)
        if memory is not None:
            keys, values = memory.add(keys, values)
        seen = scaled_dot_product_attention(query, keys, values, is_causal=length > 1)
        x = x + self.answers(seen.transpose(1, 2).reshape(n, length, width))
        out: Tensor = x + self.narrow(gelu(self.wide(self.before_widening(x))))
        return out


class Transformer(nn.Module):
    """Odds of each next token."""

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
        """Odds for whole texts, int64 [n, text_length], and the first `m` of their codes.

        Args:
            image: int64 [n, m], of 0 to `image_length` - 1 codes.

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
    def draw(self, text: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Codes for texts, one after the other: int64 [n, image_length].

        Args:
            choose: the codes int64 [n], given logits float32 [n, codes].
        """
        length = self.shape.text_length + self.shape.image_length
        memories = [KeyValueCache(length) for _ in self.layers]
        x = self._text(text)
        found: list[Tensor] = []
        while True:
            for layer, memory in zip(self.layers, memories, strict=True):
                x = layer(x, memory)
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
