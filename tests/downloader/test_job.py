"""Whole runs, with real worker processes, over a web on loopback."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio
import webdataset as wds

import img2ds
from img2ds.core.failure import UsageError
from img2ds.downloader.job import Report, describe
from tests.server.encodings import png
from tests.server.good_image import good_image
from tests.server.photos import photo
from tests.server.sample_web import BackgroundWeb, SampleWeb, links
from tests.server.web import Peer, Request
from tests.state import data_names

ROOT = Path(__file__).parents[2]
IMAGES = 60
PER_SHARD = 10


class GatedWeb(SampleWeb):
    """Images from number `gate` on are held back until it is opened."""

    def __init__(self, images: list[bytes], gate: int) -> None:
        super().__init__(images)
        self._gate = gate
        self.opened = trio.Event()
        self.reached = threading.Event()

    async def respond(self, request: Request, peer: Peer) -> bool:
        number = request.path.rpartition("/")[2].partition(".")[0]
        if number.isdigit() and int(number) >= self._gate:
            if int(number) == self._gate:
                self.reached.set()
            await self.opened.wait()
        return await super().respond(request, peer)


class Background(BackgroundWeb):
    def __init__(self, gate: int = 10**9, images: list[bytes] | None = None) -> None:
        super().__init__([])
        self.gated = GatedWeb(images or [good_image()] * IMAGES, gate)
        self.web = self.gated

    def open(self) -> None:
        self._token.run_sync_soon(self.gated.opened.set)


def network(address: str) -> dict[str, Any]:
    return {
        "connect_to": f"::{address}",
        "allow_private_addresses": True,
        "timeout": 300,
        "max_time": 300,
    }


def flags(address: str, list_path: Path, out: Path, **more: Any) -> dict[str, Any]:
    return {
        "url_list": str(list_path),
        "output_folder": str(out),
        "output_format": "webdataset",
        "number_sample_per_shard": PER_SHARD,
        "processes_count": 2,
        "thread_count": 16,
        **network(address),
        **more,
    }


def write_list(path: Path, start: int = 0, stop: int = IMAGES) -> Path:
    path.write_text("".join(f"http://h.example/photo/{n}.jpg\n" for n in range(start, stop)))
    return path


def command(arguments: dict[str, Any]) -> list[str]:
    return [
        sys.executable, "-m", "img2ds", *(f"--{name}={value}" for name, value in arguments.items())
    ]  # fmt: skip


def start(arguments: dict[str, Any], **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(arguments), cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how,
    )  # fmt: skip


def read_until(stream: IO[str] | None, words: str) -> str:
    """The lines up to the first one that has `words` in it. Blocks; no polling."""
    assert stream is not None
    lines = []
    for line in stream:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"{words!r} never came:\n{''.join(lines)}")


def samples(folder: Path) -> dict[str, bytes]:
    """Every member of every tar."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                assert member.name not in found
                found[member.name] = file.read()
    return found


