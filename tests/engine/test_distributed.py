"""Whole runs on every distributor: the same samples, also after a kill and by several attempts."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import img2ds
from img2ds.config.options import Options
from img2ds.core.failure import UsageError
from img2ds.downloader.shard_worker import ShardWorker
from img2ds.engine.distributors.factory import open_distributor
from img2ds.engine.marker import counts_document
from img2ds.storage import OutputFolder
from tests.conftest import spark_settings, worker_path
from tests.downloader.test_job import (
    IMAGES,
    Background,
    check_counts,
    flags,
    markers,
    read_until,
    samples,
    start,
    write_list,
)
from tests.server.fatal_decoder.images import fatal
from tests.server.good_image import good_image


@pytest.fixture
def environment(request: pytest.FixtureRequest, distributor_name: str) -> dict[str, str]:
    """The environment in which a command finds the cluster."""
    if distributor_name == "ray":
        return {**os.environ, "RAY_ADDRESS": request.getfixturevalue("ray_address")}
    if distributor_name == "pyspark":
        settings = spark_settings(request.getfixturevalue("spark_master"))
        words = " ".join(f"--conf {name}={value}" for name, value in settings.items())
        return {**os.environ, "PYSPARK_SUBMIT_ARGS": f"{words} pyspark-shell"}
    return dict(os.environ)


def test_a_killed_run_resumes(
    tmp_path: Path, distributor_name: str, environment: dict[str, str]
) -> None:
    """A command is killed with its whole group; this process resumes on the same cluster."""
    write_list(tmp_path / "list.txt")
    out = tmp_path / "out"
    web = Background(gate=25)
    with web as address:
        arguments = flags(address, tmp_path / "list.txt", out, distributor=distributor_name)
        process = start(arguments, env=environment)
        read_until(process.stderr, "shard 0000")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        committed = markers(out)
        assert committed
        assert len(committed) < 6
        web.open()
        report = img2ds.download(**arguments)
        img2ds.download(**flags(address, tmp_path / "list.txt", tmp_path / "calm"))
    assert report.exit_code == 0
    # A worker of another process group may have ended one more after the markers were read.
    assert len(committed) <= report.shards_before < 6
    assert report.cpu_time > 0
    assert committed.items() <= markers(out).items()
    assert samples(out) == samples(tmp_path / "calm")
    assert len(samples(out)) == 2 * IMAGES
    assert not (out / ".img2ds").exists()


def test_every_row_is_accounted_for(tmp_path: Path, distributor_name: str) -> None:
    """Broken links too, and from a parquet file, whose rows the workers read themselves.

    Into folders of files, which are published as one.
    """
    from tests.server.sample_web import links

    rows = list(links(IMAGES))
    pq.write_table(pa.table({"url": [row.url for row in rows]}), tmp_path / "list.parquet")
    out = tmp_path / "out"
    with Background() as address:
        report = img2ds.download(
            **flags(
                address, tmp_path / "list.parquet", out, distributor=distributor_name,
                output_format="files",
            )
        )  # fmt: skip
    check_counts(out, report, len(rows))
    tables = [pq.read_table(path) for path in sorted(out.glob("*.parquet"))]
    table = pa.concat_tables(tables)
    found = dict(zip(table["url"].to_pylist(), table["reason"].to_pylist(), strict=True))
    assert found == {row.url: row.reason for row in rows}
    good = {row["key"] for row in table.to_pylist() if row["status"] == "success"}
    assert {path.stem for path in out.glob("0*/*.jpg")} == good


def test_images_that_kill_their_worker_cost_their_rows(
    tmp_path: Path, distributor_name: str, environment: dict[str, str]
) -> None:
    """Also when there are more of them than workers that may die."""
    images = [good_image()] * IMAGES
    step = 28 if distributor_name == "pyspark" else 7  # a worker takes seconds to start there
    for place in range(3, IMAGES, step):
        images[place] = fatal(b"exhaust" if place % 2 else b"abort")
    out = tmp_path / "out"
    with Background(images=images) as address:
        arguments = flags(
            address, write_list(tmp_path / "list.txt"), out, distributor=distributor_name
        )
        process = start(arguments, env={**environment, "PYTHONPATH": worker_path()})
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    table = pa.concat_tables([pq.read_table(path) for path in sorted(out.glob("*.parquet"))])
    reasons = dict(zip(table["url"].to_pylist(), table["reason"].to_pylist(), strict=True))
    assert reasons == {
        f"http://h.example/photo/{n}.jpg": "decoder_crash" if n % step == 3 else None
        for n in range(IMAGES)
    }
    digest = hashlib.sha256(images[3]).hexdigest()
    assert f"photo/3.jpg: the decoder crashed (SIGKILL, out of memory?), sha256 {digest}" in errors


def test_a_late_attempt_leaves_a_committed_shard_alone(tmp_path: Path) -> None:
    """A shard handed out again after its commit is recognized by its marker and not rebuilt."""
    out = tmp_path / "out"
    web = Background()
    with web as address:
        arguments = flags(address, write_list(tmp_path / "list.txt", 0, 10), out)
        options = Options.from_flags(arguments)
        folder = OutputFolder.open(str(out), contended=True)
        from img2ds.downloader.planner import open_input

        (task,) = open_input(options.input).shards(10)
        with folder.lock():
            worker = ShardWorker(options, folder)
            first = list(open_distributor("multiprocessing", 1).stream(worker, iter([task])))
            before = {path: path.read_bytes() for path in out.glob("0*")}
            asked = web.web.requests
            again = list(open_distributor("multiprocessing", 1).stream(worker, iter([task])))
    assert {path: path.read_bytes() for path in out.glob("0*")} == before
    assert web.web.requests == asked
    ends = [[update for update in updates if update.shard_id == 0] for updates in (first, again)]
    assert counts_document(ends[0][0].tally) == counts_document(ends[1][0].tally)
    assert ends[1][0].error is None


def test_a_folder_that_is_not_shared_is_reported(
    tmp_path: Path, distributor_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As seen from here when the workers' machine has a different folder of that name."""
    if distributor_name == "multiprocessing":
        pytest.skip("its workers are on this machine")
    monkeypatch.setattr(OutputFolder, "is_visible", lambda folder, name: False)
    with Background() as address:
        report = img2ds.download(
            **flags(
                address, write_list(tmp_path / "l.txt"), tmp_path / "o",
                distributor=distributor_name,
            )
        )  # fmt: skip
    assert report.exit_code == 1
    assert "name a folder that all machines share" in str(report.stopped)


def test_an_address_without_a_listener(tmp_path: Path) -> None:
    """One line and exit code 2, before anything is downloaded."""
    pytest.importorskip("ray", reason="ray is not installed")
    arguments = flags("127.0.0.1:1", write_list(tmp_path / "l.txt"), tmp_path / "o")
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    process = start({**arguments, "distributor": "ray"}, env=environment)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "cannot use the Ray at RAY_ADDRESS=127.0.0.1:1" in errors.splitlines()[-1]
    assert not markers(tmp_path / "o")


def test_dry_runs_start_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    arguments = flags("127.0.0.1:1", write_list(tmp_path / "l.txt"), tmp_path / "o")
    assert img2ds.download(**{**arguments, "distributor": "ray", "dry_run": True}).exit_code == 0
    with pytest.raises(UsageError, match="--distributor is one of"):
        img2ds.download(**{**arguments, "distributor": "dask"})
