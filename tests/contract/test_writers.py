"""The contract of every writer: samples can be read back, and its file records are correct."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tfrecord

from img2ds.config.options import FLAGS, ImageOptions, Options, OutputOptions
from img2ds.core.failure import UsageError
from img2ds.core.sample import Encoded, ShardTask
from img2ds.downloader.dataset_sink import DatasetSink
from img2ds.downloader.shard import Shard
from img2ds.engine.shard_output import ShardOutput
from img2ds.formats.metadata_table import write_metadata
from img2ds.formats.table import open_writer
from img2ds.storage import OutputFolder
from tests.contract.samples_and_readers import (
    SCHEMA,
    Read,
    as_kept,
    opened,
    read_files,
    read_litdata,
    read_mds,
    read_parquet,
    read_tar,
    read_tfrecord,
    read_webdataset,
    samples,
    table,
    write,
)

FORMATS = FLAGS["output_format"].metadata["choices"]
READERS: list[tuple[str, str, Read]] = [
    ("webdataset", "00007.tar", read_tar),
    ("webdataset", "00007.tar", read_webdataset),
    ("files", "00007", read_files),
    ("parquet", "00007.parquet", read_parquet),
    ("tfrecord", "00007.tfrecord", read_tfrecord),
    ("mds", "00007.mds", read_mds),
    ("litdata", "00007.bin", read_litdata),
]
#: Formats whose samples stand in the order of their keys, not in that of finishing.
SORTED = {"files", "parquet", "mds", "litdata"}


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("captions", [True, False])
@pytest.mark.parametrize(("output_format", "name", "read"), READERS)
def test_what_was_added_comes_back(
    output_format: str, name: str, read: Read, captions: bool, tmp_path: Path
) -> None:
    write(tmp_path, output_format, captions)
    found = read(tmp_path / name)
    given = samples(captions)
    keys = [sample.key for sample in given]
    assert list(found) == (sorted(keys) if output_format in SORTED else keys)
    for sample in given:
        image, caption, row = found[sample.key]
        assert image == bytes(sample.image)
        assert caption == sample.caption
        assert row == as_kept(output_format, sample.metadata)
        assert list(row) == SCHEMA[captions].names


@pytest.mark.parametrize("captions", [True, False])
@pytest.mark.parametrize(("output_format", "name", "read"), READERS)
def test_rows_stored_with_images_equal_the_metadata(
    output_format: str, name: str, read: Read, captions: bool, tmp_path: Path
) -> None:
    write(tmp_path, output_format, captions)
    whole = table(samples(captions), captions)
    rows = {row["key"]: row for row in whole.to_pylist()}
    for key, (_, _, row) in read(tmp_path / name).items():
        assert row == as_kept(output_format, rows[key])


@pytest.mark.parametrize("output_format", FORMATS)
def test_records_of_files_are_true_and_complete(output_format: str, tmp_path: Path) -> None:
    records = write(tmp_path, output_format, True)
    assert sorted(record.name for record in records) == sorted(os.listdir(tmp_path))
    for record in records:
        path = tmp_path / record.name
        if path.is_dir():
            inside = {file.name: file.read_bytes() for file in path.iterdir()}
            assert record.files == len(inside)
            assert record.size == sum(map(len, inside.values()))
            data = sha256sum(path)
        else:
            data = path.read_bytes()
            assert record.files is None
            assert record.size == len(data)
        assert record.sha256 == hashlib.sha256(data).hexdigest()


def sha256sum(folder: Path) -> bytes:
    """The output of the command for all files of a folder."""
    names = sorted(os.listdir(folder))
    return subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, check=True).stdout


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_same_input_gives_the_same_bytes(output_format: str, tmp_path: Path) -> None:
    one = write(tmp_path / "one", output_format, True)
    other = write(tmp_path / "other", output_format, True)
    assert one == other


@pytest.mark.parametrize("output_format", FORMATS)
def test_nothing_is_left_open(output_format: str, tmp_path: Path) -> None:
    write(tmp_path / "warm", output_format, True)
    before = open_files()
    write(tmp_path / "finished", output_format, True)
    assert open_files() == before
    writer = opened(tmp_path / "aborted", output_format)
    for sample in samples(True):
        writer.add(sample)
    writer.abort()
    assert open_files() == before
    writer.abort()  # a shard that is given up twice does no harm
    empty = opened(tmp_path / "unused", output_format)
    empty.abort()
    assert open_files() == before


@pytest.mark.parametrize(("output_format", "name", "read"), READERS)
def test_an_attempt_that_failed_leaves_nothing_to_the_next(
    output_format: str, name: str, read: Read, tmp_path: Path
) -> None:
    """Of the same process, which writes at the same place."""
    first, *rest = samples(True)
    writer = opened(tmp_path, output_format)
    writer.add(first)
    writer.abort()
    writer = opened(tmp_path, output_format)
    for sample in rest:
        writer.add(sample)
    writer.finish(table(rest, True))
    assert read(tmp_path / name).keys() == {sample.key for sample in rest}


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_shard_without_a_success_is_written_all_the_same(
    output_format: str, tmp_path: Path
) -> None:
    writer = opened(tmp_path, output_format)
    records = writer.finish(table([], True))
    assert sorted(record.name for record in records) == sorted(os.listdir(tmp_path))
    for name, file, read in READERS:
        if name == output_format:
            assert read(tmp_path / file) == {}


@pytest.mark.parametrize("output_format", [name for name in FORMATS if name != "dummy"])
def test_a_file_that_cannot_be_created_is_an_oserror(output_format: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        open_writer(
            "00007",
            OutputOptions(output_format=output_format),
            ImageOptions(),
            lambda name: str(tmp_path / "missing" / name),
        )


def full_device(folder: Path) -> Callable[[str], str]:
    """Staging paths on a full device.

    Links in a folder of the test's own: pyarrow removes what it could not write, and a test run
    as root would lose its machine the device.
    """

    def staging_path(name: str) -> str:
        (folder / name).symlink_to("/dev/full")
        return str(folder / name)

    return staging_path


@pytest.mark.parametrize("output_format", ["webdataset", "parquet", "tfrecord", "mds", "litdata"])
def test_a_full_device_is_an_oserror(output_format: str, tmp_path: Path) -> None:
    output = OutputOptions(output_format=output_format)
    writer = open_writer("00007", output, ImageOptions(), full_device(tmp_path))
    large = max(samples(True), key=lambda sample: len(sample.image))
    with pytest.raises(OSError, match="No space left"):
        writer.add(large)
    before = open_files()
    writer.abort()
    assert open_files() == before - 1


@pytest.mark.parametrize("output_format", ["webdataset", "parquet", "tfrecord", "mds", "litdata"])
def test_a_device_that_is_full_at_the_end_is_an_oserror(output_format: str, tmp_path: Path) -> None:
    staging_path = full_device(tmp_path)
    output = OutputOptions(output_format=output_format)
    writer = open_writer("00007", output, ImageOptions(), staging_path)
    given = samples(True)[:1]
    writer.add(given[0])  # gathered, not written yet
    rows = table(given, True)
    with pytest.raises(OSError, match="No space left"):
        writer.finish(rows)
    writer.abort()
    with pytest.raises(OSError, match="No space left"):
        write_metadata("00007.parquet", staging_path("metadata.parquet"), rows)


#: A writer that may write `limit` bytes a file; prints what stopped it.
LIMITED = """
import resource, signal, sys
from pathlib import Path
from tests.contract.samples_and_readers import write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, output_format, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    print("wrote", len(write(folder, output_format, True)))
except OSError as error:
    print("OSError", error.errno)
