"""Ranking by a real CLIP model, drawing by seed, temperature and top_k."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("open_clip")

import torch

from laion.clip.embed import Embedder
from laion.clip.model import ModelSpec
from laion.clip.shapes import draw
from laion.dalle.codebook import PictureCoder
from laion.dalle.sample import Drawing, as_samples, rank
from laion.dalle.transformer import Shape, Transformer


def test_ranking_puts_what_fits_first(tiny_model: tuple[str, str]) -> None:
    rng = np.random.default_rng(5)
    kinds = [("circle", "blue"), ("star", "red"), ("square", "green"), ("circle", "red")]
    pictures = np.stack([draw(rng, 64, 64, *kind).pixels for kind in kinds])
    embedder = Embedder(ModelSpec(*tiny_model), "cpu")
    prompts = ["a red star", "a blue circle"]
    ranked = rank([as_samples(pictures), as_samples(pictures)], prompts, embedder)
    for some, best in zip(ranked, (1, 0), strict=True):
        assert (some[0].pixels == pictures[best]).all()
        cosines = [sample.similarity or 0 for sample in some]
        assert cosines == sorted(cosines, reverse=True)
        assert some[0].nearest
    star_for_circle = next(s for s in ranked[1] if (s.pixels == pictures[1]).all())
    assert not star_for_circle.nearest


def drawing(**how: float) -> Drawing:
    torch.manual_seed(0)
    shape = Shape(vocabulary=9, text_length=4, codes=16, grid=4, width=16, layers=1, heads=2)
    coder, transformer = PictureCoder(16, 4, 8).eval(), Transformer(shape).eval()
    return Drawing(coder, transformer, **how)  # type: ignore[arg-type]


def drawn(how: Drawing, seed: int, count: int = 6) -> np.ndarray:
    text = torch.ones((count, 4), dtype=torch.long)
    return np.concatenate(list(how.pictures(text, seed)))


def test_seeds_and_temperature() -> None:
    first = drawn(drawing(), 1)
    assert first.shape == (6, 32, 32, 3)
    assert first.dtype == np.uint8
    assert (first == drawn(drawing(), 1)).all()
    assert (first != drawn(drawing(), 2)).any()
    assert (first[0] != first[1]).any()
    for certain in (drawing(temperature=1e-4), drawing(top_k=1)):
        same = drawn(certain, 1)
        assert (same == same[:1]).all()
