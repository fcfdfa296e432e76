"""The flags of `laion index` and `laion search`."""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar

from img2ds.config.flags import at_least, flag, positive
from img2ds.core.failure import UsageError
from laion.knn.filters import LICENCES
from laion.stage import StageOptions


def half_of_memory() -> int:
    """Bytes: half of what this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


@dataclass(frozen=True, kw_only=True)
class IndexOptions(StageOptions):
    """Flags of `laion index`."""

    input: str = flag(
        MISSING, "str",
        "a release, or any folder with img_emb/, text_emb/ and metadata/ as clip-retrieval has it",
    )  # fmt: skip
    kind: str | None = flag(
        None, "str?",
        "flat, hnsw, ivfpq, or a factory string of faiss (default: the best that fits max_memory)",
    )  # fmt: skip
    max_memory: int | None = flag(
        None, "size?", "bytes an index may take, such as 16GB (default: half of the machine's)"
    )
    recall: float = flag(
        0.95, "float", "recall@10 to set the search's effort for, measured against exact search"
    )
    model: str | None = flag(
        None, "str?",
        "CLIP model of the embeddings, for searching (default: what the input's maker recorded)",
    )  # fmt: skip
    pretrained: str | None = flag(None, "str?", "weights of the model")

    def __post_init__(self) -> None:
        if not self.input:
            raise UsageError("--input is required: a folder with img_emb/ and metadata/")
        super().__post_init__()
        if self.kind == "":
            raise UsageError("--kind must not be empty")
        at_least("max_memory", self.max_memory, 1)
        positive("recall", self.recall)
        if self.recall > 1:
            raise UsageError(f"--recall is a share of at most 1, got {self.recall}")
        if self.pretrained is not None and self.model is None:
            raise UsageError("--pretrained names weights of a --model: give both")

    def identity(self) -> dict[str, Any]:
        """Nothing: parts are the same whatever index is built on them."""
        return {}

    @property
    def memory(self) -> int:
        return self.max_memory or half_of_memory()


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Flags of `laion search`."""

    SOURCES: ClassVar[tuple[str, ...]] = ("text", "image", "url", "id")

    index: str = flag(MISSING, "str", "the folder that `laion index` made")
    text: str | None = flag(None, "str?", "find what this text says")
    image: str | None = flag(None, "str?", "find what looks like the picture in this file")
    url: str | None = flag(None, "str?", "find what looks like the picture at this URL")
    id: int | None = flag(None, "int?", "find what looks like this row")
    k: int = flag(20, "int", "results")
    by: str = flag("image", "choice", "search among the pictures or the texts", "image", "text")
    safe: bool = flag(True, "bool", "only rows whose NSFW tag is UNLIKELY")
    min_size: int = flag(0, "int", "pixels that the shorter side has at least")
    license: str = flag("any", "choice", "what the licence permits", *LICENCES)
    deduplicate: bool = flag(False, "bool", "of near-duplicates only the best one")
    json: bool = flag(False, "bool", "print JSON instead of a table")
    model: str | None = flag(None, "str?", "CLIP model (default: the one the index names)")
    pretrained: str | None = flag(None, "str?", "weights of the model")
    allow_private_addresses: bool = flag(
        False, "bool", "allow --url to lead to loopback, private and link-local addresses"
    )

    def __post_init__(self) -> None:
        if not self.index:
            raise UsageError("--index is required: the folder that `laion index` made")
        given = [f"--{name}" for name in self.SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            got = f", got {' and '.join(given)}" if given else ""
            raise UsageError(f"give one of --text, --image, --url and --id{got}")
        at_least("k", self.k, 1)
        at_least("min_size", self.min_size, 0)