"""


@pytest.mark.parametrize("output_format", [name for name in FORMATS if name != "dummy"])
@pytest.mark.parametrize("missing", [0, 1, 500_000, 2_500_000])
def test_a_file_that_may_not_grow_is_an_oserror(
    output_format: str, missing: int, tmp_path: Path
) -> None:
    """A partial last write is not a success."""
    record = write(tmp_path, output_format, True)[0]
    whole = record.size
    if record.files is not None:
        whole = max(file.stat().st_size for file in (tmp_path / record.name).iterdir())
        missing = min(missing, whole)
    else:
        assert whole > 2_500_000
    process = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), output_format, str(whole - missing)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert process.stdout.startswith("OSError 27" if missing else "wrote 1"), process.stderr


@pytest.mark.parametrize(("output_format", "name", "read"), READERS)
def test_a_null_caption_is_an_empty_text(
    output_format: str, name: str, read: Read, tmp_path: Path
) -> None:
    """Through the shard, which knows whether there is a caption column."""
    table = pa.table({"url": ["http://a/1", "http://a/2"], "caption": [None, "two"]})
    options = Options.from_flags(
        {"url_list": "-", "caption_col": "caption", "output_format": output_format,
         "output_folder": str(tmp_path), "compute_hash": None}
    )  # fmt: skip
    folder = OutputFolder.open(str(tmp_path))
    sink = DatasetSink(ShardOutput(folder, 7), options)
    shard = Shard(ShardTask(7, 2, table), table, options, sink)
    for index in range(2):
        shard.store(index, Encoded(b"image", 2, 2, 4, 4, "{}"))
    assert shard.commit().error is None
    found = [(caption, row["caption"]) for _, caption, row in read(tmp_path / name).values()]
    if output_format == "parquet":  # stores the caption in the row, where null stays null
        assert found == [(None, None), ("two", "two")]
    else:
        assert found == [("", "" if output_format == "tfrecord" else None), ("two", "two")]


def test_members_are_plain_ustar_with_nothing_of_this_machine(tmp_path: Path) -> None:
    write(tmp_path, "webdataset", True)
    with tarfile.open(tmp_path / "00007.tar") as archive:
        members = archive.getmembers()
    for member in members:
        assert (member.mode, member.mtime, member.uid, member.gid) == (0o444, 0, 0, 0)
        assert (member.uname, member.gname, member.type) == ("", "", tarfile.REGTYPE)
    data = (tmp_path / "00007.tar").read_bytes()
    assert len(data) % 10_240 == 0
    rebuilt = io.BytesIO()
    with tarfile.open(fileobj=rebuilt, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for member in members:
            start = member.offset_data
            archive.addfile(member, io.BytesIO(data[start : start + member.size]))
    assert rebuilt.getvalue() == data


@pytest.mark.parametrize("encode_format", ["jpg", "png", "webp"])
def test_images_are_named_after_their_format(encode_format: str, tmp_path: Path) -> None:
    for output_format in FORMATS:
        records = write(tmp_path / output_format, output_format, True, encode_format)
        if output_format == "files":
            # The order of extensions, in which the folder's hash has them, differs.
            listing = sha256sum(tmp_path / "files" / "00007")
            assert records[0].sha256 == hashlib.sha256(listing).hexdigest()
    names = sorted(os.listdir(tmp_path / "files" / "00007"))
    assert f"000070000.{encode_format}" in names
    with tarfile.open(tmp_path / "webdataset" / "00007.tar") as archive:
        assert sorted(archive.getnames()) == names
        assert archive.getnames()[:3] == [
            f"000070000.{encode_format}", "000070000.txt", "000070000.json",
        ]  # fmt: skip
    assert pq.read_schema(tmp_path / "parquet" / "00007.parquet").names[-1] == encode_format
    (first, *_) = tfrecord.tfrecord_loader(str(tmp_path / "tfrecord" / "00007.tfrecord"), None)
    assert encode_format in first


@pytest.mark.parametrize(
    ("output_format", "name", "read"), [row for row in READERS if row[0] != "parquet"]
)
def test_values_json_does_not_know_are_written_as_text(
    output_format: str, name: str, read: Read, tmp_path: Path
) -> None:
    sample = samples(False)[0]
    sample.metadata["licence"] = b"raw"
    writer = opened(tmp_path, output_format)
    writer.add(sample)
    writer.finish(table([], False))
    assert read(tmp_path / name)[sample.key][2]["licence"] == "raw"


@pytest.mark.parametrize(
    ("output_format", "name", "read"), [row for row in READERS if row[0] in ("files", "webdataset")]
)
def test_a_sample_that_cannot_be_written_leaves_no_part_of_itself(
    output_format: str, name: str, read: Read, tmp_path: Path
) -> None:
    good, bad = samples(True)[:2]
    bad.metadata["licence"] = 2**70  # JSON as orjson has it ends at 64 bits
    writer = opened(tmp_path, output_format)
    with pytest.raises(TypeError):
        writer.add(bad)
    writer.add(good)
    writer.finish(table([], True))
    assert list(read(tmp_path / name)) == [good.key]
    if output_format == "files":
        assert {file.stem for file in (tmp_path / name).iterdir()} == {good.key}


def test_the_dummy_writes_nothing(tmp_path: Path) -> None:
    assert write(tmp_path, "dummy", True) == []
    assert os.listdir(tmp_path) == []
    assert not opened(tmp_path, "dummy").has_metadata_file


def test_formats_that_there_are_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown plug-in 'hologram'"):
        opened(tmp_path, "hologram")
