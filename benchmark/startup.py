"""How soon does the first request leave when a list has 100 million rows, and what does it cost?

The list has the layout of the released LAION-400M parquet: eight files, row groups of a million
rows. Every URL is answered 404 at once, so that reading is what keeps the workers busy.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import trio

from benchmark import measure
from benchmark.corpus import CACHE
from benchmark.world import stop

QUESTION = "startup"
FILES = 8
GROUP = 1_000_000
_REPLY = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def make_list(rows: int) -> Path:
    """A folder of `FILES` parquet files with `rows` rows in all, made once."""
    folder = CACHE / f"list-{rows}"
    if folder.exists():
        return folder
    making = folder.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    each = rows // FILES
    if shutil.disk_usage(making).free < 150 * each:
        stop(f"not enough room for the list in {CACHE}")
    print(f"making a list of {rows:,} rows", file=sys.stderr)
    block = _rows(min(GROUP, each))
    first = making / "part-0.parquet"
    with pq.ParquetWriter(first, block.schema) as writer:
        for start in range(0, each, GROUP):
            writer.write_table(block.slice(0, min(GROUP, each - start)), GROUP)
    for number in range(1, FILES):
        os.link(first, making / f"part-{number}.parquet")  # the same rows cost no room twice
    making.rename(folder)
    return folder


def _rows(count: int) -> pa.Table:
    """URLs and captions that do not compress well, as real ones do not."""
    random = np.random.default_rng(1)
    names = [f"{number:016x}" for number in random.integers(0, 2**63, count)]
    return pa.table(
        {
            "SAMPLE_ID": random.integers(0, 2**62, count),
            "URL": [
                f"http://{name[:3]}.example/uploads/2020/{name}-{name[::-1]}.jpg" for name in names
            ],
            "TEXT": [f"Picture {name[:8]} of a landscape near {name[8:]}" for name in names],
            "HEIGHT": random.integers(100, 2000, count),
            "WIDTH": random.integers(100, 2000, count),
            "LICENSE": ["?"] * count,
            "NSFW": ["UNLIKELY"] * count,
            "similarity": random.random(count),
        }
    )


class NotFound:
    """A server in a thread that answers everything at once; it notes when the first came."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.requests = 0
        self._ready = threading.Event()
        threading.Thread(target=trio.run, args=(self._serve,), daemon=True).start()
        self._ready.wait()

    async def _serve(self) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
        self.port = listeners[0].socket.getsockname()[1]
        self._ready.set()
        await trio.serve_listeners(self._answer, listeners)

    async def _answer(self, stream: trio.SocketStream) -> None:
        try:
            while data := await stream.receive_some(65_536):
                if self.first is None:
                    self.first = time.monotonic()
                count = data.count(b"\r\n\r\n")
                self.requests += count
                await stream.send_all(_REPLY * count)
        except trio.BrokenResourceError:
            pass
        finally:
            await stream.aclose()


def peaks(parent: int) -> tuple[int, int]:
    """Peak resident bytes: of the parent, and of its largest child."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return _peak(parent), max((_peak(int(child)) for child in children), default=0)


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def run(url_list: Path, seconds: float) -> dict[str, float]:
    """One run of that many seconds, then killed."""
    server = NotFound()
    with tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as output:
        command = [
            sys.executable, "-m", "img2ds", f"--url_list={url_list}", "--url_col=URL",
            "--caption_col=TEXT", '--save_additional_columns=["NSFW","similarity","LICENSE"]',
            f"--output_folder={output}/out", "--output_format=webdataset",
            f"--connect_to=::127.0.0.1:{server.port}", "--allow_private_addresses",
            "--processes_count=2",
        ]  # fmt: skip
        started = time.monotonic()
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(seconds)
            if server.first is None or process.poll() is not None:
                stop(f"no request within {seconds:.0f} s")
            parent, worker = peaks(process.pid)
            with open(f"/proc/{process.pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            ticks = os.sysconf("SC_CLK_TCK")
            parent_cpu = (int(fields[11]) + int(fields[12])) / ticks
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return {
        "first_request": server.first - started,
        "parent_rss": parent,
        "worker_rss": worker,
        "parent_cpu": parent_cpu,
        "rows_per_second": server.requests / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of each run")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    url_list = make_list(options.rows)
    measure.warn_when_busy()
    rounds = [run(url_list, options.seconds) for _ in range(options.rounds)]
    result = {name: measure.middle([one[name] for one in rounds]) for name in rounds[0]}
    print(
        measure.table(
            ["rows", "first request s", "parent MB", "worker MB", "parent CPU s", "rows/s"],
            [[f"{options.rows:,}", f"{result['first_request']:.2f}",
              f"{result['parent_rss'] / 1e6:.0f}", f"{result['worker_rss'] / 1e6:.0f}",
              f"{result['parent_cpu']:.2f}", f"{result['rows_per_second']:.0f}"]],
        )
    )  # fmt: skip
    measure.keep(QUESTION, {"rows": options.rows, "rounds": rounds, **result})


if __name__ == "__main__":
    main()
