"""Images of shapes as a dataset to search: shards, embeddings of the tiny model, an index."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.image.encode import make_encoder
from laion.clip.embed import Embedder
from laion.clip.model import ModelSpec
from laion.clip.shapes import ShapeImage, shape_images
from laion.knn.options import IndexOptions
from laion.knn.stage import run

PARTS, ROWS = 2, 160

#: Of every ten rows, eight are safe.
TAGS = ("UNLIKELY",) * 8 + ("UNSURE", "NSFW")
LICENCES = (
    "?",
    "https://creativecommons.org/licenses/by/4.0/",
    "https://creativecommons.org/licenses/by-nc-nd/3.0/",
)

#: A caption that is HTML unless it is escaped.
HOSTILE = '<img src=x onerror="document.title=`owned`"><script>document.title="owned"</script>'


@dataclass(frozen=True, slots=True)
class ShapeSet:
    """The folders of the dataset, and its content: `images[i]` is row i of the index."""

    shards: Path
    embeddings: Path
    index: Path
    model: tuple[str, str]
    images: list[ShapeImage]
    bodies: list[bytes]
    rows: dict[str, list[Any]]


def make_shapes(folder: Path, model: tuple[str, str]) -> ShapeSet:
    """Draw, embed and index. Row 0 has a hostile caption; the image of row 1 is in no shard."""
    embedder = Embedder(ModelSpec(*model), device="cpu")
    encode = make_encoder("jpg", 90)
    shards, embeddings = folder / "shards", folder / "embeddings"
    for name in ("img_emb", "text_emb", "metadata"):
        (embeddings / name).mkdir(parents=True)
    shards.mkdir()
    drawn: list[ShapeImage] = []
    bodies: list[bytes] = []
    rows: dict[str, list[Any]] = {}
    for part in range(PARTS):
        mine = list(shape_images(part, ROWS))
        encoded = [encode(image.pixels) for image in mine]
        table = _metadata(part, mine)
        _write_tar(shards / f"{part:05d}.tar", table["key"], encoded, part)
        np.save(embeddings / f"img_emb/img_emb_{part}.npy", _half(embedder.images(encoded)))
        np.save(
            embeddings / f"text_emb/text_emb_{part}.npy", _half(embedder.texts(table["caption"]))
        )
        pq.write_table(pa.table(table), embeddings / f"metadata/metadata_{part}.parquet")
        drawn += mine
        bodies += encoded
        for name, values in table.items():
            rows.setdefault(name, []).extend(values)
    index = folder / "index"
    options = IndexOptions(
        input=str(embeddings), output_folder=str(index), processes_count=1,
        model=model[0], pretrained=model[1],
    )  # fmt: skip
    assert run(options).exit_code == 0
    return ShapeSet(shards, embeddings, index, model, drawn, bodies, rows)


def _half(rows: Any) -> Any:
    return rows.astype(np.float16)


def _metadata(part: int, mine: list[ShapeImage]) -> dict[str, list[Any]]:
    numbers = range(len(mine))
    captions = [image.caption for image in mine]
    if part == 0:
        captions[0] = HOSTILE
    return {
        "key": [f"{part:05d}{number:04d}" for number in numbers],
        "url": [f"http://shapes.invalid/{part}/{number}.jpg" for number in numbers],
        "caption": captions,
        "original_width": [image.pixels.shape[1] for image in mine],
        "original_height": [image.pixels.shape[0] for image in mine],
        "license": [LICENCES[number % len(LICENCES)] for number in numbers],
        "nsfw": [TAGS[number % len(TAGS)] for number in numbers],
    }


def _write_tar(path: Path, keys: list[str], bodies: list[bytes], part: int) -> None:
    with tarfile.open(path, "w") as tar:
        for number, (key, body) in enumerate(zip(keys, bodies, strict=True)):
            for ending, data in (("jpg", body), ("json", b"{}")):
                if part == 0 and number == 1:
                    continue
                entry = tarfile.TarInfo(f"{key}.{ending}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
