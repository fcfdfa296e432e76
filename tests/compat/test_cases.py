"""The cases of img2dataset's own test suite, as img2ds answers them.

Of a module of its suite: `test_main` (whole runs), `test_downloader` (hashes, directives),
`test_reader`, `test_writer`. The others are elsewhere:

* `test_resizer`, `test_blurrer`: `test_alias`
* `test_blur_and_resize`: `tests/downloader/test_boxes`
* `test_ignore_ssl_certificate` and the like: `test_messages`, `tests/contract`
* `test_distributors`: `tests/contract`
* `test_benchmark`: `benchmark/`

What is different on purpose is listed in docs/from-img2dataset.md.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import img2ds
from img2ds.config.options import Options
from img2ds.downloader.planner import open_input
from img2ds.source.ranges import RangeReader, read_rows
from tests.downloader.test_job import network
from tests.server.encodings import png
from tests.server.photos import photo
from tests.server.sample_web import BackgroundWeb

#: Sizes of its test images, and captions: the first is empty.
SIZES = [(123, 456), (208, 495), (321, 421), (389, 535), (416, 264), (456, 123), (524, 316)]
IMAGES = [png(photo(number, *size)) for number, size in enumerate(SIZES)]
ROWS = [
    {"caption": f"caption {n}" if n else "", "url": f"http://h.example/photo/{n}.png"}
    for n in range(len(SIZES))
]

COLUMNS = ["url", "key", "status", "error_message", "width", "height", "original_width",
           "original_height", "exif", "md5", "reason"]  # fmt: skip


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with BackgroundWeb(IMAGES) as address:
        yield address


def write_list(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A list in the format that its name says, compressed if it ends in .gz."""
    if path.suffix == ".gz":
        plain = write_list(path.with_suffix(""), rows)
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
        return path
    kind = path.suffix[1:]
    if kind == "txt":
        path.write_text("".join(f"{row['url']}\n" for row in rows))
    elif kind in ("csv", "tsv"):
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="," if kind == "csv" else "\t")
            # As pandas writes them: with a column of row numbers that has no name.
            writer.writerow(["", "caption", "url"])
            writer.writerows([n, row["caption"], row["url"]] for n, row in enumerate(rows))
    elif kind == "json":
        columns = {name: {str(n): row[name] for n, row in enumerate(rows)} for name in rows[0]}
        path.write_text(json.dumps(columns))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def download(address: str, url_list: Path, out: Path, **more: Any) -> Path:
    """Run with one process. Returns the output folder."""
    ways = {**network(address), "processes_count": 1, "thread_count": 32}
    report = img2ds.download(str(url_list), 256, str(out), **{**ways, **more})
    assert report.exit_code == 0
    return out


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


@pytest.mark.parametrize(
    ("input_format", "output_format"),
    [
        ("txt", "files"), ("csv", "webdataset"), ("tsv", "files"), ("json", "webdataset"),
        ("jsonl", "files"), ("txt.gz", "webdataset"), ("csv.gz", "files"),
        ("tsv.gz", "webdataset"), ("json.gz", "files"), ("jsonl.gz", "webdataset"),
        ("parquet", "files"), ("parquet", "webdataset"),
        ("parquet", "parquet"), ("parquet", "tfrecord"), ("parquet", "dummy"),
    ],
)  # fmt: skip
def test_formats(tmp_path: Path, address: str, input_format: str, output_format: str) -> None:
    """`test_download_input_format`: a caption column may be named for every input format."""
    if output_format == "tfrecord":
        pytest.importorskip("crc32c")
    listed = write_list(tmp_path / f"list.{input_format}", ROWS)
    out = download(
        address, listed, tmp_path / "out", input_format=input_format, url_col="url",
        output_format=output_format, caption_col="caption", compute_hash="md5",
    )  # fmt: skip
    if output_format == "dummy":
        assert [n for n in names(out, "*") if n[0] not in "._"] == ["00000_stats.json"]
        return
    table = pq.read_table(out / "00000.parquet")
    images = ["jpg"] if output_format == "parquet" else []
    assert table.column_names == ["caption", *COLUMNS, *images]
    assert table.column("status").to_pylist() == ["success"] * len(ROWS)
    expected = [None if input_format.startswith("txt") else row["caption"] for row in ROWS]
    assert table.column("caption").to_pylist() == expected
    keys = [f"{n:09d}" for n in range(len(ROWS))]
    if output_format == "files":
        assert names(out, "00000/*.jpg") == [f"{key}.jpg" for key in keys]
        texts = [(out / "00000" / f"{key}.txt").read_text() for key in keys]
        assert texts == [caption or "" for caption in expected]
    elif output_format == "webdataset":
        with tarfile.open(out / "00000.tar") as tar:
            members = set(tar.getnames())
        assert members == {f"{key}.{kind}" for key in keys for kind in ("jpg", "json", "txt")}
    elif output_format == "parquet":
        assert names(out, "*.parquet") == ["00000.parquet"]
        assert table.column("jpg").null_count == 0
    else:
        assert (out / "00000.tfrecord").exists()


