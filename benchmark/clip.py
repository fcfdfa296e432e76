"""Does the loader keep up with bare decoding, and a CLIP model with its bare forward pass?

The loader against simplejpeg alone on as many processes; the whole, from shards to embeddings,
against the model on tensors that lie ready, on the same device, by turns. ViT-B-32 with random
weights: what is in them does not change the time. On a GPU also the largest batch that fits, and
the cores that would keep it full.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import measure
from benchmark.corpus import open_corpus
from img2ds.image.transform import Picture, Transformer
from img2ds.options import ImageOptions
from img2ds.sample import Encoded
from laion.clip.decoder import Shard, Work
from laion.clip.device import Lane, core_count
from laion.clip.embed import Embedder
from laion.clip.loader import Loaded, Loader
from laion.clip.model import ClipModel, ModelSpec, random_model
from laion.clip.prepare import Settings

QUESTION = "clip"
MODEL = "ViT-B-32"
#: Pairs a second of devices that one may want to keep full, where none is at hand.
RATES = (1_000, 4_000, 16_000)
SETTINGS = Settings(
    (224, 224), (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)
CAPTION = "A photo of number {} of the things that people show each other, with a caption"


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds for a number of pictures: on the clock, and of all processes' CPU."""

    count: int
    wall: float
    cpu: float

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return self.count / self.wall

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU a picture."""
        return 1000 * self.cpu / self.count


def timed(work: Callable[[], int]) -> Spent:
    """`work` gives the number of pictures it did. Processes it waited for count as well."""
    before, began = os.times(), time.perf_counter()
    count = work()
    wall, after = time.perf_counter() - began, os.times()
    return Spent(count, wall, sum(after[:4]) - sum(before[:4]))


def make_shards(folder: Path, bodies: list[bytes], shards: int, count: int) -> list[str]:
    """Shards of `count` pairs as img2ds writes them; their paths."""
    paths = []
    for number in range(shards):
        path = folder / f"{number:05d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
            for place in range(count):
                key = f"{number * 10_000 + place:09d}"
                fields = f'{{"url": "http://host.test/{key}.jpg", "key": "{key}", "license": "?"}}'
                for ending, data in (
                    ("jpg", bodies[(number * count + place) % len(bodies)]),
                    ("txt", CAPTION.format(place).encode()),
                    ("json", fields.encode()),
                ):
                    member = tarfile.TarInfo(f"{key}.{ending}")
                    member.size = len(data)
                    file.addfile(member, io.BytesIO(data))
        paths.append(str(path))
    return paths


def sample_bodies() -> list[bytes]:
    """The corpus's pictures as img2ds keeps them: 256 pixels with borders, quality 95."""
    corpus = open_corpus()
    transformer = Transformer(ImageOptions())
    found = []
    for file in corpus.pictures[::3]:
        picture = transformer.inspect((corpus.folder / "picture" / file.name).read_bytes())
        assert isinstance(picture, Picture)
        encoded = transformer.render(picture)
        assert isinstance(encoded, Encoded)
        found.append(bytes(encoded.data))
    return found


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


def _shards(paths: list[str]) -> Iterator[Shard]:
    return (Shard(number, path) for number, path in enumerate(paths))


def loading(paths: list[str], decoders: int, own_processes: bool, tokenize: Any = None) -> Spent:
    """The loader alone: decode, and gather batches. Starting is not counted: the first shard is
    decoded before the clock runs.
    """
    work = Work(SETTINGS, None, False)
    found: list[Spent] = []
    with Loader(work, 256, decoders, own_processes, tokenize) as loader:
        for _ in loader.run(_shards([paths[0]] * decoders)):
            pass  # every decoder has started
        pids = [h.process.pid for h in loader._handles if h.process]

        def run() -> int:
            return sum(
                len(item.rows) for item in loader.run(_shards(paths)) if isinstance(item, Loaded)
            )

        before = sum(_cpu_of(pid) for pid in pids)
        spent = timed(run)
        found.append(Spent(spent.count, spent.wall, spent.cpu + sum(map(_cpu_of, pids)) - before))
    return found[0]


