"""Ranking by a real CLIP model; seed, temperature and top_k of sampling."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("open_clip")

import torch

from laion import cli
from laion.clip.embed import Embedder
from laion.clip.model import ModelSpec
from laion.clip.shapes import COLOURS, draw
from laion.dalle.image_coder import ImageCoder
from laion.dalle.sample import Sampler, as_samples, rank
from laion.dalle.transformer import Shape, Transformer
from tests.laion.dalle.small_training import typed, write_shapes


def test_ranking_puts_the_best_match_first(tiny_model: tuple[str, str]) -> None:
    rng = np.random.default_rng(5)
    kinds = [("circle", "blue"), ("star", "red"), ("square", "green"), ("circle", "red")]
    images = np.stack([draw(rng, 64, 64, *kind).pixels for kind in kinds])
    embedder = Embedder(ModelSpec(*tiny_model), "cpu")
    prompts = ["a red star", "a blue circle"]
    ranked = rank([as_samples(images), as_samples(images)], prompts, embedder)
    for some, best in zip(ranked, (1, 0), strict=True):
        assert (some[0].pixels == images[best]).all()
        cosines = [sample.similarity or 0 for sample in some]
        assert cosines == sorted(cosines, reverse=True)
        assert some[0].nearest
    star_for_circle = next(s for s in ranked[1] if (s.pixels == images[1]).all())
    assert not star_for_circle.nearest


def sampler(**how: float) -> Sampler:
    torch.manual_seed(0)
    shape = Shape(vocabulary=9, text_length=4, codes=16, grid=4, width=16, layers=1, heads=2)
    coder, transformer = ImageCoder(16, 4, 8).eval(), Transformer(shape).eval()
    return Sampler(coder, transformer, **how)  # type: ignore[arg-type]


def generated(how: Sampler, seed: int, count: int = 6) -> np.ndarray:
    text = torch.ones((count, 4), dtype=torch.long)
    return np.concatenate(list(how.images(text, seed)))


def test_seeds_and_temperature() -> None:
    first = generated(sampler(), 1)
    assert first.shape == (6, 32, 32, 3)
    assert first.dtype == np.uint8
    assert (first == generated(sampler(), 1)).all()
    assert (first != generated(sampler(), 2)).any()
    assert (first[0] != first[1]).any()
    for certain in (sampler(temperature=1e-4), sampler(top_k=1)):
        same = generated(certain, 1)
        assert (same == same[:1]).all()


def test_samples_fit_their_prompts_better_than_chance(
    tiny_model: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Colours only: shapes take a longer training."""
    shards = write_shapes(tmp_path / "shards", 1, 640, 32)
    prompts = [f"a {colour} circle" for colour in COLOURS]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    flags = {
        "image_size": 16, "downsampling": 4, "codes": 64, "coder_width": 24,
        "codebook_steps": 550, "width": 64, "layers": 2, "steps": 250, "batch_size": 32,
        "log_every": 100, "save_every": 1000, "held_out": 0.05, "samples": 8,
        "prompts": tmp_path / "prompts.txt", "model": tiny_model[0], "pretrained": tiny_model[1],
    }  # fmt: skip
    assert cli.run(typed(shards, tmp_path / "out", **flags)) == 0
    found = re.search(r"among 8: ([\d.]+) % of the samples", capsys.readouterr().out)
    assert found is not None
    assert float(found[1]) >= 30, "by chance 12"
