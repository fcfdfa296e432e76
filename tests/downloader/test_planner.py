"""Inputs found, looked at, and cut into numbered shards."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2ds.config.options import InputOptions
from img2ds.core.failure import UsageError
from img2ds.core.sample import RowRange
from img2ds.downloader.planner import Plan, open_input


def write_txt(path: Path, count: int, start: int = 0) -> None:
    path.write_text("".join(f"http://a/{n}\n" for n in range(start, start + count)))


def write_parquet(path: Path, count: int) -> None:
    pq.write_table(pa.table({"url": [f"http://a/{n}" for n in range(count)]}), path)


def options(url_list: object, **flags: object) -> InputOptions:
    return InputOptions(url_list=str(url_list), **flags)  # type: ignore[arg-type]


def test_shards_are_cut_per_file_in_sorted_order(tmp_path: Path) -> None:
    write_parquet(tmp_path / "b.parquet", 25)
    write_parquet(tmp_path / "a.parquet", 10)
    write_parquet(tmp_path / "empty.parquet", 0)
    (tmp_path / "notes.md").write_text("not a list")
    (tmp_path / "_hidden.parquet").write_text("not parquet")
    source = open_input(options(tmp_path))
    tasks = list(source.shards(10))
    assert [task.shard_id for task in tasks] == [0, 1, 2, 3]
    assert [task.count for task in tasks] == [10, 10, 10, 5]
    ranges = [task.rows for task in tasks]
    assert all(isinstance(rows, RowRange) for rows in ranges)
    assert [(Path(r.path).name, r.start, r.stop) for r in ranges if isinstance(r, RowRange)] == [
        ("a.parquet", 0, 10), ("b.parquet", 0, 10), ("b.parquet", 10, 20), ("b.parquet", 20, 25),
    ]  # fmt: skip
    assert (source.row_count, source.shard_count(10)) == (35, 4)


@pytest.mark.parametrize("kind", ["txt", "parquet"])
@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    rows=st.integers(1, 7),
    limit=st.none() | st.integers(1, 40),
    committed=st.sets(st.integers(0, 12)),
)
def test_every_row_is_in_one_shard(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    sizes: list[int],
    rows: int,
    limit: int | None,
    committed: set[int],
) -> None:
    folder = tmp_path_factory.mktemp("input")
    for number, size in enumerate(sizes):
        {"txt": write_txt, "parquet": write_parquet}[kind](folder / f"{number}.{kind}", size)
    source = open_input(options(folder, max_rows=limit))
    tasks = list(source.shards(rows, first=3))
    wanted = sum(sizes) if limit is None else min(limit, sum(sizes))
    assert sum(task.count for task in tasks) == wanted
    assert [task.shard_id for task in tasks] == list(range(3, 3 + len(tasks)))
    assert all(0 < task.count <= rows for task in tasks)
    plan = Plan(source, rows, 3, committed)
    given_out = list(plan.tasks())
    left = [task for task in tasks if task.shard_id not in committed]
    assert [task.shard_id for task in given_out] == [task.shard_id for task in left]
    assert plan.shard_count == len(tasks)
    assert plan.expected_rows() == sum(task.count for task in left)


def test_the_estimate_for_a_stream_is_close(tmp_path: Path) -> None:
    write_txt(tmp_path / "list.txt", 5000, start=100_000)
    plan = Plan(open_input(options(tmp_path / "list.txt")), 100, 0, set())
    tasks = plan.tasks()
    assert plan.expected_rows() is None
    for _ in range(5):
        next(tasks)
    assert plan.expected_rows() == pytest.approx(5000, rel=0.02)


def test_a_glob_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_txt(tmp_path / "a1.txt", 3)
    write_txt(tmp_path / "a2.txt", 4)
    write_txt(tmp_path / "b.txt", 50)
    source = open_input(options(tmp_path / "a*.txt"))
    assert [task.count for task in source.shards(10)] == [3, 4]

    class Stdin:
        buffer = io.BytesIO(b"http://a/1\nhttp://a/2\n")

    monkeypatch.setattr("sys.stdin", Stdin)
    assert [task.count for task in open_input(options("-")).shards(10)] == [2]


def test_wrong_inputs_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file or folder .*nope"):
        open_input(options(tmp_path / "nope"))
    with pytest.raises(UsageError, match="no file that ends in"):
        open_input(options(tmp_path))
    with pytest.raises(UsageError, match="no file matches"):
        open_input(options(tmp_path / "*.csv"))
    write_txt(tmp_path / "a.txt", 1)
    write_parquet(tmp_path / "b.parquet", 1)
    with pytest.raises(UsageError, match=r"several formats \(parquet, txt\)"):
        open_input(options(tmp_path))
    (tmp_path / "c.jsonl").write_text('{"a": 1}')
    with pytest.raises(UsageError, match="no column 'url'"):
        open_input(options(tmp_path / "c.jsonl"))


def test_fingerprints_tell_inputs_apart(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    write_txt(path, 10)
    first = open_input(options(path)).fingerprint()
    assert open_input(options(path)).fingerprint() == first
    write_txt(path, 10, start=1)  # of the same size but for its last line
    assert open_input(options(path)).fingerprint() != first
    write_txt(path, 10)
    assert open_input(options(path, max_rows=5)).fingerprint() != first


@pytest.mark.parametrize(
    "name",
    ["empty.txt", "blank.txt", "head.csv", "none.parquet", "blank.jsonl", "none.json", "no.json"],
)
def test_an_empty_input_is_known_before_it_is_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "blank.txt").write_text("\n \n\n")
    (tmp_path / "head.csv").write_text("url,caption\n")
    (tmp_path / "blank.jsonl").write_text("\n \n")
    (tmp_path / "none.json").write_text(" [ ]\n")
    (tmp_path / "no.json").write_text('{"url": {}}')
    write_parquet(tmp_path / "none.parquet", 0)
    with pytest.raises(UsageError, match=f"{name} has no rows"):
        open_input(options(tmp_path / name)).check_rows()


def test_checking_for_rows_consumes_none(tmp_path: Path) -> None:
    write_txt(tmp_path / "a.txt", 0)
    write_txt(tmp_path / "b.txt", 25)
    source = open_input(options(tmp_path))
    source.check_rows()
    assert source.bytes_read == 0
    assert [task.count for task in source.shards(10)] == [10, 10, 5]


@pytest.mark.parametrize(
    ("kind", "data", "rows"),
    [
        ("txt", b"", 0),
        ("txt", b"http://a/1\n", 1),
        ("csv", b"", 0),
        ("csv", b"url\nhttp://a/1\n", 1),
        ("jsonl", b"\n", 0),
        ("jsonl", b'{"url": "http://a/1"}\n{"url": "http://a/2"}', 2),
        ("json", b"[]", 0),
        ("json", b'[{"url": "http://a/1"},{"url": "http://a/2"}]', 2),
    ],
)
def test_standard_input_is_peeked_not_consumed(
    monkeypatch: pytest.MonkeyPatch, kind: str, data: bytes, rows: int
) -> None:
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(data))

    monkeypatch.setattr("sys.stdin", Stdin)
    source = open_input(options("-", input_format=kind))
    if rows:
        source.check_rows()
        assert sum(task.count for task in source.shards(10)) == rows
    else:
        with pytest.raises(UsageError, match="standard input is empty"):
            source.check_rows()
