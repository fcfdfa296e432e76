"""The commands of laion by name: the class with a command's flags and the function that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from img2ds.config.command import load


@dataclass(frozen=True, slots=True)
class Command:
    """One command. Its modules are imported when it is used: some take seconds or need extras.

    Attributes:
        summary: one line for help pages.
        options: `module:name` of a dataclass of flags.
        run: `module:name` of a function that takes the options and returns a `Result`.
        check: `module:name` of a function that raises UsageError for options that cannot work,
            without looking at the input.
    """

    summary: str
    options: str
    run: str
    check: str = "laion.commands:no_check"

    def load_options(self) -> Any:
        """Import the class of the flags."""
        return load(self.options, "laion")

    def load_run(self) -> Any:
        """Import the function that does the work."""
        return load(self.run, "laion")

    def load_check(self) -> Any:
        """Import the function that checks options."""
        return load(self.check, "laion")


#: Every command, in the order of the pipeline.
COMMANDS: dict[str, Command] = {
    "extract": Command(
        "extract image-text candidates from Common Crawl's WAT files, by LAION-400M's rules",
        "laion.wat.options:ExtractOptions",
        "laion.wat.stage:run",
    ),
    "dedup": Command(
        "drop duplicate pairs of URL and text, within a crawl and across crawls",
        "laion.dedup.stage:DedupOptions",
        "laion.dedup.stage:run",
    ),
    "group": Command(
        "make one row a URL, with all of its texts, so that it is downloaded once",
        "laion.group.options:GroupOptions",
        "laion.group.stage:run",
    ),
    "download": Command(
        "download candidates into webdataset shards: img2ds with LAION's settings",
        "laion.fetch:DownloadOptions",
        "laion.fetch:run",
        "laion.fetch:check",
    ),
    "score": Command(
        "compute CLIP embeddings of images and captions, and their similarity",
        "laion.clip.options:ScoreOptions",
        "laion.clip.stage:run",
        "laion.clip.stage:check",
    ),
    "tag": Command(
        "tag pairs as NSFW from their embeddings, and drop possibly illegal content",
        "laion.tag.options:TagOptions",
        "laion.tag.stage:run",
        "laion.tag.stage:check",
    ),
    "annotate": Command(
        "add score columns, languages and token counts to embedded pairs",
        "laion.annotate.options:AnnotateOptions",
        "laion.annotate.stage:run",
        "laion.annotate.stage:check",
    ),
    "filter": Command(
        "keep the pairs that an SQL condition, a paper's recipe, or a share of the best selects",
        "laion.filter.options:FilterOptions",
        "laion.filter.stage:run",
    ),
    "dedup_images": Command(
        "drop near-duplicate images, found by their embeddings or perceptual hashes",
        "laion.dedup_images.options:DedupImagesOptions",
        "laion.dedup_images.stage:run",
    ),
    "crawl": Command(
        "download, score, tag and filter in one pass; only kept pairs are written",
        "laion.crawl.options:CrawlOptions",
        "laion.crawl.stage:run",
        "laion.crawl.stage:check",
    ),
    "release": Command(
        "write pairs above a threshold as LAION-400M's parquet, with a card and Table 1",
        "laion.release.stage:ReleaseOptions",
        "laion.release.stage:run",
        "laion.release.stage:check",
    ),
    "stats": Command(
        "print the statistics of any LAION-style parquet next to the paper's",
        "laion.release.stats:StatsOptions",
        "laion.release.stats:run",
    ),
    "report": Command(
        "write a page about a release: funnel, distributions, images; compare two releases",
        "laion.report.options:ReportOptions",
        "laion.report.stage:run",
    ),
    "tiny_clip": Command(
        "train a small CLIP model of shapes and colors, for use without pretrained weights",
        "laion.clip.tiny:TinyOptions",
        "laion.clip.tiny:run",
    ),
    "dalle": Command(
        "train a small text-to-image model on shards; writes curves and ranked samples",
        "laion.dalle.options:DalleOptions",
        "laion.dalle.stage:run",
    ),
    "run": Command(
        "run all stages of a config file, and report what each one kept",
        "laion.run.options:RunOptions",
        "laion.run.stage:run",
    ),
    "index": Command(
        "build kNN indices over the image and text embeddings of a release",
        "laion.knn.options:IndexOptions",
        "laion.knn.stage:run",
        "laion.knn.stage:check",
    ),
    "search": Command(
        "search an index by text, image, URL or row; prints a table or JSON",
        "laion.knn.options:SearchOptions",
        "laion.knn.search:run",
    ),
    "serve": Command(
        "serve the search page and its JSON API on this machine",
        "laion.web.options:ServeOptions",
        "laion.web.stage:run",
    ),
}


def no_check(options: Any) -> None:
    """Check nothing: the options are checked when they are created."""
