"""`laion stats` against manual counts, on made-up and on genuine rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.storage import find_inputs
from laion import cli
from laion.data.release_schema import RELEASE_SCHEMA
from laion.release import stats
from laion.release.contents import MAX_LICENSES, PAPER, Contents, similarity_histogram
from laion.release.stats import StatsOptions, run

SHARED = Path(__file__).parents[4] / "shared" / "data"

#: Height and width, and how often.
SIZES = {
    (1024, 1024): 3, (1024, 100): 5, (100, 2000): 7, (1023, 1023): 11, (512, 511): 13,
    (512, 512): 17, (256, 255): 19, (256, 300): 23, (255, 255): 29,
}  # fmt: skip


def write(path: Path, sizes: dict[tuple[int, int], int], **columns: list[Any]) -> None:
    rows = [size for size, times in sizes.items() for _ in range(times)]
    count = len(rows)
    table = {
        "SAMPLE_ID": list(range(count)),
        "URL": [f"http://h/{n}" for n in range(count)],
        "TEXT": [f"text {n}" for n in range(count)],
        "HEIGHT": [height for height, _ in rows],
        "WIDTH": [width for _, width in rows],
        "LICENSE": ["?"] * count,
        "NSFW": ["UNLIKELY"] * count,
        "similarity": [0.31] * count,
        **columns,
    }
    pq.write_table(pa.table(table, schema=RELEASE_SCHEMA), path)


def look(path: Path, **flags: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(StatsOptions(input=str(path), json=True, **flags)).text)
    return found


def test_table_1_is_counted_as_in_the_paper(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", SIZES)
    table = {name: entry["here"] for name, entry in look(tmp_path)["table1"].items()}
    assert table == {
        "Number of unique samples": 127,
        "Number with height or width >= 1024": 3 + 5 + 7,
        "Number with height and width >= 1024": 3,
        "Number with height or width >= 512": 3 + 5 + 7 + 11 + 13 + 17,
        "Number with height and width >= 512": 3 + 11 + 17,
        "Number with height or width >= 256": 127 - 29,
        "Number with height and width >= 256": 3 + 11 + 13 + 17 + 23,
    }
    assert list(table) == list(PAPER)


def test_swapped_sizes_are_put_right(tmp_path: Path) -> None:
    write(tmp_path / "right.parquet", SIZES)
    write(tmp_path / "swapped.parquet", {(w, h): n for (h, w), n in SIZES.items()})
    right = look(tmp_path / "right.parquet")
    assert right["shapes"] == {"wide": 7 + 23, "high": 5 + 13 + 19, "square": 60}
    assert look(tmp_path / "swapped.parquet", swapped_sizes=True) == right
    assert look(tmp_path / "swapped.parquet")["shapes"] == {"wide": 37, "high": 30, "square": 60}


def test_repeated_pairs_nulls_and_parts_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "_BATCH", 3)
    write(
        tmp_path / "part-0.parquet", {(256, 256): 4},
        URL=["http://h/0", "http://h/0", "http://h/1", "http://h/1"], TEXT=["a", "a", "a", "b"],
        NSFW=["NSFW", "UNSURE", "", None], similarity=[0.3, float("nan"), None, 1.0],
    )  # fmt: skip
    write(tmp_path / "part-1.parquet", {(256, 256): 1}, TEXT=["a"], LICENSE=["http://cc/by"])
    found = look(tmp_path)
    assert found["rows"] == 5
    assert found["table1"]["Number of unique samples"]["here"] == 3
    assert found["nsfw"] == {"UNLIKELY": 1, "UNSURE": 1, "NSFW": 1, "untagged": 2}
    assert found["licenses"] == {"?": 4, "http://cc/by": 1}
    assert found["similarity"]["rows"] == 3
    assert found["similarity"]["mean"] == pytest.approx((0.3 + 1.0 + 0.31) / 3)
    assert found["similarity"]["histogram"] == {"0.30": 1, "0.31": 1, "0.99": 1}


def test_bins_hold_what_they_are_called_by() -> None:
    values = np.array([0.29, 0.3, 0.3099999, 0.57, -1.0001, -1.0, 1.0, 1.0001])
    histogram = similarity_histogram(values)
    filled = {
        round(-1 + index / 100, 2): int(histogram[index]) for index in np.flatnonzero(histogram)
    }
    assert filled == {-1.0: 2, 0.29: 1, 0.3: 2, 0.57: 1, 0.99: 2}


def test_people_read_plain_integers(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {(1024, 1024): 1200})
    text = run(StatsOptions(input=str(tmp_path))).text
    assert "Number of unique samples 1200 100.0 % 413000000 100.0 %" in _blanks(text)
    assert "UNLIKELY 1200 100.0 %" in _blanks(text)
    assert "similarity: mean 0.3100, all from 0.31 to 0.32" in text


def _blanks(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def test_a_list_without_sizes_says_what_it_lacks(tmp_path: Path) -> None:
    pq.write_table(pa.table({"URL": ["u", "u"], "TEXT": ["t", "t"]}), tmp_path / "a.parquet")
    text = run(StatsOptions(input=str(tmp_path / "a.parquet"))).text
    assert "Number of unique samples 1 50.0 %" in _blanks(text)
    assert "Number with height or width >= 1024 - - 26000000" in _blanks(text)
    assert "missing columns: HEIGHT, LICENSE, NSFW, WIDTH, similarity" in text


@pytest.mark.skipif(not SHARED.exists(), reason="shared data is absent")
def test_genuine_rows() -> None:
    """Counted with pyarrow's own expressions from the file."""
    path = SHARED / "laion400m-20rows.parquet"
    table = pq.read_table(path)
    sizes = list(zip(table["HEIGHT"].to_pylist(), table["WIDTH"].to_pylist(), strict=True))
    found = look(path, swapped_sizes=True)
    for side in (1024, 512, 256):
        here = found["table1"][f"Number with height or width >= {side}"]["here"]
        assert here == sum(max(size) >= side for size in sizes)
        here = found["table1"][f"Number with height and width >= {side}"]["here"]
        assert here == sum(min(size) >= side for size in sizes)
    assert found["shapes"]["wide"] == sum(height > width for height, width in sizes)
    assert found["nsfw"] == {"UNLIKELY": 20, "UNSURE": 0, "NSFW": 0}
    big = look(SHARED / "laion400m-urls-10k.parquet")
    assert big["table1"]["Number of unique samples"]["here"] == 10_000


