"""Folders as clip-retrieval's `inference` and `index` leave them; it needs neither of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def write_embeddings(
    folder: Path,
    rows: Sequence[int],
    *,
    kinds: Sequence[str] = ("img_emb", "text_emb"),
    metadata: bool = False,
    name: str = "",
    dimension: int = 8,
) -> Path:
    """The output of `clip-retrieval inference`, a part for each number of rows.

    Args:
        metadata: as with `--enable_metadata`, of samples of img2dataset.
        name: of the folder of images, with `--input_format files`; else paths are keys of a tar.
    """
    first = 0
    for part, count in enumerate(rows):
        numbers = list(range(first, first + count))
        first += count
        for kind in kinds:
            values = np.random.default_rng(part + 100 * (kind == "img_emb"))
            array = values.normal(size=(count, dimension)) + 0.5
            array /= np.linalg.norm(array, axis=1, keepdims=True)
            _parent(folder / kind / f"{kind}_{part}.npy")
            np.save(folder / kind / f"{kind}_{part}.npy", array.astype(np.float16))
        columns: dict[str, Any] = {}
        if "img_emb" in kinds:
            columns["image_path"] = [f"{name}/{n}.jpg" if name else f"{n:09d}" for n in numbers]
        if "text_emb" in kinds:
            columns["caption"] = [f"caption {n}" for n in numbers]
        if metadata:
            columns |= {
                "url": [f"http://h.example/{n}.jpg" for n in numbers],
                "key": [f"{n:09d}" for n in numbers],
                "status": ["success"] * count,
                # pandas makes fractions of whole numbers where one is missing.
                "original_width": [np.nan if n == 0 else 640.0 for n in numbers],
                "original_height": [480] * count,
            }
        path = folder / "metadata" / f"metadata_{part}.parquet"
        _parent(path)
        pq.write_table(pa.table(columns), path)
    _parent(folder / "stats" / "0.json")
    (folder / "stats" / "0.json").write_text("{}")
    return folder


def write_index(folder: Path, embeddings: Path) -> Path:
    """The output of `clip-retrieval index`: faiss indices, their facts, the metadata."""
    import faiss

    folder.mkdir()
    for name, kind in (("image", "img_emb"), ("text", "text_emb")):
        arrays = [np.load(path) for path in sorted((embeddings / kind).glob("*.npy"))]
        index = faiss.IndexFlatIP(arrays[0].shape[1])
        index.add(np.concatenate(arrays).astype(np.float32))
        faiss.write_index(index, str(folder / f"{name}.index"))
        (folder / f"{name}.json").write_text("{}")
    shutil.copytree(embeddings / "metadata", folder / "metadata")
    return folder


def _parent(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
