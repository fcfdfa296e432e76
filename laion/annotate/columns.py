"""Adds columns to the metadata of pairs: scores of heads, the language, token counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from img2ds.core.failure import UsageError
from laion.annotate.flags import AnnotationFlags
from laion.annotate.head import Head
from laion.annotate.tokens import TEXT_TOKENS, Lengths

LANGUAGE = "language"
IMAGE_TOKENS = "image_tokens"


@dataclass(frozen=True, slots=True)
class Annotations:
    """The columns to add. Picklable: it is sent to the workers.

    Attributes:
        heads: the networks by the column that they fill.
        language_rule: how the language of captions that have none is detected; None: not at all.
        token_counts: whether to add the counts of tokens.
        image_tokens: what the model cuts an image into; None if that is unknown.
    """

    heads: tuple[tuple[str, Head], ...] = ()
    language_rule: str | None = None
    token_counts: bool = False
    image_tokens: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are added or completed."""
        language = (LANGUAGE,) if self.language_rule else ()
        tokens = (TEXT_TOKENS, IMAGE_TOKENS) if self.token_counts else ()
        return (*(column for column, _ in self.heads), *language, *tokens)

    def check_width(self, width: int, what: str) -> None:
        """Raise UsageError unless every head takes embeddings of `width` numbers.

        Args:
            what: what the embeddings are of, for the message.
        """
        for column, head in self.heads:
            if head.dim != width:
                raise UsageError(
                    f"--heads: the head for {column} takes embeddings of {head.dim} numbers, and "
                    f"{what} has {width}: use a head that was trained for this model"
                )

    def add(
        self, table: pa.Table, images: np.ndarray | None, lengths: Lengths | None = None
    ) -> pa.Table:
        """Return the metadata with these columns.

        Args:
            images: the embeddings of the rows' images; None where there are none.
            lengths: the tokens of each caption; None without captions or token counts.
        """
        for column, head in self.heads:
            assert images is not None, "checked before work begins"
            table = _set(table, column, pa.array(head.scores(images), pa.float32()))
        if self.language_rule is not None:
            table = _with_languages(table, self.language_rule)
        if self.token_counts:
            rows = table.num_rows
            texts = pa.nulls(rows, pa.int32()) if lengths is None else pa.array(lengths, pa.int32())
            table = _set(table, TEXT_TOKENS, texts)
            table = _set(table, IMAGE_TOKENS, pa.array([self.image_tokens] * rows, pa.int32()))
        return table


def make_annotations(flags: AnnotationFlags, image_tokens: int | None = None) -> Annotations:
    """Read the files that flags name. Raises UsageError: one cannot be used."""
    if flags.language_rule is not None:
        import laion.wat.language  # noqa: F401  # raises where the detector is not installed
    heads = tuple((spec.column, spec.load()) for spec in flags.head_specs)
    return Annotations(heads, flags.language_rule, flags.token_counts, image_tokens)


def detect_missing(languages: Sequence[str | None], texts: Sequence[str | None], rule: str) -> Any:
    """Return the languages, those that are None or "" detected from the texts; None without one."""
    from laion.wat.language import DETECTORS

    detect = DETECTORS[rule]
    return [
        language or (detect(text) if text else None)
        for language, text in zip(languages, texts, strict=True)
    ]


def _with_languages(table: pa.Table, rule: str) -> pa.Table:
    texts = table["caption"].cast(pa.string()).to_pylist()
    known: Sequence[str | None] = [None] * len(texts)
    if LANGUAGE in table.column_names:
        known = table[LANGUAGE].cast(pa.string()).to_pylist()
    return _set(table, LANGUAGE, pa.array(detect_missing(known, texts, rule), pa.string()))


def _set(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, values)
    return table.append_column(name, values)
