"""A model from shards to embeddings, against its bare forward pass, and what keeps it full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmark import measure
from benchmark.clip_shards import CAPTION, numbered
from benchmark.spent import Spent, middle, timed
from laion.clip.decoder import DecoderConfig
from laion.clip.embed import Embedder
from laion.clip.embedding_queue import EmbeddingQueue
from laion.clip.loader import LoadedBatch, Loader
from laion.clip.model import ClipModel, ModelSpec, random_model

MODEL = "ViT-B-32"
#: Pairs a second of devices that one may want to keep full, where none is at hand.
RATES = (1_000, 4_000, 16_000)


def forward(embedder: Embedder, batches: int) -> Spent:
    """The model on tensors that lie ready on the device."""
    import torch

    size = embedder.batch_size
    images = torch.rand((size, 3, *embedder.model.config.size), device=embedder.device)
    tokens = torch.as_tensor(embedder.model.tokens([CAPTION.format(n) for n in range(size)]))
    tokens = tokens.to(embedder.device)
    embedder.preprocessed(images)
    embedder.tokens(tokens)
    _synchronize(embedder)

    def run() -> int:
        for _ in range(batches):
            embedder.preprocessed(images)
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
    queue = EmbeddingQueue(embedder)
    config = DecoderConfig(embedder.model.config, None if on_cpu else ModelSpec(model), False)
    tokenize = embedder.model.tokenize if on_cpu else None
    with (
        Loader(config, embedder.batch_size, decoders, not on_cpu, tokenize) as loader,
        queue.pinned(loader.pixels),
    ):
        items = (item for item in loader.run(numbered(paths)) if isinstance(item, LoadedBatch))
        queue.submit(next(items))
        queue.result()

        def run() -> int:
            count = 0
            for item in items:
                queue.submit(item)
                count += len(item.rows)
                while queue.in_flight > 2:
                    queue.result()
                if count >= batches * embedder.batch_size:
                    break
            while queue.in_flight:
                queue.result()
            return count

        return timed(run)


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


def model_table(
    paths: list[str], device: str, cores: int, rounds: int, batches: int, loaded: dict[str, Any]
) -> dict[str, Any]:
    """The whole stage against the bare forward pass, and what it takes to keep a device busy."""
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
    print(f"\n{words}, batches of {embedder.batch_size}: images and texts")
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
