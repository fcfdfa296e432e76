"""Drops pairs that may be illegal content. Pure.

The rules of LAION-400M (https://laion.ai/blog/laion-400-open-dataset/, steps 8 to 10). A pair whose
tag is not UNLIKELY is dropped when, by the embedding of its image or of its text, one of the two
best prompts is about an under-age person, or the best one about an animal. A caption with a word of
both lists is dropped whatever the tag: this is stricter than the original, because a wrong tag must
not keep what the caption itself names. The filter is meant to drop too much rather than too
little.
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
    """The rules with embedded prompts. Picklable: it is sent to the workers."""

    underage: EmbeddedGroup
    animals: EmbeddedGroup
    underage_words: tuple[str, ...]
    unsafe_words: tuple[str, ...]

    def reasons(
        self, tags: Tags, images: Vectors, texts: Vectors, captions: Sequence[str | None]
    ) -> list[str | None]:
        """Return the reason for which each pair is dropped, None where it is kept.

        Args:
            tags: [n]. images, texts: [n, dim], unit rows.
        """
        found: list[str | None] = [None] * len(tags)
        underage, unsafe = any_word(self.underage_words), any_word(self.unsafe_words)
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


def any_word(entries: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for any of the entries as whole words, in any case.

    Without entries it matches nothing.
    """
    if not entries:
        return re.compile(r"(?!)")
    alternatives = "|".join(re.escape(entry) for entry in sorted(entries, key=len, reverse=True))
    # Not \b: captions join words with underscores, and write numbers as in 2girls.
    return re.compile(rf"(?<![^\W\d_])(?:{alternatives})(?![^\W\d_])", re.IGNORECASE)
