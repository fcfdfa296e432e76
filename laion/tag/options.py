"""The flags of `laion tag`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import Any, Protocol

from img2ds.blocklist.blocks import CompiledLists, block_lists
from img2ds.config.flags import flag
from img2ds.core.failure import UsageError
from laion.clip.options import PRETRAINED_TAG
from laion.data.blocked import block_flag
from laion.provenance import file_name, options_begun
from laion.stage import StageOptions
from laion.tag.classifier import load_classifier
from laion.tag.prompts import load_prompts


@dataclass(frozen=True, kw_only=True)
class TagOptions(StageOptions):
    """The flags of `laion tag`."""

    input: str = flag(
        MISSING, "str", "a folder that laion score wrote; with --purge also a release",
        identity=False,
    )  # fmt: skip
    output_folder: str = flag(
        "", "str", "where the shards go: a folder or fsspec URL; none to purge a release",
        identity=False,
    )  # fmt: skip
    model: str | None = flag(
        None, "str?", "the model that scored the pairs (default: as recorded in the input)"
    )
    pretrained: str | None = flag(None, "str?", "its weights (default: as recorded in the input)")
    pretrained_tag: str | None = flag(None, "str?", PRETRAINED_TAG, identity=False)
    prompts: str | None = flag(
        None, "str?", "JSON file of prompts and caption words (default: built in)"
    )
    classifier: str | None = flag(
        None, "str?", "NSFW classifier on image embeddings (.npz), instead of prompts"
    )
    purge: bool = flag(
        False,
        "bool",
        "remove dropped pairs from the input and from its shards too; from a release those that "
        "block lists name",
        identity=False,
    )
    shards: str | None = flag(
        None,
        "str?",
        "the webdataset shards that were scored (default: as recorded in the input)",
        identity=False,
    )

    block_urls: tuple[str, ...] = block_flag("urls")
    block_hosts: tuple[str, ...] = block_flag("hosts")
    block_hashes: tuple[str, ...] = block_flag("hashes")

    def __post_init__(self) -> None:
        if self.output_folder or not self.purge:
            StageOptions.__post_init__(self)
        if self.incremental_mode == "extend":
            raise UsageError(
                "tagging cannot extend a folder, because all shards of the input are tagged: use "
                "--incremental_mode overwrite, or a new --output_folder"
            )

    def identity(self) -> dict[str, Any]:
        """Return the options that decide the result; files by content, so that they can move."""
        identity = content_identity(self, StageOptions.identity(self))
        return identity | CompiledLists.of(block_lists(self)).identity()


class TaggingFlags(Protocol):
    """The flags that decide how pairs are tagged, of any command."""

    @property
    def prompts(self) -> str | None: ...

    @property
    def classifier(self) -> str | None: ...


def content_identity(flags: TaggingFlags, identity: dict[str, Any]) -> dict[str, Any]:
    """Return an identity with prompts and classifier by content, and models by name.

    Raises:
        UsageError: a file cannot be read, or has another form.
    """
    prompts = load_prompts(flags.prompts, options_begun(flags).get("prompts"))
    identity = {**identity, "prompts": prompts.digest}
    if flags.classifier is not None:
        identity["classifier"] = load_classifier(flags.classifier).digest
    for name in ("model", "pretrained"):
        identity[name] = file_name(identity[name])
    return identity
