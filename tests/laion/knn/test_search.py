"""Searches: order, filters, pages, near-duplicates, rows by number, the command."""

from __future__ import annotations

import errno
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2ds.core.failure import UsageError
from laion import cli
from laion.knn.combined_query import EmptyQueryError, combine
from laion.knn.filters import LICENCES, NEAR_DUPLICATE, Filters, without_near_duplicates
from laion.knn.index_kinds import choose_plan
from laion.knn.metadata import Metadata
from laion.knn.metadata_schema import (
    CC,
    COMMERCIAL,
    DERIVATIVES,
    license_rights,
    source_columns,
    to_schema,
)
from laion.knn.searcher import Searcher, SearchParams
from tests.laion.knn.embedding_folders import columns, index, make_embeddings, vectors

ALL = np.concatenate([vectors(300, 0)[0], vectors(200, 1)[0]])
ROWS = [
    {name: list(map(str, values)) if name == "key" else pa.array(values).to_pylist()
     for name, values in columns(part, count).items()}
    for part, count in enumerate((300, 200))
]  # fmt: skip
EVERYTHING = Filters(safe=False)


def field(row: int, name: str) -> Any:
    return ROWS[0][name][row] if row < 300 else ROWS[1][name][row - 300]


def expected_order(row: int, keep: Any) -> list[int]:
    order = np.argsort(-(ALL @ ALL[row]), kind="stable")
    return [int(other) for other in order if keep(int(other))]


def found(searcher: Searcher, row: int, **wanted: Any) -> list[int]:
    wanted.setdefault("filters", EVERYTHING)
    return [r.id for r in searcher.search(searcher.vector(row), SearchParams(**wanted)).results]


def test_results_are_in_the_order_of_exact_similarity(searcher: Searcher) -> None:
    results = searcher.search(searcher.vector(42), SearchParams(k=50, filters=EVERYTHING)).results
    assert [r.id for r in results][:10] == expected_order(42, lambda _: True)[:10]
    assert results[0].similarity == pytest.approx(1, abs=1e-3)
    assert all(a.similarity >= b.similarity for a, b in pairwise(results))
    assert results[3].row["text"] == field(results[3].id, "caption")


@pytest.mark.parametrize(
    ("filters", "keep"),
    [
        (Filters(), lambda row: field(row, "nsfw") == "UNLIKELY"),
        (
            Filters(safe=False, min_size=900),
            lambda row: min(field(row, "original_width"), field(row, "original_height")) >= 900,
        ),
        (Filters(safe=False, license="cc"), lambda row: "cr" in (field(row, "license") or "")),
        (
            Filters(license="commercial", min_size=300),
            lambda row: (
                field(row, "nsfw") == "UNLIKELY"
                and str(field(row, "license")).endswith(("by/4.0/", "zero/1.0/"))
                and field(row, "original_width") >= 300
            ),
        ),
    ],
)
def test_filtered_searches_give_as_many_results_as_requested(
    searcher: Searcher, filters: Filters, keep: Any
) -> None:
    expected = expected_order(7, keep)
    assert len(expected) > 20
    assert found(searcher, 7, k=20, filters=filters) == expected[:20]
    assert sorted(found(searcher, 7, k=1000, filters=filters)) == sorted(expected)


def test_pages_join_without_gaps_or_repeats(searcher: Searcher) -> None:
    whole = found(searcher, 9, k=500)
    pages: list[int] = []
    offsets: list[int | None] = [0]
    while (offset := offsets[-1]) is not None:
        page = searcher.search(
            searcher.vector(9), SearchParams(k=70, offset=offset, filters=EVERYTHING)
        )
        pages += [r.id for r in page.results]
        offsets.append(page.next_offset)
    assert offsets == [*range(0, 500, 70), None]
    assert pages == whole
    assert len(set(pages)) == 500
    assert searcher.search(searcher.vector(9), SearchParams(offset=500)).results == []