@pytest.mark.parametrize("output_format", ["files", "webdataset"])
def test_captions_are_saved_where_they_are_asked_for(
    tmp_path: Path, address: str, output_format: str
) -> None:
    """`test_captions_saving` without captions; with them it is in `test_formats`."""
    listed = write_list(tmp_path / "list.parquet", ROWS)
    out = download(address, listed, tmp_path / "out", output_format=output_format)
    assert pq.read_table(out / "00000.parquet").column_names[:2] == ["url", "key"]
    if output_format == "files":
        found = names(out, "00000/*")
    else:
        with tarfile.open(out / "00000.tar") as tar:
            found = sorted(tar.getnames())
    assert found == sorted(f"{n:09d}.{kind}" for n in range(len(ROWS)) for kind in ("jpg", "json"))


@pytest.mark.parametrize("input_format", ["txt", "csv.gz", "jsonl.gz", "parquet"])
def test_a_folder_of_lists(tmp_path: Path, address: str, input_format: str) -> None:
    """`test_download_multiple_input_files`: each file has shards of its own."""
    lists = tmp_path / "lists"
    lists.mkdir()
    for number in range(2):
        write_list(lists / f"list{number}.{input_format}", ROWS)
    (lists / "notes.md").write_text("of another extension")
    out = download(
        address, lists, tmp_path / "out", input_format=input_format, output_format="webdataset"
    )
    assert names(out, "*.tar") == ["00000.tar", "00001.tar"]
    keys = pq.read_table(out / "00001.parquet").column("key").to_pylist()
    assert keys == [f"00001{n:04d}" for n in range(len(ROWS))]


