"""What a folder was made from, as its manifest tells, or a note of `laion download`.

img2ds's own manifests name files without their folder, so `laion download` leaves the note.
"""

from __future__ import annotations

import json
from typing import Any

from img2ds.ledger import MANIFEST
from img2ds.outcome import UsageError
from img2ds.storage import OutputFolder

#: The note's place in a folder.
NOTE = "_img2ds/laion.json"

#: Folders inside a stage's folder that hold files of its parts.
INSIDE = ("metadata", "img_emb", "text_emb")


def read_segments(folder: OutputFolder) -> list[dict[str, Any]]:
    """The segments of a folder's manifest; none when it has no manifest that can be read."""
    try:
        document = json.loads(folder.read_bytes(MANIFEST))
        segments: list[dict[str, Any]] = document["segments"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return segments


def made_from(folder: OutputFolder) -> str | None:
    """The folder that this one was made from, None where nobody can tell."""
    for segment in read_segments(folder):
        for file in segment["fingerprint"]["files"]:
            place = str(file["name"]).rpartition("/")[0]
            for inside in INSIDE:
                place = place.removesuffix(f"/{inside}")
            if place:
                return place
    try:
        noted: str = json.loads(folder.read_bytes(NOTE))["input"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return noted


def note_origin(output_folder: str, source: str) -> None:
    """Leave the note in a folder that was made from the folder `source`.

    Raises:
        UsageError: it cannot be written.
    """
    folder = OutputFolder.open(output_folder)
    place = OutputFolder.open(source).path  # absolute, so that it can be followed from anywhere
    try:
        folder.write_bytes(NOTE, json.dumps({"input": place}).encode())
    except OSError as error:
        raise UsageError(f"cannot write to {folder.path}: {error}") from None
    finally:
        folder.close()
