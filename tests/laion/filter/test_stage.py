"""`laion filter` over made-up folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from laion import cli
from laion.filter.condition import Condition
from laion.filter.options import FilterOptions
from laion.filter.stage import run
from tests.laion.embedding_folders import row, write_tree

ROWS = 10


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """Two shards of ten pairs: similarities 0.00 to 0.19, every third one German, two NULLs."""
    shards = {
        number: [
            row(
                ROWS * number + n,
                similarity=None if n == 9 else (ROWS * number + n) / 100,
                language="de" if n % 3 == 0 else "en",
                width=100 * n,
            )
            for n in range(ROWS)
        ]
        for number in range(2)
    }
    write_tree(tmp_path / "scored", shards)
    return tmp_path / "scored"


def keep(scored: Path, out: Path, **flags: Any) -> list[dict[str, Any]]:
    report = run(
        FilterOptions(input=str(scored), output_folder=str(out), processes_count=1, **flags)
    )
    assert report.exit_code == 0
    paths = sorted((out / "metadata").glob("*.parquet"))
    return [values for path in paths for values in pq.read_table(path).to_pylist()]


def reasons(out: Path) -> dict[str, int]:
    total: dict[str, int] = {}
    for path in out.glob("*_stats.json"):
        for reason, count in json.loads(path.read_text())["reasons"].items():
            total[reason] = total.get(reason, 0) + count
    return total


def test_a_condition_keeps_rows_with_their_embeddings(scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = keep(scored, out, where="similarity >= 0.05 and LANGUAGE = 'en' and width > 100")
    numbers = [int(values["key"]) for values in rows]
    assert numbers == [n for n in range(20) if n >= 5 and n % 10 not in (0, 1, 3, 6, 9)]
    before = np.load(scored / "img_emb/img_emb_00001.npy")
    after = np.load(out / "img_emb/img_emb_00001.npy")
    assert (after == before[[n - 10 for n in numbers if n >= 10]]).all()
    # Each row counts once, under the first clause; NULL fulfils none.
    assert reasons(out) == {
        "similarity >= 0.05": 5 + 2,
        "LANGUAGE = 'en'": 4,  # 6, 10, 13, 16
        "width > 100": 1,
    }


def test_an_or_is_one_clause(scored: Path, tmp_path: Path) -> None:
    rows = keep(scored, tmp_path / "out", where="width < 200 OR similarity > 0.15")
    assert [int(values["key"]) for values in rows] == [0, 1, 10, 11, 16, 17, 18]
    assert len(reasons(tmp_path / "out")) == 1


def test_the_best_share(scored: Path, tmp_path: Path) -> None:
    rows = keep(scored, tmp_path / "top", keep_top=0.25)  # of 18 that have a similarity
    assert [values["similarity"] for values in rows] == [0.14, 0.15, 0.16, 0.17, 0.18]
    assert reasons(tmp_path / "top") == {"similarity >= 0.14": 15}
    both = keep(scored, tmp_path / "both", where="language = 'de'", keep_top=0.5, by="width")
    assert [values["width"] for values in both] == [600, 900, 600, 900]


def test_a_share_of_no_rows(scored: Path, tmp_path: Path) -> None:
    assert keep(scored, tmp_path / "out", where="width < 0", keep_top=0.5) == []


def test_it_resumes_and_its_output_can_be_filtered_again(scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep(scored, out, where="width >= 300")
    before = {path: path.read_bytes() for path in out.rglob("*.parquet")}
    (out / "00001_stats.json").unlink()
    keep(scored, out, where="width >= 300")
    assert {path: path.read_bytes() for path in out.rglob("*.parquet")} == before
    command = ["filter", "--input", str(scored), "--output_folder", str(out)]
    assert cli.run([*command, "--where", "width >= 400"]) == 2  # another dataset
    again = keep(out, tmp_path / "again", where="width >= 800")
    assert [values["width"] for values in again] == [800, 900, 800, 900]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, "there is nothing to filter by"),
        ({"where": " "}, "--where is empty"),
        ({"where": "similarity >"}, "is not an SQL condition: syntax error"),
        ({"where": "1=1; SELECT 2"}, "is not an SQL condition"),
        ({"where": "1=1) GROUP BY (key"}, "more follows it"),
        ({"where": "aesthetic > 5"}, 'column "aesthetic" not found.*; the columns are key, url'),
        ({"where": "avg(similarity) > 1"}, "cannot contain aggregates"),
        ({"where": "similarity > 'x'"}, "--where: "),
        ({"where": "EXISTS (FROM read_csv('/etc/passwd'))"}, "disabled by configuration"),
        ({"keep_top": 0.0}, "a share above 0"),
        ({"keep_top": 1.5}, "a share above 0"),
        ({"keep_top": 0.5, "by": "caption"}, "a column of string"),
        ({"keep_top": 0.5, "by": "aesthetic"}, "has no column aesthetic"),
        ({"where": "true", "by": "width"}, "--by goes with --keep_top"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(
    scored: Path, tmp_path: Path, flags: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        run(FilterOptions(input=str(scored), output_folder=str(tmp_path / "out"), **flags))
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_clauses_are_named_as_they_were_written() -> None:
    condition = Condition("a > 1 AND (\"the b\" = 2 OR c IS NULL) AND lower(d) LIKE '%x%'")
    table = pa.table({"a": [2, 0, 2], "the b": [2, 2, 3], "c": [1, 1, 1], "d": ["X", "X", "X"]})
    assert condition.first_failed(table).tolist() == [-1, 0, 1]
    assert condition.reason(0) == "a > 1"
    assert condition.reason(1) == '("the b" = 2) OR (c IS NULL)'
