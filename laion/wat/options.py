"""The flags of `laion extract`."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from laion.stage import StageOptions
from laion.wat.catalog import BUCKET
from laion.wat.rules import MIN_TEXT_LENGTH

#: The value of `--languages` that keeps every language.
ALL = "all"
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_:.-]*")


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(StageOptions):
    """The flags of `laion extract`."""

    wat: str = flag(
        MISSING, "str",
        "WAT files: a file, folder, glob, list (wat.paths.gz), or a crawl's name, CC-MAIN-2024-10",
        identity=False,
    )  # fmt: skip
    languages: tuple[str, ...] = flag(
        ("en",), "list", "languages of texts to keep, codes of CLD2; all keeps every language"
    )
    min_text_length: int = flag(MIN_TEXT_LENGTH, "int", "least characters of a text")
    # Only links of `src` have an alt text in today's WAT files (ia-web-commons,
    # ExtractingParseObserver).
    attributes: tuple[str, ...] = flag(
        ("src",), "list",
        "attributes of img with image URLs, as src,data-src,srcset, if the WAT files have them",
    )  # fmt: skip
    first: int | None = flag(None, "int?", "read only the first N WAT files", identity=False)
    sample: int | None = flag(None, "int?", "read N WAT files chosen at random", identity=False)
    seed: int = flag(0, "int", "seed of --sample", identity=False)
    bucket: str = flag(
        BUCKET, "str", "prefix of the crawls' paths; s3://commoncrawl within AWS", identity=False
    )

    def __post_init__(self) -> None:
        StageOptions.__post_init__(self)
        if not self.wat:
            raise UsageError("--wat is required: a WAT file, a folder, a list, or a crawl's name")
        at_least("min_text_length", self.min_text_length, 0)
        at_least("first", self.first, 1)
        at_least("sample", self.sample, 1)
        if self.first is not None and self.sample is not None:
            raise UsageError("--first and --sample exclude each other: give one of them")
        if not self.languages:
            raise UsageError("--languages is empty: give codes such as en,fr, or all")
        if not self.attributes:
            raise UsageError("--attributes is empty: give attributes of img such as src,data-src")
        for name in self.attributes:
            if not _ATTRIBUTE.fullmatch(name):
                raise UsageError(
                    f"--attributes: {name!r} is not an attribute of img, such as data-src"
                )

    @property
    def kept_languages(self) -> frozenset[str] | None:
        """The codes, None for all."""
        return None if ALL in self.languages else frozenset(self.languages)
