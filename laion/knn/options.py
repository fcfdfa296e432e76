"""The flags of `laion index` and `laion search`."""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar

from img2ds.config.flags import at_least, flag, positive
from img2ds.core.failure import UsageError
from laion.clip.options import PRETRAINED_TAG
from laion.knn.combined_query import IMAGE_WEIGHT, MAX_WEIGHT, NEGATIVE_WEIGHT
from laion.knn.filters import LICENCES
from laion.stage import StageOptions


def half_of_memory() -> int:
    """Return half of this machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


@dataclass(frozen=True, kw_only=True)
class IndexOptions(StageOptions):
    """Flags of `laion index`."""

    input: str = flag(
        MISSING, "str",
        "a release, or any folder with img_emb/, text_emb/ and metadata/ as in clip-retrieval",
    )  # fmt: skip
    kind: str | None = flag(
        None, "str?",
        "flat, hnsw, ivfpq, rabitq or a faiss factory string (default: the best that fits)",
    )  # fmt: skip
    max_memory: int | None = flag(
        None, "size?", "memory for one index, such as 16GB (default: half of the machine's)"
    )
    recall: float = flag(
        0.95, "float", "recall@10 to tune the search for, measured against exact search"
    )
    model: str | None = flag(
        None, "str?",
        "CLIP model of the embeddings, for queries (default: what the input folder records)",
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
            raise UsageError(f"--recall must be at most 1, got {self.recall}")
        if self.pretrained is not None and self.model is None:
            raise UsageError("--pretrained without --model: give both")

    def identity(self) -> dict[str, Any]:
        """Return nothing: shards do not depend on the index that is built from them."""
        return {}

    @property
    def memory(self) -> int:
        return self.max_memory or half_of_memory()


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Flags of `laion search`."""

    SOURCES: ClassVar[tuple[str, ...]] = ("text", "image", "url", "id")

    index: str = flag(MISSING, "str", "the folder that `laion index` made")
    text: str | None = flag(None, "str?", "search by this text")
    image: str | None = flag(None, "str?", "search by the image in this file")
    url: str | None = flag(None, "str?", "search by the image at this URL")
    id: int | None = flag(None, "int?", "search by this row of the index")
    negative_text: str | None = flag(None, "str?", "prefer results that are unlike this text")
    image_weight: float = flag(
        IMAGE_WEIGHT, "float", "weight of images in the query; a text has weight 1"
    )
    negative_weight: float = flag(NEGATIVE_WEIGHT, "float", "weight of --negative_text")
    min_similarity: float | None = flag(None, "float?", "least similarity of a result")
    k: int = flag(20, "int", "number of results")
    by: str = flag("image", "choice", "search the images or the texts", "image", "text")
    safe: bool = flag(True, "bool", "only rows whose NSFW tag is UNLIKELY")
    min_size: int = flag(0, "int", "least length of the shorter side, in pixels")
    license: str = flag("any", "choice", "what the licence permits", *LICENCES)
    deduplicate: bool = flag(False, "bool", "show only the best of several near-duplicates")
    json: bool = flag(False, "bool", "print JSON instead of a table")
    model: str | None = flag(None, "str?", "CLIP model (default: the one the index names)")
    pretrained: str | None = flag(None, "str?", "weights of the model")
    pretrained_tag: str | None = flag(None, "str?", PRETRAINED_TAG, identity=False)
    allow_private_addresses: bool = flag(
        False, "bool", "let --url reach loopback, private and link-local addresses"
    )

    def __post_init__(self) -> None:
        if not self.index:
            raise UsageError("--index is required: the folder that `laion index` made")
        if all(getattr(self, name) is None for name in self.SOURCES):
            raise UsageError("give at least one of --text, --image, --url and --id")
        for name in ("image_weight", "negative_weight"):
            if not 0 <= getattr(self, name) <= MAX_WEIGHT:
                raise UsageError(f"--{name} must be from 0 to {MAX_WEIGHT:g}")
        if self.min_similarity is not None and not -1 <= self.min_similarity <= 1:
            raise UsageError("--min_similarity must be from -1 to 1")
        at_least("k", self.k, 1)
        at_least("min_size", self.min_size, 0)
