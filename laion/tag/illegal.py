"""Which pairs are dropped as possibly illegal content. Pure.

The rules of LAION-400M (https://laion.ai/blog/laion-400-open-dataset/, steps 8 to 10). Where the
tag is not UNLIKELY a pair goes when, by the embedding of its picture or of its text, either of the
two best prompts is of an under-age person, or the best one of an animal. A caption with a word of
both lists goes whatever the tag is, which is stricter than the original: a tag that a model
guessed wrongly must not keep what its own caption names. The filter is meant to drop too much
rather than too little.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion.tag.nsfw import UNLIKELY, EmbeddedGroup, Tags, Vectors

CAPTION_WORDS = "illegal_caption_words"
UNDERAGE = "illegal_underage"
ANIMAL = "illegal_animal"


@dataclass(frozen=True, slots=True)
class IllegalFilter:
    """The rules with their prompts embedded. Picklable: it travels to the workers."""

    underage: EmbeddedGroup
    animals: EmbeddedGroup
    underage_words: tuple[str, ...]
    unsafe_words: tuple[str, ...]

    def reasons(
        self, tags: Tags, images: Vectors, texts: Vectors, captions: Sequence[str | None]
    ) -> list[str | None]:
        """Why each pair is dropped, None where it is kept.

        Args:
            tags: [n]. images, texts: [n, dim], unit rows.
        """
        found: list[str | None] = [None] * len(tags)
        underage, unsafe = words(self.underage_words), words(self.unsafe_words)
        for place, caption in enumerate(captions):
            if caption and underage.search(caption) and unsafe.search(caption):
                found[place] = CAPTION_WORDS
        suspected = np.flatnonzero(tags != UNLIKELY)
        if not len(suspected):
            return found
        for reason, group, count in ((UNDERAGE, self.underage, 2), (ANIMAL, self.animals, 1)):
            flagged: npt.NDArray[np.bool_] = np.zeros(len(suspected), np.bool_)
            for rows in (images, texts):
                flagged |= group.best(np.asarray(rows)[suspected], count).any(axis=1)
            for place in suspected[flagged].tolist():
                found[place] = found[place] or reason
        return found


def words(entries: Sequence[str]) -> re.Pattern[str]:
    """Matches any of the entries as whole words, in any case; nothing where there are none."""
    if not entries:
        return re.compile(r"(?!)")
    alternatives = "|".join(re.escape(entry) for entry in sorted(entries, key=len, reverse=True))
    # Not \b: captions join words by underscores, and count girls as 2girls.
    return re.compile(rf"(?<![^\W\d_])(?:{alternatives})(?![^\W\d_])", re.IGNORECASE)
