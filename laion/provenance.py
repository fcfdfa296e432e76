"""What a folder was made from, and with which model: from its manifest, or a note beside it.

A manifest holds what tells one data set from another, in which files go by their name or content;
the note says where they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from img2ds.core.failure import UsageError
from img2ds.engine.manifest import MANIFEST
from img2ds.storage import OutputFolder
from laion.data.embedding_layout import FOLDERS

#: The note's place in a folder.
NOTE = "_img2ds/laion.json"


class ModelNames(NamedTuple):
    """A CLIP model and its weights as users name them, files by their whole path; None where
    nobody can tell.
    """

    model: str | None = None
    pretrained: str | None = None


def read_segments(folder: OutputFolder) -> list[dict[str, Any]]:
    """The segments of a folder's manifest; none when it has no manifest that can be read."""
    try:
        document = json.loads(folder.read_bytes(MANIFEST))
        segments: list[dict[str, Any]] = document["segments"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return segments


def require_tars(path: str) -> None:
    """Say so when img2ds made a folder in another format than webdataset, which stages read.

    Raises:
        UsageError: it did.
    """
    for segment in read_segments(OutputFolder.open(path)):
        made = segment.get("options", {}).get("output_format", "webdataset")
        if made != "webdataset":
            raise UsageError(
                f"{path} was downloaded with --output_format {made}; what is needed here are "
                "tars: download with --output_format webdataset, as laion download does"
            )


def made_from(folder: OutputFolder) -> str | None:
    """The folder that this one was made from, None where nobody can tell."""
    for segment in read_segments(folder):
        for file in segment["fingerprint"]["files"]:
            place = str(file["name"]).rpartition("/")[0]
            for inside in FOLDERS:
                place = place.removesuffix(f"/{inside}")
            if place:
                return place
    noted: str | None = _read_note(folder).get("input")
    return noted


def read_model(folder: OutputFolder) -> ModelNames:
    """The model that the embeddings of a folder were made with."""
    told = _read_note(folder)
    if "model" not in told:  # a folder of before there were notes
        segments = read_segments(folder)
        told = segments[-1].get("options", {}) if segments else {}
    model, pretrained = told.get("model"), told.get("pretrained")
    if not isinstance(model, str):
        return ModelNames()
    return ModelNames(named(model), named(pretrained))


def named(model: str | None) -> str | None:
    """A model or its weights so that it is found from any folder: files by their whole path."""
    return os.path.abspath(model) if model is not None and os.path.isfile(model) else model


def file_name(model: str | None) -> str | None:
    """A model or its weights so that it is the same wherever it lies: files by their name."""
    return os.path.basename(model) if model is not None and os.path.isfile(model) else model


def write_note(folder: OutputFolder, values: Mapping[str, str | None]) -> None:
    """Note where the folder is from; other values of the note stay. Raises OSError."""
    told = {**_read_note(folder), **values}
    if told != _read_note(folder):
        folder.write_bytes(NOTE, json.dumps(told).encode())


def _read_note(folder: OutputFolder) -> dict[str, Any]:
    try:
        told = json.loads(folder.read_bytes(NOTE))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def note_origin(output_folder: str, source: str) -> None:
    """Leave the note in a folder that was made from the folder `source`.

    Raises:
        UsageError: it cannot be written.
    """
    folder = OutputFolder.open(output_folder)
    place = OutputFolder.open(source).path  # absolute, so that it can be followed from anywhere
    try:
        write_note(folder, {"input": place})
    except OSError as error:
        raise UsageError(f"cannot write to {folder.path}: {error}") from None
    finally:
        folder.close()
