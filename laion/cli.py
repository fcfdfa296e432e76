"""The command line of laion: `laion COMMAND --flag VALUE ...`, one command a stage.

Everything wrong with a command is said in one line, with exit code 2, before any work starts.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol

import img2ds
from img2ds.commandline import HELP, help_lines, read_arguments
from img2ds.flags import Flags
from img2ds.outcome import UsageError


class Result(Protocol):
    """What running a command comes to: an exit code, and what people read."""

    @property
    def exit_code(self) -> int: ...

    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Command:
    """One command. Its module is imported when it is used: some take seconds, or need extras.

    `options` and `run` are `module:name`; the options are a dataclass of flags, and
    `run(options)` does the work and gives a `Result`.
    """

    summary: str
    options: str
    run: str


#: Every command, in the order of the pipeline.
COMMANDS: dict[str, Command] = {
    "extract": Command(
        "Common Crawl's WAT files to image-text candidates, by the rules of LAION-400M",
        "laion.wat.options:ExtractOptions",
        "laion.wat.extract:run",
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
    ),
    "score": Command(
        "CLIP embeddings of pictures and captions, and how similar they are",
        "laion.clip.options:ScoreOptions",
        "laion.clip.score:run",
    ),
    "tag": Command(
        "tag pairs as NSFW by their embeddings, and drop possibly illegal content",
        "laion.tag.options:TagOptions",
        "laion.tag.run:run",
    ),
    "crawl": Command(
        "download, score, tag and filter at once: only kept pairs reach a disk",
        "laion.crawl.options:CrawlOptions",
        "laion.crawl.run:run",
    ),
    "release": Command(
        "write the pairs above a threshold as LAION-400M's parquet, with card and Table 1",
        "laion.release.run:ReleaseOptions",
        "laion.release.run:run",
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
    "index": Command(
        "kNN indices over the image and text embeddings of a release",
        "laion.knn.options:IndexOptions",
        "laion.knn.index:run",
    ),
    "search": Command(
        "ask an index by text, picture, URL or row; a table or JSON",
        "laion.knn.options:SearchOptions",
        "laion.knn.find:run",
    ),
    "serve": Command(
        "the search page and its JSON API, on this machine",
        "laion.web.options:ServeOptions",
        "laion.web.serve:run",
    ),
}


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit code: 0 done, 1 incomplete, 2 wrong use, 130 stopped."""
    name = arguments[0] if arguments else "--help"
    if name in HELP:
        print(help_page())
        return 0
    if list(arguments) in (["--version"], ["version"]):
        print(f"laion {img2ds.__version__}")
        return 0
    try:
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "laion --help lists the commands"
            raise UsageError(f"there is no command {name}; {hint}")
        command = COMMANDS[name]
        options = _load(command.options)
        flags = Flags.of(f"laion {name}", options)
        flags = replace(flags, aliases=getattr(options, "ALIASES", {}))
        if any(argument in HELP for argument in arguments[1:]):
            print("\n".join([f"laion {name}: {command.summary}", "", *_help(flags)]))
            return 0
        values = flags.read(read_arguments(flags, arguments[1:]))
        result: Result = _load(command.run)(options(**values))
    except UsageError as error:
        print(f"laion: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while parts are made, the stage itself sees to it
        print("laion: stopped by hand", file=sys.stderr)
        return 130
    if result.text:
        print(result.text)
    return result.exit_code


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _help(flags: Flags) -> list[str]:
    return help_lines(flags, flags.fields)


def help_page() -> str:
    """All commands, a line each."""
    lines = [
        "laion: rebuild the LAION-400M pipeline, from Common Crawl to a searchable data set",
        "",
    ]
    lines += [f"  laion {name:<12} {command.summary}" for name, command in COMMANDS.items()]
    lines += [
        "",
        "laion COMMAND --help lists a command's flags. Running a command again goes on where it",
        "stopped. Exit codes: 0 done, 1 some parts are missing, 2 wrong use, 130 stopped by hand.",
    ]
    return "\n".join(lines)
