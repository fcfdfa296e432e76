"""Rows in memory, as callers have them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pyarrow as pa
import pytest

from img2ds.core.failure import UsageError
from img2ds.source.memory import IteratorSource, MemoryFile, as_table, drawn

URLS = ["http://a.example/1.jpg", None, "http://b.example/2.jpg"]
TEXTS = ["one", "two", None]
ROWS = [{"url": u, "text": t, "more": 1} for u, t in zip(URLS, TEXTS, strict=True)]


def frames() -> dict[str, Any]:
    """The same rows in every kind of table; those of packages that are not installed left out."""
    table = pa.table({"more": [1, 1, 1], "url": URLS, "text": TEXTS})
    found: dict[str, Any] = {
        "rows": ROWS, "table": table, "batch": table.to_batches()[0], "iterator": iter(ROWS),
    }  # fmt: skip
    for name in ("pandas", "polars"):
        if find_spec(name) is not None:
            found[name] = import_module(name).DataFrame(ROWS)
    if find_spec("datasets") is not None:
        dataset = import_module("datasets").Dataset.from_list([*ROWS, {}])
        found["datasets"] = dataset.select(range(3))
    return found


@pytest.mark.parametrize("kind", sorted(frames()))
def test_every_kind_of_table_gives_the_same_rows(kind: str) -> None:
    table = as_table(frames()[kind], ["url", "text"])
    assert table.column_names == ["url", "text"]
    assert [table["url"].to_pylist(), table["text"].to_pylist()] == [URLS, TEXTS]


def test_every_kind_of_list_of_urls() -> None:
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    kinds = (URLS, tuple(URLS), iter(URLS), pa.array(URLS), pa.chunked_array([URLS]),
             pandas.Series(URLS), numpy.array(URLS, dtype=object))  # fmt: skip
    for urls in kinds:
        table = as_table(urls, ["link"])
        assert table["link"].to_pylist() == URLS, type(urls)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (3, "url_list is of type int: give a path, a list of URLs"),
        ({"url": "x"}, "url_list is of type dict: give"),
        (["http://a.example/", 7], r"url_list\[1\] is of type int, not a URL"),
        ([{"link": "x"}], "the input in memory has no column 'url'"),
        ([{"url": "x"}, {"url": 5}], "do not make a table"),
        (pa.table({"URL": ["x"]}), "did you mean 'URL'"),
    ],
)
def test_what_is_no_list(values: Any, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        as_table(values, ["url"])


def test_a_streamed_dataset_is_drawn_as_it_comes() -> None:
    datasets = pytest.importorskip("datasets")
    streamed = datasets.Dataset.from_list(ROWS).to_iterable_dataset()
    rows = drawn(streamed)
    assert rows is not None
    assert next(rows)["url"] == URLS[0]
    assert as_table(streamed, ["url"])["url"].to_pylist() == URLS
    assert drawn(URLS) is None
    assert drawn(datasets.Dataset.from_list(ROWS)) is None


def test_a_dataset_of_splits_and_a_lazy_frame_say_what_to_pass() -> None:
    datasets, polars = pytest.importorskip("datasets"), pytest.importorskip("polars")
    splits = datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS))
    with pytest.raises(UsageError, match=r"the splits train: choose one, such as data\['train'\]"):
        as_table(splits, ["url"])
    with pytest.raises(UsageError, match=r"LazyFrame: pass frame\.collect\(\)"):
        as_table(polars.DataFrame({"url": URLS}).lazy(), ["url"])


def test_an_iterator_is_drawn_a_piece_at_a_time() -> None:
    rows = iter(URLS)
    pieces = IteratorSource(rows, ["url"]).shards(2)
    count, piece = next(pieces)
    assert count == 2
    assert isinstance(piece, pa.Table)
    assert list(rows) == URLS[2:]


def test_a_digest_depends_on_the_rows_and_not_on_their_chunks() -> None:
    whole = pa.table({"url": URLS})
    cut = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    assert MemoryFile(whole).digest() == MemoryFile(cut).digest()
    assert MemoryFile(whole).digest() != MemoryFile(whole.slice(1)).digest()
