"""A sample web of image-text pairs with the faults of the real one, for filters to find.

The images are those of `laion.clip.shapes`. What is wrong with a pair is drawn by `NOISE` alone,
whose rates were set before a model was trained on the pairs, and not changed since.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from img2ds.image.encode import make_encoder
from laion.clip.shapes import COLOURS, SHAPES, ShapeImage, draw, ground

#: The share of each fault; the rest, 30 %, is clean.
NOISE = {
    "mismatch": 0.30,  # the caption of another pair
    "boilerplate": 0.15,  # an alt text that says nothing of the image
    "foreign": 0.10,  # a right caption in German or French
    "icon": 0.08,  # less than 200 pixels, nothing to see, any caption
    "banner": 0.07,  # more than 3:1, nothing to see, any caption
}

_BOILERPLATE = (
    "image", "logo", "IMG_{n}.jpg", "click to enlarge the picture", "photo {n}", "thumbnail",
    "buy now with free shipping today", "untitled image number {n}", "placeholder",
)  # fmt: skip
_GERMAN = (
    "ein {s} in der Farbe {c} auf dem Bild",
    ("Kreis", "Quadrat", "Dreieck", "Stern"),
    ("Rot", "Grün", "Blau", "Gelb", "Orange", "Lila", "Schwarz", "Weiß"),
)
_FRENCH = (
    "une image avec {s} de couleur {c}",
    ("un cercle", "un carré", "un triangle", "une étoile"),
    ("rouge", "verte", "bleue", "jaune", "orange", "violette", "noire", "blanche"),
)

#: The shorter side of a stored image, and its quality: as a download with --image_size.
STORED = 96
QUALITY = 90
#: Pairs of a tar.
SHARD = 1000


@dataclass(frozen=True, slots=True)
class NoisyPair:
    """A pair as it is downloaded.

    Attributes:
        fault: a key of `NOISE`; `clean` for none.
        width, height: of the original image.
    """

    body: bytes
    caption: str
    fault: str
    width: int
    height: int


def make_pairs(count: int, seed: int, noise: dict[str, float]) -> list[NoisyPair]:
    """Draw pairs. Kinds of images are as uneven as words: the n-th has 1 / n of the first's."""
    rng = np.random.default_rng(seed)
    kinds = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    odds = 1 / (1 + rng.permutation(len(kinds)))
    shown = rng.choice(len(kinds), count, p=odds / odds.sum())
    names = [*noise, "clean"]
    shares = [*noise.values(), 1 - sum(noise.values())]
    faults = [names[place] for place in rng.choice(len(names), count, p=shares)]
    encode = make_encoder("jpg", QUALITY)
    pairs = []
    for kind, fault in zip(shown, faults, strict=True):
        width, height = _size(rng, fault)
        scale = STORED / min(width, height)
        stored = (max(STORED, round(width * scale)), max(STORED, round(height * scale)))
        image = draw(rng, *stored, *kinds[kind])
        pixels = ground(rng, *stored) if fault in ("icon", "banner") else image.pixels
        other = kinds[shown[rng.integers(count)]]
        text = _caption(rng, image, other, fault)
        pairs.append(NoisyPair(encode(pixels), text, fault, width, height))
    return pairs


def _size(rng: np.random.Generator, fault: str) -> tuple[int, int]:
    short = int(rng.integers(16, 200) if fault == "icon" else rng.integers(200, 900))
    ratio = rng.uniform(3.1, 6) if fault == "banner" else rng.uniform(1, 1.8)
    long = int(short * ratio)
    return (long, short) if fault == "banner" or rng.integers(2) else (short, long)


def _caption(
    rng: np.random.Generator, image: ShapeImage, other: tuple[str, str], fault: str
) -> str:
    if fault == "boilerplate":
        return str(rng.choice(_BOILERPLATE)).format(n=rng.integers(1, 9999))
    if fault == "foreign":
        form, shapes, colours = _GERMAN if rng.integers(2) else _FRENCH
        place = list(COLOURS).index(image.colour)
        return form.format(s=shapes[SHAPES.index(image.shape)], c=colours[place])
    if fault == "clean":
        return image.caption
    return draw(rng, 8, 8, *other).caption


def write_shards(folder: Path, pairs: list[NoisyPair]) -> None:
    """Write the pairs as `laion download` does, with their fault in the metadata."""
    folder.mkdir(parents=True)
    for start in range(0, len(pairs), SHARD):
        with tarfile.open(folder / f"{start // SHARD:05d}.tar", "w") as tar:
            for place, pair in enumerate(pairs[start : start + SHARD], start):
                key = f"{place:09d}"
                fields: dict[str, Any] = {
                    "url": f"http://web.example/{key}.jpg",
                    "caption": pair.caption,
                    "original_width": pair.width,
                    "original_height": pair.height,
                    "fault": pair.fault,
                }
                for ending, data in (
                    ("jpg", pair.body),
                    ("txt", pair.caption.encode()),
                    ("json", json.dumps(fields).encode()),
                ):
                    member = tarfile.TarInfo(f"{key}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