def test_many_searches_find_what_each_of_them_finds_alone(searcher: Searcher) -> None:
    rare = Filters(safe=True, min_size=1000, license="free")
    wanted = [
        SearchParams(k=3), SearchParams(k=40, filters=EVERYTHING), SearchParams(index="text"),
        SearchParams(k=5, offset=200, filters=EVERYTHING), SearchParams(k=30, filters=rare),
        SearchParams(k=20, deduplicate=True), SearchParams(offset=500), SearchParams(k=499),
    ]  # fmt: skip
    queries = [(searcher.vector(7 * row), params) for row, params in enumerate(wanted)]
    alone = [searcher.search(*query) for query in queries]
    assert searcher.search_many(queries) == alone
    assert searcher.search_many([]) == []
    first = searcher.search_first(queries)
    assert [found for found in first if found is not None] == [
        found for found, quick in zip(alone, first, strict=True) if quick is not None
    ]
    assert first[:3] == alone[:3]
    assert first[4] is None, "of the first 128 rows fewer than 31 pass"
    assert searcher.search_first([]) == []


def test_the_text_index_is_searched_by_texts(searcher: Searcher) -> None:
    texts = np.concatenate([vectors(300, 0)[1], vectors(200, 1)[1]])
    expected = np.argsort(-(texts @ ALL[11]))[:5]
    assert found(searcher, 11, k=5, index="text") == list(expected)


def test_only_the_best_of_near_duplicates_is_shown(tmp_path: Path) -> None:
    source = make_embeddings(tmp_path / "in", (200,))
    image = vectors(200, 0)[0]
    image[50:60] = image[3]
    np.save(source / "img_emb" / "img_emb_0.npy", image.astype(np.float16))
    index(source, tmp_path / "out")
    searcher = Searcher(str(tmp_path / "out"))
    with_copies = found(searcher, 3, k=20)
    assert len({3, *range(50, 60)} & set(with_copies)) == 11
    without = found(searcher, 3, k=20, deduplicate=True)
    assert len({3, *range(50, 60)} & set(without)) == 1
    assert len(without) == 20


def test_a_chain_of_near_duplicates_hides_no_other_image() -> None:
    angles = np.radians(np.arange(0, 90, 10))
    chain = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    assert without_near_duplicates([chain], 10) == [0, 2, 4, 6, 8]
    assert without_near_duplicates([chain[:3], chain[3:]], 3) == [0, 2, 4]


