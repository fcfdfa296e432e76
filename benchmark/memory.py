"""Does the memory of a worker stay flat over a long list with 512 requests in flight?

The pictures of the corpus are served again and again under new URLs by nginx; the resident memory
of every worker is read twice a second.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark import measure, web, world
from benchmark.corpus import open_corpus
from benchmark.end_to_end import make_urls, write_list

QUESTION = "memory"
IN_FLIGHT = 512
INTERVAL = 0.5


def children(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def resident(pid: int) -> int:
    """Bytes in memory now, 0 when the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def watch(command: list[str]) -> list[int]:
    """Run the command; the largest worker's resident bytes at every interval."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen = []
    while process.poll() is None:
        time.sleep(INTERVAL)
        largest = max(map(resident, children(process.pid)), default=0)
        if largest:
            seen.append(largest)
    if process.returncode:
        world.stop(f"img2ds exited with {process.returncode}")
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--scheme", choices=("http", "https"), default="http")
    options = parser.parse_args()
    world.enter()
    measure.warn_when_busy()
    corpus = open_corpus()
    urls = make_urls(options.scheme, options.rows)
    with (
        tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as name,
        web.serve(urls[:600], corpus) as servers,
    ):
        url_list = write_list(urls, Path(name, "list.parquet"))
        command = [
            sys.executable, "-m", "img2ds", f"--url_list={url_list}",
            "--url_col=URL", "--caption_col=TEXT", f"--output_folder={name}/out",
            "--output_format=webdataset", f"--ca_bundle={servers.ca_bundle}",
            "--allow_private_addresses", "--processes_count=2", f"--thread_count={IN_FLIGHT}",
        ]  # fmt: skip
        seen = watch(command)
        images = measure.count(Path(name, "out")).images
    quarter = len(seen) // 4
    if not quarter:
        world.stop("the run was too short: give it more --rows")
    quarters = [
        statistics.median(seen[place * quarter : (place + 1) * quarter]) for place in range(4)
    ]
    drift = quarters[3] / quarters[1] - 1
    head = ["rows", "images", "peak MB", *(f"quarter {n}" for n in range(1, 5)), "4th to 2nd"]
    row = [f"{options.rows:,}", f"{images:,}", f"{max(seen) / 1e6:.0f}",
           *(f"{value / 1e6:.0f}" for value in quarters), f"{drift:+.1%}"]  # fmt: skip
    print(measure.table(head, [row]))
    measure.keep(
        QUESTION,
        {"rows": options.rows, "scheme": options.scheme, "in_flight": IN_FLIGHT,
         "peak": max(seen), "quarters": quarters, "drift": drift},
    )  # fmt: skip


if __name__ == "__main__":
    main()
