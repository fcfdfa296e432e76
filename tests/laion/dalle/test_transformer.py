"""The transformer: shapes, causality, and that cached generation equals a full pass."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from laion.dalle.transformer import Shape, Transformer

SHAPE = Shape(vocabulary=20, text_length=5, codes=7, grid=3, width=16, layers=2, heads=2)


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(SHAPE).eval()
    for (
        weight
    ) in model.parameters():  # as large as trained ones: small weights would hide differences
        torch.nn.init.normal_(weight, std=0.3)
    return model


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(20, (2, 5)), torch.randint(7, (2, 9))


def test_shapes(model: Transformer) -> None:
    text, image = tokens()
    words, codes = model(text, image[:, :-1])
    assert words.shape == (2, 4, 20)
    assert codes.shape == (2, 9, 7)
    assert model(text, image[:, :0])[1].shape == (2, 1, 7)


@pytest.mark.parametrize("place", range(5))
def test_a_word_changes_only_what_follows(model: Transformer, place: int) -> None:
    text, image = tokens()
    other = text.clone()
    other[:, place] = (other[:, place] + 1) % 20
    words, codes = model(text, image[:, :-1])
    changed_words, changed_codes = model(other, image[:, :-1])
    # The logits at position p predict word p + 1.
    assert torch.equal(words[:, :place], changed_words[:, :place])
    assert not torch.allclose(words[:, place:], changed_words[:, place:]) or place == 4
    assert (codes != changed_codes).flatten(2).any(2).all(), "every code depends on every word"


@pytest.mark.parametrize("place", range(8))
def test_a_code_changes_only_what_follows(model: Transformer, place: int) -> None:
    text, image = tokens()
    other = image.clone()
    other[:, place] = (other[:, place] + 1) % 7
    words, codes = model(text, image[:, :-1])
    changed_words, changed_codes = model(text, other[:, :-1])
    assert torch.equal(words, changed_words)
    assert torch.equal(codes[:, : place + 1], changed_codes[:, : place + 1])
    assert (codes != changed_codes)[:, place + 1 :].any(2).all()


def test_generating_step_by_step_gives_the_same_logits(model: Transformer) -> None:
    text, _ = tokens()
    seen: list[torch.Tensor] = []

    def choose(logits: torch.Tensor) -> torch.Tensor:
        seen.append(logits)
        return logits.argmax(1)

    drawn = model.generate(text, choose)
    assert drawn.shape == (2, 9)
    _, logits = model(text, drawn[:, :-1])
    torch.testing.assert_close(torch.stack(seen, 1), logits)
