"""Does the loader keep up with bare decoding, and a CLIP model with its bare forward pass?

The loader against simplejpeg alone on as many processes; the whole, from shards to embeddings,
against the model on tensors that lie ready, on the same device, by turns. ViT-B-32 with random
weights: what is in them does not change the time. On a GPU also the largest batch that fits, and
the cores that would keep it full.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmark import measure
from benchmark.clip_loader import loader_table
from benchmark.clip_model import model_table
from benchmark.clip_shards import make_shards, sample_bodies
from img2ds.engine.cores import usable_cores

QUESTION = "clip"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=500, help="of a shard")
    parser.add_argument("--batches", type=int, default=4, help="of a round on a CPU")
    options = parser.parse_args()
    measure.warn_when_busy()
    import torch

    cores = usable_cores()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory(prefix="img2ds-clip-") as folder:
        paths = make_shards(Path(folder), sample_bodies(), options.shards, options.pairs)
        result = loader_table(paths, cores, options.rounds)
        result |= model_table(paths, device, cores, options.rounds, options.batches, result)
    measure.keep(QUESTION, result)


if __name__ == "__main__":
    main()
