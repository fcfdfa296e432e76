"""Vectors as CLIP's: in clusters, stronger in some directions, images and texts apart.

A text is its image's point with noise of its own, and another direction that all texts share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Vectors = npt.NDArray[np.float32]

DIMENSION = 256
#: Rows of a part.
PART_ROWS = 100_000
#: Topics, and directions in which the rows of one differ from each other.
CLUSTERS, DIRECTIONS = 4_000, 24
#: Lengths of what rows and texts have of their own, where a topic's part has length 1.
OF_A_TOPIC, NOISE, TEXT_NOISE = 0.9, 0.35, 0.6


@dataclass(frozen=True, slots=True)
class World:
    """What all vectors are made of."""

    centres: Vectors
    directions: Vectors
    common: dict[str, Vectors]
    share: npt.NDArray[np.float64]


@cache
def world() -> World:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Vectors:
        return rng.standard_normal((*shape, DIMENSION)).astype(np.float32)

    # The variance of coordinates falls: a few directions hold most of it.
    scale = (1 / np.sqrt(1 + np.arange(DIMENSION) / 16)).astype(np.float32)
    common = {kind: unit(normal()) for kind in ("image", "text")}
    directions = normal(CLUSTERS, DIRECTIONS) * scale / np.float32(np.sqrt(DIMENSION))
    share = 1 / (np.arange(CLUSTERS) + 10)
    return World(unit(normal(CLUSTERS) * scale), directions, common, share / share.sum())


def unit(rows: Vectors) -> Vectors:
    lengths: Vectors = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / lengths


def make_vectors(seed: int, rows: int, kind: str = "image") -> Vectors:
    """Return unit rows of a kind."""
    made, rng = world(), np.random.default_rng(seed)
    topics = rng.choice(CLUSTERS, rows, p=made.share)
    found = np.empty((rows, DIMENSION), np.float32)
    for topic in np.unique(topics):
        mine = np.flatnonzero(topics == topic)
        weights = rng.standard_normal((len(mine), DIRECTIONS)).astype(np.float32)
        weights *= OF_A_TOPIC / np.sqrt(DIRECTIONS)
        noise = rng.standard_normal((len(mine), DIMENSION)).astype(np.float32)
        noise *= NOISE / np.sqrt(DIMENSION)
        found[mine] = made.centres[topic] + weights @ made.directions[topic] + noise
    if kind == "text":
        noise = rng.standard_normal(found.shape).astype(np.float32)
        found += noise * np.float32(TEXT_NOISE / np.sqrt(DIMENSION))
    return unit(found + made.common[kind])


def make_folder(folder: Path, rows: int) -> None:
    """Write an embedding folder of images."""
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for part, start in enumerate(range(0, rows, PART_ROWS)):
        count = min(PART_ROWS, rows - start)
        vectors = make_vectors(part + 1, count).astype(np.float16)
        np.save(folder / f"img_emb/img_emb_{part}.npy", vectors)
        numbers = range(start, start + count)
        columns: dict[str, Any] = {
            "url": [f"https://images.example/{number}.jpg" for number in numbers],
            "caption": [f"image number {number} of a large collection" for number in numbers],
        }
        pq.write_table(pa.table(columns), folder / f"metadata/metadata_{part}.parquet")
