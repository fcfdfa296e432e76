"""Embeddings of laion in embedding-reader and autofaiss, and those of clip-retrieval in laion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion.data.embedding_writer import write_embedding_shard
from laion.knn.filters import Filters
from laion.knn.searcher import Searcher, SearchParams
from tests.laion.clip_retrieval_folder import write_embeddings
from tests.laion.knn.embedding_folders import index, make_embeddings
from tests.readers.clip_retrieval_modules import clip_retrieval_module

DIMENSION = 8


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Path, list[str], np.ndarray]:
    """Shards as laion writes them, one of them without pairs; all keys, and all image rows."""
    folder = tmp_path / "scored"
    keys, rows = [], []
    for number, count in enumerate((5, 0, 4)):
        own = [f"{number}-{place}" for place in range(count)]
        vectors = np.random.default_rng(number).normal(size=(count, DIMENSION)).astype(np.float16)
        for kind in ("metadata", "img_emb", "text_emb"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        table = pa.table({"key": pa.array(own, pa.string())})
        name = f"{number:05d}"
        write_embedding_shard(name, lambda n: str(folder / n), table, vectors, vectors)
        keys += own
        rows.append(vectors)
    return folder, keys, np.concatenate(rows)


def test_embedding_reader_aligns_rows_and_metadata(
    scored: tuple[Path, list[str], np.ndarray],
) -> None:
    """Also behind a shard without pairs."""
    module: Any = pytest.importorskip("embedding_reader")
    folder, keys, rows = scored
    reader = module.EmbeddingReader(
        embeddings_folder=str(folder / "img_emb"), file_format="parquet_npy",
        metadata_folder=str(folder / "metadata"), meta_columns=["key"],
    )  # fmt: skip
    found_keys, found_rows = [], []
    for batch, metadata in reader(batch_size=3, start=0, end=reader.count, show_progress=False):
        found_rows.append(np.array(batch))
        found_keys += metadata["key"].tolist()
    assert found_keys == keys
    assert np.array_equal(np.concatenate(found_rows), rows)


def test_embedding_reader_reads_arrays(scored: tuple[Path, list[str], np.ndarray]) -> None:
    module: Any = pytest.importorskip("embedding_reader")
    folder, _, rows = scored
    reader = module.EmbeddingReader(str(folder / "text_emb"), file_format="npy")
    assert (reader.count, reader.dimension) == (len(rows), DIMENSION)
    found = [np.array(batch) for batch, _ in reader(batch_size=4, show_progress=False)]
    assert np.array_equal(np.concatenate(found), rows)


def test_autofaiss_builds_an_index(scored: tuple[Path, list[str], np.ndarray]) -> None:
    autofaiss: Any = pytest.importorskip("autofaiss")
    folder, _, rows = scored
    built, _ = autofaiss.build_index(
        embeddings=str(folder / "img_emb"), save_on_disk=False, metric_type="ip",
        max_index_memory_usage="1G", current_memory_available="2G", verbose=40,
    )  # fmt: skip
    assert built.ntotal == len(rows)
    unit = rows.astype(np.float32) / np.linalg.norm(rows.astype(np.float32), axis=1, keepdims=True)
    _, ids = built.search(np.ascontiguousarray(unit), 3)
    assert all(row in found for row, found in enumerate(ids.tolist()))


def test_our_fixtures_are_clip_retrievals(tmp_path: Path) -> None:
    """The folder that other tests make is what its writer makes of the same rows."""
    writer_module = clip_retrieval_module("clip_inference.writer")
    ours = write_embeddings(tmp_path / "ours", (4,), metadata=True)
    table = pq.read_table(ours / "metadata/metadata_0.parquet")
    rows = table.to_pylist()
    writer = writer_module.NumpyWriter(0, str(tmp_path / "theirs"), True, True, True, 1)
    fields = ("url", "key", "status", "original_width", "original_height")
    writer(
        {
            "image_embs": np.load(ours / "img_emb/img_emb_0.npy"),
            "text_embs": np.load(ours / "text_emb/text_emb_0.npy"),
            "image_filename": [row["image_path"] for row in rows],
            "text": [row["caption"] for row in rows],
            "metadata": [json.dumps({name: row[name] for name in fields}) for row in rows],
        }
    )
    writer.flush()
    theirs = tmp_path / "theirs"
    assert {p.relative_to(theirs) for p in theirs.rglob("*.*")} == {
        p.relative_to(ours) for p in ours.rglob("*.*") if "stats" not in p.parts
    }
    found = pq.read_table(theirs / "metadata/metadata_0.parquet")
    assert found.schema.names == table.schema.names
    assert [str(field.type) for field in found.schema] == [str(f.type) for f in table.schema]
    for kind in ("img_emb", "text_emb"):
        name = f"{kind}/{kind}_0.npy"
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_clip_back_opens_an_index_folder(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `clip-retrieval back --use_arrow`, with the columns that it returns by default."""
    faiss: Any = pytest.importorskip("faiss")
    back = clip_retrieval_module("clip_back")
    folder = tmp_path / "index"
    index(make_embeddings(tmp_path / "in", (30, 20)), folder, kind=kind)
    image = back.load_index(str(folder / "image.index"), True)
    provider, _ = back.load_metadata_provider(str(folder), False, False, image, [], True)
    columns = ["url", "image_path", "caption", "NSFW"]
    resource = back.ClipResource(
        device="cpu", model=None, preprocess=None, tokenizer=None, model_txt_mclip=None,
        safety_model=None, violence_detector=None, metadata_provider=provider, image_index=image,
        text_index=faiss.read_index(str(folder / "text.index")), ivf_old_to_new_mapping=None,
        columns_to_return=columns, metadata_is_ordered_by_ivf=False, aesthetic_embeddings=None,
    )  # fmt: skip
    service = back.KnnService(clip_resources={"ours": resource})
    searcher = Searcher(str(folder))
    query = searcher.vector(33)
    monkeypatch.setattr(service, "compute_query", lambda **_: query[np.newaxis])
    theirs = service.query(embedding_input=query.tolist(), num_images=5, num_result_ids=5,
                           modality="image", indice_name="ours", deduplicate=False)  # fmt: skip
    params = SearchParams(k=5, filters=Filters(safe=False))
    ours = searcher.search(query, params).results
    assert theirs[0]["id"] == ours[0].id == 33
    assert {row["id"] for row in theirs} == {result.id for result in ours}
    for row in theirs:
        shown = searcher.metadata.row(row["id"])
        assert (row["url"], row["caption"], row["NSFW"]) == (
            shown["url"], shown["text"], shown["nsfw"],
        )  # fmt: skip
