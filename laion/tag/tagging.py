"""Tags and filters the pairs of one table: what `laion tag` and `laion crawl` do alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from img2ds.core.failure import UsageError
from laion.tag.classifier import load_classifier
from laion.tag.illegal import IllegalFilter
from laion.tag.nsfw import EmbeddedGroup, Tagger, Vectors, ZeroShotTagger
from laion.tag.prompts import Prompts

#: Rows that are looked at together: 4096 of 512 numbers are 8 MB as float32.
BLOCK = 4096

#: Texts to their embeddings [n, dim], float32 unit rows.
Embed = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True, slots=True)
class Rules:
    """A tagger and a filter. Picklable: they are made once and travel to the workers."""

    tagger: Tagger
    filter: IllegalFilter

    @property
    def dim(self) -> int:
        """Numbers of an embedding."""
        return int(self.filter.underage.prompts.shape[1])


@dataclass(frozen=True, slots=True)
class Tagged:
    """What came of a table: `tags` for all its rows, and which of them are kept."""

    tags: list[str]
    kept: npt.NDArray[np.bool_]
    dropped: Counter[str]

    def add_to(self, table: pa.Table) -> pa.Table:
        """The table with its column `nsfw`, in place of one it may have had."""
        if "nsfw" in table.column_names:
            table = table.drop_columns(["nsfw"])
        return table.append_column("nsfw", pa.array(self.tags, pa.string()))

    def metrics(self) -> dict[str, int]:
        """How many of the kept rows have which tag, as a commit marker's figures."""
        counts = Counter(
            tag for tag, kept in zip(self.tags, self.kept.tolist(), strict=True) if kept
        )
        return {f"nsfw_{tag.lower()}": counts[tag] for tag in sorted(counts)}


def make_rules(prompts: Prompts, embed: Embed, classifier: str | None = None) -> Rules:
    """Embed the prompts, all of them at once.

    Args:
        classifier: a file that takes the place of the prompts of the tag.

    Raises:
        UsageError: the classifier's file is not of its form, or takes other embeddings.
    """
    tagger = load_classifier(classifier) if classifier is not None else None
    groups = [prompts.nsfw, prompts.underage, prompts.animals]
    rows = np.asarray(embed([text for group in groups for text in group.prompts]), np.float32)
    embedded = []
    for group in groups:
        embedded.append(EmbeddedGroup(rows[: len(group.prompts)], len(group.flagged)))
        rows = rows[len(group.prompts) :]
    nsfw, underage, animals = embedded
    if tagger is not None and tagger.dim != nsfw.prompts.shape[1]:
        raise UsageError(
            f"--classifier {classifier} takes embeddings of {tagger.dim} numbers, the model's "
            f"have {nsfw.prompts.shape[1]}"
        )
    return Rules(
        tagger or ZeroShotTagger(nsfw),
        IllegalFilter(underage, animals, prompts.underage_words, prompts.unsafe_words),
    )


def tag_rows(
    rules: Rules, images: Vectors, texts: Vectors, captions: Sequence[str | None]
) -> Tagged:
    """Tag the pairs, and say which of them go.

    Args:
        images, texts: [n, dim], unit rows; they may be mapped from disk.
    """
    tags: list[str] = []
    reasons: list[str | None] = []
    for start in range(0, len(captions), BLOCK):
        end = min(start + BLOCK, len(captions))
        image, text = np.asarray(images[start:end]), np.asarray(texts[start:end])
        found = rules.tagger.tags(image)
        tags += found.tolist()
        reasons += rules.filter.reasons(found, image, text, captions[start:end])
    kept = np.array([reason is None for reason in reasons], np.bool_)
    return Tagged(tags, kept, Counter(reason for reason in reasons if reason is not None))
