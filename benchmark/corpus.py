"""The images that the benchmark's servers give out: as large and as mixed as LAION-400M's.

Seeded, made once into `benchmark/.cache/`. Sizes follow Table 1 of the LAION-400M paper
(arXiv 2111.02114), formats the web's; `python -m benchmark.corpus` makes it and prints the mix.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmark.measure import table
from tests.server.encodings import Pixels, gif, jpeg, png, webp
from tests.server.photos import photo

CACHE = Path(__file__).parent / ".cache"
#: Part of the cache's name: images of another recipe are never mistaken for these.
RECIPE = 1
#: Images in the corpus; `benchmark.answers` spreads URLs over this many.
COUNT = 1500

#: Table 1, in millions of images: side, with height or width at least that, with both.
TABLE_1 = ((256, 268.0, 211.0), (512, 112.0, 67.0), (1024, 26.0, 9.6))
TABLE_1_ALL = 413.0
#: Pixels of the smallest and the largest sides; Table 1 has nothing beyond its ends.
_LONGER, _SHORTER = (72, 2400), (56, 1700)
#: How far the two sides' ranks lie apart, so that one long side meets many shapes.
_SHAPES = 0.045

#: Shares of the formats; those of JPEG that are progressive.
FORMATS = {"jpg": 0.90, "png": 0.06, "webp": 0.03, "gif": 0.01}
PROGRESSIVE = 0.25


@dataclass(frozen=True, slots=True)
class CorpusImage:
    """One file of the corpus."""

    name: str
    kind: str
    width: int
    height: int
    size: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """A folder of images, in a fixed order; `cut` holds the beginnings of some JPEGs."""

    folder: Path
    images: list[CorpusImage]

    @property
    def mean_size(self) -> float:
        """Bytes."""
        return sum(image.size for image in self.images) / len(self.images)


def open_corpus(count: int = COUNT) -> Corpus:
    """The corpus from the cache; made first, in a minute or so, where it is not there."""
    folder = CACHE / f"corpus-{RECIPE}-{count}"
    index = folder / "index.json"
    if not index.exists():
        _make(folder, count)
    images = [CorpusImage(**entry) for entry in json.loads(index.read_text())]
    return Corpus(folder, images)


def _make(folder: Path, count: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as name:
        staging_path = Path(name, "corpus")
        (staging_path / "picture").mkdir(parents=True)
        (staging_path / "cut").mkdir()
        plans = _plans(count)
        with ProcessPoolExecutor() as pool:
            images = list(pool.map(_draw, plans, [staging_path] * count, chunksize=10))
        (staging_path / "index.json").write_text(json.dumps([asdict(image) for image in images]))
        shutil.rmtree(folder, ignore_errors=True)
        staging_path.rename(folder)


@dataclass(frozen=True, slots=True)
class _Plan:
    number: int
    kind: str
    width: int
    height: int


def _plans(count: int) -> list[_Plan]:
    rng = np.random.default_rng(413)
    rank = (np.arange(count) + 0.5) / count
    rng.shuffle(rank)
    longer = _side(rank, [row[1] for row in TABLE_1], _LONGER)
    correlated = np.clip(rank + rng.normal(0, _SHAPES, count), 0, 1)
    shorter = np.minimum(longer, _side(correlated, [row[2] for row in TABLE_1], _SHORTER))
    wide = rng.random(count) < 0.6
    kinds = np.repeat(
        list(FORMATS), np.diff(np.round(np.cumsum([0, *FORMATS.values()]) * count).astype(int))
    )
    rng.shuffle(kinds)
    progressive = rng.random(count) < PROGRESSIVE
    plans = []
    for n in range(count):
        sides = (round(longer[n]), round(shorter[n]))
        width, height = sides if wide[n] else sides[::-1]
        kind = "progressive jpg" if kinds[n] == "jpg" and progressive[n] else str(kinds[n])
        plans.append(_Plan(n, kind, width, height))
    return plans


def _side(
    rank: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    at_least: list[float],
    ends: tuple[int, int],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Quantiles of a side: Table 1's at its own sizes, log-linear between them."""
    ranks = [0.0, *(1 - millions / TABLE_1_ALL for millions in at_least), 1.0]
    sides = [ends[0], *(row[0] for row in TABLE_1), ends[1]]
    return np.exp(np.interp(rank, ranks, np.log(sides)))


def _draw(plan: _Plan, folder: Path) -> CorpusImage:
    cv2.setNumThreads(1)
    pixels = photo(plan.number, plan.width, plan.height)
    rng = np.random.default_rng((plan.number, 4))
    data = _encode(plan.kind, pixels, int(rng.integers(72, 94)))
    name = f"{plan.number:04d}.{plan.kind.split()[-1]}"
    (folder / "picture" / name).write_bytes(data)
    if name.endswith(".jpg"):
        (folder / "cut" / name).write_bytes(data[: len(data) // 2])
    return CorpusImage(name, plan.kind, plan.width, plan.height, len(data))


def _encode(kind: str, pixels: Pixels, quality: int) -> bytes:
    match kind:
        case "jpg":
            return jpeg(pixels, quality)
        case "png":
            return png(pixels)
        case "webp":
            return webp(pixels)
        case "gif":
            return gif(pixels)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, progressive=True)
    return file.getvalue()


def describe(corpus: Corpus) -> str:
    """Tables of formats and sizes, with Table 1 for comparison."""
    images = corpus.images
    every = len(images)
    formats = []
    for kind in sorted({image.kind for image in images}):
        sizes = [image.size for image in images if image.kind == kind]
        share, mean = len(sizes) / every, sum(sizes) / len(sizes) / 1000
        formats.append([kind, str(len(sizes)), f"{share:.1%}", f"{mean:.1f}"])
    formats.append(["all", str(every), "100%", f"{corpus.mean_size / 1000:.1f}"])
    sides = []
    for side, either, both in TABLE_1:
        longer = sum(max(p.width, p.height) >= side for p in images) / every
        shorter = sum(min(p.width, p.height) >= side for p in images) / every
        sides.append([f"a side >= {side}", f"{longer:.1%}", f"{either / TABLE_1_ALL:.1%}"])
        sides.append([f"both >= {side}", f"{shorter:.1%}", f"{both / TABLE_1_ALL:.1%}"])
    return "\n\n".join(
        (
            table(["format", "images", "share", "mean kB"], formats),
            table(["size in pixels", "share", "in Table 1"], sides),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    print(describe(open_corpus()))


if __name__ == "__main__":
    main()
