"""What does a file cost `laion dedup`, besides its rows? Candidates on S3 at 20 ms.

    python -m benchmark.dedup_files [--files 300] [--delay 0.02]

The start reads the footer of every candidate file; each of the 64 tasks reads it again, and the
rows of one partition. The rows are few here, so that nearly all of the time is that of opening.
moto, which answers, is a process of its own; it limits the time, not the CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import time

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.marker_moto import proxy
from benchmark.marker_store import BUCKET
from benchmark.markers import listening
from benchmark.measure import keep, table, warn_when_busy
from img2ds.storage import find_inputs
from laion.data.candidate import CANDIDATE_SCHEMA
from laion.data.partition import PARTITION_COUNT, partitions_metadata
from laion.dedup.inspection import inspect
from laion.dedup.partition_reader import read_partition
from laion.dedup.stage import READ_ROWS

#: Rows of a partition in a file. A real WAT file has 1,600.
ROWS = 100
FOLDER = "candidates"


def candidate_file() -> bytes:
    """A candidate file as `laion extract` writes it, but for the count of its rows."""
    count = ROWS * PARTITION_COUNT
    few = {"license", "language", "page_language", "wat"}
    columns = [
        ["x"] * count if field.name in few
        else [os.urandom(16) for _ in range(count)] if field.name == "digest"
        else [f"{field.name}-{os.urandom(20).hex()}" for _ in range(count)]
        for field in CANDIDATE_SCHEMA
    ]  # fmt: skip
    arrays = [pa.array(c, f.type) for c, f in zip(columns, CANDIDATE_SCHEMA, strict=True)]
    schema = CANDIDATE_SCHEMA.with_metadata(partitions_metadata(range(PARTITION_COUNT)))
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink, schema, compression="zstd", use_dictionary=[*few, "page_url"],
        write_statistics=["digest"],
    ) as writer:  # fmt: skip
        writer.write_table(pa.table(arrays, schema=schema), row_group_size=ROWS)
    return sink.getvalue()


def serve(files: int, delay: float) -> None:
    """Serve the files; prints the port."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends
    from moto.server import ThreadedMotoServer

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_bucket(BUCKET, "us-east-1")
    data = candidate_file()
    for number in range(files):
        backend.put_object(BUCKET, f"{FOLDER}/{number:05d}.parquet", data)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    asyncio.run(proxy(server.get_host_and_port()[1], delay))


def measure(files: int) -> dict[str, float]:
    """Find the files, and read one partition; seconds a file."""
    found = find_inputs(f"s3://{BUCKET}/{FOLDER}", [".parquet"])
    names = CANDIDATE_SCHEMA.names
    list(read_partition(found[:2], 0, names, READ_ROWS))  # connects
    marks = [_now()]
    inspect(found)
    marks.append(_now())
    rows = sum(table.num_rows for table in read_partition(found, 7, names, READ_ROWS))
    marks.append(_now())
    assert rows == files * ROWS
    spent = [(marks[n + 1][kind] - marks[n][kind]) / files for n in (0, 1) for kind in (0, 1)]
    return dict(zip(("start wall", "start cpu", "task wall", "task cpu"), spent, strict=True))


def _now() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds before each answer")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.files, options.delay)
        return
    warn_when_busy()
    arguments = ["--serve", "--files", str(options.files), "--delay", str(options.delay)]
    with listening("benchmark.dedup_files", *arguments) as port:
        os.environ.update(
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1",
        )  # fmt: skip
        seconds = measure(options.files)
    rows = [[name, f"{1000 * value:.2f}"] for name, value in seconds.items()]
    print(table(["of one file", "ms"], rows))
    keep("dedup_files", {"files": options.files, "delay": options.delay, "seconds": seconds})


if __name__ == "__main__":
    main()
