"""The flags of the subcommands, as dataclasses that validate themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar

from img2ds.flags import at_least, flag
from img2ds.outcome import UsageError


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """The flag of every subcommand."""

    TITLE: ClassVar[str] = "Flags"
    GROUPS: ClassVar[tuple[type[Any], ...]]

    output_folder: str = flag(MISSING, "str", "the data set: a folder or fsspec URL")

    def __post_init__(self) -> None:
        if not self.output_folder:
            raise UsageError("--output_folder is required: the data set's folder")

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> Any:
        """The options from the values of their flags. Raises UsageError."""
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class StatusOptions(FolderOptions):
    """`img2ds status`."""

    json: bool = flag(False, "bool", "print a JSON document in place of a page")


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(FolderOptions):
    """`img2ds verify`."""

    fast: bool = flag(
        False, "bool", "look at files, sizes and row counts alone; read no tar, hash nothing"
    )
    decode: bool = flag(False, "bool", "decode each picture, in place of looking at its header")
    repair: bool = flag(
        False, "bool",
        "remove the marks of broken shards: the command that made them makes them again",
    )  # fmt: skip
    processes_count: int | None = flag(None, "int?", "worker processes (default: one a core)")
    force: bool = flag(False, "bool", "repair even while a run still holds the folder")
    json: bool = flag(False, "bool", "print a JSON document in place of a page")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("processes_count", self.processes_count, 1)
        if self.fast and self.decode:
            raise UsageError("--fast and --decode exclude each other: drop one")
        if self.force and not self.repair:
            raise UsageError("--force is for --repair: without it nothing is locked")


StatusOptions.GROUPS = (StatusOptions,)
VerifyOptions.GROUPS = (VerifyOptions,)
