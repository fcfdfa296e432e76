"""The flags of `laion tag`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Any, Protocol

from img2ds.config.flags import flag
from img2ds.core.failure import UsageError
from laion.provenance import file_name
from laion.stage import StageOptions
from laion.tag.classifier import load_classifier
from laion.tag.prompts import load_prompts


@dataclass(frozen=True, kw_only=True)
class TagOptions(StageOptions):
    """The flags of `laion tag`."""

    input: str = flag(MISSING, "str", "a folder that laion score wrote", identity=False)
    model: str | None = flag(
        None, "str?", "the model that scored the pairs (default: what the input says)"
    )
    pretrained: str | None = flag(None, "str?", "its weights (default: what the input says)")
    prompts: str | None = flag(
        None, "str?", "JSON file of prompts and caption words (default: the package's own)"
    )
    classifier: str | None = flag(
        None, "str?", "NSFW classifier on image embeddings (.npz) in place of the tag's prompts"
    )
    purge: bool = flag(
        False,
        "bool",
        "remove dropped pairs from the input and from its shards as well",
        identity=False,
    )
    shards: str | None = flag(
        None,
        "str?",
        "the webdataset shards that were scored (default: what the input says)",
        identity=False,
    )

    def __post_init__(self) -> None:
        StageOptions.__post_init__(self)
        if self.incremental_mode == "extend":
            raise UsageError(
                "tagging a folder that grew goes over all of its parts: use --incremental_mode "
                "overwrite, or a new --output_folder"
            )

    def identity(self) -> dict[str, Any]:
        """Return its options; files by their content, wherever they are."""
        return content_identity(self, StageOptions.identity(self))


class TaggingFlags(Protocol):
    """The flags that decide how pairs are tagged, whichever command has them."""

    @property
    def prompts(self) -> str | None: ...

    @property
    def classifier(self) -> str | None: ...


def content_identity(flags: TaggingFlags, identity: dict[str, Any]) -> dict[str, Any]:
    """An identity in which prompts and classifier are told by content, models by name.

    Raises:
        UsageError: a file cannot be read, or is not of its form.
    """
    identity = {**identity, "prompts": load_prompts(flags.prompts).digest}
    if flags.classifier is not None:
        identity["classifier"] = load_classifier(flags.classifier).digest
    for name in ("model", "pretrained"):
        identity[name] = file_name(identity[name])
    return identity
