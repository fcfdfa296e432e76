"""What does writing a sample cost in each format, against other writers and the bare write?

The same shard again and again, by turns: 256 x 256 JPEGs made of the corpus, captions, and the
JSON that img2ds writes. CPU time of the process, system calls included; and for whole shards, which
wait for the disk, wall time as well.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import pickle
import shutil
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset

from benchmark import measure, peer, peer_stages
from benchmark.contenders import OPTIONS, read_cases
from benchmark.corpus import open_corpus
from img2ds.config.options import Options
from img2ds.core.sample import Encoded, Sample, ShardTask
from img2ds.core.schema import metadata_schema, metadata_table
from img2ds.downloader.dataset_sink import DatasetSink
from img2ds.downloader.shard import Shard
from img2ds.engine.shard_output import ShardOutput
from img2ds.formats.contract import ShardWriter
from img2ds.formats.files import FilesWriter
from img2ds.formats.metadata_table import write_metadata
from img2ds.formats.parquet import ParquetWriter
from img2ds.formats.tfrecord import TFRecordWriter
from img2ds.formats.webdataset import TarWriter
from img2ds.image.digest import make_digest
from img2ds.image.transform import Transformer
from img2ds.storage import OutputFolder

QUESTION = "write"
#: Bytes of a bare write: as many as the tar writer gathers.
_PIECE = 1 << 18
_NOTHING = pa.table({})
#: Contenders that make many files. Those are removed in the end only: ext4 does not reuse an
#: inode for a minute after it was freed and steps over every such inode to create a file, which
#: then takes twenty times as long. Where others removed many, use TMPDIR=/dev/shm.
MANY = ("bare files", "FilesWriter", "shard, files")
#: The output formats with images.
FORMATS = ("webdataset", "files", "parquet", "tfrecord")


class Shards:
    """The shard in the forms that the writers take, and every writer as a method."""

    def __init__(self, count: int) -> None:
        transformer, digest = Transformer(OPTIONS), make_digest("sha256")
        self.images: list[Encoded] = []
        self.digests: list[str] = []
        self.bodies: list[bytes | bytearray] = []
        self.samples: list[Sample] = []
        for n, case in enumerate(islice(read_cases(open_corpus(), 1), count)):
            encoded = transformer.render(case.image)
            assert isinstance(encoded, Encoded)
            caption = f"A landscape, number {n}, as it was drawn"
            key, sha256 = f"{n:09d}", digest(case.body)
            metadata = {
                "caption": caption, "url": f"http://www.host{n}.example/pictures/{n}.jpg",
                "key": key, "status": "success", "error_message": None,
                "width": encoded.width, "height": encoded.height,
                "original_width": encoded.original_width,
                "original_height": encoded.original_height, "exif": encoded.exif,
                "sha256": sha256, "reason": None,
            }  # fmt: skip
            self.images.append(encoded)
            self.digests.append(sha256)
            self.bodies.append(case.body)
            self.samples.append(Sample(n, key, encoded.data, caption, metadata))
        schema = metadata_schema({}, caption=True, exif=True, digest="sha256")
        columns = {name: [s.metadata[name] for s in self.samples] for name in schema.names}
        self._schema, self._columns = schema, columns
        self._table = metadata_table(schema, columns)
        with tempfile.TemporaryDirectory() as folder:
            self.tar(Path(folder))
            self.bytes = Path(folder, "0.tar").read_bytes()

    def tar(self, folder: Path) -> None:
        """img2ds's TarWriter, its hash of the file included."""
        self._write(TarWriter("0.tar", "jpg", lambda name: str(folder / name)))

    def files(self, folder: Path) -> None:
        """img2ds's FilesWriter, its hashes included."""
        self._write(FilesWriter("0", "jpg", lambda name: str(folder / name)))

    def parquet(self, folder: Path) -> None:
        """img2ds's ParquetWriter, with all columns; there is no separate table."""
        self._write(ParquetWriter("0.parquet", "jpg", lambda name: str(folder / name)))

    def tfrecord(self, folder: Path) -> None:
        """img2ds's TFRecordWriter."""
        self._write(TFRecordWriter("0.tfrecord", "jpg", lambda name: str(folder / name)))

    def _write(self, writer: ShardWriter) -> None:
        for sample in self.samples:
            writer.add(sample)
        writer.finish(_NOTHING if writer.has_metadata_file else self._table)

    def bare_files(self, folder: Path) -> None:
        """The same files, with nothing but the system's calls."""
        os.mkdir(folder / "4")
        for sample in self.samples:
            for extension, data in (
                ("jpg", sample.image),
                ("txt", (sample.caption or "").encode()),
                ("json", orjson.dumps(sample.metadata)),
            ):
                path = f"{folder}/4/{sample.key}.{extension}"
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
                os.write(descriptor, data)
                os.close(descriptor)

    def bare_parquet(self, folder: Path) -> None:
        """The same table from memory, by pyarrow as it comes."""
        images = pa.array([bytes(sample.image) for sample in self.samples], pa.binary())
        table = metadata_table(self._schema, self._columns).append_column("jpg", images)
        pq.write_table(table, folder / "5.parquet")

    def webdataset(self, folder: Path) -> None:
        """webdataset's, with its own JSON."""
        with webdataset.TarWriter(str(folder / "1.tar")) as writer:
            for sample in self.samples:
                writer.write({
                    "__key__": sample.key, "jpg": sample.image, "txt": sample.caption,
                    "json": sample.metadata,
                })  # fmt: skip

    def tarfile(self, folder: Path) -> None:
        """The standard library's, with orjson."""
        with tarfile.open(folder / "2.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for sample in self.samples:
                members = (
                    ("jpg", sample.image),
                    ("txt", (sample.caption or "").encode()),
                    ("json", orjson.dumps(sample.metadata)),
                )
                for extension, data in members:
                    info = tarfile.TarInfo(f"{sample.key}.{extension}")
                    info.size, info.mode = len(data), 0o444
                    archive.addfile(info, io.BytesIO(data))

    def bare(self, folder: Path) -> None:
        """The bytes of img2ds's tar, unchanged."""
        with open(folder / "3.tar", "wb", buffering=0) as file:
            for at in range(0, len(self.bytes), _PIECE):
                file.write(memoryview(self.bytes)[at : at + _PIECE])

    def hashed(self, folder: Path) -> None:
        """Those and their sha256."""
        self.bare(folder)
        hashlib.sha256(self.bytes).hexdigest()

    def digest(self, folder: Path) -> None:
        """The hash of the original bytes, which the metadata records."""
        for body in self.bodies:
            hashlib.sha256(body).hexdigest()

    def table(self, folder: Path) -> None:
        """The metadata table from Python's values to parquet."""
        table = metadata_table(self._schema, self._columns)
        write_metadata("0.parquet", str(folder / "0.parquet"), table)

    def shard(self, folder: Path, output_format: str) -> None:
        """All that a row goes through once its image is made, until the shard is committed."""
        columns = self._columns
        table = pa.table({"url": columns["url"], "caption": columns["caption"]})
        options = Options.from_flags(
            {"url_list": "-", "caption_col": "caption", "output_format": output_format,
             "output_folder": str(folder)}
        )  # fmt: skip
        out = OutputFolder.open(str(folder / "out"))
        sink = DatasetSink(ShardOutput(out, 0), options)
        shard = Shard(ShardTask(0, len(self.images), table), table, options, sink)
        for n, image in enumerate(self.images):
            shard.digest(n, self.digests[n])
            shard.store(n, image)
        report = shard.commit()
        assert report.error is None, report.error
        out.close()


def take_times(
    shards: Shards, rounds: int, home: Path
) -> tuple[dict[str, float], dict[str, float]]:
    """Microseconds a sample, of CPU and on the clock; medians of the rounds."""
    contenders: dict[str, Callable[[Path], None]] = {
        "bare write": shards.bare,
        "bare write, sha256": shards.hashed,
        "img2ds TarWriter": shards.tar,
        "tarfile, orjson": shards.tarfile,
        "webdataset TarWriter": shards.webdataset,
        "bare files": shards.bare_files,
        "img2ds FilesWriter": shards.files,
        "bare parquet": shards.bare_parquet,
        "img2ds ParquetWriter": shards.parquet,
        "img2ds TFRecordWriter": shards.tfrecord,
        "img2ds metadata table": shards.table,
        "sha256 of what was fetched": shards.digest,
    }
    for output_format in FORMATS:
        contenders[f"img2ds whole shard, {output_format}"] = partial(
            shards.shard, output_format=output_format
        )
    taken: dict[str, list[float]] = defaultdict(list)
    passed: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds + 1):
        for number, (name, contender) in enumerate(contenders.items()):
            folder = home / f"{turn}-{number}"
            folder.mkdir()
            began, clock = process_time(), perf_counter()
            contender(folder)
            spent, gone = process_time() - began, perf_counter() - clock
            if turn:
                taken[name].append(1e6 * spent / len(shards.samples))
                passed[name].append(1e6 * gone / len(shards.samples))
            if not name.endswith(MANY):
                shutil.rmtree(folder)
    return (
        {name: measure.middle(values) for name, values in taken.items()},
        {name: measure.middle(values) for name, values in passed.items()},
    )