def test_contents_of_nothing() -> None:
    assert Contents().document()["similarity"] == {"rows": 0, "mean": None, "histogram": {}}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stats"], "--input is required"),
        (["stats", "--input", "nowhere"], "no file or folder nowhere"),
        (["stats", "--input", "bad.parquet"], "cannot be read as parquet"),
        (["stats", "--input", "other.parquet"], "has no column URL; it has: link"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.parquet").write_text("no parquet at all")
    pq.write_table(pa.table({"link": ["u"]}), tmp_path / "other.parquet")
    assert cli.run(arguments) == 2
    output = capsys.readouterr().err
    assert words in output
    assert len(output.splitlines()) == 1


def test_sizes_of_pandas_with_missing_values(tmp_path: Path) -> None:
    """They are floats, and NaN where there is none."""
    sizes = {"HEIGHT": [600.0, float("nan"), 300.0, None], "WIDTH": [500.0, 900.0, 300.0, 5.0]}
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"URL": ["a", "b", "c", "d"], **sizes}), path)
    contents = stats.count_files(find_inputs(str(path), (".parquet",)))
    assert (contents.rows, contents.sized) == (4, 2)
    assert (contents.either[512], contents.both[256]) == (1, 2)


def test_rows_that_lack_one_size_are_not_sized() -> None:
    contents = Contents()
    contents.add(pa.table({"HEIGHT": [600, 600, None], "WIDTH": [600, None, 600]}))
    assert contents.sized == 1
    assert contents.table1()["Number with height or width >= 512"] == 1
    contents = Contents()
    contents.add(pa.table({"HEIGHT": [600]}))
    assert contents.table1()["Number with height or width >= 512"] is None


def test_rare_licences_are_counted_together() -> None:
    contents = Contents()
    names = [f"license {n}" for n in range(MAX_LICENSES + 2)]
    contents.add(pa.table({"LICENSE": [*names, *names[:-2], ""]}))
    named = contents.named_licenses()
    assert named.pop("others") == 3
    assert named == dict.fromkeys(names[:-2], 2)


def test_the_manual_check_is_shown_only_with_tags(tmp_path: Path) -> None:
    for name, tag, shown in (("a", "", False), ("b", "UNSURE", True)):
        write(tmp_path / f"{name}.parquet", {(256, 256): 1}, NSFW=[tag])
        text = run(StatsOptions(input=str(tmp_path / f"{name}.parquet"))).text
        assert ("manual check" in text) == shown
