"""The flags of `laion annotate`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Any

from img2ds.config.flags import flag
from img2ds.core.failure import UsageError
from laion.annotate.flags import AnnotationFlags
from laion.clip.options import PRETRAINED_TAG
from laion.provenance import file_name
from laion.stage import StageOptions


@dataclass(frozen=True, kw_only=True)
class AnnotateOptions(AnnotationFlags, StageOptions):
    """The flags of `laion annotate`."""

    input: str = flag(
        MISSING, "str", "a folder of embeddings, as laion score writes", identity=False
    )
    model: str | None = flag(
        None, "str?", "the model of --token_counts (default: as recorded in the input)",
        identity=False,
    )  # fmt: skip
    pretrained: str | None = flag(
        None, "str?", "its weights (default: as recorded in the input)", identity=False
    )
    pretrained_tag: str | None = flag(None, "str?", PRETRAINED_TAG, identity=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.annotates:
            raise UsageError(
                "give --heads, --language_rule or --token_counts: there is nothing to add"
            )
        self.head_specs  # noqa: B018  # raises for one that is none
        if not self.token_counts and (self.model or self.pretrained):
            raise UsageError("--model and --pretrained go with --token_counts")

    def identity(self) -> dict[str, Any]:
        """Return the options that decide the result; models by name, so that they can move."""
        identity = {**super().identity(), **self.annotation_identity()}
        if self.token_counts and self.model is not None:
            identity["model"] = file_name(self.model)
        return identity
