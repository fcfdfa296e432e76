"""Embeddings in memory: unit rows that tell shapes and colours apart."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from img2ds.core.failure import UsageError
from img2ds.image.encode import make_encoder
from laion.clip.crop import Crop
from laion.clip.device import claim_device, pick_devices
from laion.clip.embed import BadImage, Embedder
from laion.clip.model import ModelSpec
from laion.clip.shapes import COLOURS, SHAPES, ShapeImage, shape_images
from laion.clip.tiny import judge
from tests.laion.clip.shape_shards import downloaded

torch = pytest.importorskip("torch")


def drawn(seed: int, count: int) -> Iterator[ShapeImage]:
    """Smaller than the web's images, for speed."""
    return shape_images(seed, count, shorter=(90, 170))


@pytest.fixture(scope="module")
def embedder(tiny_model: tuple[str, str]) -> Embedder:
    return Embedder(ModelSpec(*tiny_model), "cpu", batch_size=8)


@pytest.fixture(scope="module")
def bodies() -> list[bytes]:
    return [bytes(downloaded(image).data) for image in drawn(11, 20)]


def test_rows_are_unit_and_float32(embedder: Embedder, bodies: list[bytes]) -> None:
    for rows in (embedder.images(bodies), embedder.texts(["a red star"] * 20)):
        assert rows.shape == (20, embedder.dim)
        assert rows.dtype == np.float32
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_an_embedding_does_not_depend_on_its_batch(embedder: Embedder, bodies: list[bytes]) -> None:
    together = embedder.images(bodies)
    alone = np.concatenate([embedder.images([body]) for body in bodies])
    assert np.allclose(together, alone, atol=1e-5)
    crops = [crop for body in bodies if isinstance(crop := embedder.decode(body), Crop)]
    assert np.array_equal(embedder.images(crops), together)


def test_nothing_gives_no_rows(embedder: Embedder) -> None:
    assert embedder.images([]).shape == (0, embedder.dim)
    assert embedder.texts([]).shape == (0, embedder.dim)
    assert embedder.pairs([], []).similarity.shape == (0,)


def test_a_bad_image_is_named(embedder: Embedder, bodies: list[bytes]) -> None:
    with pytest.raises(BadImage) as caught:
        embedder.images([bodies[0], b"<html>"])
    assert caught.value.index == 1
    assert caught.value.failure.reason == "not_an_image"


def test_bad_images_cost_their_pair_alone(embedder: Embedder, bodies: list[bytes]) -> None:
    captions = [image.caption for image in drawn(11, 20)]
    good = embedder.pairs(bodies, captions)
    scored = embedder.pairs([bodies[0], b"", *bodies[1:]], [captions[0], "x", *captions[1:]])
    assert scored.rows == [0, *range(2, 21)]
    assert {place: failure.reason for place, failure in scored.failures.items()} == {
        1: "not_an_image"
    }
    assert np.allclose(scored.similarity, good.similarity, atol=1e-5)
    assert np.allclose((scored.image * scored.text).sum(axis=1), scored.similarity)


def test_matched_captions_pass_and_mismatched_ones_fail(embedder: Embedder) -> None:
    """On images not seen in training; 0.3 is the paper's threshold."""
    auc, passed, refused = judge(embedder, seed=5, count=128)
    assert auc >= 0.99
    assert passed >= 0.9
    assert refused >= 0.98


@pytest.fixture(scope="module")
def shown() -> list[ShapeImage]:
    """Every shape in every colour six times."""
    return list(drawn(12, 192))


@pytest.mark.parametrize("encode_format", ["jpg", "webp", "png"])
def test_images_are_found_by_words(
    embedder: Embedder, shown: list[ShapeImage], encode_format: str
) -> None:
    """Precision at 10 of searching for a shape or a colour, over bordered, re-encoded images."""
    images = embedder.images([bytes(downloaded(p, encode_format).data) for p in shown])
    kinds = {shape: [p.shape == shape for p in shown] for shape in SHAPES}
    kinds |= {colour: [p.colour == colour for p in shown] for colour in COLOURS}
    for form in ("{}", "a {} image", "a photo of something {}"):
        for word, right in kinds.items():
            if word in SHAPES and form != "{}":
                continue
            best = np.argsort(-(images @ embedder.texts([form.format(word)])[0]))[:10]
            assert np.mean(np.array(right)[best]) >= 0.8, form.format(word)


def test_words_name_an_image_without_examples(embedder: Embedder) -> None:
    """Zero-shot classification, as tags are given."""
    shown = list(drawn(13, 128))
    images = embedder.images([bytes(downloaded(p).data) for p in shown])
    colour_texts = embedder.texts([f"a {colour} {shape}" for shape in SHAPES for colour in COLOURS])
    truth = [SHAPES.index(p.shape) * len(COLOURS) + list(COLOURS).index(p.colour) for p in shown]
    assert np.mean((images @ colour_texts.T).argmax(axis=1) == truth) >= 0.9
    shapes = embedder.texts([f"a {shape}" for shape in SHAPES])
    found = (images @ shapes.T).argmax(axis=1)
    assert np.mean(found == [SHAPES.index(p.shape) for p in shown]) >= 0.93


def test_other_captions_fit_nothing(embedder: Embedder, bodies: list[bytes]) -> None:
    others = ["cheap flights to London", "my dog in the garden", "IMG_2041", "New York at night"]
    assert (embedder.images(bodies) @ embedder.texts(others).T).max() < 0.3


def test_compiled_models_give_the_same(
    tiny_model: tuple[str, str], embedder: Embedder, bodies: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whole and partial batches, without a further compilation for these.

    What TorchDynamo makes of the model runs in Python: the code generator takes half a minute.
    """
    from torch._dynamo.utils import counters

    counters.clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    compiled = Embedder(ModelSpec(*tiny_model), "cpu", batch_size=8, compiled=True)
    captions = [f"{number} red stars" for number in range(20)]
    assert np.allclose(compiled.images(bodies), embedder.images(bodies), atol=1e-5)
    assert np.allclose(compiled.texts(captions), embedder.texts(captions), atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 2  # of images, and of texts


def test_half_precision_is_close(tiny_model: tuple[str, str], bodies: list[bytes]) -> None:
    exact = Embedder(ModelSpec(*tiny_model), "cpu")
    half = Embedder(ModelSpec(*tiny_model), "cpu", precision="bf16")
    assert half.images(bodies).dtype == np.float32
    assert (half.images(bodies) * exact.images(bodies)).sum(axis=1).min() > 0.99


@pytest.mark.parametrize(
    ("names", "words"),
    [(["gpu"], "name cpu, cuda"), (["cuda:x"], "name cpu"), (["cuda:99"], "this machine has")],
)
def test_devices_that_there_are_not(names: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        pick_devices(names)


def test_the_cpu_is_a_device() -> None:
    assert pick_devices(["cpu"]) == ["cpu"]


def test_processes_claim_devices_by_turns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    devices = ["cuda:0", "cuda:1"]
    # A lock is held by an open file, so that one process can stand for several.
    assert [claim_device(devices) for _ in devices] == devices
    assert claim_device(devices) in devices


def test_encoders_of_the_same_pixels_agree(embedder: Embedder) -> None:
    (image,) = shape_images(14, 1, (96, 96))
    rows = embedder.images([make_encoder(n, q)(image.pixels) for n, q in (("png", 1), ("jpg", 95))])
    assert rows[0] @ rows[1] > 0.99
