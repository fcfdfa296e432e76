"""`index.json`: what an index folder holds, and how it is to be asked. It is written last."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.naming import shard_name
from img2ds.engine.shard_output import DIGITS
from img2ds.storage import OutputFolder
from laion.knn.layout import FOLDERS
from laion.knn.ranking import Setting

NAME = "index.json"

#: Raised when the folder changes in a way that older versions would misread.
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class IndexDescription:
    """One faiss index: its kind, and the setting at which it reached `recall` (recall@10)."""

    file: str
    kind: str
    factory: str
    effort: int | None
    effort_name: str | None
    rerank: int
    recall: float

    @property
    def setting(self) -> Setting:
        return Setting(self.effort, self.rerank)


@dataclass(frozen=True, slots=True)
class Description:
    """The folder.

    Attributes:
        rows: rows of every index, which number them from 0 on.
        parts: numbers of the parts, in the order of their rows.
        indices: by `image` and `text`.
        model: the CLIP model and weights that questions are embedded with; None if unknown.
        embedding: how the embeddings were made, as their maker recorded it.
        tagged: whether any row has an NSFW tag.
        build: what decides what is built, to know whether it still holds.
    """

    rows: int
    dimension: int
    parts: tuple[int, ...]
    indices: dict[str, IndexDescription]
    model: str | None
    pretrained: str | None
    tagged: bool
    embedding: dict[str, Any] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: OutputFolder) -> None:
        """Publish it. Raises OSError."""
        document = {"version": FORMAT_VERSION, **asdict(self)}
        folder.write_bytes(NAME, json.dumps(document, indent=1).encode())


def read_description(folder: str) -> Description:
    """What the index folder says of itself.

    Raises:
        UsageError: there is no finished index, or it is of another version.
    """
    path = os.path.join(folder, NAME)
    if not os.path.isdir(folder):
        raise UsageError(f"--index: there is no folder {folder}")
    try:
        with open(path, "rb") as file:
            document = json.load(file)
        version = document.pop("version")
        if version != FORMAT_VERSION:
            raise UsageError(
                f"{path} was made by another version of laion (format {version}, this one knows "
                f"{FORMAT_VERSION}): make the index again"
            )
        document["parts"] = tuple(document["parts"])
        document["indices"] = {
            kind: IndexDescription(**index) for kind, index in document["indices"].items()
        }
        return Description(**document)
    except FileNotFoundError:
        raise UsageError(
            f"{folder} holds no finished index: make it with laion index --output_folder {folder}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is damaged ({error}): make the index again") from None


def array_name(kind: str, number: int) -> str:
    """The file of a part's vectors of a kind."""
    return f"{FOLDERS[kind]}/{FOLDERS[kind]}_{shard_name(number, DIGITS)}.npy"


def rows_name(number: int) -> str:
    """The file of a part's metadata."""
    return f"metadata/metadata_{shard_name(number, DIGITS)}.arrow"
