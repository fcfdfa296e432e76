"""`img2ds reshard`: every success once, in full shards, with bytes as they were."""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2ds import cli
from img2ds.core.pair_digest import Words, pair_digests
from img2ds.core.uid import RECORD
from img2ds.manage.options import ReshardOptions, StatusOptions, VerifyOptions
from img2ds.manage.pack import Piece
from img2ds.manage.reshard import ReshardReport, pack
from img2ds.manage.reshard import run as reshard
from img2ds.manage.status import run as look
from img2ds.manage.verify import run as verify
from img2ds.storage import OutputFolder
from tests.manage.img2dataset_folder import write_shard


def packed(source: Path | str, to: Path | str, per_shard: int = 12) -> ReshardReport:
    return reshard(
        ReshardOptions(
            output_folder=str(source), to=str(to), number_sample_per_shard=per_shard,
            processes_count=2,
        )
    )  # fmt: skip


def samples(folder: Path) -> list[dict[str, bytes]]:
    """The samples of all shards by extension, with their key, in their order."""
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                found[key]["key"] = key.encode()
                found[key][extension] = file.read()
    return list(found.values())


def rows(folder: Path) -> pa.Table:
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    return pa.concat_tables(tables, promote_options="permissive")


def test_successes_are_packed_with_their_bytes(made: Path, tmp_path: Path) -> None:
    to = tmp_path / "packed"
    report = packed(made, to)
    assert (report.exit_code, report.samples) == (0, 30)
    assert [p.name for p in sorted(to.glob("*.tar"))] == ["00000.tar", "00001.tar", "00002.tar"]
    before, after = samples(made), samples(to)
    assert [(s["jpg"], s["txt"]) for s in after] == [(s["jpg"], s["txt"]) for s in before]
    assert [s["key"].decode() for s in after] == [
        f"0000{n // 12}{n % 12:02d}" for n in range(30)
    ]  # fmt: skip

    old = {row["key"]: row for row in rows(made).to_pylist()}
    table = rows(to)
    assert table.schema == rows(made).schema
    for was, sample, row in zip(before, after, table.to_pylist(), strict=True):
        assert row == {**old[was["key"].decode()], "key": sample["key"].decode()}
        assert json.loads(sample["json"]) == row
    marker = json.loads((to / "00000_stats.json").read_text())
    assert (marker["count"], marker["successes"], marker["reasons"]) == (12, 12, {})
    assert marker["bytes"]["written"] == sum(len(s["jpg"]) for s in after[:12])

    assert verify(VerifyOptions(output_folder=str(to), decode=True)).exit_code == 0
    found = look(StatusOptions(output_folder=str(to)))
    assert (found.exit_code, found.rows, found.tally.successes) == (0, 30, 30)


def test_going_on_makes_what_is_missing_and_the_same(made: Path, tmp_path: Path) -> None:
    to = tmp_path / "packed"
    packed(made, to)
    before = {path.name: path.read_bytes() for path in to.glob("*.tar")}
    (to / "00001_stats.json").unlink()
    (to / "00001.tar").write_bytes(b"half")
    kept = (to / "00000.tar").stat().st_mtime_ns
    report = packed(made, to)
    assert (report.shards_committed, report.shards_before) == (1, 2)
    assert {path.name: path.read_bytes() for path in to.glob("*.tar")} == before
    assert (to / "00000.tar").stat().st_mtime_ns == kept


def write_list(path: Path, words: Words) -> None:
    pairs = np.empty(len(words), RECORD)
    pairs["f0"], pairs["f1"] = words.T
    np.save(path, np.sort(pairs))


def set_uids(folder: Path) -> None:
    """Give the tables a column with the numbers of DataComp, of which one is damaged."""
    count = 0
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path)
        uids = [f"{count + n:032x}" for n in range(table.num_rows)]
        uids[0] = uids[0] if count else "none"
        pq.write_table(table.append_column("uid", pa.array(uids)), path)
        count += table.num_rows


