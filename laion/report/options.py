"""The flags of `laion report`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import ClassVar

from img2ds.config.flags import flag
from img2ds.core.failure import UsageError


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """The flags of `laion report`; the release can be given without `--input`."""

    POSITIONS: ClassVar[tuple[str, ...]] = ("input",)

    input: str = flag(
        MISSING, "str", "a release's folder, or LAION-style parquet: a folder, file, glob or URL"
    )
    compare: str | None = flag(None, "str?", "another release, to be shown beside it")
    html: str = flag("release.html", "str", "the file to write")
    images: str | None = flag(
        None, "str?", "tars with the images to show (default: those that the release came from)"
    )
    examples: int = flag(8, "int", "images shown of each group; 0 for none")

    def __post_init__(self) -> None:
        if not self.input:
            raise UsageError("--input is required: a release's folder, or LAION-style parquet")
        if not self.html:
            raise UsageError("--html must not be empty: the file to write")
        if self.examples < 0:
            raise UsageError(f"--examples {self.examples}: use 0 or more")
