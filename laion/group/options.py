"""The flags of `laion group`."""

from __future__ import annotations

from dataclasses import dataclass

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from laion.stage import StageOptions


@dataclass(frozen=True, kw_only=True)
class GroupOptions(StageOptions):
    """The flags of `laion group`."""

    input: tuple[str, ...] = flag(
        (), "list", "candidate folders, made by laion extract or laion dedup; several, or a,b",
        identity=False,
    )  # fmt: skip
    max_texts: int | None = flag(
        None, "int?", "texts of a URL that are kept, the first ones (default: all)"
    )
    shuffle_rows: int = flag(
        262_144, "int", "rows held and spread over their hosts at once, some 400 bytes each"
    )
    seed: int = flag(0, "int", "random seed of the order of the rows")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.input:
            raise UsageError("--input is required: folders that laion extract or dedup has made")
        at_least("max_texts", self.max_texts, 1)
        at_least("shuffle_rows", self.shuffle_rows, 1)
        if self.incremental_mode == "extend":
            raise UsageError(
                "groups cannot be extended, because a URL may be in both inputs: name all folders "
                "as --input, with another --output_folder"
            )
