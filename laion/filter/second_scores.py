"""Similarities of a second model, for the same pairs: what a data filtering network decides by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from img2ds.core.failure import UsageError
from laion.data.embedding_folder import (
    SIMILARITY,
    EmbeddingFolder,
    EmbeddingShard,
    open_embedding_folder,
)
from laion.filter.rules import Rows

KEY = "key"


@dataclass(frozen=True, slots=True)
class SecondScores:
    """The similarities of another folder that `laion score` made of the same shards.

    Attributes:
        shards: its shards by number; pairs are found by their key.
    """

    shards: dict[int, EmbeddingShard]

    def values(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return the second similarity of each pair; NaN where there is none."""
        keys = rows.table[KEY].to_pylist()
        shard = self.shards.get(rows.source.number)
        if shard is None:
            return np.full(len(keys), np.nan, np.float32)
        table = shard.table([KEY, SIMILARITY])
        known = dict(zip(table[KEY].to_pylist(), table[SIMILARITY].to_pylist(), strict=True))
        found = [known.get(key) for key in keys]
        return np.array([np.nan if value is None else value for value in found], np.float32)


@dataclass(frozen=True, slots=True)
class HasSecondScore:
    """The pair has a second similarity."""

    scores: SecondScores
    reasons: tuple[str, ...] = ("no_second_score",)

    def failed(self, rows: Rows) -> npt.NDArray[np.intp]:
        return np.where(np.isnan(self.scores.values(rows)), 0, -1)


def open_second(path: str, first: EmbeddingFolder) -> tuple[SecondScores, EmbeddingFolder]:
    """Open the second folder.

    Raises:
        UsageError: it is no such folder, or has none of the pairs of the first shard.
    """
    try:
        second = open_embedding_folder(path, (KEY, SIMILARITY))
    except UsageError as error:
        raise UsageError(f"--second_scores: {error}") from None
    scores = SecondScores({shard.number: shard for shard in second.shards})
    shard = next((one for one in first.shards if one.rows()), None)
    if shard is not None:
        table = shard.table([KEY])
        if np.isnan(scores.values(Rows(shard, table))).all():
            raise UsageError(
                f"--second_scores {path} has none of the pairs of {shard.path('shard {}')}: score "
                "the same shards with both models"
            )
    return scores, second
