"""Which model made the embeddings of a folder, so that questions are embedded by the same one."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from img2ds.ledger import MANIFEST
from img2ds.storage import OutputFolder


@dataclass(frozen=True, slots=True)
class Origin:
    """`embedding` is all that the maker recorded of how the embeddings were made."""

    model: str | None = None
    pretrained: str | None = None
    embedding: dict[str, Any] = field(default_factory=dict)


def read_origin(path: str) -> Origin:
    """What a stage of laion recorded in the embedding folder; nothing in folders of other tools."""
    folder = OutputFolder.open(path)
    try:
        document = json.loads(folder.read_bytes(MANIFEST))
        options = document["segments"][-1]["options"]
        model = options.get("model")
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Origin()
    if not isinstance(model, str):
        return Origin()
    return Origin(named(model), named(options.get("pretrained")), dict(options))


def named(model: str | None) -> str | None:
    """A model or its weights so that it is found from any folder: files by their whole path."""
    return os.path.abspath(model) if model is not None and os.path.isfile(model) else model
