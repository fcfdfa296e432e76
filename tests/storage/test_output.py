"""An output folder, local and on S3: staged, published whole, cleaned up after dead runs."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from img2ds.core.failure import UsageError
from img2ds.storage import OutputFolder, claim, commit, staging
from img2ds.storage.heartbeat_lock import HeartbeatLock
from img2ds.storage.lock_holder import STALE
from img2ds.storage.staging import Staging
from tests.state import published
from tests.storage.conftest import Outage


def test_a_file_appears_when_it_is_published(folder: OutputFolder) -> None:
    path = folder.staging_path("00000.tar")
    Path(path).write_bytes(b"half")
    assert "00000.tar" not in folder.names()
    assert not folder.exists("00000.tar")
    Path(path).write_bytes(b"whole")
    folder.publish("00000.tar")
    assert folder.read_bytes("00000.tar") == b"whole"
    assert published(folder) == ["00000.tar"]
    assert not os.path.exists(path)


def test_publishing_replaces(folder: OutputFolder) -> None:
    folder.write_bytes("a.json", b"first")
    folder.write_bytes("a.json", b"second, and longer")
    assert folder.read_bytes("a.json") == b"second, and longer"


def test_workers_publish_into_the_same_folder(folder: OutputFolder) -> None:
    twin = pickle.loads(pickle.dumps(folder))
    twin.write_bytes("x/y.json", b"{}")
    assert folder.read_bytes("x/y.json") == b"{}"
    assert twin.names() == folder.names()


def test_a_process_has_one_name_from_its_first_commits_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads commit the first shards of a worker; nothing has used the name before."""
    both = threading.Barrier(2)
    names = iter(("a-1-1-one", "a-1-1-two"))

    def slow_name() -> str:
        both.wait()
        return next(names)

    monkeypatch.setattr(staging, "process_name", slow_name)
    monkeypatch.setattr(staging, "_names_by_pid", {})
    folder = Staging(str(tmp_path), "run", inside=False)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(folder.path("x"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len(set(found)) == 1


def test_removing(folder: OutputFolder) -> None:
    folder.write_bytes("a", b"1")
    folder.write_bytes("b/c", b"2")
    folder.remove(["a", "b", "never was"])
    assert published(folder) == []


def test_a_folder_that_is_not_there_has_no_names(location: tuple[str, str | None]) -> None:
    folder = OutputFolder.open(location[0] + "/nowhere")
    assert folder.names() == []
    assert not folder.exists("a")


def test_one_run_at_a_time(location: tuple[str, str | None]) -> None:
    first = OutputFolder.open(*location)
    held_by_us = rf"in use by process {os.getpid()} on .*--force"
    with first.lock(), pytest.raises(UsageError, match=held_by_us):
        OutputFolder.open(*location).lock()
    with OutputFolder.open(*location).lock():
        pass


def test_taking_over_by_force(location: tuple[str, str | None]) -> None:
    held = OutputFolder.open(*location).lock()
    assert not held.lost
    with OutputFolder.open(*location).lock(force=True) as taken:
        if isinstance(held, HeartbeatLock):
            held.refresh()
        assert bool(held.lost)
        assert not taken.lost
        held.release()  # which takes nothing away from the new holder
        assert not taken.lost
        with pytest.raises(UsageError, match="in use"):
            OutputFolder.open(*location).lock()


def test_a_remote_lock_goes_stale(s3: str, tmp_path: Path) -> None:
    folder = f"{s3}/{tmp_path.name}"
    now = 1_000_000.0
    dead = HeartbeatLock(folder, f"{folder}/.img2ds-lock", False, lambda: now)
    dead._end.set()  # its process is gone: no more heartbeats
    with pytest.raises(UsageError, match="in use"):
        HeartbeatLock(folder, f"{folder}/.img2ds-lock", False, lambda: now + STALE - 1)
    taken = HeartbeatLock(folder, f"{folder}/.img2ds-lock", False, lambda: now + STALE + 1)
    dead.refresh()
    assert dead.lost
    taken.release()


#: Leaves a staged file and ends as if it were killed.
DIES = (
    "import os, sys; from img2ds.storage import OutputFolder;"
    "folder = OutputFolder.open(sys.argv[1], *sys.argv[2:]); folder.lock();"
    "open(folder.staging_path('00000.tar'), 'w').close(); os._exit(9)"
)


def test_staging_files_of_dead_runs_are_removed(tmp_path: Path) -> None:
    """Of this machine; inside the output folder of all, since it is locked."""
    out, elsewhere = tmp_path / "out", tmp_path / "tmp"
    unrecognized = "another-host-1-1"
    for more, staging_path in (
        ((), out / ".img2ds" / "tmp"),
        ((str(elsewhere),), elsewhere / "img2ds"),
    ):
        subprocess.run([sys.executable, "-c", DIES, str(out), *more], check=False)
        (dead,) = staging_path.iterdir()
        (staging_path / unrecognized).mkdir()
        folder = OutputFolder.open(str(out), *more)
        with folder.lock():
            folder.clean_staging()
            assert not dead.exists()
            assert (staging_path / unrecognized).exists() == bool(more)
            assert Path(folder.staging.folder).exists()
        folder.close()


def test_staging_files_of_dead_workers_are_removed(tmp_path: Path) -> None:
    """On machines that only workers run on; what others write in the same run stays."""
    folder = OutputFolder.open(str(tmp_path / "out"), str(tmp_path / "tmp"))
    with folder.lock():
        Path(folder.staging_path("00001.tar")).touch()
        code = (
            "import os, pickle, sys; folder = pickle.loads(sys.stdin.buffer.read());"
            "open(folder.staging_path('00002.tar'), 'w').close(); os._exit(9)"
        )
        subprocess.run([sys.executable, "-c", code], input=pickle.dumps(folder), check=False)
        assert len(os.listdir(folder.staging.folder)) == 2
        folder.clean_dead_workers()
        assert [n.rpartition("-")[2] for n in os.listdir(folder.staging.folder)] == ["00001.tar"]
    folder.close()


def test_one_of_two_attempts_commits(
    location: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one waits for the first, finds its commit marker, and changes nothing."""
    monkeypatch.setattr(claim, "_PAUSE", 0.01)
    first = OutputFolder.open(*location, contended=True)
    second = replace(first)
    found: list[bool] = []
    with first.lock(), ExitStack() as held:
        Path(first.staging_path("0.tar")).write_bytes(b"first")
        assert held.enter_context(first.claim("0_stats.json"))

        def attempt() -> None:
            with second.claim("0_stats.json") as free:
                found.append(free)

        late = threading.Thread(target=attempt)
        late.start()
        first.publish("0.tar")
        first.write_bytes("0_stats.json", b"{}")
        assert not found
        held.close()
        late.join()
        assert found == [False]
        Path(second.staging_path("0.tar")).write_bytes(b"second")
        assert not commit(second, ["0.tar"], "0_stats.json", b"{2}")
        assert (first.read_bytes("0.tar"), first.read_bytes("0_stats.json")) == (b"first", b"{}")
        first.close()
        assert not first.exists(".img2ds")


def test_a_commit_that_fails_takes_back_what_it_published(folder: OutputFolder) -> None:
    Path(folder.staging_path("0.tar")).write_bytes(b"1")
    with pytest.raises(FileNotFoundError):
        commit(folder, ["0.tar", "never-written"], "0_stats.json", b"{}")
    assert published(folder) == []


def test_staging_on_another_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename across file systems fails; then the file is copied, and still appears whole."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    staging_path = shared / tmp_path.name
    try:
        folder = OutputFolder.open(str(tmp_path / "out"), str(staging_path))
        with folder.lock():
            folder.write_bytes("00000.tar", b"x" * 100_000)
            assert folder.read_bytes("00000.tar") == b"x" * 100_000
        folder.close()
        assert not (tmp_path / "out" / ".img2ds").exists()
    finally:
        shutil.rmtree(staging_path, ignore_errors=True)


def test_a_failed_flush_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = OutputFolder.open(str(tmp_path / "out"))
    with folder.lock():
        Path(folder.staging_path("a")).write_bytes(b"1")

        def full(fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            folder.publish("a")
        monkeypatch.undo()
        assert not folder.exists("a")


def test_an_unknown_protocol() -> None:
    with pytest.raises(UsageError, match="protocol not known"):
        OutputFolder.open("nope://x/y").check_writable()


def test_a_file_is_not_an_output_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(UsageError, match="is a file: use a folder"):
        OutputFolder.open(str(tmp_path / "out")).lock()


@pytest.mark.parametrize("output_format", ["files", "parquet", "tfrecord", "webdataset"])
def test_a_whole_run_into_s3(s3: str, tmp_path: Path, output_format: Any) -> None:
    """Through the job, with the workers' own connections; lists are read from there too."""
    import fsspec
    from fsspec.config import conf

    import img2ds
    from tests.server.good_image import good_image
    from tests.server.sample_web import BackgroundWeb

    # Workers are programs of their own and learn the endpoint the way users' do.
    endpoint: Any = conf["s3"]["endpoint_url"]
    where = f"{s3}/{tmp_path.name}"
    fs = fsspec.filesystem("s3")
    with fs.open(f"{where}/list.txt", "w") as file:
        file.write("".join(f"http://h.example/photo/{n}.jpg\n" for n in range(12)))
    with pytest.MonkeyPatch.context() as patch, BackgroundWeb([good_image()] * 12) as address:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)

        def download(**more: Any) -> Any:
            return img2ds.download(
                url_list=f"{where}/list.txt", output_folder=f"{where}/out",
                output_format=output_format, number_sample_per_shard=5, processes_count=1,
                connect_to=f"::{address}", allow_private_addresses=True, **more,
            )  # fmt: skip

        report = download()
        assert (report.exit_code, report.tally.successes) == (0, 12)
        names = whole_run(fs, where, output_format)
        if output_format != "files":
            return
        # Killed before the commit marker, with an object that the next attempt will not make.
        fs.rm(f"{where}/out/00001_stats.json")
        fs.pipe_file(f"{where}/out/00001/0000190.jpg", b"stale")
        assert download().shards_committed == 1
        assert whole_run(fs, where, output_format) == names
        report = download(incremental_mode="overwrite", max_rows=3)
        assert report.shards_committed == 1
        assert {name[:5] for name in whole_run(fs, where, output_format)} == {"00000", ".img2"}


def whole_run(fs: Any, where: str, output_format: str) -> set[str]:
    """The names of all objects but the manifest; checks that they are those of whole shards."""
    root = f"{where}/out/".removeprefix("s3://")
    fs.invalidate_cache()
    names = {path.removeprefix(root) for path in fs.find(root)}
    assert names >= {".img2ds-manifest"}
    shards = {name[:5] for name in names if name.endswith("_stats.json")}
    for shard in shards:
        marker = json.loads(fs.cat_file(f"{root}{shard}_stats.json"))
        own = {name for name in names if name.startswith(shard)}
        for record in marker["files"]:
            inside = {name for name in own if name.startswith(record["name"] + "/")}
            assert len(inside) == record.get("files", 0)
            sizes = [fs.size(root + name) for name in inside or {record["name"]}]
            assert sum(sizes) == record["size"]
            own -= inside or {record["name"]}
        assert own == {f"{shard}_stats.json"}
    data = {"files": "/", "webdataset": ".tar", "parquet": ".parquet", "tfrecord": ".tfrecord"}
    assert {name[:5] for name in names if data[output_format] in name} - {".img2"} == shards
    return names


@pytest.mark.parametrize(("failures", "published"), [(1, True), (3, True), (4, False)])
def test_an_upload_is_retried(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pauses: None,
    failures: int, published: bool,
) -> None:  # fmt: skip
    folder = OutputFolder.open(f"{s3}/{tmp_path.name}", str(tmp_path / "staging"))
    fs, _ = folder._remote("")
    put, tries = fs.put_file, []

    def failing(*arguments: Any, **more: Any) -> Any:
        tries.append(1)
        if len(tries) <= failures:
            raise Outage("Could not connect\nto the endpoint")
        return put(*arguments, **more)

    monkeypatch.setattr(fs, "put_file", failing, raising=False)
    if published:
        folder.write_bytes("00000.tar", b"x")
        assert folder.read_bytes("00000.tar") == b"x"
    else:
        with pytest.raises(OSError, match=r"cannot upload 00000\.tar: could not connect"):
            folder.write_bytes("00000.tar", b"x")
    folder.close()


def test_a_services_own_exceptions_are_os_errors(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"{s3}/{tmp_path.name}"
    folder = OutputFolder.open(where, str(tmp_path / "staging"))
    folder.write_bytes("a", b"1")
    held = HeartbeatLock(where, f"{where}/.img2ds-lock", False)
    fs, _ = folder._remote("")

    def out(*_: Any, **__: Any) -> None:
        raise Outage("away")

    with monkeypatch.context() as patch:
        for name in ("ls", "_call_s3", "exists", "cat_file", "rm", "pipe_file", "rm_file"):
            patch.setattr(fs, name, out, raising=False)
        for action in (
            folder.names, lambda: folder.exists("a"), lambda: folder.read_bytes("a"),
            lambda: folder.remove(["a"]), held.refresh,
        ):  # fmt: skip
            with pytest.raises(OSError, match="away"):
                action()
        held.release()  # a lock that cannot be removed becomes stale
    folder.close()


def test_each_user_has_a_staging_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = OutputFolder.open("s3://bucket/x").staging.root
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert OutputFolder.open("s3://bucket/x").staging.root != mine


def test_memory_filesystems_are_refused() -> None:
    with pytest.raises(UsageError, match="would be in the memory of each worker process"):
        OutputFolder.open("memory://out")


def test_a_service_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(UsageError, match=r"pip install 'img2ds\[s3\]'"):
        OutputFolder.open("s3://bucket/x").check_writable()


def test_links_of_others_are_not_followed(tmp_path: Path) -> None:
    """In a folder that others can write to, a link must not lead to a file of this user."""
    mine = tmp_path / "mine"
    mine.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    folder = OutputFolder.open(str(out))
    for name in ("lock", "probe", f"probe-{staging.this_process()}"):
        link = out / f".img2ds-{name}"
        link.symlink_to(mine)
        with pytest.raises(UsageError) if name != "probe" else ExitStack():
            folder.lock().release()
        link.unlink()
    assert mine.read_text() == "precious"


@pytest.mark.parametrize("kind", ["of another user", "a link"])
def test_a_temporary_folder_of_another_user_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2ds.storage.staging.tempfile.gettempdir", lambda: str(tmp_path))
    folder = OutputFolder.open("s3://bucket/out")
    root = Path(folder.staging.root)
    assert root.parent == tmp_path
    if kind == "a link":
        (tmp_path / "elsewhere").mkdir()
        root.symlink_to(tmp_path / "elsewhere")
    else:
        root.mkdir()
        here = os.getuid()
        monkeypatch.setattr("img2ds.storage.staging.os.getuid", lambda: here + 1)
    with pytest.raises(PermissionError, match="it belongs to another user"):
        folder.staging_path("00000.tar")
    assert not any(root.iterdir())


def test_the_temporary_folder_is_this_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2ds.storage.staging.tempfile.gettempdir", lambda: str(tmp_path))
    folder = OutputFolder.open("s3://bucket/out")
    Path(folder.staging_path("00000.tar")).write_bytes(b"x")
    assert Path(folder.staging.root).stat().st_mode & 0o77 == 0
