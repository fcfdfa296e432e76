"""What does the parent of 96 workers cost a row? Their requests and reports, without the workers.

    python -m benchmark.node --rows 50000000

A real list is planned, and a real runner, console, report and marker cache take what workers would
send: a progress report every half second and a report with the commit marker for each shard,
unpickled as from a pipe. The time is the CPU of this process; that of the pipes themselves is not
in it. The target is a link of 100 Gbit/s full of images of 75 kB, 166,000 rows a second.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import pickle
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark import measure
from benchmark.marker_store import ROWS, marker
from benchmark.memory import resident
from img2ds.config.options import InputOptions
from img2ds.core.naming import stats_name
from img2ds.downloader.planner import open_input
from img2ds.engine.distributors.contract import Session, never
from img2ds.engine.marker_cache import MarkerCache
from img2ds.engine.run_report import RunReport
from img2ds.engine.runner import RunContext, Runner, Work
from img2ds.engine.stop import StopSwitch
from img2ds.report.condition import Condition
from img2ds.report.console import Console
from img2ds.report.shard_report import Progress, ShardReport
from img2ds.report.tally import Tally
from img2ds.storage import Listing, OutputFolder, StoredMarker

QUESTION = "node"
WORKERS = 96
#: Rows a second that fill 100 Gbit/s at 75 kB each.
TARGET = 166_000
#: Shards of a worker at once, and seconds between two of its progress reports.
OPEN_SHARDS, INTERVAL = 2, 0.5
DIGITS = 5


def tally(rows: int, number: int) -> Tally:
    """Outcomes like those of a real list, with messages that differ by shard."""
    failed = rows // 6
    messages = Counter({f"certificate of host{number % 997} has expired": 1})
    messages.update({"HTTP 404": failed // 2, "no such host": failed - failed // 2 - 1})
    reasons = Counter(http_404=failed // 2, dns_not_found=failed - failed // 2 - 1, tls_error=1)
    return Tally(
        rows - failed, 75_000 * rows, reasons, failed_to_download=failed,
        bytes_written=22_000 * rows, messages=messages,
    )  # fmt: skip


class Replay(Session):
    """A distributor whose workers are made up: each takes tasks, and reports on them by turns."""

    spans_machines = False

    def __init__(self, rate: float) -> None:
        self.pickling = 0.0
        self.reports = 0
        self._progress = max(1, round(ROWS / (rate / WORKERS) / INTERVAL))

    def stream(
        self, worker: Any, tasks: Iterator[Any], stopping: Callable[[], bool] = never
    ) -> Generator[Any, None, None]:
        condition = Condition("link", "link 100 Gbit/s")
        progress = pickle.dumps(Progress(tally(ROWS // self._progress, 0), condition))
        waiting: deque[Any] = deque(itertools.islice(tasks, WORKERS * OPEN_SHARDS))
        while waiting:
            task = waiting.popleft()
            pickle.dumps(task)
            for _ in range(self._progress):
                yield pickle.loads(progress)
            name = stats_name(task.shard_id, DIGITS)
            stored = StoredMarker(name, marker(task.shard_id, DIGITS), 1 + task.shard_id)
            report = ShardReport(task.shard_id, tally(ROWS, task.shard_id), 5.8, marker=stored)
            began = time.process_time()
            data = pickle.dumps(report)
            self.pickling += time.process_time() - began
            self.reports += self._progress + 1
            yield pickle.loads(data)
            waiting.extend(itertools.islice(tasks, 1))


def write_list(folder: Path, rows: int) -> str:
    """A parquet list of so many rows; what is in them is read by workers alone."""
    path, left = folder / "list.parquet", rows
    column = pa.DictionaryArray.from_arrays(
        pa.array([0] * 1_000_000, pa.int8()), pa.array(["http://a.example/b.jpg"])
    )
    piece = pa.table({"url": column.cast(pa.string())})
    with pq.ParquetWriter(path, piece.schema) as writer:
        while left > 0:
            writer.write_table(piece.slice(0, min(left, piece.num_rows)))
            left -= piece.num_rows
    return str(path)


def replay(folder: Path, rows: int, rate: float) -> dict[str, float]:
    """Run the parent over a list, and return its cost."""
    source = write_list(folder, rows)
    began = time.process_time()
    found = open_input(InputOptions(url_list=source, input_format="parquet"))
    output = OutputFolder.open(str(folder / "out"))
    report, distributor = RunReport(output_folder=output.path), Replay(rate)
    log = io.StringIO()
    console = Console(log)
    cache = MarkerCache(output, Listing())
    memory: list[int] = []
    shards = -(-rows // ROWS)

    def committed(ended: ShardReport[Any]) -> None:
        assert ended.marker is not None
        cache.add(ended.marker)
        if ended.shard_id % max(1, shards // 64) == 0:
            memory.append(resident(os.getpid()))
            log.seek(0)
            log.truncate()

    with output.lock(), StopSwitch() as stop:
        context = RunContext(output, distributor, report, stop, console, (), DIGITS)
        worker: Any = len
        work = Work(worker, lambda: (rows, shards), worker, worker, committed)
        Runner(context, work).run(found.shards(ROWS), 1)
        cache.close()
    console.close()
    output.close()
    cpu = time.process_time() - began - distributor.pickling
    quarter = len(memory) // 4
    return {
        "rows": report.tally.count, "shards": report.shards_committed, "cpu": cpu,
        "us_a_row": 1e6 * cpu / report.tally.count, "reports": distributor.reports,
        "cores_at_target": rate * cpu / report.tally.count, "memory": max(memory),
        "drift": sum(memory[-quarter:]) / sum(memory[quarter : 2 * quarter]) - 1,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--rate", type=float, default=TARGET, help="rows a second of all workers")
    options = parser.parse_args()
    measure.warn_when_busy()
    with tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as name:
        found = replay(Path(name), options.rows, options.rate)
    head = ["rows", "shards", "reports", "CPU us a row", f"cores at {options.rate:,.0f} rows/s",
            "MB", "memory, 4th quarter to 2nd"]  # fmt: skip
    print(measure.table(head, [[
        f"{found['rows']:,.0f}", f"{found['shards']:,.0f}", f"{found['reports']:,.0f}",
        f"{found['us_a_row']:.3f}", f"{found['cores_at_target']:.3f}",
        f"{found['memory'] / 1e6:.0f}", f"{found['drift']:+.1%}",
    ]]))  # fmt: skip
    measure.keep(QUESTION, {"rate": options.rate, **found})


if __name__ == "__main__":
    main()
