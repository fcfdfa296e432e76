"""Heads: every layout against torch; files that are none, or would run code, are refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from img2ds.core.failure import UsageError
from laion.annotate.heads import HeadSpec, parse_heads
from tests.laion.annotate.head_files import scores, write_head

DIM = 8
EMBEDDINGS = np.random.default_rng(0).normal(size=(20, DIM)).astype(np.float16)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("layout", "end"),
    [
        ("linear", ""), ("aesthetic", ""), ("relu", ""), ("h14", ""), ("normalized", ""),
        ("plain_relu", ":relu"),
    ],
)  # fmt: skip
def test_a_layout_gives_what_torch_computes(
    layout: str, end: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"head{suffix}"
    made = write_head(path, layout)
    (spec,) = parse_heads([f"aesthetic={path}{end}"])
    head = spec.load()
    assert head.dim == DIM
    np.testing.assert_allclose(head.scores(EMBEDDINGS), scores(made, EMBEDDINGS), atol=1e-5)


def test_what_the_user_says_of_the_layers_counts(tmp_path: Path) -> None:
    path = tmp_path / "head.pth"
    write_head(path, "plain_relu")
    with pytest.raises(UsageError, match="may be ReLU or dropout: add :relu or :linear"):
        HeadSpec("x", str(path)).load()
    linear, relu = (
        parse_heads([f"x={path}:{word}"])[0].load().scores(EMBEDDINGS)
        for word in ("linear", "relu")
    )
    assert np.abs(linear - relu).max() > 0.01


def test_logits_become_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "head.pth"
    made = write_head(path, "linear")
    (spec,) = parse_heads([f"watermark={path}:sigmoid"])
    assert (spec.column, spec.sigmoid) == ("pwatermark", True)
    expected = 1 / (1 + np.exp(-scores(made, EMBEDDINGS)))
    np.testing.assert_allclose(spec.load().scores(EMBEDDINGS), expected, atol=1e-6)


def test_the_length_of_an_embedding_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "head.pth"
    write_head(path, "aesthetic")
    head = HeadSpec("x", str(path)).load()
    np.testing.assert_allclose(head.scores(EMBEDDINGS * 3), head.scores(EMBEDDINGS), atol=1e-3)
    assert np.isfinite(head.scores(np.zeros((1, DIM), np.float16))).all()


def test_state_dicts_of_training_programs_are_found(tmp_path: Path) -> None:
    path = tmp_path / "head.ckpt"
    made = write_head(path, "aesthetic")
    state = {f"model.{name}": tensor for name, tensor in made.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, path)
    found = HeadSpec("x", str(path)).load().scores(EMBEDDINGS)
    np.testing.assert_allclose(found, scores(made, EMBEDDINGS), atol=1e-5)


class Malicious:
    """An object whose pickle creates a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_file_that_runs_code_is_refused(tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    saved, bare = tmp_path / "head.pth", tmp_path / "bare.pkl"
    torch.save({"weight": torch.ones(1, DIM), "bias": Malicious(proof)}, saved)
    bare.write_bytes(pickle.dumps(Malicious(proof)))
    for path in (saved, bare):
        with pytest.raises(UsageError, match="may run code") as caught:
            HeadSpec("x", str(path)).load()
        assert len(str(caught.value).splitlines()) == 1
        assert not proof.exists()
    # The file is what it is meant to be: torch runs it where it is told to trust it.
    torch.load(saved, weights_only=False)
    assert proof.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"", "neither safetensors nor a state dict"),
        (b"not a file of weights at all", "may run code|neither safetensors"),
        (b"\x10\0\0\0\0\0\0\0{not json", "neither safetensors nor a state dict"),
        ({"weight": torch.ones(1, 2, 3), "bias": torch.ones(1)}, "is no matrix"),
        ({"weight": torch.ones(1, 4), "bias": torch.ones(2)}, "bias has"),
        ({"layers.0.weight": torch.ones(3, 4), "layers.1.weight": torch.ones(1, 2)}, "inputs"),
        ({"conv": torch.ones(3)}, "none of the known layouts: it has conv"),
        ([1, 2], "no state dict"),
        ({"weight": 3}, "no state dict"),
    ],
)
def test_what_is_no_head_is_one_line(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "head.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UsageError, match=words) as caught:
        HeadSpec("x", str(path)).load()
    assert len(str(caught.value).splitlines()) == 1


def test_two_outputs_are_too_many(tmp_path: Path) -> None:
    write_head(tmp_path / "head.pth", "two")
    with pytest.raises(UsageError, match="has 2 outputs"):
        HeadSpec("x", str(tmp_path / "head.pth")).load()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["FILE"], "NAME=FILE"),
        (["aesthetic="], "NAME=FILE"),
        (["similarity=f"], "that of a new column"),
        (["two words=f"], "that of a new column"),
        (["nsfw=f", "punsafe=g"], "two files for the column punsafe"),
    ],
)
def test_wrong_names_are_refused(values: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_heads(values)


def test_names_of_laion_and_others() -> None:
    specs = parse_heads(["aesthetic=a.pth", "watermark=/w:x.pth", "nsfw=n:linear", "anime=d"])
    assert [(s.column, s.path, s.activation) for s in specs] == [
        ("aesthetic", "a.pth", None), ("pwatermark", "/w:x.pth", None),
        ("punsafe", "n", "linear"), ("anime", "d", None),
    ]  # fmt: skip
