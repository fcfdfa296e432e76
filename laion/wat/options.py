"""The flags of `laion extract`."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, replace
from typing import Any

from img2ds.config.flags import at_least, flag
from img2ds.core.failure import UsageError
from laion.provenance import options_begun
from laion.stage import StageOptions
from laion.wat.catalog import BUCKET
from laion.wat.documents import DOCUMENT_TYPES
from laion.wat.rules import Rules

#: The value of `--languages` that keeps every language.
ALL = "all"
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_:.-]*")


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(StageOptions):
    """The flags of `laion extract`."""

    wat: tuple[str, ...] = flag(
        MISSING, "list",
        "WAT files: a file, folder, glob, list (wat.paths.gz), or a crawl's name, CC-MAIN-2024-10; "
        "several, or a,b",
        identity=False,
    )  # fmt: skip
    document_type: str = flag(
        "image", "choice",
        "what to extract; image_only also keeps images without a text, text are documents "
        "such as PDFs",
        *DOCUMENT_TYPES, identity=False,
    )  # fmt: skip
    languages: tuple[str, ...] = flag(
        (), "list",
        "languages of texts to keep, codes of CLD2; all keeps every language (default: en for "
        "image, all for other documents)", identity=False,
    )  # fmt: skip
    language_rule: str = flag(
        "auto", "choice",
        "how the language of a text is detected: captions also recognises English of a few words, "
        "cld2 is what LAION-400M's workers did; auto is captions, or what the folder began with",
        "auto", "captions", "cld2", identity=False,
    )  # fmt: skip
    min_text_length: int | None = flag(
        None, "int?", "least characters of a text (default: 5 for image, 0 for other documents)",
        identity=False,
    )  # fmt: skip
    # Only links of `src` have an alt text in today's WAT files (ia-web-commons,
    # ExtractingParseObserver).
    attributes: tuple[str, ...] = flag(
        ("src",), "list",
        "attributes of img with image URLs, as src,data-src,srcset, if the WAT files have them",
    )  # fmt: skip
    allow_damaged: bool = flag(
        False, "bool",
        "commit WAT files whose end is missing, and files without a WAT record; they are counted",
        identity=False,
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
        if self.document_type not in DOCUMENT_TYPES:
            raise UsageError(f"--document_type is one of {', '.join(DOCUMENT_TYPES)}")
        if not self.attributes:
            raise UsageError("--attributes is empty: give attributes of img such as src,data-src")
        for name in self.attributes:
            if not _ATTRIBUTE.fullmatch(name):
                raise UsageError(
                    f"--attributes: {name!r} is not an attribute of img, such as data-src"
                )
        if DOCUMENT_TYPES[self.document_type].extensions and self.attributes != ("src",):
            raise UsageError(
                f"--attributes are of img: they do not go with --document_type {self.document_type}"
            )

    @property
    def wanted_languages(self) -> tuple[str, ...]:
        """The codes that are given, else those of the kind of documents; `all` for every one."""
        return self.languages or DOCUMENT_TYPES[self.document_type].languages or (ALL,)

    @property
    def rules(self) -> Rules:
        """What is kept."""
        document = DOCUMENT_TYPES[self.document_type]
        least = self.min_text_length
        codes = self.wanted_languages
        return Rules(
            document.min_text_length if least is None else least,
            None if ALL in codes else frozenset(codes),
            document,
            self.allow_damaged,
            "captions" if self.language_rule == "auto" else self.language_rule,
        )

    def as_begun(self) -> ExtractOptions:
        """Return the options with the rule for languages that the output folder was begun with.

        Raises:
            UsageError: the folder cannot be read.
        """
        begun = options_begun(self) if self.language_rule == "auto" else {}
        return replace(self, language_rule=begun.get("language_rule", "cld2")) if begun else self

    def identity(self) -> dict[str, Any]:
        """Return the options that decide the result; images are those of earlier versions."""
        identity = super().identity()
        identity["languages"] = list(self.wanted_languages)
        if self.rules.language_rule != "cld2":  # that of folders from before there was a choice
            identity["language_rule"] = self.rules.language_rule
        identity["min_text_length"] = self.rules.min_text_length
        if self.document_type != "image":
            identity["document_type"] = self.document_type
        return identity
