"""The flags of `laion filter`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from laion.data.embedding_folder import SIMILARITY
from laion.filter.condition import Condition
from laion.filter.recipes import RECIPES, check_flags
from laion.stage import StageOptions


@dataclass(frozen=True, kw_only=True)
class FilterOptions(StageOptions):
    """The flags of `laion filter`."""

    input: str = flag(
        MISSING, "str", "a folder that laion score, tag, crawl or filter wrote", identity=False
    )
    where: str | None = flag(
        None, "str?", "keep pairs for which this SQL condition over the columns is true"
    )
    recipe: str | None = flag(
        None, "choice?", "of these, keep what a paper's filter keeps", *RECIPES, identity=False
    )
    keep_top: float | None = flag(
        None, "float?", "of these, keep the share with the highest values: 0.3 keeps 30 %"
    )
    by: str = flag(SIMILARITY, "str", "the column that --keep_top compares")
    uids: bool = flag(
        False, "bool", "also write uids.npy, the kept pairs as DataComp's resharder reads them",
        identity=False,
    )  # fmt: skip
    concepts: str | None = flag(
        None, "str?", "metaclip: the list of entries, a JSON list or one a line", identity=False
    )
    concept_limit: int = flag(
        20_000, "int", "metaclip: matches up to which all pairs of an entry are kept",
        identity=False,
    )  # fmt: skip
    seed: int = flag(0, "int", "metaclip: another seed draws other pairs", identity=False)
    wordnet: str | None = flag(
        None, "str?", "datacomp-text: the folder dict of WordNet 3.0", identity=False
    )
    synsets: str | None = flag(
        None, "str?", "datacomp-text: ImageNet's WordNet IDs, one a line", identity=False
    )
    centroids: tuple[str, ...] = flag(
        (), "list", "datacomp-image: centers of clusters of images, .npy or .pt", identity=False
    )
    targets: tuple[str, ...] = flag(
        (), "list", "datacomp-image: embeddings of wanted images, .npy or .pt", identity=False
    )
    second_scores: str | None = flag(
        None, "str?", "dfn: a folder with the same pairs, scored with the filtering model",
        identity=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        StageOptions.__post_init__(self)
        if self.where is None and self.keep_top is None and self.recipe is None:
            raise UsageError(
                "give --where, --recipe, --keep_top, or several: there is nothing to filter by"
            )
        if self.keep_top is not None and not 0 < self.keep_top <= 1:
            raise UsageError(f"--keep_top is a share above 0 and up to 1, got {self.keep_top}")
        if self.keep_top is None and self.by != SIMILARITY:
            raise UsageError("--by goes with --keep_top")
        if self.where is not None:
            Condition(self.where)  # raises for one that is none
        at_least("concept_limit", self.concept_limit, 1)
        at_least("seed", self.seed, 0)
        check_flags(self.recipe, self)
        kind = RECIPES.get(self.recipe or "")
        if kind is not None and kind.fixed_share and self.keep_top is not None:
            raise UsageError(f"--recipe {self.recipe} is a share already: leave --keep_top out")
        if self.second_scores is not None and self.by != SIMILARITY:
            raise UsageError("--recipe dfn compares the second scores: leave --by out")
        if self.incremental_mode == "extend" and (self.share is not None or self.concepts):
            what = "--keep_top" if self.keep_top is not None else f"--recipe {self.recipe}"
            raise UsageError(
                f"{what} depends on the whole of one input, and cannot extend a folder: choose "
                "another --output_folder"
            )

    @property
    def share(self) -> float | None:
        """The share of the best that is kept."""
        if self.keep_top is not None or self.recipe is None:
            return self.keep_top
        return RECIPES[self.recipe].keep_top