def test_relative_paths(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`test_relative_path`, and `test_webdataset`: two members a sample without captions."""
    monkeypatch.chdir(tmp_path)
    write_list(tmp_path / "list.txt", ROWS)
    download(address, Path("list.txt"), Path("out"), output_format="webdataset")
    with tarfile.open(tmp_path / "out" / "00000.tar") as tar:
        assert len(tar.getnames()) == 2 * len(ROWS)


@pytest.mark.parametrize(
    ("mode", "bigger", "skip", "sizes"),
    [
        ("border", False, False, [(256, 256)] * 7),
        ("border", True, True, [(256, 256)] * 7),
        ("keep_ratio", True, False, [(123, 456), (208, 495), (256, 336), (256, 352), (403, 256),
                                     (456, 123), (425, 256)]),
        ("center_crop", False, True, [(256, 256)] * 7),
        ("no", False, True, SIZES),
    ],
)  # fmt: skip
def test_sizes(
    tmp_path: Path, address: str, mode: str, bigger: bool, skip: bool, sizes: list[tuple[int, int]]
) -> None:
    """`test_download_resize`; all modes and formats are in `test_alias`."""
    listed = write_list(tmp_path / "list.txt", ROWS)
    out = download(
        address, listed, tmp_path / "out", resize_mode=mode, resize_only_if_bigger=bigger,
        skip_reencode=skip, encode_format="png", output_format="webdataset",
    )  # fmt: skip
    table = pq.read_table(out / "00000.parquet")
    columns = [table.column(name).to_pylist() for name in ("width", "height")]
    assert list(zip(*columns, strict=True)) == sizes
    originals = [table.column(f"original_{name}").to_pylist() for name in ("width", "height")]
    assert list(zip(*originals, strict=True)) == SIZES


def test_hashes_are_of_the_originals(tmp_path: Path, address: str) -> None:
    """`test_valid_hash`, `test_unique_hash`."""
    listed = write_list(tmp_path / "list.txt", ROWS)
    for name in ("md5", "sha512"):
        out = download(
            address, listed, tmp_path / name, compute_hash=name, output_format="webdataset"
        )
        found = pq.read_table(out / "00000.parquet").column(name).to_pylist()
        assert found == [hashlib.new(name, image).hexdigest() for image in IMAGES]


def test_a_hash_that_differs_is_not_recorded(tmp_path: Path, address: str) -> None:
    """`test_verify_hash`: the hash of the second row is null."""
    digests = [hashlib.sha256(image).hexdigest() for image in IMAGES[:2]]
    rows = [{**row, "expected": digests[0]} for row in ROWS[:2]]
    listed = write_list(tmp_path / "list.parquet", rows)
    for compute in ("sha256", "md5", None):
        out = download(
            address, listed, tmp_path / str(compute), verify_hash=["expected", "sha256"],
            output_format="webdataset", compute_hash=compute,
        )  # fmt: skip
        first, second = pq.read_table(out / "00000.parquet").to_pylist()
        assert (first["status"], second["status"]) == ("success", "failed_to_download")
        assert (second["error_message"], second["reason"]) == ("hash mismatch", "hash_mismatch")
        if compute is not None:
            assert first[compute] == hashlib.new(compute, IMAGES[0]).hexdigest()
            assert second[compute] is None


def test_messages_and_their_counts(tmp_path: Path, address: str) -> None:
    """`test_downloader`: images whose headers disallow it are left out; and size filters."""
    paths = [f"/photo/{n}.png" for n in range(7)] + ["/robots-noai"] * 2
    paths += ["/404", "/503", "/html-as-image", "/broken-jpeg", "/closes-without-reply"]
    rows = [{"url": f"http://h.example{path}?n={n}"} for n, path in enumerate(paths)]
    listed = write_list(tmp_path / "list.txt", rows)
    out = download(
        address, listed, tmp_path / "out", min_image_size=200, max_aspect_ratio=1.5,
        user_agent_token="img2dataset", disallowed_header_directives=["noai", "noindex"],
        output_format="webdataset",
    )  # fmt: skip
    stats = json.loads((out / "00000_stats.json").read_text())
    assert stats["status_dict"] == {
        "success": 2,
        "image too small": 2,
        "aspect ratio too large": 3,
        "Use of image disallowed by X-Robots-Tag directive": 2,
        "HTTP Error 404: Not Found": 1,
        "HTTP Error 503: Service Unavailable": 1,
        "Image decoding error": 2,
        "Remote end closed connection without response": 1,
    }
    table = pq.read_table(out / "00000.parquet")
    messages = [m or "success" for m in table.column("error_message").to_pylist()]
    assert {m: messages.count(m) for m in messages} == stats["status_dict"]
    assert stats["reasons"] == {
        "image_too_small": 2, "aspect_ratio": 3, "disallowed_by_header": 2, "http_404": 1,
        "http_503": 1, "not_an_image": 1, "decode_error": 1, "closed_before_reply": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["txt", "csv", "tsv", "json", "jsonl", "parquet", "txt.gz", "csv.gz", "json.gz"]
)
def test_lists_are_cut_into_shards(tmp_path: Path, kind: str) -> None:
    """`test_reader`: every shard has its rows, in order; the last one has the rest."""
    rows = [{"caption": f"c {n}", "url": f"http://h.example/{n}"} for n in range(1053)]
    listed = write_list(tmp_path / f"list.{kind}", rows)
    captions = None if kind.startswith("txt") else "caption"
    options = Options.from_flags({"url_list": str(listed), "caption_col": captions}).input
    reader, first = RangeReader(), 0
    for task in open_input(options).shards(100):
        assert task.shard_id == first // 100
        table = read_rows(task, options.columns, reader)
        assert table.column("url").to_pylist() == [r["url"] for r in rows[first : first + 100]]
        first += task.count
    assert first == len(rows)


def test_a_run_that_skips_nothing_and_one_that_skips_all(tmp_path: Path, address: str) -> None:
    """`incremental_mode`: a run that is repeated makes nothing again."""
    listed = write_list(tmp_path / "list.txt", ROWS)
    out = download(address, listed, tmp_path / "out", output_format="webdataset")
    before = os.stat(out / "00000.tar").st_mtime_ns
    download(address, listed, out, output_format="webdataset")
    assert os.stat(out / "00000.tar").st_mtime_ns == before
