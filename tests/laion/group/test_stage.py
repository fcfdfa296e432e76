"""`laion group` over made-up candidates: one row a URL, every text kept, the same after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2ds.core.failure import UsageError
from img2ds.core.pair_digest import pair_digest
from img2ds.storage import OutputFolder
from laion import cli
from laion.data.candidate import CANDIDATE_SCHEMA, GROUPED_SCHEMA, Candidate
from laion.group import scatter
from laion.group.gather import gather
from laion.group.options import GroupOptions
from laion.group.stage import BETWEEN, run
from laion.stage import StageReport
from tests.laion.dedup.candidate_folders import rows, write_folder

PARTS = [rows(3000, seed, f"wat-{seed}", 900) for seed in range(3)]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """9,000 candidates of 900 URLs at most, of which each has several texts; four partitions."""
    monkeypatch.setattr(scatter, "PARTITION_ROWS", 2400)
    monkeypatch.setattr(scatter, "PIECE_ROWS", 3000)
    return write_folder(tmp_path / "candidates", [*map(_retold, PARTS)])


def _retold(part: list[Candidate]) -> list[Candidate]:
    """The candidates with texts, licences and languages that differ by the place of the row."""
    made = []
    for place, row in enumerate(part):
        text = f"{row.text} told {place % 5} times"
        language = ("en", "de")[place % 2]
        licence = ("?", "http://cc/by")[place % 3 == 0]
        digest = pair_digest(row.url, text)
        made.append(row._replace(text=text, language=language, license=licence, digest=digest))
    return made


def group(source: Path, name: str = "grouped", **flags: Any) -> StageReport:
    options = {"processes_count": 1, "shuffle_rows": 500, **flags}
    return run(
        GroupOptions(input=(str(source),), output_folder=str(source.parent / name), **options)
    )


def read(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(p) for p in sorted(folder.glob("[0-9]*.parquet")))


def expected(source: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Texts, licences and languages of each URL, equal texts once, by a plain loop."""
    found: dict[str, dict[str, tuple[str, str, str]]] = {}
    for part in map(_retold, PARTS):
        # A candidate file has its rows by partition of their digests.
        for row in sorted(part, key=lambda row: row.digest[0] >> 2):
            of_url = found.setdefault(row.url, {})
            of_url.setdefault(row.text, (row.text, row.license, row.language))
    return {url: list(texts.values()) for url, texts in found.items()}


def check(folder: Path, source: Path) -> None:
    table = read(folder)
    assert table.schema.equals(GROUPED_SCHEMA)
    wanted = expected(source)
    found = {}
    for row in table.to_pylist():
        assert row["url"] not in found, "a URL is in one row"
        lists = zip(row["texts"], row["licenses"], row["languages"], strict=True)
        found[row["url"]] = list(lists)
        assert (row["text"], row["license"], row["language"]) == found[row["url"]][0]
        assert row["digest"] == pair_digest(row["url"], row["text"])
    assert found == wanted
    counts: Counter[str] = Counter()
    for path in folder.glob("*_stats.json"):
        marker = json.loads(path.read_text())
        assert marker["count"] == marker["successes"] + sum(marker["reasons"].values())
        counts.update(marker["reasons"])
        counts.update({name: marker[name] for name in ("count", "successes", "texts")})
    texts = sum(map(len, wanted.values()))
    assert counts == {
        "count": 9000, "successes": len(wanted), "texts": texts,
        "same_url": texts - len(wanted), "duplicate": 9000 - texts,
    }  # fmt: skip
    assert not (folder / ".img2ds").exists(), "what lay between the passes is gone"


def test_one_row_a_url_with_all_of_its_texts(source: Path) -> None:
    assert group(source).exit_code == 0
    check(source.parent / "grouped", source)
    assert len(list((source.parent / "grouped").glob("*.parquet"))) == 4


def test_the_result_does_not_depend_on_the_workers(source: Path) -> None:
    group(source)
    group(source, "other", processes_count=2)
    one, other = (read(source.parent / name) for name in ("grouped", "other"))
    assert one.equals(other)


