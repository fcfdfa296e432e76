"""The flags of `laion filter`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from img2ds.config.flags import flag
from img2ds.core.failure import UsageError
from laion.data.embedding_folder import SIMILARITY
from laion.filter.condition import Condition
from laion.stage import StageOptions


@dataclass(frozen=True, kw_only=True)
class FilterOptions(StageOptions):
    """The flags of `laion filter`."""

    input: str = flag(
        MISSING, "str", "a folder that laion score, tag, crawl or filter wrote", identity=False
    )
    where: str | None = flag(
        None, "str?", "keep pairs for which this SQL condition over the columns is true"
    )
    keep_top: float | None = flag(
        None, "float?", "of these, keep the share with the highest values: 0.3 keeps 30 %"
    )
    by: str = flag(SIMILARITY, "str", "the column that --keep_top compares")

    def __post_init__(self) -> None:
        StageOptions.__post_init__(self)
        if self.where is None and self.keep_top is None:
            raise UsageError("give --where, --keep_top, or both: there is nothing to filter by")
        if self.keep_top is not None and not 0 < self.keep_top <= 1:
            raise UsageError(f"--keep_top is a share above 0 and up to 1, got {self.keep_top}")
        if self.keep_top is None and self.by != SIMILARITY:
            raise UsageError("--by goes with --keep_top")
        if self.where is not None:
            Condition(self.where)  # raises for one that is none
        if self.incremental_mode == "extend" and self.keep_top is not None:
            raise UsageError(
                "--keep_top is a share of one input, and cannot extend a folder: choose another "
                "--output_folder"
            )
