"""Answers to the questions of "Datasheets for Datasets" (Gebru et al. 2021, arXiv:1803.09010).

Those that figures of a release can answer: composition, collection, preprocessing, distribution.
Why a dataset was made, and who maintains it, only its makers can say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from img2ds.report.units import counted, share
from laion.provenance import StageCounts
from laion.release.contents import Contents

#: Reasons of a stage that are named.
_MAX_REASONS = 3


def datasheet(contents: Contents, stages: Sequence[StageCounts], tagged: bool) -> Iterator[str]:
    """Yield the lines of the section.

    Args:
        stages: those that the release came through, the first one first.
        tagged: whether the pairs came through `laion tag`.
    """
    for question, answer in (
        ("What is an instance, and how many are there?",
         (f"A pair of an image's URL and a text, {contents.rows:,} of them. The images are not "
         "part of the dataset.")),
        ("Is it a sample of a larger set?", _sample(stages)),
        ("Is information missing from instances?", _missing(contents)),
        ("Are there errors, noise or redundancies?",
         ("Texts are as web pages have them: nobody checked that they describe the image. Every "
         "pair of URL and text occurs once; the same image may be there under other URLs, unless "
         "`laion dedup_images` is among the stages below.")),
        ("Is there content that may be offensive or illegal?", _offensive(contents, tagged)),
        ("Does it relate to people?",
         ("Yes. Images and texts may show and name people, who were not asked. To remove pairs, "
         "see `laion tag --purge`.")),
        ("How was it collected?", _collected(stages)),
        ("What was done to it?", _done(stages)),
        ("Under what licences are the images?", _licences(contents)),
    ):  # fmt: skip
        yield from ("", f"**{question}** {answer}")


def _sample(stages: Sequence[StageCounts]) -> str:
    if not stages or not stages[0].count:
        return "Unknown: the stages before the release left no record."
    first, last = stages[0], stages[-1]
    return (
        f"Yes: {share(last.kept, first.count)} of the {first.count:,} pairs that `{first.stage}` "
        "saw, chosen by the stages below, not at random."
    )


def _missing(contents: Contents) -> str:
    absent = [f"`{name}`" for name in sorted(contents.absent)]
    words = [f"There is no column {', '.join(absent)}."] if absent else []
    for what, column, known in (
        ("size", "WIDTH", contents.sized), ("similarity", "similarity", contents.scored)
    ):  # fmt: skip
        if column not in contents.absent:
            lacking = contents.rows - known
            words.append(
                f"{counted(lacking, 'pair')} ({share(lacking, contents.rows)}) without a {what}."
            )
    unlicensed = contents.licenses["?"] + contents.licenses[""]
    if contents.licenses:
        words.append(f"{share(unlicensed, contents.rows)} have no known licence.")
    return " ".join(words)


def _offensive(contents: Contents, tagged: bool) -> str:
    if not tagged:
        return "Unknown: the pairs were never tagged, the filter for illegal content did not run."
    tags = contents.tags()
    found = ", ".join(
        f"`{tag}` {share(tags.get(tag, 0), contents.rows)}" for tag in ("UNSURE", "NSFW")
    )
    return (
        f"By CLIP's judgement: {found}. Pairs that it judged possibly illegal were dropped. "
        "Neither was checked by people."
    )


def _collected(stages: Sequence[StageCounts]) -> str:
    extract = next((stage for stage in stages if stage.stage == "extract"), None)
    if extract is None:
        return "By programs, from lists of URLs; see the stages below."
    return (
        f"By programs: from the `alt` texts of images in {extract.shards:,} WAT files of Common "
        "Crawl. Owners of pages were not asked; signals that they set are obeyed as the options "
        "of the download below say."
    )


def _done(stages: Sequence[StageCounts]) -> str:
    words = []
    for stage in stages:
        reasons = [
            f"{reason} {share(count, stage.count)}"
            for reason, count in stage.reasons.most_common(_MAX_REASONS)
        ]
        if reasons:
            words.append(f"`{stage.stage}` dropped for {', '.join(reasons)}")
    return f"{'; '.join(words)}." if words else "Nothing was dropped."


def _licences(contents: Contents) -> str:
    known = contents.licenses.total() - contents.licenses["?"] - contents.licenses[""]
    return (
        f"{share(known, contents.rows)} of the pairs come from pages that link to a Creative "
        "Commons licence, which may be meant for the page and not for the image. Of all others it "
        "is unknown: the images belong to their owners."
    )
