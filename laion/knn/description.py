"""The contents of an index folder: its file names, and `index.json`, which is written last."""

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
FORMAT_VERSION = 2
#: What is written while no index is on disk: versions without these can read it.
_WITHOUT_DISK = 1
#: Fields of indices on disk alone.
_DISK_FIELDS = ("pool", "on_disk")


@dataclass(frozen=True, slots=True)
class IndexDescription:
    """One index: its kind, and the search setting at which it reached `recall` (recall@10)."""

    file: str
    kind: str
    factory: str
    effort: int | None
    effort_name: str | None
    rerank: int
    recall: float
    pool: int = 0
    on_disk: bool = False

    @property
    def setting(self) -> Setting:
        return Setting(self.effort, self.rerank, self.pool)


@dataclass(frozen=True, slots=True)
class Description:
    """The document in `index.json`.

    Attributes:
        rows: rows of every index, which number them from 0.
        parts: numbers of the shards, in the order of their rows.
        indices: by `image` and `text`.
        model: the CLIP model that embeds queries, with its weights, and how images are
            prepared for a file of weights; None if unknown.
        embedding: how the embeddings were made, as recorded by the stage that made them.
        tagged: whether any row has an NSFW tag.
        build: what the indices depend on, to tell whether they are up to date.
    """

    rows: int
    dimension: int
    parts: tuple[int, ...]
    indices: dict[str, IndexDescription]
    model: str | None
    pretrained: str | None
    tagged: bool
    prepared: str | None = None
    embedding: dict[str, Any] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: OutputFolder) -> None:
        """Write it to the index folder. Raises OSError."""
        fields = asdict(self)
        on_disk = any(index.on_disk for index in self.indices.values())
        if not on_disk:
            for index in fields["indices"].values():
                for name in _DISK_FIELDS:
                    del index[name]
        document = {"version": FORMAT_VERSION if on_disk else _WITHOUT_DISK, **fields}
        folder.write_bytes(NAME, json.dumps(document, indent=1).encode())


def read_description(folder: str) -> Description:
    """Read `index.json` of an index folder.

    Raises:
        UsageError: the index is missing, not finished, damaged or of another version.
        OSError: the file cannot be read.
    """
    path = os.path.join(folder, NAME)
    if not os.path.isdir(folder):
        raise UsageError(f"--index: no such folder '{folder}'")
    try:
        with open(path, "rb") as file:
            document = json.load(file)
        version = document.pop("version")
        if version not in (_WITHOUT_DISK, FORMAT_VERSION):
            raise UsageError(
                f"'{path}' has format {version}, but this version of laion reads format "
                f"{FORMAT_VERSION}: rebuild the index"
            )
        document["parts"] = tuple(document["parts"])
        document["indices"] = {
            kind: IndexDescription(**index) for kind, index in document["indices"].items()
        }
        return Description(**document)
    except FileNotFoundError:
        if any(os.path.exists(os.path.join(folder, f"{kind}.index")) for kind in FOLDERS):
            raise UsageError(
                f"'{folder}' has no {NAME}: laion did not make it, or not to its end; run laion "
                "index over the embeddings that it was made from"
            ) from None
        raise UsageError(
            f"'{folder}' has no finished index: build it with laion index --output_folder {folder}"
        ) from None
    except UsageError:  # which is a ValueError
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"'{path}' is damaged ({error}): rebuild the index") from None


def array_name(kind: str, number: int) -> str:
    """The file of a shard's vectors of a kind."""
    return f"{FOLDERS[kind]}/{FOLDERS[kind]}_{shard_name(number, DIGITS)}.npy"


def rows_name(number: int) -> str:
    """The file of a shard's metadata."""
    return f"metadata/metadata_{shard_name(number, DIGITS)}.arrow"