def test_running_it_again_changes_nothing(source: Path) -> None:
    group(source)
    folder = source.parent / "grouped"
    before = {path: path.stat().st_mtime_ns for path in folder.glob("0*")}
    assert len(before) == 8
    assert group(source).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("0*")} == before


def test_the_texts_of_a_url_can_be_limited(source: Path) -> None:
    assert group(source, max_texts=2).exit_code == 0
    wanted = {url: texts[:2] for url, texts in expected(source).items()}
    table = read(source.parent / "grouped")
    texts = dict(zip(table["url"].to_pylist(), table["texts"].to_pylist(), strict=True))
    assert texts == {url: [text for text, _, _ in rows] for url, rows in wanted.items()}
    markers = [json.loads(p.read_text()) for p in (source.parent / "grouped").glob("*_stats.json")]
    dropped = sum(max(len(texts) - 2, 0) for texts in expected(source).values())
    assert sum(marker["reasons"].get("too_many_texts", 0) for marker in markers) == dropped
    assert sum(m["successes"] + sum(m["reasons"].values()) for m in markers) == 9000


def test_small_files_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scatter, "PIECE_ROWS", 10)
    files = [("a", 4), ("b", 4), ("c", 4), ("d", 30), ("e", 1)]
    assert scatter.batches(files) == [("a", "b", "c"), ("d",), ("e",)]
    assert scatter.batches([]) == []


def test_no_rows_at_all() -> None:
    grouped, reasons = gather(CANDIDATE_SCHEMA.empty_table(), None)
    assert grouped.schema.equals(GROUPED_SCHEMA)
    assert (grouped.num_rows, reasons) == (0, Counter())


KILLED = """
import os, signal, sys
from img2ds.storage import OutputFolder
from laion.group import scatter, stage
from laion.group.options import GroupOptions
scatter.PARTITION_ROWS, scatter.PIECE_ROWS = 2400, 3000
left, publish = int(sys.argv[3]), OutputFolder.publish
def dying(self, name):
    global left
    if name.endswith(".parquet"):
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
    return publish(self, name)
OutputFolder.publish = dying
from img2ds.engine.distributors.contract import Session
class Inline(Session):
    spans_machines = False
    def stream(self, worker, tasks, stopping=None):
        reports = []
        for task in tasks:
            worker(iter([task]), reports.append)
            yield from reports
            reports.clear()
import img2ds.engine.build
img2ds.engine.build.open_distributor = lambda *_, gpus: Inline()
options = GroupOptions(input=(sys.argv[1],), output_folder=sys.argv[2], shuffle_rows=500)
sys.exit(stage.run(options).exit_code)
"""


@pytest.mark.parametrize("after", [0, 2, 3, 5])
def test_killed_in_either_pass_and_resumed(source: Path, after: int) -> None:
    """Three files of the first pass, then four shards of the second."""
    folder = source.parent / "grouped"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(source), str(folder), str(after)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    between = OutputFolder.open(str(folder)).names(BETWEEN)
    assert sum(name.endswith(".parquet") for name in between) == min(after, 3)
    assert group(source).exit_code == 0
    check(folder, source)


def test_on_clusters(tmp_path: Path, distributor_name: str) -> None:
    source = write_folder(tmp_path / "candidates", [*map(_retold, PARTS)])
    assert group(source, distributor=distributor_name, processes_count=2).exit_code == 0
    check(source.parent / "grouped", source)


def test_wrong_use(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="there is no file or folder"):
        group(source.parent / "nowhere")
    with pytest.raises(UsageError, match="groups cannot be extended"):
        group(source, incremental_mode="extend")
    with pytest.raises(UsageError, match="choose another --output_folder"):
        group(source, "candidates")
    assert group(source).exit_code == 0
    with pytest.raises(UsageError, match="--max_texts"):
        group(source, max_texts=3)
    assert not (source.parent / "grouped" / ".img2ds").exists(), "nothing was begun"
    assert cli.run(["group", "--input", "x", "--output_folder", "y", "--max_texts", "0"]) == 2
    assert "--max_texts must be at least 1" in capsys.readouterr().err