@pytest.mark.parametrize("numbered", [False, True], ids=["by pair", "by uid"])
def test_the_pairs_of_a_list(
    made: Path, tmp_path: Path, numbered: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if numbered:
        set_uids(made)
    table = rows(made)
    if numbered:
        words = np.array([(0, n) for n in range(table.num_rows)], np.uint64)
    else:
        words = pair_digests(table["url"].to_pylist(), table["caption"].to_pylist())
    stored = np.array(table["status"].to_pylist()) == "success"
    listed = np.arange(len(words)) % 3 > 0
    write_list(
        tmp_path / "uids.npy", np.concatenate([words[listed], np.full((1, 2), 7, np.uint64)])
    )
    to = tmp_path / "packed"
    command = ["reshard", f"--output_folder={made}", f"--to={to}", "--processes_count=1",
               "--number_sample_per_shard=8", f"--uids={tmp_path / 'uids.npy'}"]  # fmt: skip
    assert cli.run(command) == 0
    wanted = table.filter(pa.array(listed & stored))["url"].to_pylist()
    assert sorted(rows(to)["url"].to_pylist()) == sorted(wanted)
    assert [json.loads(s["json"])["url"] for s in samples(to)] == rows(to)["url"].to_pylist()
    others = "9 not in the list, 1 without a uid" if numbered else "10 not in the list"
    absent = int((listed & ~stored).sum()) + 1
    words_at_the_end = f"kept 20 images ({others}); of the list {absent} pairs without an image"
    assert words_at_the_end in capsys.readouterr().out
    assert verify(VerifyOptions(output_folder=str(to))).exit_code == 0
    assert cli.run(command) == 0, "complete"
    write_list(tmp_path / "uids.npy", words[:5])
    assert cli.run(command) == 2, "another list"
    assert "name another folder with --to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(3), "is not a list of DataComp's, a numpy file of u8,u8 (it has float64 [3])"),
        (np.zeros(3, RECORD), "no image of"),
        (None, "there is no file or folder"),
    ],
)
def test_a_list_that_cannot_be_used(
    made: Path, tmp_path: Path, values: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if values is not None:
        np.save(tmp_path / "uids.npy", values)
    command = ["reshard", f"--output_folder={made}", f"--to={tmp_path / 'to'}"]
    assert cli.run([*command, f"--uids={tmp_path / 'uids.npy'}"]) == 2
    words = capsys.readouterr().err
    assert message in words
    assert words.count("\n") == 1
    assert not (tmp_path / "to").exists()


def test_a_folder_of_img2dataset_is_packed(tmp_path: Path) -> None:
    for number in range(3):
        write_shard(tmp_path / "img2dataset", number)
    report = packed(tmp_path / "img2dataset", tmp_path / "packed", 7)
    assert (report.exit_code, report.samples) == (0, 15)
    assert verify(VerifyOptions(output_folder=str(tmp_path / "packed"))).exit_code == 0
    assert [s["jpg"] for s in samples(tmp_path / "packed")] == [
        s["jpg"] for s in samples(tmp_path / "img2dataset")
    ]
    urls = rows(tmp_path / "packed")["url"].to_pylist()
    assert urls == [json.loads(s["json"])["url"] for s in samples(tmp_path / "packed")]


def test_a_remote_folder_is_packed_into_a_remote_one(remote: str, tmp_path: Path) -> None:
    assert packed(remote, f"{remote}-packed").exit_code == 0
    report = verify(VerifyOptions(output_folder=f"{remote}-packed", processes_count=1))
    assert (report.exit_code, report.findings.count) == (0, 30)


def test_a_broken_shard_is_named_and_the_others_packed(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made / "00003.tar"
    path.write_bytes(path.read_bytes()[:3000])
    report = packed(made, tmp_path / "packed", 5)
    assert report.exit_code == 1
    assert list(report.failed) == [5]
    assert "shard 00003: truncated" in report.failed[5]
    assert not list((tmp_path / "packed").glob("00005*"))


def test_fewer_samples_than_the_marker_says_are_reported(made: Path, tmp_path: Path) -> None:
    marker = json.loads((made / "00003_stats.json").read_text())
    marker["successes"] += 1
    (made / "00003_stats.json").write_text(json.dumps(marker))
    report = packed(made, tmp_path / "packed", 5)
    assert report.exit_code == 1
    assert "its commit marker counts more" in "".join(report.failed.values())


def test_what_cannot_be_packed_is_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def message(*more: str) -> str:
        assert cli.run(["reshard", f"--output_folder={made}", *more]) == 2
        words = capsys.readouterr().err
        assert words.count("\n") == 1
        return words

    assert "--to is required" in message()
    assert "own folder" in message(f"--to={made}")
    with OutputFolder.open(str(made)).lock():
        assert "is in use by process" in message(f"--to={tmp_path / 'p'}")
    assert not (tmp_path / "p").exists()
    packed(made, tmp_path / "p", 12)
    capsys.readouterr()
    assert "name another folder with --to" in message(f"--to={tmp_path / 'p'}")
    assert cli.run(["retry", f"--output_folder={tmp_path / 'p'}"]) == 2
    assert "has no failed rows" in capsys.readouterr().err
    (made / "00000_stats.json").write_text("")
    assert "--repair" in message(f"--to={tmp_path / 'q'}")


@given(
    st.lists(st.integers(0, 9), max_size=20),
    st.integers(1, 25),
)
def test_packing_takes_each_sample_once_in_order(counts: Sequence[int], per_shard: int) -> None:
    shards = [(str(number), count) for number, count in enumerate(counts)]
    tasks = list(pack(shards, per_shard))
    assert [task.shard_id for task in tasks] == list(range(len(tasks)))
    assert [task.count for task in tasks[:-1]] == [per_shard] * (len(tasks) - 1)
    taken = [(p.shard, n) for task in tasks for p in task.pieces for n in range(p.start, p.stop)]
    assert taken == [(name, n) for name, count in shards for n in range(count)]
    assert Piece("0", 0, 0) not in [p for task in tasks for p in task.pieces]
