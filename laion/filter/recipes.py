"""The filters of papers by name: `--recipe`. docs/curation.md has their rules and sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from img2ds.core.failure import UsageError
from img2ds.report.units import counted
from laion.data.embedding_folder import SIMILARITY, EmbeddingFolder
from laion.data.embedding_layout import IMAGES
from laion.filter.clusters import load_vectors, near_targets
from laion.filter.concept_counts import count_matches
from laion.filter.concepts import Balanced, load_concepts, probabilities
from laion.filter.rules import (
    CaptionLength,
    English,
    ImageSize,
    LeastSimilarity,
    Rule,
)
from laion.filter.second_scores import HasSecondScore, SecondScores, open_second
from laion.filter.wordnet import NamesSynset, Wordnet, load_synsets
from laion.passes import Passes


class RecipeFlags(Protocol):
    """The flags of recipes."""

    @property
    def concepts(self) -> str | None: ...

    @property
    def concept_limit(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def wordnet(self) -> str | None: ...

    @property
    def synsets(self) -> str | None: ...

    @property
    def centroids(self) -> tuple[str, ...]: ...

    @property
    def targets(self) -> tuple[str, ...]: ...

    @property
    def second_scores(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a recipe keeps.

    Attributes:
        rules: in their order; a pair counts under the first one that it fails.
        prepare: makes the rules by passes over the input, where they depend on all of it.
        second: the values that the share of the best goes by, if not a column's.
        identity: what decides the result besides the flags: files by content.
    """

    rules: tuple[Rule, ...] = ()
    prepare: Callable[[Passes], tuple[Rule, ...]] | None = None
    second: SecondScores | None = None
    identity: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecipeKind:
    """A recipe before its files are read.

    Attributes:
        make: reads the files.
        flags: those that it needs.
        columns: columns of the metadata that it needs.
        keep_top: the share of the best that it keeps; None for all that pass its rules.
        fixed_share: whether `--keep_top` may not change that.
    """

    make: Callable[[RecipeFlags, EmbeddingFolder], Recipe]
    columns: tuple[str, ...]
    flags: tuple[str, ...] = ()
    keep_top: float | None = None
    fixed_share: bool = False


def _basic(_: RecipeFlags, __: EmbeddingFolder) -> Recipe:
    return Recipe((English(), CaptionLength(2, 5), ImageSize(200, 3.0)))


def _nothing(_: RecipeFlags, __: EmbeddingFolder) -> Recipe:
    return Recipe()


def _laion2b(_: RecipeFlags, __: EmbeddingFolder) -> Recipe:
    return Recipe((English(), LeastSimilarity(0.28)))


def _text(flags: RecipeFlags, _: EmbeddingFolder) -> Recipe:
    synsets, digest = load_synsets(str(flags.synsets))
    wordnet = Wordnet(str(flags.wordnet))
    identity = {"synsets": digest, "wordnet": wordnet.digest}
    return Recipe((English(), NamesSynset(wordnet, synsets)), identity=identity)


def _image(flags: RecipeFlags, source: EmbeddingFolder) -> Recipe:
    centroids, first = load_vectors("centroids", flags.centroids)
    targets, second = load_vectors("targets", flags.targets)
    rule = near_targets(centroids, targets)
    shard = next((one for one in source.shards if one.rows()), source.shards[0])
    dim = shard.embeddings(IMAGES).shape[1]
    if dim != rule.dim:
        raise UsageError(
            f"--centroids have {rule.dim} numbers each, and {shard.path(IMAGES)} has {dim}: use "
            "embeddings of one model"
        )
    identity = {"centroids": first, "targets": second}
    # DataComp's caption filter of this baseline: two words suffice.
    return Recipe((English(), CaptionLength(1, 5), rule), identity=identity)


def _metaclip(flags: RecipeFlags, source: EmbeddingFolder) -> Recipe:
    concepts = load_concepts(str(flags.concepts))

    def prepare(passes: Passes) -> tuple[Rule, ...]:
        counts = count_matches(passes, source.shards, concepts)
        return (Balanced(concepts, probabilities(counts, flags.concept_limit), flags.seed),)

    identity = {
        "concepts": concepts.digest,
        "concept_limit": flags.concept_limit,
        "seed": flags.seed,
    }
    return Recipe(prepare=prepare, identity=identity)


def _dfn(flags: RecipeFlags, source: EmbeddingFolder) -> Recipe:
    scores, second = open_second(str(flags.second_scores), source)
    identity = {"second_scores": second.fingerprint()}
    return Recipe((HasSecondScore(scores),), second=scores, identity=identity)


_SIZES = ("original_width", "original_height")

#: The recipes by name.
RECIPES = {
    "datacomp-basic": RecipeKind(_basic, ("caption", *_SIZES)),
    "datacomp-clip-30": RecipeKind(_nothing, (SIMILARITY,), keep_top=0.3, fixed_share=True),
    "datacomp-text": RecipeKind(_text, ("caption",), ("wordnet", "synsets")),
    "datacomp-image": RecipeKind(_image, ("caption",), ("centroids", "targets")),
    "laion2b": RecipeKind(_laion2b, ("caption", SIMILARITY)),
    "metaclip": RecipeKind(_metaclip, ("url", "caption"), ("concepts",)),
    "dfn": RecipeKind(_dfn, ("key",), ("second_scores",), keep_top=0.15),
}

#: Flags of recipes that have a default.
TUNING = ("concept_limit", "seed")


def check_flags(name: str | None, flags: RecipeFlags) -> None:
    """Raise UsageError unless the flags are those of the recipe."""
    needed = RECIPES[name].flags if name is not None else ()
    for kind, recipe in RECIPES.items():
        for flag in recipe.flags:
            given = getattr(flags, flag)
            if given and flag not in needed:
                raise UsageError(f"--{flag} goes with --recipe {kind}")
    missing = [f"--{flag}" for flag in needed if not getattr(flags, flag)]
    if missing:
        files = counted(len(missing), "flag")
        raise UsageError(f"--recipe {name} needs {files} more: {', '.join(missing)}")
