"""Does the memory of img2ds stay flat over a million URLs with 512 requests in flight a process?

nginx answers from a small corpus: `--full` percent of the URLs with images of every size, the
others with small ones, so that a million rows end within minutes. As in a real list, every second
URL or so has a host that was not seen before; over https these share one certificate. The
resident memory of the workers and of their parent is read every half second; a shard's tar goes
as soon as the shard is committed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random

from benchmark import measure, web, world
from benchmark.corpus import Corpus, open_corpus
from benchmark.end_to_end import write_list

QUESTION = "memory"
IN_FLIGHT = 512
PROCESSES = 2
INTERVAL = 0.5
#: Percent of the URLs whose host is new: in LAION-400M's list 55 % share one with an earlier URL.
NEW_HOSTS = 45
#: Longer side of the small images, in pixels.
SMALL = 256


def make_urls(count: int, scheme: str) -> list[str]:
    """`count` URLs, no two alike; seeded."""
    random = Random(5)
    hosts, urls = 1, []
    for number in range(count):
        hosts += random.random() * 100 < NEW_HOSTS
        host = hosts if random.random() < 0.5 else random.randrange(hosts)
        urls.append(f"{scheme}://host{host:06d}.{web.MANY}/pictures/{number}.jpg")
    return urls


def some_small(corpus: Corpus, full: float) -> Corpus:
    """As many images, but `full` percent of them alone are as the corpus has them."""
    small = [p for p in corpus.images if p.kind == "jpg" and max(p.width, p.height) < SMALL]
    step = 100 / full
    kept = {round(number * step) for number in range(round(len(corpus.images) / step))}
    images = [
        image if number in kept else small[number % len(small)]
        for number, image in enumerate(corpus.images)
    ]
    return Corpus(corpus.folder, images)


def children(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    with suppress(FileNotFoundError, ProcessLookupError):
        return [int(word) for word in path.read_text().split()]
    return []


def resident(pid: int) -> int:
    """Bytes in memory now, 0 after the process has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
    return 0


def sweep(output: Path, ended: threading.Event) -> None:
    """Remove the tars of committed shards: a million images would fill a small disk."""
    while not ended.wait(2):
        for marker in output.glob("*_stats.json"):
            marker.with_name(marker.name.replace("_stats.json", ".tar")).unlink(missing_ok=True)


def watch(command: list[str]) -> tuple[list[int], list[int]]:
    """Run the command; at every interval the bytes of the largest worker, and of the parent."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    log: list[bytes] = []
    reader = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
    reader.start()
    workers, parent = [], []
    while process.poll() is None:
        time.sleep(INTERVAL)
        found = [size for size in map(resident, children(process.pid)) if size]
        if len(found) == PROCESSES:  # at the end one is alone, with the machine for itself
            workers.append(max(found))
            parent.append(resident(process.pid))
    reader.join()
    if process.returncode:
        world.stop(f"img2ds exited with {process.returncode}: {b''.join(log)[-2000:].decode()}")
    return workers, parent


def quarters(seen: list[int]) -> list[float]:
    """The median of each quarter of the run."""
    length = len(seen) // 4
    if not length:
        world.stop("the run was too short: give it more --rows")
    return [statistics.median(seen[place * length : (place + 1) * length]) for place in range(4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--full", type=float, default=2.0, help="percent of all sizes; 100 for all")
    parser.add_argument("--scheme", choices=("http", "https"), default="http")
    options = parser.parse_args()
    world.enter()
    measure.warn_when_busy()
    corpus = some_small(open_corpus(), options.full)
    urls = make_urls(options.rows, options.scheme)
    with (
        tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as name,
        web.serve(urls[:100], corpus) as servers,
    ):
        url_list = write_list(urls, Path(name, "list.parquet"))
        output, ended = Path(name, "out"), threading.Event()
        sweeper = threading.Thread(target=sweep, args=(output, ended))
        sweeper.start()
        command = [
            sys.executable, "-m", "img2ds", f"--url_list={url_list}",
            "--url_col=URL", "--caption_col=TEXT", f"--output_folder={output}",
            "--output_format=webdataset", f"--ca_bundle={servers.ca_bundle}",
            "--allow_private_addresses", f"--processes_count={PROCESSES}",
            f"--thread_count={IN_FLIGHT}",
        ]  # fmt: skip
        began = time.monotonic()
        try:
            workers, parent = watch(command)
        finally:
            ended.set()
            sweeper.join()
        wall = time.monotonic() - began
        images = measure.count(output).images
    rows, kept = [], {}
    for title, seen in (("largest worker", workers), ("parent", parent)):
        parts = quarters(seen)
        drift = parts[3] / parts[1] - 1
        rows.append([title, f"{max(seen) / 1e6:.0f}", *(f"{part / 1e6:.0f}" for part in parts),
                     f"{drift:+.1%}"])  # fmt: skip
        kept[title] = {"peak": max(seen), "quarters": parts, "drift": drift}
    print(f"{options.rows:,} {options.scheme} rows, {images:,} images in {wall:.0f} s, "
          f"{os.cpu_count()} cores, {PROCESSES} x {IN_FLIGHT} in flight; MB:")  # fmt: skip
    head = ["process", "peak", *(f"quarter {n}" for n in range(1, 5)), "4th to 2nd"]
    print(measure.table(head, rows))
    measure.keep(
        QUESTION,
        {"rows": options.rows, "scheme": options.scheme, "images": images, "wall": wall,
         "full": options.full, "in_flight": IN_FLIGHT, "memory": kept},
    )  # fmt: skip


if __name__ == "__main__":
    main()