def measure_img2dataset(shards: Shards, home: Path) -> dict[str, float]:
    """img2dataset's writers on the same samples, by output format."""
    # Its table has no reasons; its values are all there.
    rows = [
        (s.key, bytes(s.image), s.caption, {k: v for k, v in s.metadata.items() if k != "reason"})
        for s in shards.samples
    ]
    with tempfile.NamedTemporaryFile() as file:
        pickle.dump(rows, file)
        file.flush()
        return peer_stages.ask(home, "write", [file.name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer_venv", type=Path, default=peer.HOME)
    options = parser.parse_args()
    measure.warn_when_busy()
    shards = Shards(options.samples)
    with tempfile.TemporaryDirectory() as home:
        found, passed = take_times(shards, options.rounds, Path(home))
        for output_format, value in measure_img2dataset(shards, options.peer_venv).items():
            found[f"img2dataset's writer, {output_format}, with its table"] = value
    kilobytes = len(shards.bytes) / len(shards.samples) / 1000
    print(f"\n{len(shards.samples)} samples of {kilobytes:.1f} kB in the tar")
    head = ["writer", "us a sample", "of the bare write", "us of wall time"]
    rows = [
        [
            name,
            f"{value:.1f}",
            f"{value / found['bare write']:.1f}x",
            f"{passed[name]:.0f}" if "whole shard" in name else "",
        ]
        for name, value in found.items()
    ]
    print(measure.table(head, rows))
    measure.keep(QUESTION, {
        "samples": len(shards.samples), "rounds": options.rounds, "kb": kilobytes, "us": found,
        "us_wall": passed,
    })  # fmt: skip


if __name__ == "__main__":
    main()