def test_near_duplicates_are_those_of_a_comparison_one_by_one() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 8))
    rows = centres[rng.integers(0, 40, 600)] + 0.15 * rng.normal(size=(600, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    expected: list[int] = []
    for place, row in enumerate(rows):
        if all(float(row @ rows[kept]) < NEAR_DUPLICATE for kept in expected):
            expected.append(place)
    assert 40 <= len(expected) < 500
    for limit in (1, 30, len(expected), 1000):
        blocks = (rows[start : start + 64] for start in range(0, 600, 64))
        assert without_near_duplicates(blocks, limit) == expected[:limit]
    assert without_near_duplicates([], 5) == []


def test_untagged_rows_are_hidden_only_if_others_are_tagged(tmp_path: Path) -> None:
    def untagged(part: int, rows: int) -> dict[str, Any]:
        return {k: v for k, v in columns(part, rows).items() if k != "nsfw"}

    source = make_embeddings(tmp_path / "in", (30,), make_columns=untagged)
    index(source, tmp_path / "out")
    searcher = Searcher(str(tmp_path / "out"))
    assert not searcher.description.tagged
    assert len(found(searcher, 1, k=30, filters=Filters())) == 30


@pytest.mark.parametrize(
    ("license", "rights"),
    [
        (None, 0),
        ("?", 0),
        ("", 0),
        ("https://example.com/licenses/by/4.0/", 0),
        ("https://creativecommons.org/licenses/by/4.0/", CC | COMMERCIAL | DERIVATIVES),
        ("http://creativecommons.org/licenses/by-sa/3.0/de/", CC | COMMERCIAL | DERIVATIVES),
        ("https://creativecommons.org/licenses/BY-NC/2.0", CC | DERIVATIVES),
        ("https://creativecommons.org/licenses/by-nd/2.0/", CC | COMMERCIAL),
        ("https://creativecommons.org/licenses/by-nc-nd/2.0/", CC),
        ("https://creativecommons.org/publicdomain/zero/1.0/", CC | COMMERCIAL | DERIVATIVES),
    ],
)
def test_what_a_licence_permits(license: str | None, rights: int) -> None:
    assert license_rights(license) == rights
    assert (rights & LICENCES["free"] == LICENCES["free"]) == (rights == 7)


def test_metadata_of_other_tools_is_read() -> None:
    batch = pa.record_batch(
        {
            "url": ["http://a.example/"] * 3,
            "caption": pa.array([None, "x", ""], pa.string()),
            "original_width": pa.array([100.0, None, 7.5]),
            "original_height": pa.array([50.0, 3.0, 8.0]),
            "license": pa.nulls(3),
            "NSFW": ["unlikely", None, "NSFW"],
        }
    )
    table = to_schema(batch, source_columns(batch.schema.names)).to_pydict()
    assert table["width"] == [100, None, 7]
    assert table["side"] == [50, 0, 7]
    assert table["safe"] == [1, 0, 0]
    assert table["rights"] == [0, 0, 0]
    assert table["caption"] == [None, "x", ""], "clip-retrieval's name"
    assert table["NSFW"] == ["unlikely", None, "NSFW"]
    assert table["image_path"] == ["", "", ""], "clip-retrieval fails where it is null"
    with pytest.raises(UsageError, match="image_path, caption or TEXT; they have: link"):
        source_columns(["link"])


def test_rows_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """Their files have other names for captions and tags, and no paths."""
    old = pa.table({"url": ["u"], "text": ["a caption"], "nsfw": ["UNLIKELY"], "key": ["k"]})
    path = str(tmp_path / "old.arrow")
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, old.schema) as writer:
        writer.write_table(old)
    row = Metadata([path]).row(0)
    assert (row["url"], row["text"], row["nsfw"], row["key"]) == ("u", "a caption", "UNLIKELY", "k")
    assert row["image_path"] is None


def test_rows_are_found_by_number_over_batches_and_files(searcher: Searcher) -> None:
    wanted = [499, 0, 300, 299, 0]
    rows = searcher.metadata.rows(wanted)
    assert [row["key"] for row in rows] == [
        "000010199", "000000000", "000010000", "000000299", "000000000",
    ]  # fmt: skip
    for row in (-1, 500):
        with pytest.raises(IndexError):
            searcher.metadata.rows([row])
        with pytest.raises(IndexError, match="numbered 0 to 499"):
            searcher.vector(row)


@given(rows=st.integers(1, 10**9), dimension=st.sampled_from([64, 512, 768]),
       memory=st.integers(10**6, 10**12))  # fmt: skip
def test_the_default_kind_fits_the_memory(rows: int, dimension: int, memory: int) -> None:
    # Above 1024 rows an index on disk takes the memory of its centroids alone.
    least = 0 if rows >= 1024 else 4 * rows * dimension
    if least > memory:
        with pytest.raises(UsageError, match="raise --max_memory"):
            choose_plan(None, rows, dimension, memory)
    else:
        kind = choose_plan(None, rows, dimension, memory)
        assert kind.memory is not None
        assert kind.memory <= memory
        assert kind.train_rows <= rows


def test_kinds_by_size() -> None:
    gigabyte = 10**9
    assert choose_plan(None, 5_000, 512, 8 * gigabyte).kind == "flat"
    assert choose_plan(None, 1_000_000, 512, 8 * gigabyte).factory == "HNSW32,Flat"
    assert choose_plan(None, 10_000_000, 512, 8 * gigabyte).factory == "IVF16384_HNSW32,PQ128x8np"
    assert choose_plan(None, 400_000_000, 512, 32 * gigabyte).factory == "IVF65536_HNSW32,PQ64x8np"
    laion_5b = choose_plan(None, 5_850_000_000, 512, 48 * gigabyte)
    assert laion_5b.factory == "IVF131072_HNSW32,RaBitQ"
    assert laion_5b.memory is not None
    assert laion_5b.memory < gigabyte


def test_a_row_and_results_below_a_similarity_are_left_out(searcher: Searcher) -> None:
    vector = searcher.vector(42)
    every = searcher.search(vector, SearchParams(k=50, filters=EVERYTHING)).results
    assert every[0].id == 42
    params = SearchParams(k=49, filters=EVERYTHING, excluded=42)
    assert searcher.search(vector, params).results == every[1:]
    least = every[20].similarity
    params = SearchParams(k=50, filters=EVERYTHING, min_similarity=least)
    found = searcher.search(vector, params)
    assert found.results == every[:21]
    assert found.next_offset is None


def test_a_search_looks_no_further_than_the_least_similarity(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    examine = Searcher._examine

    def record(self: Searcher, group: Any, index: str, count: int, setting: Any) -> None:
        looked.append(count)
        examine(self, group, index, count, setting)

    monkeypatch.setattr(Searcher, "_examine", record)
    # Few rows pass the filter, so that without a limit all rows are looked at.
    rare = Filters(min_size=100_000)
    searcher.search(searcher.vector(42), SearchParams(k=5, filters=rare))
    assert len(looked) > 1
    looked.clear()
    searcher.search(searcher.vector(42), SearchParams(k=5, filters=rare, min_similarity=0.999))
    assert len(looked) == 1


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_parts_are_summed_by_their_weights(weight: float) -> None:
    x, y = np.eye(2, dtype=np.float32)
    found = combine([(x, 1.0), (y, -weight)])
    assert np.allclose(found, np.array([1, -weight]) / np.hypot(1, weight))
    assert combine([(x, weight)]) is x
    with pytest.raises(EmptyQueryError):
        combine([(x, weight), (x, -weight)])
    with pytest.raises(EmptyQueryError):
        combine([(x, 0.0)])


def test_the_command_prints_a_table_and_json(
    searcher: Searcher, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["search", "--index", searcher.folder, "--id", "5", "-k", "3", "--nosafe"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["similarity", "id", "size", "text"]
    first = searcher.search(searcher.vector(5), SearchParams(k=1, filters=EVERYTHING, excluded=5))
    row = first.results[0].row
    size = f"{row['width']}x{row['height']}"
    assert lines[1].split()[1:3] == [str(first.results[0].id), size]
    assert lines[2].strip() == row["url"]
    assert first.results[0].id != 5
    assert cli.run(["search", "--index", searcher.folder, "--id", "5", "-k", "2", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [set(result) for result in results] == [
        {"id", "url", "text", "similarity", "width", "height", "license", "nsfw"}
    ] * 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "give at least one of --text, --image, --url and --id"),
        (["--negative_text", "x"], "give at least one of --text, --image, --url and --id"),
        (["--id", "1", "--image_weight", "11"], "--image_weight must be from 0 to 10"),
        (["--id", "1", "--image_weight", "0"], "cancel out"),
        (["--id", "1", "--min_similarity", "1.5"], "--min_similarity must be from -1 to 1"),
        (["--id", "500"], "--id: there is no row 500"),
        (["--text", "x"], "give --model and --pretrained"),
        (["--image", "nowhere.jpg"], "--image nowhere.jpg: no such file"),
        (["--image", __file__], "not an image"),
        (["--url", "http://127.0.0.1/x.jpg"], "blocked_address"),
        (["--id", "1", "--license", "comercial"], "did you mean commercial?"),
        (["--id", "1", "-k", "0"], "--k must be at least 1"),
    ],
)
def test_wrong_use_is_one_line(
    searcher: Searcher, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert cli.run(["search", "--index", searcher.folder, *arguments]) == 2
    stderr = capsys.readouterr().err
    assert expected in stderr
    assert len(stderr.splitlines()) == 1


def test_captions_cannot_control_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def hostile(part: int, rows: int) -> dict[str, Any]:
        return {**columns(part, rows), "caption": ["\x1b]0;owned\x07\x1b[31mred"] * rows}

    index(make_embeddings(tmp_path / "in", (5,), make_columns=hostile), tmp_path / "out")
    capsys.readouterr()
    assert cli.run(["search", "--index", str(tmp_path / "out"), "--id", "1"]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("what", ["metadata", "img_emb", "index"])
def test_too_many_open_files_is_the_reason_given(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    opened = os.open

    def refuse(path: Any, *flags: Any, **__: Any) -> int:
        if what == "index":  # as faiss reports it
            raise RuntimeError("Error in mapped_io.cpp:46: could not open x: Too many open files")
        if what in str(path):
            raise OSError(errno.EMFILE, "Failed to open local file. Too many open files")
        descriptor: int = opened(path, *flags)
        return descriptor

    module, name = (faiss, "read_index") if what == "index" else (os, "open")
    monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    with pytest.raises(UsageError) as caught:
        Searcher(searcher.folder)
    assert str(caught.value) == (
        "too many open files while reading the index (limit 1024): raise it with `ulimit -n 4096`"
    )


@pytest.mark.parametrize("name", ["index.json", "image.index", "metadata/metadata_00001.arrow"])
def test_a_damaged_folder_is_rejected(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    index(make_embeddings(tmp_path / "in", (20, 20)), tmp_path / "out")
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    capsys.readouterr()
    assert cli.run(["search", "--index", str(tmp_path / "out"), "--id", "1"]) == 2
    stderr = capsys.readouterr().err
    assert len(stderr.splitlines()) == 1
    assert path.name in stderr or "damaged" in stderr
