"""The loader alone against simplejpeg on as many processes, and the memory that it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import measure
from benchmark.clip_shards import numbered
from benchmark.spent import Spent, middle, timed
from laion.clip.decoder import DecoderConfig
from laion.clip.geometry import PreprocessConfig
from laion.clip.loader import LoadedBatch, Loader

#: What OpenAI's models want of their images.
SETTINGS = PreprocessConfig(
    (224, 224), (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)

BARE = """
import sys, tarfile, time, simplejpeg
bodies = []
for path in sys.argv[1:]:
    with tarfile.open(path) as file:
        bodies += [file.extractfile(m).read() for m in file if m.name.endswith(".jpg")]
print(len(bodies), flush=True)
sys.stdin.readline()
began, cpu = time.perf_counter(), time.process_time()
for body in bodies:
    simplejpeg.decode_jpeg(body)
print(time.perf_counter() - began, time.process_time() - cpu, flush=True)
"""


def bare_decoding(paths: list[str], processes: int) -> Spent:
    """simplejpeg and nothing else, on bodies that lie in memory, in so many processes at once."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", BARE, *paths[number::processes]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    counts = [int(process.stdout.readline()) for process in started if process.stdout]
    for process in started:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [process.communicate()[0].split() for process in started]
    return Spent(sum(counts), max(float(e[0]) for e in ends), sum(float(e[1]) for e in ends))


def loading(paths: list[str], decoders: int, own_processes: bool, tokenize: Any = None) -> Spent:
    """The loader alone: decode, and gather batches. Starting is not counted: the first shard is
    decoded before the clock runs.
    """
    config = DecoderConfig(SETTINGS, None, False)
    found: list[Spent] = []
    with Loader(config, 256, decoders, own_processes, tokenize) as loader:
        for _ in loader.run(numbered([paths[0]] * decoders)):
            pass  # every decoder has started
        pids = [h.process.pid for h in loader._handles if h.process]

        def run() -> int:
            return sum(
                len(item.rows)
                for item in loader.run(numbered(paths))
                if isinstance(item, LoadedBatch)
            )

        before = sum(_cpu_of(pid) for pid in pids)
        spent = timed(run)
        found.append(Spent(spent.count, spent.wall, spent.cpu + sum(map(_cpu_of, pids)) - before))
    return found[0]


def _cpu_of(pid: int) -> float:
    """Seconds of CPU of a living process (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(paths: list[str], decoders: int) -> tuple[float, float, float]:
    """Peak resident MB of a decoder after one shard and after all, and by how much the process
    that gathers grew over the same.
    """
    with Loader(DecoderConfig(SETTINGS, None, False), 256, decoders, True) as loader:
        for _ in loader.run(numbered([paths[0]] * decoders)):
            pass
        first = max(_peak(h.process.pid) for h in loader._handles if h.process)
        own = _resident()
        for _ in loader.run(numbered(paths * 3)):
            pass
        last = max(_peak(h.process.pid) for h in loader._handles if h.process)
        return first, last, _resident() - own


def _peak(pid: int) -> float:
    line = next(s for s in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in s)
    return int(line.split()[1]) / 1000


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def loader_table(paths: list[str], cores: int, rounds: int) -> dict[str, Any]:
    """The loader alone, compared with bare decoding."""
    contenders: dict[str, Callable[[], Spent]] = {
        "bare simplejpeg": lambda: bare_decoding(paths, cores),
        "loader, processes": lambda: loading(paths, cores, True),
        "loader, threads": lambda: loading(paths, cores, False),
    }
    spent: dict[str, list[Spent]] = {name: [] for name in contenders}
    for turn in range(rounds):
        names = list(contenders)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            spent[name].append(contenders[name]())
    bare = spent["bare simplejpeg"]
    rows, result = [], {}
    for name, times in spent.items():
        rate, cpu = middle(times, lambda s: s.rate), middle(times, lambda s: s.cpu_ms)
        ratios = [s.rate / b.rate for s, b in zip(times, bare, strict=True)]
        cpu_ratios = [b.cpu_ms / s.cpu_ms for s, b in zip(times, bare, strict=True)]
        rows.append(
            [
                name,
                f"{rate:.0f}",
                f"{cpu:.3f}",
                f"{np.median(ratios):.2f}",
                f"{np.median(cpu_ratios):.2f}",
            ]
        )
        result[name] = {"rate": rate, "cpu_ms": cpu, "ratio": float(np.median(ratios)),
                        "cpu_ratio": float(np.median(cpu_ratios))}  # fmt: skip
    print(f"\nloading 256-pixel shards on {cores} cores, {cores} decoders")
    print(measure.table(["", "images/s", "CPU ms", "rate / bare", "bare CPU / CPU"], rows))
    first, last, grown = peak_mb(paths, cores)
    print(
        f"a decoder's peak: {first:.0f} MB after a shard, {last:.0f} MB after "
        f"{3 * len(paths)} more; "
        f"the process that gathers grew by {grown:.0f} MB"
    )
    return {"loader": result, "decoder_mb": [first, last], "grown_mb": grown, "cores": cores}
