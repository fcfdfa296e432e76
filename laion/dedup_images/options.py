"""The flags of `laion dedup_images`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from img2ds.core.pdq import DUPLICATE
from laion.dedup_images.scatter import BY_SIMILARITY, BY_SIZE
from laion.stage import StageOptions

#: Values of --by.
BY_EMBEDDING, BY_HASH, BY_BOTH = "embedding", "hash", "both"
#: The most that --max_distance can be: different images have about 128.
_FARTHEST = 90


@dataclass(frozen=True, kw_only=True)
class DedupImagesOptions(StageOptions):
    """The flags of `laion dedup_images`."""

    input: str = flag(
        MISSING, "str", "a folder that laion score, tag, crawl, filter or release wrote",
        identity=False,
    )  # fmt: skip
    by: str = flag(
        BY_EMBEDDING, "choice", "what is compared: CLIP embeddings, perceptual hashes, or both",
        BY_EMBEDDING, BY_HASH, BY_BOTH,
    )  # fmt: skip
    threshold: float = flag(0.95, "float", "least cosine of the embeddings of near-duplicates")
    max_distance: int = flag(
        DUPLICATE, "int", "bits, of 256, in which the hashes of near-duplicates differ at most"
    )
    shards: str | None = flag(
        None, "str?", "the images, for their hashes (default: the shards that were scored)",
        identity=False,
    )  # fmt: skip
    decontaminate: tuple[str, ...] = flag(
        (), "list",
        "folders of evaluation images, or of their embeddings: rows close to one are dropped",
        identity=False,
    )  # fmt: skip
    keep: str = flag(
        BY_SIMILARITY, "choice", "which one of near-duplicates is kept: of the highest similarity "
        "to its text, or the largest image", BY_SIMILARITY, BY_SIZE,
    )  # fmt: skip
    clusters: int | None = flag(
        None, "int?", "clusters within which images are compared (default: the root of the rows)"
    )
    probes: int = flag(
        2, "int", "nearest clusters that an image is compared in: 1 is faster and finds fewer"
    )

    def __post_init__(self) -> None:
        StageOptions.__post_init__(self)
        at_least("clusters", self.clusters, 1)
        at_least("probes", self.probes, 1)
        if not 0 < self.threshold <= 1:
            raise UsageError(f"--threshold is a cosine above 0 and up to 1, got {self.threshold}")
        if not 0 <= self.max_distance <= _FARTHEST:
            raise UsageError(
                f"--max_distance must be from 0 to {_FARTHEST} bits, got {self.max_distance}"
            )
        if self.by == BY_EMBEDDING and self.shards is not None and not self.decontaminate:
            raise UsageError("--shards goes with --by hash or both: embeddings need no images")
        if self.incremental_mode == "extend":
            raise UsageError(
                "images are compared with all others of one input, so a folder cannot be "
                "extended: use --incremental_mode overwrite, or a new --output_folder"
            )
