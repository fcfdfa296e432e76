"""Drops pairs that may be illegal content. Pure.

The rules of LAION-400M (https://laion.ai/blog/laion-400-open-dataset/, steps 8 to 10). A pair whose
tag is not UNLIKELY is dropped when, by the embedding of its image or of its text, one of the two
best prompts is about an under-age person, or the best one about an animal. A caption with a word of
both lists is dropped whatever the tag: this is stricter than the original, because a wrong tag must
not keep what the caption itself names. The filter is meant to drop too much rather than too
little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion.tag.caption_words import CaptionWords
from laion.tag.nsfw import UNLIKELY, EmbeddedGroup, Tags, Vectors

CAPTION_WORDS = "illegal_caption_words"
UNDERAGE = "illegal_underage"
ANIMAL = "illegal_animal"


@dataclass(frozen=True, slots=True)
class IllegalFilter:
    """The rules with embedded prompts. Picklable: it is sent to the workers."""

    underage: EmbeddedGroup
    animals: EmbeddedGroup
    words: CaptionWords

    def reasons(
        self, tags: Tags, images: Vectors, texts: Vectors, captions: Sequence[str | None]
    ) -> list[str | None]:
        """Return the reason for which each pair is dropped, None where it is kept.

        Args:
            tags: [n]. images, texts: [n, dim], unit rows.
        """
        found: list[str | None] = [None] * len(tags)
        for place, caption in enumerate(captions):
            if caption and self.words.flags(caption):
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