def markers(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*_stats.json")}


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def check_counts(folder: Path, report: Report, rows: int) -> None:
    """count = successes + failures, by status and reason, in every file that counts them."""
    total = 0
    for path in sorted(folder.glob("*_stats.json")):
        stats = json.loads(path.read_text())
        assert stats["count"] == sum(
            stats[name] for name in ("successes", "failed_to_download", "failed_to_resize")
        )
        assert sum(stats["reasons"].values()) == stats["count"] - stats["successes"]
        assert sum(stats["status_dict"].values()) == stats["count"]
        total += stats["count"]
    assert total == rows == report.tally.count


@pytest.fixture
def ungated() -> Iterator[tuple[Background, str]]:
    web = Background()
    with web as address:
        yield web, address


@pytest.mark.parametrize("fetcher", ["trio", "asks"])
def test_every_row_is_accounted_for(
    tmp_path: Path, ungated: tuple[Background, str], fetcher: str
) -> None:
    if fetcher == "asks":
        pytest.importorskip("asks", reason="asks is not installed")
    _, address = ungated
    rows = list(links(IMAGES))
    table = pa.table(
        {
            "URL": [row.url for row in rows],
            "TEXT": [row.caption if place % 9 else None for place, row in enumerate(rows)],
            "similarity": [place / 100 for place in range(len(rows))],
            "NSFW": ["UNLIKELY"] * len(rows),
        }
    )
    (tmp_path / "list").mkdir()
    pq.write_table(table.slice(0, 33), tmp_path / "list" / "part-0.parquet", row_group_size=12)
    pq.write_table(table.slice(33), tmp_path / "list" / "part-1.parquet", row_group_size=12)
    out = tmp_path / "out"
    report = img2ds.download(
        **flags(
            address, tmp_path / "list", out, input_format="parquet", url_col="URL",
            caption_col="TEXT", save_additional_columns=["NSFW", "similarity"], fetcher=fetcher,
        )
    )  # fmt: skip
    assert report.exit_code == 0
    check_counts(out, report, len(rows))

    metadata = pa.concat_tables(pq.read_table(path) for path in sorted(out.glob("*.parquet")))
    assert metadata.column_names == [
        "NSFW", "similarity", "caption", "url", "key", "status", "error_message", "width",
        "height", "original_width", "original_height", "exif", "sha256", "reason",
    ]  # fmt: skip
    found = {row["url"]: row for row in metadata.to_pylist()}
    assert {url: row["reason"] for url, row in found.items()} == {
        row.url: row.reason for row in rows
    }
    assert found[rows[20].url]["similarity"] == 0.2
    keys = metadata["key"].to_pylist()
    # Cut per file: 33 rows are four shards, and the second file begins with shard 4.
    assert (
        keys
        == [f"{shard:05d}{n}" for shard in range(8) for n in range(10)][:33]
        + [f"{shard:05d}{n}" for shard in range(4, 9) for n in range(10)][: len(rows) - 33]
    )

    tars = sorted(map(str, out.glob("*.tar")))
    loaded = {sample["__key__"]: sample for sample in wds.WebDataset(tars, shardshuffle=False)}
    good = {row["key"]: row for row in metadata.to_pylist() if row["status"] == "success"}
    assert loaded.keys() == good.keys()
    for key, row in good.items():
        assert json.loads(loaded[key]["json"]) == row
        assert loaded[key]["txt"].decode() == (row["caption"] or "")


def test_a_second_run_downloads_nothing(tmp_path: Path, ungated: tuple[Background, str]) -> None:
    web, address = ungated
    arguments = flags(address, write_list(tmp_path / "list.txt"), tmp_path / "out")
    assert img2ds.download(**arguments).shards_committed == 6
    before, seen = markers(tmp_path / "out"), web.web.requests
    report = img2ds.download(**arguments)
    assert (report.shards_committed, report.shards_before, report.exit_code) == (0, 6, 0)
    assert markers(tmp_path / "out") == before
    assert web.web.requests == seen
    assert not (tmp_path / "out" / ".img2ds").exists()


def test_a_killed_and_resumed_run_equals_an_undisturbed_one(tmp_path: Path) -> None:
    write_list(tmp_path / "list.txt")
    out = tmp_path / "out"
    web = Background(gate=25)
    with web as address:
        process = start(flags(address, tmp_path / "list.txt", out))
        read_until(process.stderr, "shard 0000")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        committed = markers(out)
        assert committed
        assert len(committed) < 6
        assert os.listdir(out / ".img2ds" / "tmp"), "it was killed with a shard in flight"
        web.open()
        again = subprocess.run(
            command(flags(address, tmp_path / "list.txt", out)), cwd=ROOT, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        assert f"{6 - len(committed)} shard" in again.stdout
        assert "(6 in total)" in again.stdout
        assert committed.items() <= markers(out).items()
        assert not (out / ".img2ds").exists()
        img2ds.download(**flags(address, tmp_path / "list.txt", tmp_path / "calm"))
    assert samples(out) == samples(tmp_path / "calm")
    assert len(samples(out)) == 2 * IMAGES


def test_workers_end_when_their_parent_dies(tmp_path: Path) -> None:
    web = Background(gate=15)
    with web as address:
        process = start(flags(address, write_list(tmp_path / "list.txt"), tmp_path / "out"))
        read_until(process.stderr, "shard 0000")
        process.kill()
        # The workers hold its stderr: reading to the end waits until they are gone.
        process.communicate()


def test_a_worker_that_dies_costs_no_row(tmp_path: Path) -> None:
    web = Background(gate=25)
    out = tmp_path / "out"
    with web as address:
        process = start(flags(address, write_list(tmp_path / "list.txt"), out))
        read_until(process.stderr, "shard 0000")
        os.kill(children(process.pid)[0], signal.SIGKILL)
        read_until(process.stderr, "killed by SIGKILL")
        web.open()
        process.communicate()
    assert process.returncode == 0
    assert len(markers(out)) == 6
    assert len(samples(out)) == 2 * IMAGES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_saves_partial_shards(tmp_path: Path, number: signal.Signals) -> None:
    """Rows in flight have the grace time; no row that has ended is asked for again."""
    web = Background(gate=15)
    out = tmp_path / "out"
    # One process: of two, the one that starts late has its shard not begun when the signal comes.
    arguments = flags("", write_list(tmp_path / "list.txt"), out, processes_count=1)
    with web as address:
        arguments |= network(address)
        # Rows that are parked with their host are begun: with more slots all shards were in flight.
        process = start({**arguments, "thread_count": 1, "grace_seconds": 0})
        assert web.gated.reached.wait(60)
        os.killpg(process.pid, number)
        output, _ = process.communicate()  # with the gate closed: what is in flight cannot finish
        assert process.returncode == 130
        assert f"stopped by {number.name}" in output
        assert "1 partial shard saved" in output
        assert "rerun the same command to resume" in output
        assert len(markers(out)) == 1
        assert os.listdir(out / ".img2ds") == ["partial"]
        (partial,) = (out / ".img2ds" / "partial").glob("*/*_stats.json")
        done = json.loads(partial.read_text())["count"]
        assert done == 5
        web.open()
        before = web.web.requests
        report = img2ds.download(**arguments)
        assert (report.exit_code, report.tally.count) == (0, IMAGES - PER_SHARD)
        assert web.web.requests - before == IMAGES - PER_SHARD - done
    assert not (out / ".img2ds").exists()
    assert len(samples(out)) == 2 * IMAGES


def test_rows_in_flight_end_within_the_grace_time(tmp_path: Path) -> None:
    web = Background(gate=15)
    out = tmp_path / "out"
    with web as address:
        arguments = flags(address, write_list(tmp_path / "list.txt"), out, processes_count=1)
        process = start({**arguments, "thread_count": 1, "grace_seconds": 300})
        assert web.gated.reached.wait(60)
        os.killpg(process.pid, signal.SIGINT)
        read_until(process.stderr, "then partial shards are saved")
        web.open()
        process.communicate()
    assert process.returncode == 130
    partial = out / ".img2ds" / "partial" / "0"
    counts = [json.loads(path.read_text())["count"] for path in partial.glob("*_stats.json")]
    assert sum(counts) + PER_SHARD * len(markers(out)) > 15


def test_two_signals_stop_at_once(tmp_path: Path) -> None:
    web = Background(gate=15)
    out = tmp_path / "out"
    with web as address:
        process = start(flags(address, write_list(tmp_path / "list.txt"), out))
        read_until(process.stderr, "shard 0000")
        os.killpg(process.pid, signal.SIGINT)
        read_until(process.stderr, "then partial shards are saved")
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate()  # with the gate closed: nothing can finish
    assert process.returncode == 130
    assert "not finished" in output
    assert 0 < len(markers(out)) < 6


def test_a_disk_that_takes_no_more_ends_the_run(
    tmp_path: Path, ungated: tuple[Background, str]
) -> None:
    _, address = ungated
    out = tmp_path / "out"
    arguments = flags(address, write_list(tmp_path / "list.txt"), out)
    process = start(
        arguments,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
    )
    output, errors = process.communicate()
    assert process.returncode == 1
    assert "cannot write to the output folder: file too large" in errors
    assert "rerun the same command to resume" in output
    assert markers(out) == {}
    assert not data_names(out)
    assert img2ds.download(**arguments).exit_code == 0


def test_extend_adds_another_list(tmp_path: Path, ungated: tuple[Background, str]) -> None:
    _, address = ungated
    out = tmp_path / "out"
    first = write_list(tmp_path / "a.txt", 0, 25)
    second = write_list(tmp_path / "b.txt", 25, 60)
    img2ds.download(**flags(address, first, out))
    with pytest.raises(UsageError, match="was made from another input"):
        img2ds.download(**flags(address, second, out))
    report = img2ds.download(**flags(address, second, out, incremental_mode="extend"))
    assert report.shards_committed == 4
    assert len(markers(out)) == 7
    assert len(samples(out)) == 2 * IMAGES


def test_a_folder_begun_by_img2dataset_is_gone_on_with(
    tmp_path: Path, ungated: tuple[Background, str]
) -> None:
    _, address = ungated
    out = tmp_path / "out"
    arguments = flags(address, write_list(tmp_path / "list.txt"), out)
    img2ds.download(**arguments)
    # What img2dataset would have left: no manifest, no `reason`, and a shard it never made.
    (out / ".img2ds-manifest").unlink()
    for path in out.glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["reason"]), path)
    for path in out.glob("00003*"):
        path.unlink()
    report = img2ds.download(**arguments)
    assert (report.shards_before, report.shards_committed) == (5, 1)
    (out / ".img2ds-manifest").unlink()
    write_list(tmp_path / "list.txt", 1)
    with pytest.raises(UsageError, match="do not belong to this input"):
        img2ds.download(**arguments)


