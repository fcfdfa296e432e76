"""File names of an embedding folder: the layout of clip-retrieval. Pure.

`metadata/metadata_N.parquet`, `img_emb/img_emb_N.npy` and `text_emb/text_emb_N.npy` form shard N, a
number with or without leading zeros. Row i of each file belongs to the same pair. Embeddings are
float16 unit rows.
"""

from __future__ import annotations

import re

METADATA = "metadata/metadata_{}.parquet"
IMAGES = "img_emb/img_emb_{}.npy"
TEXTS = "text_emb/text_emb_{}.npy"

#: The folder of each file of a shard.
FOLDERS = ("metadata", "img_emb", "text_emb")

_METADATA_NAME = re.compile(r"metadata_(\d+)\.parquet")


def shard_number(file_name: str) -> str | None:
    """Return the digits in the name of a metadata file, None for any other file."""
    match = _METADATA_NAME.fullmatch(file_name)
    return match[1] if match else None
