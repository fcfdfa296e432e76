"""Rules of recipes over the caption, the size and the similarity of pairs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from laion.annotate.columns import LANGUAGE, detect_missing
from laion.data.embedding_folder import SIMILARITY, EmbeddingShard

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """The pairs of one shard; what several rules need is computed once."""

    source: EmbeddingShard
    table: pa.Table

    @cached_property
    def texts(self) -> list[str]:
        """The captions; "" for none."""
        return [text or "" for text in self.table["caption"].cast(pa.string()).to_pylist()]

    @cached_property
    def languages(self) -> list[str | None]:
        """The languages that the pairs have, or that are detected."""
        known: list[str | None] = [None] * len(self.texts)
        if LANGUAGE in self.table.column_names:
            known = self.table[LANGUAGE].cast(pa.string()).to_pylist()
        found: list[str | None] = detect_missing(known, self.texts, "captions")
        return found

    def numbers(self, column: str) -> npt.NDArray[np.float32]:
        """The numbers of a column; NaN for null."""
        values = pc.fill_null(pc.cast(self.table[column], pa.float32()), float("nan"))
        return np.asarray(values.to_numpy())


class Rule(Protocol):
    """Decides which pairs are kept; picklable. `reasons` lists what pairs are dropped for."""

    @property
    def reasons(self) -> tuple[str, ...]: ...

    def failed(self, rows: Rows) -> npt.NDArray[np.intp]:
        """Return for each pair the number of the reason to drop it; -1 to keep it."""
        ...


def _number(passes: Mask) -> npt.NDArray[np.intp]:
    return np.where(passes, -1, 0)


@dataclass(frozen=True, slots=True)
class English:
    """The caption is in English."""

    reasons: tuple[str, ...] = ("not_english",)

    def failed(self, rows: Rows) -> npt.NDArray[np.intp]:
        return _number(np.array([code == "en" for code in rows.languages], np.bool_))


@dataclass(frozen=True, slots=True)
class CaptionLength:
    """The caption has more than `words` words, as `str.split` counts, and `characters`."""

    words: int
    characters: int
    reasons: tuple[str, ...] = ("few_words", "few_characters")

    def failed(self, rows: Rows) -> npt.NDArray[np.intp]:
        words = np.array([len(text.split()) for text in rows.texts], np.int64)
        characters = np.array([len(text) for text in rows.texts], np.int64)
        found = np.where(words > self.words, np.where(characters > self.characters, -1, 1), 0)
        return np.asarray(found, np.intp)


@dataclass(frozen=True, slots=True)
class ImageSize:
    """The original image's shorter side has `side` pixels or more, the longer `ratio` times that.

    Pairs of unknown size are dropped.
    """

    side: int
    ratio: float
    reasons: tuple[str, ...] = ("small_image", "aspect_ratio")

    def failed(self, rows: Rows) -> npt.NDArray[np.intp]:
        width, height = (rows.numbers(name) for name in ("original_width", "original_height"))
        short, long = np.minimum(width, height), np.maximum(width, height)
        found = np.where(short >= self.side, np.where(long <= self.ratio * short, -1, 1), 0)
        return np.asarray(found, np.intp)


@dataclass(frozen=True, slots=True)
class LeastSimilarity:
    """The similarity is `least` or more."""

    least: float
    reasons: tuple[str, ...] = ("low_similarity",)

    def failed(self, rows: Rows) -> npt.NDArray[np.intp]:
        values = np.asarray(rows.table[SIMILARITY].cast(pa.float64()).to_numpy())
        return _number(values >= self.least)
