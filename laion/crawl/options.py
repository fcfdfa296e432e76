"""The flags of `laion crawl`: those of the stages that it is made of."""

from __future__ import annotations

from dataclasses import dataclass, fields, make_dataclass
from typing import Any, ClassVar

from img2ds.config.flags import copy_flag, flag
from img2ds.config.options import ImageOptions, NetworkOptions, Options
from img2ds.core.failure import UsageError
from laion.clip.options import ModelOptions
from laion.fetch import ALIASES, flags_of, img2ds_options, kept_columns, taken_over
from laion.stage import StageOptions
from laion.tag.options import content_identity
from laion.wat.options import ExtractOptions

#: Flags of `laion extract` that say which WAT files, and what is taken out of them.
_WHICH = ("bucket", "first", "sample", "seed", "allow_damaged")
_WHAT = ("languages", "language_rule", "min_text_length", "attributes")

#: Rows that a WAT file is taken to have at most, which decides its keys: the largest have some
#: 600 000 images with a text.
WAT_ROWS = 1_000_000

_STAGE = {f.name for f in fields(StageOptions)}
#: What decides how to fetch, and nothing of what comes out.
_FETCHING = (*flags_of(NetworkOptions), "memory_budget")


@dataclass(frozen=True, kw_only=True)
class _Own(ModelOptions, StageOptions):
    """What is crawl's own; img2ds's flags are added below."""

    ALIASES: ClassVar[dict[str, str]] = ALIASES

    wat: tuple[str, ...] = flag(
        (),
        "list",
        "WAT files, as for laion extract; one file makes one shard",
        identity=False,
    )
    input: str | None = flag(
        None,
        "str?",
        "candidates that laion extract or dedup wrote, instead of --wat",
        identity=False,
    )
    devices: tuple[str, ...] = flag(
        (),
        "list",
        "cpu, cuda, or cuda:0,cuda:1; worker processes share them (default: all CUDA)",
        identity=False,
    )
    min_similarity: float = flag(
        0.3, "float", "keep only pairs with at least this cosine similarity"
    )
    prompts: str | None = flag(None, "str?", "JSON file of prompts, as for laion tag")
    classifier: str | None = flag(None, "str?", "NSFW classifier (.npz), as for laion tag")
    tag: bool = flag(True, "bool", "tag pairs, and drop possibly illegal content")
    save_images: bool = flag(False, "bool", "save the images of kept pairs too, as NNNNN.tar")

    def __post_init__(self) -> None:
        StageOptions.__post_init__(self)
        if bool(self.wat) == bool(self.input):
            raise UsageError("--wat and --input: give one of them, WAT files or candidates")
        others = ("number_sample_per_shard",) if self.wat else (*_WHAT, *_WHICH)
        defaults = {f.name: f.default for f in fields(self)}
        for name in others:
            if getattr(self, name) != defaults[name]:
                raise UsageError(f"--{name} goes with {'--input' if self.wat else '--wat'}")
        self.check_model()
        if not -1 <= self.min_similarity <= 1:
            raise UsageError(
                f"--min_similarity must be a cosine from -1 to 1, got {self.min_similarity}"
            )
        self.img2ds()  # raises for a value out of range
        if self.wat:
            self.extraction()

    def img2ds(self) -> Options:
        """The options of the downloads. Raises UsageError when a value is out of range."""
        changes: dict[str, Any] = {"url_list": self.input or ",".join(self.wat)}
        if self.wat:
            changes["number_sample_per_shard"] = WAT_ROWS
        elif self.input:
            changes |= kept_columns(self.input)
        return img2ds_options(self, **changes)

    def extraction(self) -> ExtractOptions:
        """The options of the extraction. Raises UsageError when one is wrong."""
        values = {name: getattr(self, name) for name in (*_WHICH, *_WHAT)}
        return ExtractOptions(
            wat=self.wat, output_folder=self.output_folder,
            incremental_mode=self.incremental_mode, **values,
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """Return its options but those of fetching; files by their content."""
        identity = content_identity(self, StageOptions.identity(self))
        if self.wat:
            extraction = self.extraction().identity()
            identity |= {name: extraction[name] for name in _WHAT if name in extraction}
        ignored = {*_FETCHING, *(_WHAT if self.input else ())}
        return {name: value for name, value in identity.items() if name not in ignored}


def _extract_fields() -> list[tuple[str, Any, Any]]:
    found = {f.name: f for f in fields(ExtractOptions)}
    return [(name, Any, copy_flag(found[name])) for name in (*_WHAT, *_WHICH)]


#: The class of crawl's options.
CrawlOptions: type[Any] = make_dataclass(
    "CrawlOptions",
    [
        *_extract_fields(),
        *taken_over(["number_sample_per_shard"]),
        *taken_over(flags_of(ImageOptions)),
        *taken_over(name for name in _FETCHING if name not in _STAGE),
    ],
    bases=(_Own,),
    frozen=True,
    kw_only=True,
    namespace={"__doc__": "The flags of `laion crawl`.", "__module__": __name__},
)
