"""What a folder was made from: its input, its model, and the stages that it came through.

Manifests identify inputs and models by name or content; a note next to the manifest records where
they are. Commit markers say what each stage kept and dropped.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from img2ds.core.failure import UsageError
from img2ds.core.state import state_file
from img2ds.engine.manifest import Segment, read_segments
from img2ds.engine.marker import marker_names, total_counts
from img2ds.storage import OutputFolder, read_state, write_state
from img2ds.storage.filesystem import as_usage_error
from laion.data.embedding_layout import FOLDERS

#: The note's place in a folder.
NOTE = state_file("laion")


class ModelNames(NamedTuple):
    """A CLIP model and its weights as users name them, files by their path; None if unknown.

    `prepared` says how images are prepared for a file of weights, see `clip.weights_file`.
    """

    model: str | None = None
    pretrained: str | None = None
    prepared: str | None = None


def segments_of(folder: OutputFolder) -> list[Segment]:
    """Return the segments of a folder's manifest; none without a manifest.

    Raises:
        UsageError: it cannot be read, is damaged, or is of another version.
    """
    with as_usage_error(f"read the manifest of {folder.path}"):
        return read_segments(folder)


def options_of(folder: OutputFolder) -> dict[str, Any]:
    """Return the options of a folder's last segment; none without a manifest. Raises UsageError."""
    segments = segments_of(folder)
    return dict(segments[-1].options) if segments else {}


def options_begun(options: Any) -> dict[str, Any]:
    """Return the options with which the output folder of a stage was begun; none for a new one.

    Args:
        options: the stage's `StageOptions`.

    Raises:
        UsageError: the folder cannot be read.
    """
    if options.incremental_mode == "overwrite":
        return {}
    return options_of(OutputFolder.open(options.output_folder))


def require_tars(path: str) -> None:
    """Raise UsageError when img2ds made a folder in another format than webdataset."""
    for segment in segments_of(OutputFolder.open(path)):
        made = segment.options.get("output_format", "webdataset")
        if made != "webdataset":
            raise UsageError(
                f"{path} was downloaded with --output_format {made}, and tars are needed here: "
                "download with --output_format webdataset, as laion download does"
            )


def made_from(folder: OutputFolder) -> str | None:
    """Return the folder that this one was made from, None if unknown. Raises UsageError."""
    for segment in segments_of(folder):
        for name in segment.file_names:
            place = name.rpartition("/")[0]
            for inside in FOLDERS:
                place = place.removesuffix(f"/{inside}")
            if place:
                return place
    noted: str | None = _read_note(folder).get("input")
    return noted


def read_model(folder: OutputFolder) -> ModelNames:
    """Return the model that the embeddings of a folder were made with. Raises UsageError."""
    noted = _read_note(folder)
    if "model" not in noted:  # folders of the first version have no note
        noted = options_of(folder)
    model, pretrained = noted.get("model"), noted.get("pretrained")
    if not isinstance(model, str):
        return ModelNames()
    return ModelNames(named(model), named(pretrained), noted.get("prepared"))


def named(model: str | None) -> str | None:
    """Name a model or its weights so that any folder finds it: files by their whole path."""
    return os.path.abspath(model) if model is not None and os.path.isfile(model) else model


def file_name(model: str | None) -> str | None:
    """Name a model or its weights the same wherever it is: files by their name."""
    return os.path.basename(model) if model is not None and os.path.isfile(model) else model


def note_model(folder: OutputFolder, model: ModelNames) -> None:
    """Note the model that a folder's embeddings are made with. Raises UsageError."""
    _write_note(folder, model._asdict())


def note_input(output_folder: str, source: str) -> None:
    """Note in a folder that it was made from the folder `source`. Raises UsageError."""
    folder = OutputFolder.open(output_folder)
    try:
        _write_note(folder, {"input": OutputFolder.open(source).path})  # absolute
    finally:
        folder.close()


def _write_note(folder: OutputFolder, values: Mapping[str, str | None]) -> None:
    """Set values of the note; others stay."""
    before = _read_note(folder)
    noted = {**before, **values}
    if noted != before:
        with as_usage_error(f"write to {folder.path}"):
            write_state(folder, NOTE, json.dumps(noted).encode())


def _read_note(folder: OutputFolder) -> dict[str, Any]:
    try:
        noted = json.loads(read_state(folder, NOTE) or b"{}")
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


@dataclass(slots=True)
class StageCounts:
    """What a stage's folder says of itself.

    `options` are those that decide what its shards are.
    """

    stage: str
    folder: str
    shards: int
    count: int
    kept: int
    reasons: Counter[str]
    metrics: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def read_stage(path: str) -> StageCounts | None:
    """Return what the commit markers of a folder say; None when it has none.

    Raises:
        UsageError: they, or the manifest, are damaged.
        OSError: they cannot be read.
    """
    folder = OutputFolder.open(path)
    shards = len(marker_names(folder.names()))
    if not shards:
        return None
    counts = total_counts(folder)
    options = options_of(folder)
    return StageCounts(
        str(options.pop("stage", "download")),
        folder.path,
        shards,
        counts.count,
        counts.successes,
        counts.reasons,
        dict(sorted(counts.metrics.items())),
        options,
    )


def trace_stages(last: str, others: Sequence[str] = ()) -> list[StageCounts]:
    """Return the stages that `last` came through as far as they can be traced, the first one first.

    Args:
        others: folders of more stages to list, in their order.

    Raises:
        UsageError: one of `others` is not a stage's folder.
    """
    found: dict[str, StageCounts] = {}
    for path in others:
        counts = read_stage(path)
        if counts is None:
            raise UsageError(f"--stages: {path} has no committed shards (NNNNN_stats.json)")
        found[counts.folder] = counts
    chain: list[StageCounts] = []
    for path in inputs_of(last):
        counts = read_stage(path)
        if counts is not None and counts.folder not in found:
            chain.append(counts)
    return [*found.values(), *reversed(chain)]


def was_tagged(stages: Sequence[StageCounts]) -> bool:
    """Return whether pairs came through `laion tag`, or through a crawl that tags."""
    return any(
        stage.stage == "tag" or (stage.stage == "crawl" and stage.options.get("tag") is not False)
        for stage in stages
    )


def document_type(path: str) -> str:
    """Return what `laion extract` took out, for a folder of candidates; `image` if unknown.

    Raises:
        UsageError: a manifest cannot be read.
    """
    for place in inputs_of(path):
        found = options_of(OutputFolder.open(place))
        if found.get("stage") == "extract":
            return str(found.get("document_type", "image"))
    return "image"


def inputs_of(path: str) -> Iterator[str]:
    """Yield `path`, the folder it was made from, and so on."""
    seen = set()
    place: str | None = path
    while place and place not in seen:
        seen.add(place)
        yield place
        place = made_from(OutputFolder.open(place))
