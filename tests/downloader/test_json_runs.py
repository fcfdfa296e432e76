"""Runs over json and jsonl: begun again, extended, refused, as with any other list."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import img2ds
from img2ds import cli
from img2ds.core.failure import UsageError

#: No URL of these can be asked for: every row ends at once, and without a network.
ROWS = [{"url": f"nowhere {n}", "n": n, "TEXT": f"image {n}"} for n in range(25)]


def lines(rows: list[dict[str, Any]]) -> str:
    return "\n".join(map(json.dumps, rows))


def columns(rows: list[dict[str, Any]]) -> str:
    return json.dumps({name: dict(enumerate(row[name] for row in rows)) for name in rows[0]})


FORMS: list[tuple[str, Callable[[list[dict[str, Any]]], str]]] = [
    ("jsonl", lines), ("json", json.dumps), ("json", columns)
]  # fmt: skip


def flags(path: Path, **more: Any) -> dict[str, Any]:
    return {
        "url_list": str(path), "output_folder": str(path.parent / "out"),
        "output_format": "webdataset", "number_sample_per_shard": 10, "processes_count": 1,
        "caption_col": "TEXT", "save_additional_columns": "n", **more,
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_a_run_is_taken_up_and_extended(
    tmp_path: Path, kind: str, form: Callable[[list[dict[str, Any]]], str]
) -> None:
    path = tmp_path / f"list.{kind}"
    path.write_text(form(ROWS))
    assert img2ds.download(**flags(path)).tally.count == 25
    out = tmp_path / "out"
    (out / "00001_stats.json").unlink()
    assert img2ds.download(**flags(path)).tally.count == 10
    path.write_text(form(ROWS[:7]))
    with pytest.raises(UsageError, match="another input"):
        img2ds.download(**flags(path))
    assert img2ds.download(**flags(path, incremental_mode="extend")).tally.count == 7
    table = ds.dataset(sorted(map(str, out.glob("*.parquet")))).to_table()
    assert table["n"].to_pylist() == [row["n"] for row in (*ROWS, *ROWS[:7])]
    assert table["n"].type == pa.int64()
    assert table["caption"].to_pylist() == [row["TEXT"] for row in (*ROWS, *ROWS[:7])]


def test_folders_and_globs(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(lines(ROWS[:5]))
    for url_list in (str(tmp_path), str(tmp_path / "[ab].jsonl")):
        given = flags(tmp_path / "a.jsonl", incremental_mode="overwrite")
        assert img2ds.download(**{**given, "url_list": url_list}).tally.count == 10


def test_a_wrong_column_is_reported_before_the_folder_is_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(lines(ROWS))
    arguments = [f"--{name}={value}" for name, value in flags(path, caption_col="text").items()]
    assert cli.run(arguments) == 2
    words = capsys.readouterr().err
    assert "no column 'text': did you mean 'TEXT'? its columns are url, n, TEXT" in words
    assert len(words.splitlines()) == 1
    assert not (tmp_path / "out").exists()