def _cpu_of(pid: int) -> float:
    """Seconds of CPU of a living process (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def forward(embedder: Embedder, batches: int) -> Spent:
    """The model on tensors that lie ready on the device."""
    import torch

    size = embedder.batch_size
    pictures = torch.rand((size, 3, *embedder.model.settings.size), device=embedder.device)
    tokens = torch.as_tensor(embedder.model.tokens([CAPTION.format(n) for n in range(size)]))
    tokens = tokens.to(embedder.device)
    embedder.prepared(pictures)
    embedder.tokens(tokens)
    _synchronize(embedder)

    def run() -> int:
        for _ in range(batches):
            embedder.prepared(pictures)
            embedder.tokens(tokens)
        _synchronize(embedder)
        return batches * size

    return timed(run)


def _synchronize(embedder: Embedder) -> None:
    if embedder.device.type == "cuda":
        import torch

        torch.cuda.synchronize(embedder.device)


def whole(embedder: Embedder, model: str, paths: list[str], batches: int, decoders: int) -> Spent:
    """From shards to embeddings in memory, as `laion score` does it; the first batch is not
    counted, during which decoders start.
    """
    on_cpu = embedder.device.type == "cpu"
    lane = Lane(embedder)
    work = Work(embedder.model.settings, None if on_cpu else ModelSpec(model), False)
    tokenize = embedder.model.tokenize if on_cpu else None
    with (
        Loader(work, embedder.batch_size, decoders, not on_cpu, tokenize) as loader,
        lane.pinned(loader.pixels),
    ):
        items = (item for item in loader.run(_shards(paths)) if isinstance(item, Loaded))
        lane.submit(next(items))
        lane.result()

        def run() -> int:
            count = 0
            for item in items:
                lane.submit(item)
                count += len(item.rows)
                while lane.under_way > 2:
                    lane.result()
                if count >= batches * embedder.batch_size:
                    break
            while lane.under_way:
                lane.result()
            return count

        return timed(run)


def peak_mb(paths: list[str], decoders: int) -> tuple[float, float, float]:
    """Peak resident MB of a decoder after one shard and after all, and by how much the process
    that gathers grew over the same.
    """
    with Loader(Work(SETTINGS, None, False), 256, decoders, True) as loader:
        for _ in loader.run(_shards([paths[0]] * decoders)):
            pass
        first = max(_peak(h.process.pid) for h in loader._handles if h.process)
        own = _resident()
        for _ in loader.run(_shards(paths * 3)):
            pass
        last = max(_peak(h.process.pid) for h in loader._handles if h.process)
        return first, last, _resident() - own


def _peak(pid: int) -> float:
    line = next(s for s in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in s)
    return int(line.split()[1]) / 1000


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def largest_batch(model: ClipModel, device: str) -> list[tuple[int, float, float]]:
    """Batch sizes that fit a GPU, doubled until one does not: pairs a second, and peak GB."""
    import torch

    found = []
    size = 64
    while size <= 16384:
        torch.cuda.reset_peak_memory_stats()
        try:
            spent = forward(Embedder(model, device, batch_size=size), max(4, 8192 // size))
        except torch.cuda.OutOfMemoryError:
            break
        found.append((size, spent.rate, torch.cuda.max_memory_allocated() / 1e9))
        size *= 2
    return found


def middle(spent: list[Spent], value: Callable[[Spent], float]) -> float:
    return float(np.median([value(one) for one in spent]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=500, help="of a shard")
    parser.add_argument("--batches", type=int, default=4, help="of a round on a CPU")
    options = parser.parse_args()
    measure.warn_when_busy()
    import torch

    cores = core_count()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory(prefix="img2ds-clip-") as folder:
        paths = make_shards(Path(folder), sample_bodies(), options.shards, options.pairs)
        result = loader_table(paths, cores, options.rounds)
        result |= model_table(paths, device, cores, options.rounds, options.batches, result)
    measure.keep(QUESTION, result)


def loader_table(paths: list[str], cores: int, rounds: int) -> dict[str, Any]:
    """The loader alone, beside bare decoding."""
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
    print(measure.table(["", "pictures/s", "CPU ms", "rate / bare", "bare CPU / CPU"], rows))
    first, last, grown = peak_mb(paths, cores)
    print(
        f"a decoder's peak: {first:.0f} MB after a shard, {last:.0f} MB after "
        f"{3 * len(paths)} more; "
        f"the process that gathers grew by {grown:.0f} MB"
    )
    return {"loader": result, "decoder_mb": [first, last], "grown_mb": grown, "cores": cores}


def model_table(
    paths: list[str], device: str, cores: int, rounds: int, batches: int, loaded: dict[str, Any]
) -> dict[str, Any]:
    """The whole beside the bare forward pass, and what it takes to keep a device full."""
    model = random_model(MODEL)
    embedder = Embedder(model, device)
    decoders = 1 if device == "cpu" else max(1, cores - 1)
    if device != "cpu":
        batches = 40
        paths = paths * 20
    pairs = []
    for turn in range(rounds):
        runs: list[Callable[[], Spent]] = [
            lambda: forward(embedder, batches),
            lambda: whole(embedder, MODEL, paths, batches, decoders),
        ]
        order = [0, 1] if turn % 2 == 0 else [1, 0]
        times = {which: runs[which]() for which in order}
        pairs.append((times[0], times[1]))
    bare = middle([p[0] for p in pairs], lambda s: s.rate)
    full = middle([p[1] for p in pairs], lambda s: s.rate)
    ratio = float(np.median([b.rate / a.rate for a, b in pairs]))
    words = f"{MODEL}, {device}, {str(embedder.precision).removeprefix('torch.')}"
    print(f"\n{words}, batches of {embedder.batch_size}: pictures and texts")
    print(measure.table(["", "pairs/s", "/ bare"], [
        ["bare forward", f"{bare:.1f}", "1.00"],
        ["shards to embeddings", f"{full:.1f}", f"{ratio:.2f}"],
    ]))  # fmt: skip
    one = loaded["loader"]["loader, processes"]["cpu_ms"]
    rates = {f"{rate} pairs/s": float(rate) for rate in RATES}
    gpu = []
    if device != "cpu":
        gpu = largest_batch(model, device)
        print(measure.table(["batch", "pairs/s", "GB"], [
            [str(size), f"{rate:.0f}", f"{memory:.1f}"] for size, rate, memory in gpu
        ]))  # fmt: skip
        rates = {"this device": max(rate for _, rate, _ in gpu)}
    print("\ncores of decoding that keep a device full")
    print(measure.table(
        ["device", "cores"], [[name, f"{rate * one / 1000:.1f}"] for name, rate in rates.items()]
    ))  # fmt: skip
    return {"device": device, "bare": bare, "whole": full, "whole_ratio": ratio, "gpu": gpu}


if __name__ == "__main__":
    main()
