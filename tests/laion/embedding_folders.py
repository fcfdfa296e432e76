"""Made-up embedding folders: known similarities, sizes and tags, and embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from laion.data.embedding_layout import FOLDERS

#: Columns that laion score writes, with the types it gives them.
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("url", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("original_width", pa.int32()),
        pa.field("original_height", pa.int32()),
        pa.field("license", pa.string()),
        pa.field("language", pa.string()),
        pa.field("similarity", pa.float64()),
    ]
)


def row(number: int, **values: Any) -> dict[str, Any]:
    """A pair that differs from those of other numbers."""
    return {
        "key": f"{number:09d}",
        "url": f"http://photos.example/{number}.jpg",
        "caption": f"image {number}",
        "width": 256,
        "height": 192,
        "original_width": 800 + number,
        "original_height": 600,
        "license": "?",
        "language": "en",
        "similarity": 0.35,
        **values,
    }


def unit_rows(rows: int, dim: int, seed: int) -> np.ndarray[Any, Any]:
    """Random unit vectors as float16."""
    values = np.random.default_rng(seed).normal(size=(rows, dim))
    unit: np.ndarray[Any, Any] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return unit.astype(np.float16)


def write_tree(
    folder: Path,
    shards: Mapping[int, Sequence[Mapping[str, Any]]],
    *,
    images: Mapping[int, np.ndarray[Any, Any]] | None = None,
    texts: Mapping[int, np.ndarray[Any, Any]] | None = None,
    columns: Sequence[pa.Field] = (),
    stage: str | None = "score",
) -> None:
    """Write an embedding folder.

    Args:
        shards: rows by shard number.
        images, texts: embeddings by shard number; random ones where there are none.
        columns: columns in addition to SCHEMA's.
        stage: whose folder it is; None for one without commit markers or leading zeros.
    """
    schema = pa.schema([*SCHEMA, *columns])
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, rows in shards.items():
        table = pa.Table.from_pylist([dict(values) for values in rows], schema)
        names = []
        name = str(number) if stage is None else f"{number:05d}"
        metadata = folder / f"metadata/metadata_{name}.parquet"
        pq.write_table(table, metadata)
        names.append(metadata)
        for kind, given in (("img_emb", images), ("text_emb", texts)):
            path = folder / f"{kind}/{kind}_{name}.npy"
            seed = number + (kind == "img_emb") * 1000
            np.save(path, given[number] if given else unit_rows(len(rows), 8, seed))
            names.append(path)
        if stage is not None:
            files = [
                {"name": str(path.relative_to(folder)), "size": path.stat().st_size, "sha256": ""}
                for path in names
            ]
            marker = {
                "count": len(rows) + 2,
                "successes": len(rows),
                "dropped": 2,
                "reasons": {"decode_error": 2},
                "files": files,
            }
            (folder / f"{number:05d}_stats.json").write_text(json.dumps(marker))
    if stage is not None:
        segment = {
            "fingerprint": {"format": "shards", "max_rows": None, "files": []},
            "options": {"stage": stage},
            "first_shard": 0,
            "shard_count": len(shards),
        }
        document = {"version": 1, "segments": [segment]}
        (folder / ".img2ds-manifest").write_text(json.dumps(document))
