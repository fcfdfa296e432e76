"""Tags and filters the pairs of one table, for `laion tag` and `laion crawl`."""

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

#: Rows tagged at once: 4096 rows of 512 numbers are 8 MB as float32.
BLOCK = 4096

#: Embeds texts: float32 [n, dim] unit rows.
Embed = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True, slots=True)
class TagRules:
    """A tagger and a filter. Picklable: they are made once and sent to the workers."""

    tagger: Tagger
    filter: IllegalFilter

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.filter.underage.prompts.shape[1])


@dataclass(frozen=True, slots=True)
class Tagged:
    """The result of a table: tags of all rows, which rows are kept, and the drops by reason."""

    tags: list[str]
    kept: npt.NDArray[np.bool_]
    dropped: Counter[str]

    def add_to(self, table: pa.Table) -> pa.Table:
        """Return the table with the tags as column `nsfw`, which replaces an earlier one."""
        if "nsfw" in table.column_names:
            table = table.drop_columns(["nsfw"])
        return table.append_column("nsfw", pa.array(self.tags, pa.string()))

    def metrics(self) -> dict[str, int]:
        """Return the number of kept rows by tag, as metrics of a commit marker."""
        counts = Counter(
            tag for tag, kept in zip(self.tags, self.kept.tolist(), strict=True) if kept
        )
        return {f"nsfw_{tag.lower()}": counts[tag] for tag in sorted(counts)}


def make_rules(prompts: Prompts, embed: Embed, classifier: str | None = None) -> TagRules:
    """Embed all prompts at once.

    Args:
        classifier: a file to use instead of the prompts of the tag.

    Raises:
        UsageError: the classifier cannot be read, or takes embeddings of another length.
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
    return TagRules(
        tagger or ZeroShotTagger(nsfw),
        IllegalFilter(underage, animals, prompts.words),
    )


def tag_rows(
    rules: TagRules,
    images: Vectors,
    texts: Vectors,
    captions: Sequence[str | None],
    blocked: Sequence[str | None] | None = None,
    keys: Sequence[str] | None = None,
) -> Tagged:
    """Tag pairs and decide which of them are dropped.

    Args:
        images, texts: [n, dim], unit rows; they may be memory-mapped.
        blocked: why pairs are dropped whatever they are tagged, None where they are not.
        keys: of the images, where some are in several pairs: all pairs of an image are dropped with
            the first one.
    """
    tags: list[str] = []
    reasons: list[str | None] = []
    for start in range(0, len(captions), BLOCK):
        end = min(start + BLOCK, len(captions))
        image, text = np.asarray(images[start:end]), np.asarray(texts[start:end])
        found = rules.tagger.tags(image)
        tags += found.tolist()
        reasons += rules.filter.reasons(found, image, text, captions[start:end])
    if blocked is not None:
        reasons = [before or after for before, after in zip(blocked, reasons, strict=True)]
    if keys is not None:
        of_image: dict[str, str] = {}
        for key, reason in zip(keys, reasons, strict=True):
            if reason is not None:
                of_image.setdefault(key, reason)
        reasons = [why or of_image.get(key) for key, why in zip(keys, reasons, strict=True)]
    kept = np.array([reason is None for reason in reasons], np.bool_)
    return Tagged(tags, kept, Counter(reason for reason in reasons if reason is not None))
