"""The file of `laion run`, read into the steps that it asks for.

    output_folder: laion-2024/
    processes_count: 16            # such flags hold for every stage that has them
    extract: {wat: CC-MAIN-2024-10, first: 100}
    score: {model: ViT-B-32, pretrained: laion400m_e32}
    release: {threshold: 0.3}
    tag: false                     # left out

Each stage reads the folder of the one before it, and writes one of its own name. All values are
read, and all stages' checks are made, before the first one begins.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import yaml

from img2ds.config.flags import Flags
from img2ds.core.failure import UsageError
from laion.commands import COMMANDS
from laion.stage import StageOptions

#: The stages in their order, and those that `crawl` does in one.
STAGES = ("extract", "dedup", "download", "score", "tag", "crawl", "release", "index")
CRAWLED = ("download", "score", "tag")
#: Stages that others do not need.
OPTIONAL = ("dedup", "tag", "index")
#: Flags that may stand outside of a stage, for all that have them.
SHARED = (
    "processes_count", "distributor", "max_shard_retry", "tmp_dir", "force",
    "model", "pretrained", "precision", "batch_size", "devices",
)  # fmt: skip
#: What the order of the stages decides, and what would start a folder anew at every run.
DECIDED = ("input", "output_folder", "incremental_mode")


@dataclass(frozen=True, slots=True)
class Step:
    """A stage that is to run; `options` are its command's."""

    stage: str
    folder: str
    options: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file asks for."""

    folder: str
    steps: tuple[Step, ...]


def read_config(path: str, output_folder: str | None = None) -> Plan:
    """The plan of a file.

    Args:
        output_folder: in place of the file's.

    Raises:
        UsageError: the file cannot be read, or something in it cannot work; it names the place.
    """
    try:
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file)
    except OSError as error:
        raise UsageError(
            f"--config {path}: cannot be read ({(error.strerror or str(error)).lower()})"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: no YAML ({' '.join(str(error).split())})") from None
    if not isinstance(document, Mapping):
        raise UsageError(f"--config {path}: no mapping of stages to their flags")
    try:
        return make_plan(document, output_folder)
    except UsageError as error:
        raise UsageError(f"--config {path}: {error}") from None


def make_plan(document: Mapping[Any, Any], output_folder: str | None = None) -> Plan:
    """The plan of a file's content. Raises UsageError."""
    sections = {str(name): value for name, value in document.items()}
    folder = output_folder or sections.pop("output_folder", None)
    sections.pop("output_folder", None)
    if not isinstance(folder, str) or not folder:
        raise UsageError("output_folder is missing: where the stages' folders go")
    folder = folder.rstrip("/") or folder
    stages = _stages(sections)
    shared = {name: value for name, value in sections.items() if name not in STAGES}
    for name in shared:
        _check_shared(name)
    steps: list[Step] = []
    for stage in stages:
        given = sections.get(stage)
        own = given if isinstance(given, Mapping) else {}
        chained = {"output_folder": f"{folder}/{stage}"}
        if steps:
            chained["input"] = steps[-1].folder
        try:
            options = _options(stage, {str(k): v for k, v in own.items()}, shared, chained)
        except UsageError as error:
            raise UsageError(f"{stage}: {error}") from None
        steps.append(Step(stage, chained["output_folder"], options))
    return Plan(folder, tuple(steps))


def _stages(sections: Mapping[str, Any]) -> list[str]:
    """The stages that are to run, in their order."""
    for stage in STAGES:
        value = sections.get(stage)
        if value is False and stage not in (*OPTIONAL, "crawl"):
            raise UsageError(f"{stage} cannot be left out: the stages after it need what it makes")
        if not (value is None or isinstance(value, (bool, Mapping))):
            raise UsageError(f"{stage} takes flags and their values, or false, got {value!r}")
    crawl = "crawl" in sections and sections["crawl"] is not False
    both = [stage for stage in CRAWLED if crawl and sections.get(stage)]
    if both:
        raise UsageError(f"crawl does what {both[0]} does: name one of them")
    skipped = CRAWLED if crawl else ("crawl",)
    return [s for s in STAGES if s not in skipped and sections.get(s) is not False]


def _check_shared(name: str) -> None:
    if name in SHARED:
        return
    near = difflib.get_close_matches(name, [*STAGES, *SHARED, "output_folder"], n=1)
    hint = f"did you mean {near[0]}?" if near else "flags of one stage stand under its name"
    raise UsageError(f"{name} is no stage and no flag of all stages; {hint}")


def _options(
    stage: str, own: Mapping[str, Any], shared: Mapping[str, Any], chained: Mapping[str, Any]
) -> Any:
    """The options of a stage. Raises UsageError."""
    command = COMMANDS[stage]
    kind = command.load_options()
    flags = Flags.of(f"laion {stage}", kind)
    flags = replace(flags, aliases=getattr(kind, "ALIASES", {}))
    for typed in own:
        name = flags.name(typed)
        if name in DECIDED or (name == "wat" and stage != "extract"):
            raise UsageError(f"{typed} is not for the file to say: it follows from the stages")
    named = {flags.name(typed) for typed in own}
    general = {
        name: value for name, value in shared.items() if name in flags.fields and name not in named
    }
    if "input" in chained and flags.fields["input"].metadata["kind"] == "list":
        chained = {**chained, "input": [chained["input"]]}  # a comma in a path parts nothing
    return kind(**flags.read({**general, **own, **chained}))


def stage_flags(options: Any) -> dict[str, str]:
    """The flags of a stage that are not at their default and not every stage's, as typed."""
    hidden = {f.name for f in fields(StageOptions)} | {"input"}
    told = {}
    for spec in fields(options):
        value = getattr(options, spec.name)
        if spec.name not in hidden and value != spec.default and value not in ((), {}):
            told[spec.name] = ",".join(value) if isinstance(value, tuple) else str(value)
    return told
