"""Queries as vectors: one by one and in batches, and texts that are made to take long."""

from __future__ import annotations

import random
import string

import numpy as np
import pytest

from laion.clip.embed import Embedder
from laion.clip.model import ModelSpec
from laion.knn import query_embedder
from laion.knn.description import Description
from laion.knn.query_embedder import MAX_WORD, QueryEmbedder
from laion.knn.query_image import QueryImageError
from tests.server.good_image import good_image


@pytest.fixture(scope="module")
def embedder(tiny_model: tuple[str, str]) -> QueryEmbedder:
    model, pretrained = tiny_model
    return QueryEmbedder(Description(1, 64, (0,), {}, model, pretrained, False))


def test_a_batch_gives_the_vectors_of_its_texts(embedder: QueryEmbedder) -> None:
    texts = ["a red circle", "a blue star", "a red circle", "x" * 500]
    batch = embedder.embed_texts(texts)
    assert np.allclose(batch, [embedder.embed_text(text) for text in texts], atol=1e-6)
    assert batch.shape == (4, 64)
    assert embedder.embed_texts([]).shape == (0, 64)


def test_images(embedder: QueryEmbedder, tiny_model: tuple[str, str]) -> None:
    vector = embedder.embed_image(good_image())
    wanted = Embedder(ModelSpec(*tiny_model), device="cpu").images([good_image()])[0]
    assert np.allclose(vector, wanted, atol=1e-6)
    with pytest.raises(QueryImageError):
        embedder.embed_image(b"no image")


def test_words_are_cut_before_the_tokenizer_gets_them(
    embedder: QueryEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    model = embedder._embedder.model
    whole = type(model).tokens

    def tokens(self: object, texts: list[str]) -> object:
        seen.extend(texts)
        return whole(model, texts)

    monkeypatch.setattr(type(model), "tokens", tokens)
    text = f"a {'b' * MAX_WORD} {'c' * (MAX_WORD + 1)} {'d' * 900} e"
    embedder.embed_text(text)
    assert seen == [f"a {'b' * MAX_WORD} {'c' * MAX_WORD} {'d' * MAX_WORD} e"]


def test_the_tokenizer_does_not_remember_every_word(
    embedder: QueryEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_embedder, "_REMEMBERED_WORDS", 100)
    words, rng = embedder._words, random.Random(0)
    before = embedder.embed_text("a red circle")
    for _ in range(30):
        embedder.embed_texts(["".join(rng.choices(string.ascii_lowercase, k=9)) for _ in range(20)])
        assert len(words) <= 100 + 20
    assert np.array_equal(embedder.embed_text("a red circle"), before)
