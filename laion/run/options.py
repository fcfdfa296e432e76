"""The flags of `laion run`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from img2ds.config.flags import flag
from img2ds.core.failure import UsageError


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The flags of `laion run`; everything else is in the configuration file."""

    config: str = flag(
        MISSING, "str", "YAML file with output_folder, and the flags of each stage under its name"
    )
    output_folder: str | None = flag(
        None, "str?", "folder for the folders of all stages (default: the one in the file)"
    )
    dry_run: bool = flag(False, "bool", "check the configuration and print the plan")

    def __post_init__(self) -> None:
        if not self.config:
            raise UsageError("--config is required: a YAML file, see docs/pipeline.md")
