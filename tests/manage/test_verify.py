"""`img2ds verify`: what is broken is found and named, and nothing else."""

from __future__ import annotations

import errno
import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import img2ds
from img2ds import cli
from img2ds.core.failure import UsageError
from img2ds.manage import verify
from img2ds.manage.check import ShardCheck
from img2ds.manage.dataset import Dataset
from img2ds.manage.layout import layout_of
from img2ds.manage.options import VerifyOptions
from img2ds.manage.verify import run
from img2ds.storage import OutputFolder, file_record
from tests.manage.dataset_rows import PER_SHARD, network
from tests.manage.img2dataset_folder import write_shard


def problems(path: Path, *, fast: bool = False, decode: bool = False) -> dict[int, set[str]]:
    """By number of a broken shard the kinds of what is wrong with it; in this process."""
    dataset = Dataset.open(str(path))
    check = ShardCheck(dataset.folder, layout_of(dataset), fast, decode)
    found = {}
    for number, name in dataset.committed.items():
        there = {n: dataset.sizes[n] for n in dataset.files_of(number)}
        verdict = check.check(name, there)
        if verdict.problems:
            found[number] = {problem.kind for problem in verdict.problems}
    return found


def vouch(path: Path, shard: str = "00001") -> None:
    """Update the commit marker of a shard to its files as they are now."""
    marker = path / f"{shard}_stats.json"
    document = json.loads(marker.read_text())
    document.pop("digest", None)
    for record in document["files"]:
        now = file_record(record["name"], str(path / record["name"]))
        record.update(size=now.size, sha256=now.sha256)
    marker.write_text(json.dumps(document))


def rewrite_tar(
    path: Path, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]
) -> None:
    """Change the members of shard 1, and have its commit marker vouch for them."""
    name = path / "00001.tar"
    with tarfile.open(name) as tar:
        members = [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    with tarfile.open(name, "w") as tar:
        for member, data in change(members):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    vouch(path)


def test_a_folder_that_cannot_be_read_ends_the_check(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def layout(dataset: Dataset) -> None:
        raise OSError(errno.EIO, "Input/output error", f"{made}/00000.parquet")

    monkeypatch.setattr(verify, "layout_of", layout)
    report = run(VerifyOptions(output_folder=str(made)))
    assert (report.exit_code, report.findings.shards) == (1, 0)
    assert "input/output error: 4 not checked" in report.text


def test_a_sound_folder_is_sound(made: Path) -> None:
    report = run(VerifyOptions(output_folder=str(made), processes_count=2))
    assert report.exit_code == 0
    assert (report.findings.shards, report.findings.count) == (4, 35)
    assert report.text.endswith("none broken")
    assert problems(made, decode=True) == problems(made, fast=True) == {}


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 5000, -512, -10_000])
def test_a_tar_cut_anywhere_is_found(made: Path, kept: int) -> None:
    path = made / "00001.tar"
    data = path.read_bytes()
    path.write_bytes(data[:kept])
    assert "wrong_size" in problems(made)[1]
    assert "wrong_size" in problems(made, fast=True)[1]
    vouch(made)  # sizes and hashes alone are not what finds it
    if len(data[:kept]) < len(data.rstrip(b"\0")) + 512:
        assert problems(made).keys() == {1}


def test_a_tar_cut_at_a_member_has_lost_samples(made: Path) -> None:
    rewrite_tar(made, lambda members: members)
    path = made / "00001.tar"
    with tarfile.open(path) as tar:
        ends = [member.offset for member in tar.getmembers()]
    path.write_bytes(path.read_bytes()[: ends[6]])
    vouch(made)
    assert problems(made)[1] == {"damaged_data", "missing_sample"}


def test_a_byte_that_changed_is_found(made: Path) -> None:
    data = bytearray((made / "00001.tar").read_bytes())
    data[3000] ^= 1
    (made / "00001.tar").write_bytes(data)
    assert problems(made) == {1: {"wrong_hash"}}
    assert problems(made, fast=True) == {}


def test_counts_that_changed_are_found(made: Path) -> None:
    marker = made / "00001_stats.json"
    marker.write_text(re.sub(r'"received": \d', '"received": 9', marker.read_text()))
    assert problems(made) == problems(made, fast=True) == {1: {"damaged_mark"}}


