"""The flags of the subcommands, as dataclasses that validate themselves."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from img2ds.config.flags import at_least, copy_flag, flag
from img2ds.config.options import COMMAND, NetworkOptions, RunOptions
from img2ds.core.failure import Reason, UsageError
from img2ds.core.naming import OUTPUT_FORMATS

#: Reasons that rows can be chosen by, those of HTTP apart; `other` is img2dataset's (see `peer`).
REASONS = (*(reason.value for reason in Reason), "other")


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """The flag of every subcommand."""

    TITLE: ClassVar[str] = "Flags"
    GROUPS: ClassVar[tuple[type[Any], ...]]

    output_folder: str = flag(MISSING, "str", "the dataset: a folder or fsspec URL")

    def __post_init__(self) -> None:
        if not self.output_folder:
            raise UsageError("--output_folder is required: the dataset's folder")

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> Any:
        """The options from the values of their flags. Raises UsageError."""
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class StatusOptions(FolderOptions):
    """`img2ds status`."""

    json: bool = flag(False, "bool", "print JSON instead of text")
    sizes_json: bool = flag(
        False, "bool", "write sizes.json, the number of samples in each tar, for OpenCLIP"
    )


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(FolderOptions):
    """`img2ds verify`."""

    fast: bool = flag(
        False, "bool", "check only files, sizes and row counts; read no images, compute no hashes"
    )
    decode: bool = flag(False, "bool", "decode every image (default: read its header)")
    repair: bool = flag(
        False, "bool",
        "remove the commit markers of broken shards, so that the next run rebuilds them",
    )  # fmt: skip
    processes_count: int | None = flag(None, "int?", "worker processes (default: one a core)")
    force: bool = flag(False, "bool", "repair even while a run still holds the folder")
    json: bool = flag(False, "bool", "print JSON instead of text")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("processes_count", self.processes_count, 1)
        if self.fast and self.decode:
            raise UsageError("--fast and --decode exclude each other: drop one")
        if self.force and not self.repair:
            raise UsageError("--force is for --repair: without it nothing is locked")


@dataclass(frozen=True, kw_only=True)
class RetryFlags(FolderOptions):
    """The flags of `img2ds retry` that no other run has."""

    TITLE: ClassVar[str] = "Retry"

    reasons: tuple[str, ...] = flag(
        (), "list",
        "failure reasons to retry, such as http_503,connect_timeout (default: all transient ones)",
    )  # fmt: skip
    tmp_dir: str | None = flag(
        None, "str?", "local folder for unfinished shards (default: inside a local output folder)"
    )
    force: bool = flag(False, "bool", "take over the folder from a run that still holds it")

    def __post_init__(self) -> None:
        super().__post_init__()
        for reason in self.reasons:
            if reason not in REASONS and not re.fullmatch(r"http_[1-9][0-9]{2}", reason):
                near = difflib.get_close_matches(reason, REASONS, n=1)
                hint = f"did you mean {near[0]}?" if near else "img2ds status lists reasons"
                raise UsageError(f"--reasons: unknown reason {reason!r}; {hint}")


@dataclass(frozen=True)
class RetryOptions:
    """`img2ds retry`: its own flags, and by name the values of those it shares with any run."""

    GROUPS: ClassVar[tuple[type[Any], ...]] = (RetryFlags, NetworkOptions, RunOptions)
    ALIASES: ClassVar[Mapping[str, str]] = COMMAND.aliases

    own: RetryFlags
    shared: Mapping[str, Any]

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> RetryOptions:
        """The options from the values of their flags. Raises UsageError."""
        names = {f.name for f in fields(RetryFlags)}
        own = {name: value for name, value in values.items() if name in names}
        rest = {name: value for name, value in values.items() if name not in names}
        return cls(RetryFlags(**own), rest)


@dataclass(frozen=True, kw_only=True)
class ReshardOptions(FolderOptions):
    """`img2ds reshard`."""

    to: str = flag(MISSING, "str", "where the new shards go: another folder or fsspec URL")
    number_sample_per_shard: int = flag(10000, "int", "samples in a new shard")
    uids: str | None = flag(
        None, "str?",
        "keep the pairs of this list only: the uids.npy of laion filter --uids, or DataComp's",
    )  # fmt: skip
    output_format: str | None = flag(
        None, "choice?", "format of the new shards (default: the format of the dataset)",
        *(name for name, names in OUTPUT_FORMATS.items() if names.suffix is not None),
        plugins=True,
    )  # fmt: skip
    processes_count: int | None = flag(None, "int?", "worker processes (default: one a core)")
    max_shard_retry: int = flag(1, "int", "times a failed shard is retried")
    tmp_dir: str | None = flag(
        None, "str?", "local folder for unfinished shards (default: inside a local folder)"
    )
    force: bool = flag(False, "bool", "take over the new folder from a run that still holds it")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.to:
            raise UsageError("--to is required: the folder of the new shards")
        at_least("number_sample_per_shard", self.number_sample_per_shard, 1)
        at_least("processes_count", self.processes_count, 1)
        at_least("max_shard_retry", self.max_shard_retry, 0)


@dataclass(frozen=True, kw_only=True)
class ReportOptions(FolderOptions):
    """`img2ds report`."""

    html: str = flag("report.html", "str", "the file to write, outside of the dataset's folder")
    title: str | None = flag(None, "str?", "title of the page (default: the folder's name)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.html:
            raise UsageError("--html must not be empty: the file to write")


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """`img2ds doctor`: the flags of the run that the machine is checked for."""

    TITLE: ClassVar[str] = "Flags"
    GROUPS: ClassVar[tuple[type[Any], ...]]

    processes_count: int | None = flag(
        None, "int?", "worker processes of the run (default: one a core)"
    )
    thread_count: int = flag(256, "int", "requests in flight of each process")
    output_folder: str | None = flag(None, "str?", "where the run will write")
    proxy: str = copy_flag(COMMAND.fields["proxy"])
    dns_servers: tuple[str, ...] = copy_flag(COMMAND.fields["dns_servers"])
    ca_bundle: str | None = copy_flag(COMMAND.fields["ca_bundle"])
    json: bool = flag(False, "bool", "print JSON instead of text")

    def __post_init__(self) -> None:
        at_least("processes_count", self.processes_count, 1)
        self.network()

    def network(self) -> NetworkOptions:
        """Return the network options of the run. Raises UsageError."""
        return NetworkOptions(
            thread_count=self.thread_count,
            proxy=self.proxy,
            dns_servers=self.dns_servers,
            ca_bundle=self.ca_bundle,
        )

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> DoctorOptions:
        """The options from the values of their flags. Raises UsageError."""
        return cls(**values)


DoctorOptions.GROUPS = (DoctorOptions,)
ReportOptions.GROUPS = (ReportOptions,)
ReshardOptions.GROUPS = (ReshardOptions,)
StatusOptions.GROUPS = (StatusOptions,)
VerifyOptions.GROUPS = (VerifyOptions,)
