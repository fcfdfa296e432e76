"""How long do commit markers keep a start, and `img2ds status`, on a store with 20 ms latency?

    python -m benchmark.markers --shards 90000 --store moto --commands total
    python -m benchmark.markers --shards 1000000 --store memory
    python -m benchmark.markers --shards 90000 --store memory --without_cache

Each command runs in a process of its own, whose time, CPU and peak of memory are printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmark import measure
from benchmark.marker_store import BUCKET, FOLDER

QUESTION = "markers"
URL = f"s3://{BUCKET}/{FOLDER}"

_START = f"""
import logging
from img2ds.engine.manifest import SegmentSpec, open_manifest, read_segments
from img2ds.storage import OutputFolder
folder = OutputFolder.open({URL!r})
(segment,) = read_segments(folder)
spec = SegmentSpec(fingerprint=segment.fingerprint, options=segment.options, shard_count=None)
found = open_manifest(folder, spec)
print(len(found.committed))
"""
_TOTAL = f"""
from img2ds.engine.marker import total_counts
from img2ds.storage import OutputFolder
print(total_counts(OutputFolder.open({URL!r})).count)
"""
#: What is measured: opening the manifest, as each start and resume does; the sum of the counts, as
#: each stage of laion in the end; `img2ds status`.
COMMANDS = {
    "start": ["-c", _START],
    "total": ["-c", _TOTAL],
    "status": ["-m", "img2ds", "status", "--output_folder", URL],
}
_WAIT = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    if sys.argv[0] == "-c":
        exec(sys.argv[1], {})
    else:
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    use = resource.getrusage(resource.RUSAGE_SELF)
    print(f"\\n{use.ru_maxrss * 1024} {use.ru_utime + use.ru_stime}", file=sys.stderr)
"""


@contextmanager
def serving(store: str, shards: int, delay: float, compacted: bool) -> Iterator[int]:
    """Serve the dataset; yields the port."""
    module = "benchmark.marker_store" if store == "memory" else "benchmark.marker_moto"
    with listening(module, str(shards), str(delay), str(compacted)) as port:
        yield port


@contextmanager
def listening(module: str, *arguments: str) -> Iterator[int]:
    """Run a module that serves, and yield the port that it prints."""
    command = [sys.executable, "-m", module, *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    try:
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()


def run(words: list[str], port: int) -> dict[str, float | str]:
    """Run a command; its wall time, CPU, peak of memory and last line."""
    environment = {
        **os.environ, "FSSPEC_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    began = time.monotonic()
    command = [sys.executable, "-c", _WAIT, *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall = time.monotonic() - began
    memory, cpu = ended.stderr.split()[-2:]
    lines = ended.stdout.strip().splitlines()
    if not lines:
        raise SystemExit(ended.stderr)
    return {"wall": wall, "cpu": float(cpu), "memory": float(memory), "first": lines[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=90_000)
    parser.add_argument("--store", choices=("memory", "moto"), default="memory")
    parser.add_argument("--delay", type=float, default=0.020, help="seconds before each answer")
    parser.add_argument("--without_cache", action="store_true")
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=list(COMMANDS))
    options = parser.parse_args()
    measure.warn_when_busy()
    rows, kept = [], {}
    with serving(options.store, options.shards, options.delay, not options.without_cache) as port:
        for name in options.commands:
            seen = kept[name] = run(COMMANDS[name], port)
            rows.append(
                [name, f"{seen['wall']:.1f}", f"{seen['cpu']:.1f}",
                 f"{float(seen['memory']) / 1e6:.0f}", str(seen["first"])]
            )  # fmt: skip
    print(f"{options.shards:,} shards on {options.store}, {options.delay * 1000:.0f} ms a request")
    print(measure.table(["command", "s", "CPU s", "MB", "its first line"], rows))
    measure.keep(
        QUESTION,
        {"shards": options.shards, "store": options.store, "delay": options.delay,
         "cached": not options.without_cache, "commands": kept},
    )  # fmt: skip


if __name__ == "__main__":
    main()
