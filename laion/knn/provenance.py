"""Which model made the embeddings of a folder, so that questions are embedded by the same one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from img2ds.storage import OutputFolder
from laion.provenance import read_model, read_segments


@dataclass(frozen=True, slots=True)
class Origin:
    """`embedding` is all that the maker recorded of how the embeddings were made."""

    model: str | None = None
    pretrained: str | None = None
    embedding: dict[str, Any] = field(default_factory=dict)


def read_origin(path: str) -> Origin:
    """What a stage of laion recorded in the embedding folder; nothing in folders of other tools."""
    folder = OutputFolder.open(path)
    names = read_model(folder)
    if names.model is None:
        return Origin()
    segments = read_segments(folder)
    return Origin(*names, dict(segments[-1]["options"]) if segments else {})
