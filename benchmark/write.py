"""What does writing a sample cost, beside webdataset, tarfile and the bare write?

The same shard again and again, by turns: 256 x 256 JPEGs made of the corpus, captions, and the
JSON that img2ds writes. CPU time of the process, system calls included.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from time import process_time

import orjson
import pyarrow as pa
import webdataset

from benchmark import measure, peer, peer_stages
from benchmark.codec import OPTIONS, read_cases
from benchmark.corpus import open_corpus
from img2ds.image.digest import make_digest
from img2ds.image.transform import Transformer
from img2ds.options import Options
from img2ds.sample import Encoded, Sample, ShardTask
from img2ds.schema import metadata_schema, metadata_table
from img2ds.shard import Shard
from img2ds.storage import OutputFolder
from img2ds.writers.sidecar import write_metadata
from img2ds.writers.tar import TarWriter

QUESTION = "write"
#: Bytes of a bare write: as many as the tar writer gathers.
_PIECE = 1 << 18
_NOTHING = pa.table({})


class Shards:
    """The shard in the forms that the writers take, and every writer as a method."""

    def __init__(self, count: int) -> None:
        transformer, digest = Transformer(OPTIONS), make_digest("sha256")
        self.images: list[Encoded] = []
        self.digests: list[str] = []
        self.bodies: list[bytes | bytearray] = []
        self.samples: list[Sample] = []
        for n, case in enumerate(islice(read_cases(open_corpus(), 1), count)):
            encoded = transformer.render(case.picture)
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
        with tempfile.TemporaryDirectory() as folder:
            self.tar(Path(folder))
            self.bytes = Path(folder, "0.tar").read_bytes()

    def tar(self, folder: Path) -> None:
        """img2ds's TarWriter, its hash of the file included."""
        writer = TarWriter("0.tar", "jpg", lambda name: str(folder / name))
        for sample in self.samples:
            writer.add(sample)
        writer.finish(_NOTHING)

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
        """The bytes of img2ds's tar, as they are."""
        with open(folder / "3.tar", "wb", buffering=0) as file:
            for at in range(0, len(self.bytes), _PIECE):
                file.write(memoryview(self.bytes)[at : at + _PIECE])

    def hashed(self, folder: Path) -> None:
        """Those and their sha256."""
        self.bare(folder)
        hashlib.sha256(self.bytes).hexdigest()

    def digest(self, folder: Path) -> None:
        """The hash of the bytes as they were fetched, which stands in the metadata."""
        for body in self.bodies:
            hashlib.sha256(body).hexdigest()

    def table(self, folder: Path) -> None:
        """The metadata table from Python's values to parquet."""
        table = metadata_table(self._schema, self._columns)
        write_metadata("0.parquet", str(folder / "0.parquet"), table)

    def shard(self, folder: Path) -> None:
        """All that a row goes through once its picture is made, until the shard is committed."""
        columns = self._columns
        table = pa.table({"url": columns["url"], "caption": columns["caption"]})
        options = Options.from_flags(
            {"url_list": "-", "caption_col": "caption", "output_format": "webdataset",
             "output_folder": str(folder)}
        )  # fmt: skip
        out = OutputFolder.open(str(folder / "out"))
        shard = Shard(ShardTask(0, len(self.images), table), table, options, out)
        for n, image in enumerate(self.images):
            shard.digest(n, self.digests[n])
            shard.succeed(n, image)
        report = shard.commit()
        assert report.error is None, report.error
        out.close()


def take_times(shards: Shards, rounds: int) -> dict[str, float]:
    """Microseconds a sample, medians of the rounds."""
    contenders: dict[str, Callable[[Path], None]] = {
        "bare write": shards.bare,
        "bare write, sha256": shards.hashed,
        "img2ds TarWriter": shards.tar,
        "tarfile, orjson": shards.tarfile,
        "webdataset TarWriter": shards.webdataset,
        "img2ds metadata table": shards.table,
        "img2ds whole shard": shards.shard,
        "sha256 of what was fetched": shards.digest,
    }
    taken: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            with tempfile.TemporaryDirectory() as folder:
                began = process_time()
                contender(Path(folder))
                spent = process_time() - began
            if turn:
                taken[name].append(1e6 * spent / len(shards.samples))
    return {name: measure.middle(values) for name, values in taken.items()}


def ask_peer(shards: Shards, home: Path) -> dict[str, float]:
    """img2dataset's WebDatasetSampleWriter on the same samples."""
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
    found = take_times(shards, options.rounds)
    theirs = ask_peer(shards, options.peer_venv)
    if theirs:
        found["img2dataset's writer, with its table"] = theirs["writer"]
    kilobytes = len(shards.bytes) / len(shards.samples) / 1000
    print(f"\n{len(shards.samples)} samples of {kilobytes:.1f} kB in the tar")
    head = ["writer", "us a sample", "of the bare write"]
    rows = [
        [name, f"{value:.1f}", f"{value / found['bare write']:.1f}x"]
        for name, value in found.items()
    ]
    print(measure.table(head, rows))
    measure.keep(QUESTION, {
        "samples": len(shards.samples), "rounds": options.rounds, "kb": kilobytes, "us": found,
    })  # fmt: skip


if __name__ == "__main__":
    main()
