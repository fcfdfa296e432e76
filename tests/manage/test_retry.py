"""`img2ds retry`: failed rows are retried once and counted once."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import img2ds
from img2ds import cli
from img2ds.core.state import MANIFEST, retry_file
from img2ds.downloader.retried_rows import KEY_COLUMN
from img2ds.manage.options import StatusOptions, VerifyOptions
from img2ds.manage.status import Status
from img2ds.manage.status import run as look
from img2ds.manage.verify import run as verify
from img2ds.storage import OutputFolder
from tests.downloader.test_job import ROOT, markers, read_until
from tests.manage.dataset_rows import network
from tests.manage.img2dataset_folder import write_shard
from tests.manage.recovering_web import Flaky, write_rows

ROWS, PER_SHARD = 45, 10
#: Images that come at the second try, and those that never do.
BUSY = (3, 11, 12, 13, 14, 25, 44)
GONE = (5, 41)
STUBBORN = (14, 44)


@pytest.fixture
def web() -> Iterator[tuple[Flaky, str]]:
    flaky = Flaky(ROWS)
    flaky.flaky.answers = {**dict.fromkeys(BUSY, 503), **dict.fromkeys(GONE, 404)}
    with flaky as address:
        yield flaky, address


def arguments(address: str, folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "output_folder": str(folder / "set"), "processes_count": 1, **network(address), **more
    }  # fmt: skip


def download(address: str, folder: Path, **more: Any) -> None:
    report = img2ds.download(
        str(write_rows(folder / "list.parquet", ROWS)), url_col="URL", caption_col="text",
        save_additional_columns=["n"], number_sample_per_shard=PER_SHARD,
        **{"output_format": "webdataset", **arguments(address, folder, **more)},
    )  # fmt: skip
    assert report.exit_code == 0


def retry(address: str, folder: Path, **more: Any) -> int:
    """The exit code of the command."""
    typed = [f"--{name}={value}" for name, value in arguments(address, folder, **more).items()]
    return cli.run(["retry", *typed])


def status(folder: Path) -> Status:
    return look(StatusOptions(output_folder=str(folder / "set")))


def table(folder: Path, *shards: int) -> pa.Table:
    return pa.concat_tables(pq.read_table(folder / "set" / f"{n:05d}.parquet") for n in shards)


def listed(folder: Path, name: str) -> list[str]:
    """The keys of the rows on a list, in order."""
    place = folder / "set" / retry_file(name, "00000")
    keys: list[str] = pq.read_table(place)[KEY_COLUMN].to_pylist()
    return keys


def test_rows_that_failed_for_a_transient_reason_are_retried(
    tmp_path: Path, web: tuple[Flaky, str], capsys: pytest.CaptureFixture[str]
) -> None:
    flaky, address = web
    download(address, tmp_path)
    before = markers(tmp_path / "set")
    assert len(before) == 5
    assert status(tmp_path).tally.reasons == {"http_503": 7, "http_404": 2}

    flaky.flaky.answers = {**dict.fromkeys(STUBBORN, 503), **dict.fromkeys(GONE, 404)}
    flaky.flaky.asked.clear()
    assert retry(address, tmp_path) == 0
    # 503 may be the host's limit, so that a row may be asked for again.
    assert sorted(set(flaky.flaky.asked)) == list(BUSY)
    assert before.items() <= markers(tmp_path / "set").items()
    assert len(markers(tmp_path / "set")) == 6

    # The rows are those of the list, with all that the first run knew of them.
    again = table(tmp_path, 5)
    assert again.schema == table(tmp_path, 0).schema
    assert again["n"].to_pylist() == list(BUSY)
    assert again["caption"].to_pylist() == [f"caption {n}" if n % 5 else None for n in BUSY]
    assert again["key"].to_pylist() == [f"00005{n}" for n in range(7)]
    assert listed(tmp_path, "0001") == [f"{n:06d}" for n in BUSY]
    with tarfile.open(tmp_path / "set" / "00005.tar") as tar:
        file = tar.extractfile("000050.txt")
        assert file is not None
        assert file.read() == b"caption 3"

    # Each row counts once, as it is now.
    found = status(tmp_path)
    assert found.exit_code == 0
    assert (found.rows, found.tally.successes, found.tried_again) == (45, 41, 7)
    assert found.tally.reasons == {"http_404": 2, "http_503": 2}
    assert (found.tally.failed_to_download, found.tally.count) == (4, 45)
    assert "5 of 7 rows downloaded" in found.text

    # What still fails is what is left to try, and nothing that came.
    flaky.flaky.asked.clear()
    assert retry(address, tmp_path) == 0
    assert sorted(set(flaky.flaky.asked)) == list(STUBBORN)
    assert listed(tmp_path, "0002") == ["000054", "000056"]
    flaky.flaky.answers.clear()
    assert retry(address, tmp_path, reasons="http_503,http_404") == 0
    assert table(tmp_path, 7)["n"].to_pylist() == [5, 41, *STUBBORN]
    found = status(tmp_path)
    assert (found.rows, found.tally.successes, found.tally.count) == (45, 45, 45)

    capsys.readouterr()
    flaky.flaky.asked.clear()
    assert retry(address, tmp_path) == 0
    assert "nothing to retry" in capsys.readouterr().out
    assert (flaky.flaky.asked, len(markers(tmp_path / "set"))) == ([], 8)
    assert verify(VerifyOptions(output_folder=str(tmp_path / "set"))).exit_code == 0


def test_the_first_command_and_extend_still_work_after_retries(
    tmp_path: Path, web: tuple[Flaky, str]
) -> None:
    flaky, address = web
    download(address, tmp_path)
    flaky.flaky.answers.clear()
    assert retry(address, tmp_path) == 0
    flaky.flaky.asked.clear()
    download(address, tmp_path)
    assert flaky.flaky.asked == []
    (tmp_path / "more").mkdir()
    more = write_rows(tmp_path / "more" / "list.parquet", 12)
    flaky.flaky.answers = {7: 503}
    report = img2ds.download(
        str(more), url_col="URL", caption_col="text", save_additional_columns=["n"],
        number_sample_per_shard=PER_SHARD, output_format="webdataset",
        incremental_mode="extend", **arguments(address, tmp_path),
    )  # fmt: skip
    assert report.exit_code == 0
    flaky.flaky.answers.clear()
    assert retry(address, tmp_path) == 0
    assert listed(tmp_path, "0002") == ["000067"]  # behind five shards and one of a retry
    found = status(tmp_path)
    assert [s.first_shard for s in found.segments] == [0, 5, 6, 8]
    assert (found.rows, found.tally.successes, found.tally.reasons) == (57, 55, {"http_404": 2})


def test_shards_that_came_late_are_tried_by_a_later_retry(
    tmp_path: Path, web: tuple[Flaky, str]
) -> None:
    flaky, address = web
    download(address, tmp_path)
    (tmp_path / "set" / "00001_stats.json").unlink()
    flaky.flaky.answers.clear()
    assert retry(address, tmp_path) == 0
    assert listed(tmp_path, "0001") == ["000003", "000025", "000044"]
    flaky.flaky.answers = {11: 503, 12: 503}
    download(address, tmp_path)
    flaky.flaky.answers.clear()
    assert retry(address, tmp_path) == 0
    assert listed(tmp_path, "0002") == ["000011", "000012"]
    assert status(tmp_path).tally.reasons == {"http_404": 2}


def test_no_picture_stands_twice_after_a_repair(tmp_path: Path, web: tuple[Flaky, str]) -> None:
    """A shard is rebuilt, and the retry has some of its rows by then."""
    flaky, address = web
    download(address, tmp_path)
    flaky.flaky.answers = dict.fromkeys(GONE, 404)
    assert retry(address, tmp_path) == 0
    before = status(tmp_path).tally
    (tmp_path / "set" / "00001_stats.json").unlink()
    flaky.flaky.asked.clear()
    download(address, tmp_path)
    assert sorted(flaky.flaky.asked) == [n for n in range(10, 20) if n not in BUSY]
    rows = table(tmp_path, *range(6)).to_pylist()
    good = [row["url"] for row in rows if row["status"] == "success"]
    assert len(good) == len(set(good)) == ROWS - len(GONE)
    after = status(tmp_path).tally
    assert (after.successes, after.reasons) == (before.successes, before.reasons)


def test_a_killed_retry_resumes_its_list(tmp_path: Path) -> None:
    flaky = Flaky(ROWS)
    flaky.flaky.answers = dict.fromkeys(range(30), 503)
    with flaky as address:
        download(address, tmp_path)
        flaky.flaky.answers.clear()
        flaky.flaky.held = set(range(12, 30))
        typed = [f"--{k}={v}" for k, v in arguments(address, tmp_path).items()]
        command = [sys.executable, "-m", "img2ds", "retry", *typed]
        process = subprocess.Popen(
            command, cwd=ROOT, text=True, start_new_session=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        read_until(process.stderr, "shard 00005")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        found = status(tmp_path)
        assert (found.segments[1].missing, found.exit_code) == ([6, 7], 1)
        assert "to resume: img2ds retry" in found.text
        # Ten rows have come; the others count as they were.
        assert (found.rows, found.tally.successes) == (45, 25)
        assert found.tally.reasons == {"http_503": 20}
        committed = markers(tmp_path / "set")
        flaky.open()
        assert retry(address, tmp_path, reasons="http_404") == 2  # another one is not finished
        flaky.flaky.asked.clear()
        assert retry(address, tmp_path) == 0
    assert sorted(flaky.flaky.asked) == list(range(10, 30))
    assert committed.items() <= markers(tmp_path / "set").items()
    assert table(tmp_path, 5, 6, 7)["n"].to_pylist() == list(range(30))
    found = status(tmp_path)
    assert (found.rows, found.tally.successes, found.exit_code) == (45, 45, 0)


def test_a_shard_rebuilt_after_its_retry_counts_no_row_twice(
    tmp_path: Path, web: tuple[Flaky, str]
) -> None:
    flaky, address = web
    download(address, tmp_path)
    flaky.flaky.answers = dict.fromkeys(GONE, 404)
    assert retry(address, tmp_path) == 0
    (tmp_path / "set" / "00001_stats.json").unlink()  # as verify --repair does
    download(address, tmp_path)
    found = status(tmp_path)
    assert (found.rows, found.tally.successes, found.tally.count) == (45, 43, 45)
    assert found.tally.reasons == {"http_404": 2}
    assert retry(address, tmp_path) == 0
    assert len(markers(tmp_path / "set")) == 6


def test_a_remote_folder_is_retried(remote: str, original: tuple[Path, str]) -> None:
    typed = [f"--{name}={value}" for name, value in network(original[1]).items()]
    arguments = ["retry", f"--output_folder={remote}", "--processes_count=1", *typed]
    assert cli.run([*arguments, "--reasons=http_404,http_410"]) == 0
    found = look(StatusOptions(output_folder=remote))
    assert (found.rows, found.tried_again, found.committed, found.exit_code) == (35, 2, 5, 0)


def test_a_retry_that_nothing_came_of_leaves_no_list(
    tmp_path: Path, web: tuple[Flaky, str]
) -> None:
    flaky, address = web
    download(address, tmp_path)
    # As one that was killed before its first commit leaves the folder.
    (tmp_path / "set" / retry_file("0001", "00000")).write_bytes(b"half")
    flaky.flaky.answers.clear()
    assert retry(address, tmp_path, reasons="http_404") == 0
    assert listed(tmp_path, "0001") == ["000005", "000041"]


def test_a_retry_killed_before_its_first_commit_fixes_no_options(
    tmp_path: Path, web: tuple[Flaky, str]
) -> None:
    flaky, address = web
    download(address, tmp_path)
    assert retry(address, tmp_path) == 0
    (tmp_path / "set" / "00005_stats.json").unlink()
    flaky.flaky.asked.clear()
    assert retry(address, tmp_path, reasons="http_404") == 0
    assert sorted(flaky.flaky.asked) == list(GONE)
    assert listed(tmp_path, "0001") == ["000005", "000041"]
    assert [s.first_shard for s in status(tmp_path).segments] == [0, 5]


def test_dry_run_counts_and_does_nothing(
    tmp_path: Path, web: tuple[Flaky, str], capsys: pytest.CaptureFixture[str]
) -> None:
    flaky, address = web
    download(address, tmp_path)
    flaky.flaky.asked.clear()
    before = (tmp_path / "set" / MANIFEST).read_bytes()
    assert retry(address, tmp_path, dry_run=True) == 0
    assert "7 rows to retry" in capsys.readouterr().out
    assert (flaky.flaky.asked, (tmp_path / "set" / MANIFEST).read_bytes()) == ([], before)
    assert not list((tmp_path / "set").glob(".img2ds-retry-*"))


def test_a_folder_of_img2dataset_is_retried_by_its_messages(
    tmp_path: Path, web: tuple[Flaky, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, address = web
    folder = tmp_path / "set"
    for number in range(2):
        write_shard(folder, number)
    assert retry(address, tmp_path) == 2
    assert "has no record of the options" in capsys.readouterr().err
    url_list = tmp_path / "list.txt"
    url_list.write_text("".join(f"http://h.example/photo/{n % 10}.jpg\n" for n in range(20)))
    report = img2ds.download(
        str(url_list), number_sample_per_shard=10, output_format="webdataset",
        **arguments(address, tmp_path),
    )  # fmt: skip
    assert (report.shards_committed, report.shards_before) == (0, 2)
    assert retry(address, tmp_path) == 0
    # Messages 3 and 5 of seven in turn: a time-out and a 503.
    assert listed(tmp_path, "0001") == ["000003", "000005", "000013", "000015"]
    found = status(tmp_path)
    assert (found.rows, found.by_img2dataset, found.tried_again) == (20, 2, 4)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"reasons": "http_5003"}, "unknown reason 'http_5003'"),
        ({"reasons": "connect_timeuot"}, "did you mean connect_timeout?"),
        ({"timeuot": 3}, "did you mean --timeout?"),
        ({"image_size": 3}, "unknown flag --image_size"),
        ({"timeout": 0}, "--timeout must be above 0"),
        ({"thread_count": 10**7}, "open files"),
    ],
)
def test_wrong_use_is_one_line_and_changes_nothing(
    made: Path, capsys: pytest.CaptureFixture[str], more: dict[str, Any], expected: str
) -> None:
    before = sorted(made.rglob("*"))
    typed = [f"--{name}={value}" for name, value in more.items()]
    assert cli.run(["retry", f"--output_folder={made}", *typed]) == 2
    stderr = capsys.readouterr().err
    assert expected in stderr
    assert stderr.count("\n") == 1
    assert sorted(made.rglob("*")) == before


def test_folders_that_cannot_be_retried(
    made: Path, tmp_path: Path, web: tuple[Flaky, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with OutputFolder.open(str(made)).lock():
        assert cli.run(["retry", f"--output_folder={made}"]) == 2
    assert "is in use by process" in capsys.readouterr().err
    manifest = json.loads((made / MANIFEST).read_text())
    for name, value, expected in (
        ("verify_hash", ["md5", "md5"], "its column md5 was not saved"),
        ("sparkle", 1, "by a newer img2ds, with --sparkle"),
        ("output_format", "dummy", "which keep no rows"),
    ):
        changed = json.loads(json.dumps(manifest))
        changed["segments"][0]["options"][name] = value
        (made / MANIFEST).write_text(json.dumps(changed))
        assert cli.run(["retry", f"--output_folder={made}"]) == 2
        assert expected in capsys.readouterr().err
    manifest["segments"][0]["shard_count"] = None
    (made / MANIFEST).write_text(json.dumps(manifest))
    assert cli.run(["retry", f"--output_folder={made}"]) == 2
    assert "never read to its end" in capsys.readouterr().err


def test_a_damaged_table_is_reported(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made / "00003.parquet"
    buffer = io.BytesIO(path.read_bytes()[:-20])
    path.write_bytes(buffer.getvalue())
    assert cli.run(["retry", f"--output_folder={made}", "--reasons=http_500,not_an_image"]) == 2
    stderr = capsys.readouterr().err
    assert "cannot be read as parquet" in stderr
    assert "img2ds verify" in stderr
