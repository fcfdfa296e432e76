"""The flags that name columns to add; `laion score` and `laion annotate` have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from img2ds.config.flags import flag
from laion.annotate.head_file import read_head_file
from laion.annotate.heads import HeadSpec, parse_heads


@dataclass(frozen=True, kw_only=True)
class AnnotationFlags:
    """The flags of the columns that are added to pairs. All are part of a folder's identity."""

    heads: tuple[str, ...] = flag(
        (), "list",
        "score columns from image embeddings: aesthetic=FILE,watermark=FILE,nsfw=FILE",
        identity=False,
    )  # fmt: skip
    language_rule: str | None = flag(
        None, "choice?",
        "detect the language of captions that have none: captions or cld2, as laion extract",
        "captions", "cld2", identity=False,
    )  # fmt: skip
    token_counts: bool = flag(
        False, "bool", "add the columns text_tokens and image_tokens", identity=False
    )

    @property
    def head_specs(self) -> tuple[HeadSpec, ...]:
        """The heads to run. Raises UsageError."""
        return parse_heads(self.heads)

    @property
    def annotates(self) -> bool:
        """Whether any column is added."""
        return bool(self.heads or self.language_rule or self.token_counts)

    def annotation_identity(self) -> dict[str, Any]:
        """Return what decides the columns: heads by content, nothing for what is not asked for.

        Folders of versions without these flags can be resumed that way.

        Raises:
            UsageError: the file of a head cannot be read.
        """
        identity: dict[str, Any] = {}
        if self.heads:
            identity["heads"] = {
                spec.column: ":".join(
                    filter(
                        None,
                        (
                            read_head_file(spec.path, spec.name).digest,
                            spec.activation,
                            "sigmoid" if spec.sigmoid else None,
                        ),
                    )
                )
                for spec in self.head_specs
            }
        if self.language_rule is not None:
            identity["language_rule"] = self.language_rule
        if self.token_counts:
            identity["token_counts"] = True
        return identity
