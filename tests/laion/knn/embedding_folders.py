"""Embedding folders in clip-retrieval's layout, with seeded vectors in clusters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from laion.knn.indexer import IndexReport
from laion.knn.options import IndexOptions
from laion.knn.stage import run

DIMENSION = 16
CLUSTERS = 25

TAGS = ("UNLIKELY", "UNLIKELY", "UNSURE", "NSFW", None)
LICENCES = (
    "?",
    "",
    None,
    "https://creativecommons.org/licenses/by-nc/2.0/",
    "https://creativecommons.org/licenses/by/4.0/",
    "https://creativecommons.org/publicdomain/zero/1.0/",
)


def vectors(rows: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return image and text vectors, unit rows; those of a pair are similar."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((CLUSTERS, DIMENSION))
    image = centres[rng.integers(0, CLUSTERS, rows)] + 0.4 * rng.standard_normal((rows, DIMENSION))
    text = image + 0.2 * rng.standard_normal((rows, DIMENSION))
    return _unit(image), _unit(text)


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    unit: npt.NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32)


def columns(part: int, rows: int) -> dict[str, Any]:
    """Return metadata with the column names of `laion score` and clip-retrieval."""
    sizes = [100 + 37 * i % 1500 for i in range(rows)]
    return {
        "key": [f"{part:05d}{i:04d}" for i in range(rows)],
        "url": [f"http://pictures.example/{part}/{i}.jpg" for i in range(rows)],
        "caption": [f"image {i} of part {part}" for i in range(rows)],
        "original_width": pa.array(sizes, pa.int32()),
        "original_height": pa.array([size + 20 for size in sizes], pa.int32()),
        "license": [LICENCES[i % len(LICENCES)] for i in range(rows)],
        "nsfw": [TAGS[i % len(TAGS)] for i in range(rows)],
        "similarity": pa.array([0.3] * rows, pa.float32()),
    }


def release_columns(part: int, rows: int) -> dict[str, Any]:
    """Return the same with the column names of the LAION-400M release, which has no keys."""
    own = columns(part, rows)
    return {
        "SAMPLE_ID": pa.array([10**12 + 1000 * part + i for i in range(rows)], pa.int64()),
        "URL": own["url"],
        "TEXT": own["caption"],
        "HEIGHT": own["original_height"],
        "WIDTH": own["original_width"],
        "LICENSE": own["license"],
        "NSFW": own["nsfw"],
        "similarity": pa.array([0.3] * rows, pa.float64()),
    }


def make_embeddings(
    folder: Path,
    rows: Sequence[int] = (300, 200),
    *,
    digits: int = 1,
    dtype: Any = np.float16,
    make_columns: Any = columns,
    kinds: Sequence[str] = ("img_emb", "text_emb"),
) -> Path:
    """Write an embedding folder; `digits` is the width of the numbers in its file names."""
    for kind in (*kinds, "metadata"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for part, count in enumerate(rows):
        name = f"{part:0{digits}d}"
        for kind, array in zip(("img_emb", "text_emb"), vectors(count, part), strict=True):
            if kind in kinds:
                np.save(folder / kind / f"{kind}_{name}.npy", array.astype(dtype))
        table = pa.table(make_columns(part, count))
        pq.write_table(table, folder / "metadata" / f"metadata_{name}.parquet")
    return folder


def index(source: Path, folder: Path, **flags: Any) -> IndexReport:
    """Run `laion index` in this process, with one worker process."""
    options = IndexOptions(input=str(source), output_folder=str(folder), processes_count=1, **flags)
    return run(options)
