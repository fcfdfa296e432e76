"""The dataset card of a release, `README.md`: content, origin, and what each stage dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import img2ds
from img2ds.report.units import share
from laion.data.embedding_layout import IMAGES, METADATA, TEXTS
from laion.data.release_schema import RELEASE_COLUMNS, ReleaseColumn
from laion.provenance import StageCounts
from laion.release.contents import PAPER, Contents
from laion.release.datasheet import datasheet
from laion.release.purges import Purge

_WARNING = (
    "The pairs come from web pages and were not reviewed by people. Pairs tagged `NSFW` or "
    "`UNSURE` are included. The images belong to their owners; the release holds only their URLs."
)

#: What a release says of pairs that did not come through `laion tag`.
NEVER_TAGGED = (
    "was never tagged: the filter for illegal content did not run, and NSFW has no values of it"
)

#: Values of options that the card leaves out.
_OMITTED: tuple[object, ...] = (None, False, [], "inf")

_ALIGNED = (
    f"`{IMAGES.format('N')}` and `{TEXTS.format('N')}` hold the CLIP embeddings of part N, and "
    f"`{METADATA.format('N')}` all metadata of its pairs: row i is the same pair in each file."
)


_USE = (
    "## Use",
    "",
    "```python",
    "from datasets import load_dataset",
    'pairs = load_dataset("this/folder", split="train")',
    "```",
    "",
    "    img2ds --url_list this/folder --input_format parquet --url_col {url} \\",
    "           --caption_col {text} --output_folder images --output_format webdataset",
)


@dataclass(frozen=True, slots=True)
class CardFacts:
    """The content of a card.

    Attributes:
        figures: names of PNG files in the release.
        tagged: whether the pairs came through `laion tag`.
        purges: what was removed after the release was finished.
        columns: those of the parts.
    """

    contents: Contents
    stages: Sequence[StageCounts]
    parts: int
    threshold: float
    figures: Sequence[str]
    tagged: bool = True
    columns: Sequence[ReleaseColumn] = RELEASE_COLUMNS
    purges: Sequence[Purge] = ()


def dataset_card(facts: CardFacts) -> str:
    """Return the card, with the header by which Hugging Face `datasets` finds the parts."""
    contents = facts.contents
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: part-*.parquet",
        f"size_categories:\n- {_size_category(contents.rows)}",
        "---",
        "",
        "# Image-text pairs filtered with CLIP",
        "",
        *([] if facts.tagged else [f"**Warning: this dataset {NEVER_TAGGED}.**", ""]),
        _introduction(facts),
        "",
        _WARNING,
        "",
        "## Columns",
        "",
        "| column | type | |",
        "|---|---|---|",
        *(f"| `{c.name}` | {c.type} | {c.description} |" for c in facts.columns),
        "",
        _ALIGNED,
        "",
        *(line.format(**_names(facts.columns)) for line in _USE),
        "",
        "## Sizes",
        "",
        "| Table 1 of the paper | pairs here | share | LAION-400M | share |",
        "|---|--:|--:|--:|--:|",
        *_table1_rows(contents),
    ]
    if contents.tags():
        lines += ["", "## NSFW tags", "", "| tag | pairs | share |", "|---|--:|--:|"]
        lines += [
            f"| {t} | {n:,} | {share(n, contents.rows)} |" for t, n in contents.tags().items()
        ]
    lines += ["", "## Similarity", ""]
    if contents.mean_similarity is not None:
        lines.append(f"Mean {contents.mean_similarity:.4f} over {contents.scored:,} pairs.")
    lines += [f"\n![histogram of similarities]({name})" for name in facts.figures]
    lines += ["", "## Licences", "", "| LICENSE | pairs | share |", "|---|--:|--:|"]
    lines += [
        f"| {name.replace('|', '%7C')} | {n:,} | {share(n, contents.rows)} |"
        for name, n in contents.named_licenses().items()
    ]
    lines += ["", "## Datasheet", *datasheet(contents, facts.stages, facts.tagged)]
    lines += _purges(facts.purges)
    lines += ["", "## Stages", ""]
    lines += _stages(facts.stages)
    return "\n".join(lines) + "\n"


def _names(columns: Sequence[ReleaseColumn]) -> dict[str, str]:
    """Return the names of the columns of URLs and texts."""
    named = {source: column.name for column in columns for source in column.sources}
    return {"url": named["url"], "text": named["caption"]}


def _introduction(facts: CardFacts) -> str:
    return (
        f"{facts.contents.rows:,} pairs of image URL and alt text in {facts.parts:,} parquet "
        f"parts, made with laion (img2ds {img2ds.__version__}) by the method of LAION-400M "
        "([arXiv:2111.02114](https://arxiv.org/abs/2111.02114)). It holds the pairs "
        f"whose CLIP embeddings have a similarity of at least {facts.threshold:g}; every pair of "
        "URL and text occurs once."
    )


def _table1_rows(contents: Contents) -> list[str]:
    every = next(iter(PAPER.values()))
    rows = []
    for name, count in contents.table1().items():
        here, part = ("-", "-") if count is None else (f"{count:,}", share(count, contents.rows))
        label = name.replace(">=", "≥")
        rows.append(
            f"| {label} | {here} | {part} | {PAPER[name]:,} | {share(PAPER[name], every)} |"
        )
    return rows


def _purges(purges: Sequence[Purge]) -> list[str]:
    if not purges:
        return []
    lines = [
        "", "## Removed since", "",
        "Pairs that block lists name, removed after the release was finished.", "",
        "| day | lists | removed for | pairs |", "|---|---|---|--:|",
    ]  # fmt: skip
    for purge in purges:
        for reason, pairs in sorted(purge.reasons.items()) or [("-", 0)]:
            lines.append(f"| {purge.day} | {purge.lists} | {reason} | {pairs:,} |")
    return lines


def _stages(stages: Sequence[StageCounts]) -> list[str]:
    lines = ["| stage | parts | pairs seen | kept | dropped |", "|---|--:|--:|--:|--:|"]
    for stage in stages:
        dropped = stage.count - stage.kept
        lines.append(
            f"| {stage.stage} | {stage.shards:,} | {stage.count:,} | {stage.kept:,} | {dropped:,} |"
        )
    lines += ["", "| stage | dropped for | pairs | share of those seen |", "|---|---|--:|--:|"]
    for stage in stages:
        for reason, n in stage.reasons.most_common():
            lines.append(f"| {stage.stage} | {reason} | {n:,} | {share(n, stage.count)} |")
    for stage in stages:
        options = {k: v for k, v in stage.options.items() if v not in _OMITTED}
        if options:
            flags = ", ".join(f"{name} {_shown(value)}" for name, value in options.items())
            lines += ["", f"`{stage.stage}` ran with {flags}."]
    return lines


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _size_category(rows: int) -> str:
    """Return Hugging Face's name for a number of rows."""
    borders = [
        (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"),
        (10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B"),
    ]  # fmt: skip
    return next((name for border, name in borders if rows < border), "n>1B")
