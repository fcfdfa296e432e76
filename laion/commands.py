"""Every command of laion by its name: which class has its flags, and which function runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from img2ds.config.command_line import load


@dataclass(frozen=True, slots=True)
class Command:
    """One command. Its module is imported when it is used: some take seconds, or need extras.

    `options`, `run` and `check` are `module:name`; the options are a dataclass of flags,
    `run(options)` does the work and gives a `Result`, and `check(options)` raises UsageError for
    what can be told without looking at the input.
    """

    summary: str
    options: str
    run: str
    check: str = "laion.commands:no_check"

    def load_options(self) -> Any:
        """The class of its flags."""
        return load(self.options, "laion")

    def load_run(self) -> Any:
        """The function that does the work."""
        return load(self.run, "laion")

    def load_check(self) -> Any:
        """The function that checks options."""
        return load(self.check, "laion")


#: Every command, in the order of the pipeline.
COMMANDS: dict[str, Command] = {
    "extract": Command(
        "Common Crawl's WAT files to image-text candidates, by the rules of LAION-400M",
        "laion.wat.options:ExtractOptions",
        "laion.wat.stage:run",
    ),
    "dedup": Command(
        "drop pairs of URL and text that came before, within a crawl and across crawls",
        "laion.dedup.stage:DedupOptions",
        "laion.dedup.stage:run",
    ),
    "download": Command(
        "download candidates into webdataset shards: img2ds with the pipeline's settings",
        "laion.fetch:DownloadOptions",
        "laion.fetch:run",
        "laion.fetch:check",
    ),
    "score": Command(
        "CLIP embeddings of pictures and captions, and how similar they are",
        "laion.clip.options:ScoreOptions",
        "laion.clip.stage:run",
        "laion.clip.stage:check",
    ),
    "tag": Command(
        "tag pairs as NSFW by their embeddings, and drop possibly illegal content",
        "laion.tag.options:TagOptions",
        "laion.tag.stage:run",
        "laion.tag.stage:check",
    ),
    "crawl": Command(
        "download, score, tag and filter at once: only kept pairs reach a disk",
        "laion.crawl.options:CrawlOptions",
        "laion.crawl.stage:run",
        "laion.crawl.stage:check",
    ),
    "release": Command(
        "write the pairs above a threshold as LAION-400M's parquet, with card and Table 1",
        "laion.release.stage:ReleaseOptions",
        "laion.release.stage:run",
        "laion.release.stage:check",
    ),
    "stats": Command(
        "print what is in any LAION-style parquet, beside the paper's figures",
        "laion.release.stats:StatsOptions",
        "laion.release.stats:run",
    ),
    "tiny_clip": Command(
        "train a small CLIP model of shapes and colours, where no weights can be had",
        "laion.clip.tiny:TinyOptions",
        "laion.clip.tiny:run",
    ),
    "dalle": Command(
        "train a small text-to-image model on shards: curves, and samples for prompts, ranked",
        "laion.dalle.options:DalleOptions",
        "laion.dalle.stage:run",
    ),
    "run": Command(
        "all stages one after the other, as a file says, and a report of what each kept",
        "laion.run.options:RunOptions",
        "laion.run.stage:run",
    ),
    "index": Command(
        "kNN indices over the image and text embeddings of a release",
        "laion.knn.options:IndexOptions",
        "laion.knn.stage:run",
        "laion.knn.stage:check",
    ),
    "search": Command(
        "ask an index by text, picture, URL or row; a table or JSON",
        "laion.knn.options:SearchOptions",
        "laion.knn.search:run",
    ),
    "serve": Command(
        "the search page and its JSON API, on this machine",
        "laion.web.options:ServeOptions",
        "laion.web.stage:run",
    ),
}


def no_check(options: Any) -> None:
    """For commands whose options tell of themselves whether they can work."""
