"""Embedding folders with planted near-duplicates, and what must become of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

import img2ds.engine.build
from img2ds.engine.distributors.contract import Session
from tests.laion.embedding_folders import row, write_tree

#: Shards, rows of each, numbers of an embedding.
SHARDS, ROWS, DIM = 3, 400, 64
#: Rows 0 to 199 have two near-duplicates each and a row that is near, but not a duplicate.
GROUPS = 200
NEAR, DIFFERENT = (0.985, 0.999), (0.88, 0.93)

Vectors = npt.NDArray[np.float32]


class InProcess(Session):
    """A distributor without processes."""

    spans_machines = False

    def stream(self, worker: Any, tasks: Iterator[Any], stopping: Any = None) -> Iterator[Any]:
        emitted: list[Any] = []
        worker(tasks, emitted.append)
        yield from emitted


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stages work in this process: starting others takes longer than their work."""
    monkeypatch.setattr(img2ds.engine.build, "open_distributor", lambda *_, **__: InProcess())


def unit(rows: npt.NDArray[Any]) -> Vectors:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, np.float32)


def near(rows: Vectors, cosines: tuple[float, float], random: np.random.Generator) -> Vectors:
    """Unit rows whose cosines with `rows` are in a range, in random directions."""
    drawn = random.normal(size=rows.shape)
    away = unit(drawn - (drawn * rows).sum(axis=1, keepdims=True) * rows)
    cosine = random.uniform(*cosines, size=(len(rows), 1))
    return (cosine * rows + np.sqrt(1 - cosine**2) * away).astype(np.float32)


@dataclass(frozen=True)
class Planted:
    """A folder of `SHARDS` shards in which rows are in random order.

    Attributes:
        group: of each row; those of one group below `GROUPS` are near-duplicates.
    """

    path: Path
    vectors: npt.NDArray[np.float16]
    group: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float64]
    pixels: npt.NDArray[np.int64]


def write_planted(path: Path, **columns: Any) -> Planted:
    """Write a planted folder; all embeddings share a direction, as CLIP's do."""
    random = np.random.default_rng(7)
    count = SHARDS * ROWS
    single = count - 4 * GROUPS
    bases = unit(random.normal(size=(GROUPS + single, DIM)) + 0.7 * random.normal(size=DIM))
    first = bases[:GROUPS]
    vectors = np.concatenate([
        bases, near(first, NEAR, random), near(first, NEAR, random),
        near(first, DIFFERENT, random),
    ])  # fmt: skip
    groups = np.arange(GROUPS)
    alone = GROUPS + np.arange(single + GROUPS)
    group = np.concatenate([groups, alone[:single], groups, groups, alone[single:]])
    order = random.permutation(count)
    rows16, group = vectors[order].astype(np.float16), group[order]
    similarity = random.permutation(np.linspace(0.3, 0.4, count))
    pixels = random.permutation(count) + 100
    shards = {
        shard: [
            row(
                number, similarity=float(similarity[number]),
                original_width=int(pixels[number]), original_height=100,
            )
            for number in range(shard * ROWS, (shard + 1) * ROWS)
        ]
        for shard in range(SHARDS)
    }  # fmt: skip
    images = {shard: rows16[shard * ROWS : (shard + 1) * ROWS] for shard in range(SHARDS)}
    write_tree(path, shards, images=images, texts=images, **columns)
    return Planted(path, rows16, group, similarity, pixels)


def kept_keys(out: Path) -> list[int]:
    """The numbers of the rows of an embedding folder, in its order."""
    paths = sorted((out / "metadata").glob("*.parquet"))
    return [int(key) for path in paths for key in pq.read_table(path)["key"].to_pylist()]


def duplicates(out: Path) -> list[dict[str, Any]]:
    """What dropped rows duplicate."""
    paths = sorted((out / "duplicates").glob("*.parquet"))
    return [values for path in paths for values in pq.read_table(path).to_pylist()]


def content(out: Path) -> list[Any]:
    """The rows of a folder, kept and dropped ones; similarities but for rounding."""
    dropped = [
        {**values, "similarity": round(values["similarity"] or 0, 4)} for values in duplicates(out)
    ]
    embeddings = [path.read_bytes() for path in sorted((out / "img_emb").glob("*.npy"))]
    return [kept_keys(out), dropped, embeddings]