def test_two_runs_on_one_folder(tmp_path: Path) -> None:
    web = Background(gate=15)
    arguments: dict[str, Any]
    with web as address:
        arguments = flags(address, write_list(tmp_path / "list.txt"), tmp_path / "out")
        process = start(arguments)
        read_until(process.stderr, "shard 0000")
        with pytest.raises(UsageError, match=f"in use by process {process.pid}"):
            img2ds.download(**arguments)
        web.open()
        process.communicate()
    assert process.returncode == 0


def test_no_time_left_starts_nothing(tmp_path: Path, ungated: tuple[Background, str]) -> None:
    web, address = ungated
    arguments = flags(
        address, write_list(tmp_path / "list.txt"), tmp_path / "out", max_runtime=1e-9
    )
    report = img2ds.download(**arguments)
    assert (report.exit_code, report.stopped) == (1, "--max_runtime is over")
    assert web.web.requests == 0


def test_an_empty_list_is_reported(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n\n")
    with pytest.raises(UsageError, match="has no rows"):
        img2ds.download(**flags("127.0.0.1:1", tmp_path / "list.txt", tmp_path / "out"))


def test_dummy_leaves_the_stats_alone(tmp_path: Path, ungated: tuple[Background, str]) -> None:
    _, address = ungated
    out = tmp_path / "out"
    arguments = flags(address, write_list(tmp_path / "list.txt"), out, output_format="dummy")
    report = img2ds.download(**arguments)
    check_counts(out, report, IMAGES)
    assert data_names(out) == {*markers(out)}


def test_codecs_do_not_write_on_the_screen(tmp_path: Path) -> None:
    broken = bytearray(png(photo(3, 64, 48)))
    broken[-20] ^= 0xFF  # a checksum: libpng complains on descriptor 2
    web = BackgroundWeb([bytes(broken)])
    with web as address:
        (tmp_path / "list.txt").write_text("http://h.example/photo/0.png\n")
        process = start(flags(address, tmp_path / "list.txt", tmp_path / "out"))
        _, errors = process.communicate()
    assert process.returncode == 3
    start_line, shard_line = errors.splitlines()
    assert " list.txt (txt, 29 bytes); 2 processes x 16 requests in flight; " in start_line
    assert shard_line.startswith("shard 00000: ")


@pytest.mark.parametrize(
    ("good", "least", "words"),
    [
        (0, 0, "no row succeeded"),
        (1, 0, None),
        (1, 0.5, "25.0 % succeeded, below --min_success 0.5"),
        (2, 0.5, None),
    ],
)
def test_too_few_successes_have_an_exit_code_of_their_own(
    tmp_path: Path, good: int, least: float, words: str | None
) -> None:
    urls = [f"http://h.example/photo/{n}.jpg" for n in range(good)]
    urls += [f"ftp://h.example/{n}.jpg" for n in range(4 - good)]
    (tmp_path / "list.txt").write_text("\n".join(urls))
    with Background() as address:
        arguments = flags(address, tmp_path / "list.txt", tmp_path / "out", min_success=least)
        report = img2ds.download(**arguments)
        again = img2ds.download(**arguments)
    assert (report.exit_code, report.shortfall) == (3 if words else 0, words)
    if words:
        assert f"{words} (exit code 3)" in describe(report)
    assert again.exit_code == 0