def change_image(body: bytes) -> Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]:
    def change(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        return [(members[0][0], body), *members[1:]]

    return change


SAMPLES: dict[str, Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]] = {
    "missing_sample": lambda members: members[3:],
    "sample_twice": lambda members: members + members[:3],
    "no_picture": lambda members: members[1:],
    "no_caption": lambda members: members[:1] + members[2:],
    "no_metadata": lambda members: members[:2] + members[3:],
    "wrong_metadata": lambda members: [*members[:2], (members[2][0], members[5][1]), *members[3:]],
    "empty_picture": change_image(b""),
    "damaged_picture": change_image(b"<html>"),
    "unknown_sample": lambda members: [*members, ("999999.jpg", members[0][1])],
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_that_are_not_as_they_have_to_be(made: Path, kind: str) -> None:
    rewrite_tar(made, SAMPLES[kind])
    assert kind in problems(made)[1]
    assert problems(made).keys() == {1}


def test_a_truncated_image(made: Path) -> None:
    rewrite_tar(made, lambda members: [(members[0][0], members[0][1][:-400]), *members[1:]])
    assert problems(made) == {1: {"damaged_picture"}}


def test_decode_finds_what_a_header_hides(made: Path) -> None:
    def zeroed(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        name, body = members[0]
        # Its scan is gone; header and end are there.
        start = body.index(b"\xff\xda")
        return [(name, body[: start + 14] + b"\xff\xd9"), *members[1:]]

    rewrite_tar(made, zeroed)
    assert problems(made) == {}
    assert problems(made, decode=True) == {1: {"damaged_picture"}}


def rewrite_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    table = pq.read_table(path / "00001.parquet")
    pq.write_table(change(table), path / "00001.parquet")
    vouch(path)


def _with(table: pa.Table, name: str, change: Callable[[pa.ChunkedArray], object]) -> pa.Table:
    place = table.column_names.index(name)
    return table.set_column(place, name, change(table.column(name)))


TABLES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "wrong_rows": lambda table: table.slice(1),
    "wrong_key": lambda table: _with(
        table, "key", lambda keys: pc.replace_substring(keys, "1", "2")
    ),
    "wrong_counts": lambda table: _with(
        table, "status", lambda status: pa.array(["success"] * len(status))
    ),
    "damaged_table": lambda table: table.drop_columns(["status"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_tables_that_say_something_else(made: Path, kind: str) -> None:
    rewrite_table(made, TABLES[kind])
    assert kind in problems(made)[1]
    assert problems(made).keys() == {1}


def test_text_that_is_none(made: Path) -> None:
    """One damaged byte in a key, which Parquet itself does not notice."""

    def damaged(keys: pa.ChunkedArray) -> pa.Array:
        texts = [key.encode() for key in keys.to_pylist()]
        array = pa.array([b"\xff" + texts[0][1:], *texts[1:]], pa.binary())
        return array.view(pa.string())

    rewrite_table(made, lambda table: _with(table, "key", damaged))
    assert problems(made)[1] >= {"damaged_table"}


def test_reasons_missing_from_a_marker(made: Path) -> None:
    rewrite_table(
        made, lambda table: _with(
            table, "reason", lambda reasons: pc.if_else(pc.is_valid(reasons), "stalled", reasons)
        ),
    )  # fmt: skip
    assert problems(made) == {1: {"wrong_counts"}}


def test_files_that_are_gone_or_no_parquet(made: Path) -> None:
    (made / "00000.tar").unlink()
    (made / "00002.parquet").write_bytes(b"PAR1")
    (made / "00003_stats.json").write_bytes(b"")
    found = problems(made, fast=True)
    assert found[0] == {"missing_file"}
    assert found[2] == {"wrong_size"}
    assert found[3] == {"damaged_mark"}
    vouch(made, "00002")
    assert "damaged_table" in problems(made)[2]


def test_strays_and_leftovers_are_listed_and_break_nothing(made: Path) -> None:
    shutil.copy(made / "00000.tar", made / "00009.tar")
    (made / "00000.tfrecord").write_bytes(b"x")
    report = run(VerifyOptions(output_folder=str(made), processes_count=1))
    assert report.exit_code == 0
    assert (report.leftovers, report.findings.strays) == ([9], ["00000.tfrecord"])


@pytest.mark.parametrize("fast", [True, False])
def test_truncated_tars_of_img2dataset_are_found(tmp_path: Path, fast: bool) -> None:
    folder = tmp_path / "img2dataset"
    for number in range(5):
        write_shard(folder, number)
    assert problems(folder, fast=fast) == {}
    with tarfile.open(folder / "00001.tar") as tar:
        ends = [member.offset for member in tar.getmembers()]
    for number, kept in ((1, ends[2]), (2, ends[2] + 700), (3, 0)):
        path = folder / f"0000{number}.tar"
        path.write_bytes(path.read_bytes()[:kept])
    (folder / "00004.tar").unlink()
    assert problems(folder, fast=fast).keys() == {1, 2, 3, 4}


def test_rows_that_img2dataset_lost_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "img2dataset"
    write_shard(folder, 0)
    write_shard(folder, 1, lost=[3])
    found = problems(folder)
    assert found.keys() == {1}
    assert "wrong_rows" in found[1]


def test_shards_with_keys_of_other_widths_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "img2dataset"
    write_shard(folder, 0)
    write_shard(folder, 1)
    write_shard(folder, 2, rows=12)
    report = run(VerifyOptions(output_folder=str(folder), processes_count=1))
    assert report.findings.broken.keys() == {2}


def test_repair_rebuilds_broken_shards(
    made: Path, original: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in made.glob("*.tar")}
    kept = (made / "00000_stats.json").stat().st_mtime_ns
    (made / "00001.tar").write_bytes(before["00001.tar"][:3000])
    arguments = ["verify", "--output_folder", str(made), "--processes_count", "1"]
    assert cli.run(arguments) == 1
    assert "shard 00001 is broken" in capsys.readouterr().out
    assert (made / "00001_stats.json").exists()
    assert cli.run([*arguments, "--repair"]) == 1
    assert not (made / "00001_stats.json").exists()
    report = img2ds.download(
        str(original[0].parent / "list.parquet"), output_folder=str(made), caption_col="caption",
        save_additional_columns=["place"], output_format="webdataset", processes_count=1,
        number_sample_per_shard=PER_SHARD, **network(original[1]),
    )  # fmt: skip
    assert (report.shards_committed, report.shards_before) == (1, 3)
    assert cli.run(arguments) == 0
    assert (made / "00000_stats.json").stat().st_mtime_ns == kept


def test_repair_does_not_wait_for_a_locked_folder(made: Path) -> None:
    with OutputFolder.open(str(made)).lock():
        run(VerifyOptions(output_folder=str(made), fast=True, processes_count=1))
        with pytest.raises(UsageError, match="is in use by process"):
            run(VerifyOptions(output_folder=str(made), fast=True, repair=True))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fast", "--decode"], "exclude each other"),
        (["--force"], "--force is for --repair"),
        (["--processes_count", "0"], "at least 1"),
        (["--reparir"], "did you mean --repair?"),
    ],
)
def test_wrong_use(
    made: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert cli.run(["verify", "--output_folder", str(made), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_verify_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "img2dataset"
    write_shard(folder, 0)
    before = sorted(p.name for p in folder.iterdir())
    run(VerifyOptions(output_folder=str(folder), processes_count=1))
    assert sorted(p.name for p in folder.iterdir()) == before
    with pytest.raises(UsageError, match="there is no folder"):
        run(VerifyOptions(output_folder=str(tmp_path / "nowhere"), repair=True))
    assert not (tmp_path / "nowhere").exists()


def test_a_remote_folder_is_checked_and_repaired(remote: str) -> None:
    assert run(VerifyOptions(output_folder=remote, processes_count=1)).exit_code == 0
    folder = OutputFolder.open(remote)
    whole = folder.read_bytes("00001.tar")
    folder.write_bytes("00001.tar", whole[:3000])
    report = run(VerifyOptions(output_folder=remote, processes_count=1, repair=True))
    assert report.findings.broken.keys() == {1}
    assert folder.names().count("00001_stats.json") == 0
    folder.close()
