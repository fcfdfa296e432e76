"""`laion release --columns`: LAION-5B's and Re-LAION-5B's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion import cli
from laion.data.laion_hash import laion_hashes
from laion.release.stage import ReleaseOptions, run
from laion.release.stats import StatsOptions
from laion.release.stats import run as stats
from tests.laion.embedding_folders import row, write_tree

SCORES = [pa.field(name, pa.float32()) for name in ("pwatermark", "punsafe")]
AESTHETIC = pa.field("aesthetic", pa.float32())

#: The schema of laion-art's files.
LAION_5B = pa.schema(
    [
        ("URL", pa.string()),
        ("TEXT", pa.string()),
        ("WIDTH", pa.int32()),
        ("HEIGHT", pa.int32()),
        ("similarity", pa.float64()),
        ("LANGUAGE", pa.string()),
        ("hash", pa.int64()),
        ("pwatermark", pa.float32()),
        ("punsafe", pa.float32()),
        ("aesthetic", pa.float32()),
    ]
)


def release(out: Path, source: Path, **flags: Any) -> pa.Table:
    report = run(
        ReleaseOptions(
            input=str(source), output_folder=str(out), processes_count=1, figures=False, **flags
        )
    )
    assert report.exit_code == 0
    return pq.read_table(next(out.glob("part-*.parquet")))


def test_laion_5b(tmp_path: Path) -> None:
    values = {"pwatermark": 0.25, "punsafe": 0.5, "aesthetic": 6.5, "language": "en"}
    write_tree(tmp_path / "in", {0: [row(0, **values)]}, columns=[*SCORES, AESTHETIC])
    table = release(tmp_path / "out", tmp_path / "in", columns="laion5b")
    assert table.schema.equals(LAION_5B)
    (found,) = table.to_pylist()
    assert found == {
        "URL": "http://photos.example/0.jpg", "TEXT": "image 0", "WIDTH": 800, "HEIGHT": 600,
        "similarity": 0.35, "LANGUAGE": "en", "pwatermark": 0.25, "punsafe": 0.5,
        "aesthetic": 6.5,
        "hash": int(laion_hashes(["http://photos.example/0.jpg"], ["image 0"])[0]),
    }  # fmt: skip
    card = (tmp_path / "out/README.md").read_text()
    assert "| `pwatermark` | float |" in card
    assert "SAMPLE_ID" not in card


def test_what_pairs_lack_is_null_and_aesthetic_is_left_out(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {0: [row(0)]})
    table = release(tmp_path / "out", tmp_path / "in", columns="laion5b")
    assert table.column_names == LAION_5B.names[:-1]
    assert table["punsafe"].to_pylist() == [None]


def test_the_hash_is_murmurhash_of_url_and_text() -> None:
    # The reference vector of MurmurHash3_x64_128 for "hello" with seed 0.
    first = 0xCBD8A7B341BD9B02 - 2**64
    assert laion_hashes(["hel", "hello", None], ["lo", None, "hello"]).tolist() == [first] * 3


def test_re_laion(tmp_path: Path) -> None:
    md5 = pa.field("md5", pa.string())
    write_tree(tmp_path / "in", {0: [row(0, punsafe=0.5, md5="ab")]}, columns=[*SCORES, md5])
    table = release(tmp_path / "out", tmp_path / "in", columns="relaion")
    (found,) = table.to_pylist()
    assert len(found) == 15
    assert (found["url"], found["caption"]) == ("http://photos.example/0.jpg", "image 0")
    assert (found["width"], found["original_width"], found["status"]) == (256, 800, "success")
    assert (found["md5"], found["punsafe"], found["pwatermark"]) == ("ab", 0.5, None)
    card = (tmp_path / "out/README.md").read_text()
    assert "--url_col url" in card
    assert "--caption_col caption" in card
    text = stats(StatsOptions(input=str(tmp_path / "out"))).text
    assert "Number of rows                                       1" in text
    assert "missing columns: LICENSE, NSFW" in text


def test_other_columns_are_another_release(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {0: [row(0)]})
    release(tmp_path / "out", tmp_path / "in")
    command = ["release", "--input", str(tmp_path / "in"), "--output_folder", str(tmp_path / "out")]
    assert cli.run([*command, "--figures", "False"]) == 0
    assert cli.run([*command, "--figures", "False", "--columns", "laion5b"]) == 2


def test_an_unknown_layout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["release", "--input", str(tmp_path), "--output_folder", str(tmp_path / "out")]
    assert cli.run([*command, "--columns", "coyo"]) == 2
    assert "laion400m, laion5b, relaion" in capsys.readouterr().err
