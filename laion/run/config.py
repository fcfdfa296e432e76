"""Reads the configuration file of `laion run` into a plan of its stages.

    output_folder: laion-2024/
    processes_count: 16            # applies to every stage that has the flag
    extract: {wat: CC-MAIN-2024-10, first: 100}
    score: {model: ViT-B-32, pretrained: laion400m_e32}
    release: {threshold: 0.3}
    tag: false                     # skipped

Each stage reads the folder of the previous one and writes a folder with its own name. All values
are parsed and all stages are checked before the first one starts.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import yaml

from img2ds.config.flags import Flags
from img2ds.core.failure import UsageError
from laion.commands import COMMANDS
from laion.stage import StageOptions

#: The stages in their order, and those that `crawl` replaces.
STAGES = (
    "extract", "dedup", "group", "download", "score", "tag", "crawl", "annotate", "filter",
    "dedup_images", "release", "index",
)  # fmt: skip
CRAWLED = ("download", "score", "tag")
#: Stages that may be skipped.
OPTIONAL = ("dedup", "group", "tag", "annotate", "filter", "dedup_images", "index")
#: Those that run only if the file has flags for them.
ASKED_FOR = ("group", "annotate", "filter", "dedup_images")
#: Flags that may be set outside of a stage, for all stages that have them.
SHARED = (
    "processes_count", "distributor", "max_shard_retry", "tmp_dir", "force",
    "model", "pretrained", "precision", "batch_size", "devices",
)  # fmt: skip
#: Flags that follow from the order of the stages, or would rebuild a folder at every run.
RESERVED = ("input", "output_folder", "incremental_mode")


@dataclass(frozen=True, slots=True)
class Step:
    """A stage to run; `options` are those of its command."""

    stage: str
    folder: str
    options: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages to run and their folder."""

    folder: str
    steps: tuple[Step, ...]


def read_config(path: str, output_folder: str | None = None) -> Plan:
    """Read the plan from a file.

    Args:
        output_folder: replaces the one in the file.

    Raises:
        UsageError: the file cannot be read or has an invalid value; the message says where.
    """
    try:
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file)
    except OSError as error:
        raise UsageError(
            f"--config {path}: cannot be read ({(error.strerror or str(error)).lower()})"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--config {path}: invalid YAML ({' '.join(str(error).split())})"
        ) from None
    if not isinstance(document, Mapping):
        raise UsageError(f"--config {path}: expected a mapping of stages to their flags")
    try:
        return make_plan(document, output_folder)
    except UsageError as error:
        raise UsageError(f"--config {path}: {error}") from None


def make_plan(document: Mapping[Any, Any], output_folder: str | None = None) -> Plan:
    """Make the plan from the content of a file. Raises UsageError."""
    sections = {str(name): value for name, value in document.items()}
    folder = output_folder or sections.pop("output_folder", None)
    sections.pop("output_folder", None)
    if not isinstance(folder, str) or not folder:
        raise UsageError("output_folder is missing: the folder for all stages")
    folder = folder.rstrip("/") or folder
    stages = _stages(sections)
    shared = {name: value for name, value in sections.items() if name not in STAGES}
    for name in shared:
        _check_shared(name)
    steps: list[Step] = []
    for stage in stages:
        given = sections.get(stage)
        own = given if isinstance(given, Mapping) else {}
        chained: dict[str, Any] = {"output_folder": f"{folder}/{stage}"}
        if steps:
            chained["input"] = steps[-1].folder
        if stage == "release" and "require_tags" not in own and _tags(steps):
            chained["require_tags"] = True
        try:
            options = _options(stage, {str(k): v for k, v in own.items()}, shared, chained)
        except UsageError as error:
            raise UsageError(f"{stage}: {error}") from None
        steps.append(Step(stage, chained["output_folder"], options))
    return Plan(folder, tuple(steps))


def _tags(steps: Sequence[Step]) -> bool:
    return any(
        step.stage == "tag" or (step.stage == "crawl" and step.options.tag) for step in steps
    )


def _stages(sections: Mapping[str, Any]) -> list[str]:
    """Return the stages to run, in their order. Raises UsageError."""
    for stage in STAGES:
        value = sections.get(stage)
        if value is False and stage not in (*OPTIONAL, "crawl"):
            raise UsageError(f"{stage} cannot be skipped: later stages need its output")
        if not (value is None or isinstance(value, (bool, Mapping))):
            raise UsageError(f"{stage} takes a mapping of flags, or false, got {value!r}")
    crawl = "crawl" in sections and sections["crawl"] is not False
    both = [stage for stage in CRAWLED if crawl and sections.get(stage)]
    if both:
        raise UsageError(f"crawl includes {both[0]}: give one of them")
    groups = sections.get("group") not in (None, False)  # it needs no flags
    if crawl and groups:
        raise UsageError("crawl takes its candidates from WAT files itself: leave group out")
    skipped = [*(CRAWLED if crawl else ("crawl",)), *(s for s in ASKED_FOR if not sections.get(s))]
    if groups:
        skipped = [stage for stage in skipped if stage != "group"]
    return [s for s in STAGES if s not in skipped and sections.get(s) is not False]


def _check_shared(name: str) -> None:
    if name in SHARED:
        return
    near = difflib.get_close_matches(name, [*STAGES, *SHARED, "output_folder"], n=1)
    hint = f"did you mean {near[0]}?" if near else "put flags of one stage under its name"
    raise UsageError(f"{name} is neither a stage nor a flag for all stages; {hint}")


def _options(
    stage: str, own: Mapping[str, Any], shared: Mapping[str, Any], chained: Mapping[str, Any]
) -> Any:
    """Parse the options of a stage. Raises UsageError."""
    command = COMMANDS[stage]
    kind = command.load_options()
    flags = Flags.of(f"laion {stage}", kind)
    flags = replace(flags, aliases=getattr(kind, "ALIASES", {}))
    for typed in own:
        name = flags.name(typed)
        if name in RESERVED or (name == "wat" and stage != "extract"):
            raise UsageError(f"{typed} cannot be set here: it follows from the order of the stages")
    named = {flags.name(typed) for typed in own}
    general = {
        name: value for name, value in shared.items() if name in flags.fields and name not in named
    }
    if "input" in chained and flags.fields["input"].metadata["kind"] == "list":
        chained = {**chained, "input": [chained["input"]]}  # a comma in a path is not a separator
    return kind(**flags.read({**general, **own, **chained}))


def stage_flags(options: Any) -> dict[str, str]:
    """Return the flags of a stage that differ from their defaults, except those of all stages."""
    hidden = {f.name for f in fields(StageOptions)} | {"input"}
    shown = {}
    for spec in fields(options):
        value = getattr(options, spec.name)
        if spec.name not in hidden and value != spec.default and value not in ((), {}):
            shown[spec.name] = ",".join(value) if isinstance(value, tuple) else str(value)
    return shown
