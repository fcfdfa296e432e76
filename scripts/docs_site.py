"""Hooks of mkdocs: pages of the site that are no files of docs/, and links that leave docs/.

The documents are written for the repository's page. There README.md is the front page, links such
as ../Dockerfile lead to files, and there is no reference, which is made from docstrings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from img2ds.config.flags import default_of
from img2ds.config.options import FLAGS, GROUPS
from img2ds.config.stream import STREAM_FLAGS
from img2ds.core.failure import Reason

ROOT = Path(__file__).parents[1]
#: Files of the repository that are on the site as well.
IMAGES = ("benchmark/stages.png",)

#: The pages of the reference: a title, a first line, and the objects that it documents.
REFERENCE = {
    "download": (
        "img2ds.download", "The flags have the names of the command line.",
        ["img2ds.api.download"],
    ),
    "stream": (
        "img2ds.stream", "Samples in memory. See [Python](../python.md#samples-without-a-dataset).",
        ["img2ds.api.stream", "img2ds.downloader.stream.Stream", "img2ds.core.sample.Sample"],
    ),
    "results": (
        "Reports and failures", "What a run returns, and why rows fail.",
        ["img2ds.downloader.job.Report", "img2ds.engine.run_report.RunReport",
         "img2ds.report.tally.Tally", "img2ds.report.counters.Counts",
         "img2ds.core.failure.UsageError", "img2ds.core.failure.Reason",
         "img2ds.core.failure.Status", "img2ds.core.failure.Retryability",
         "img2ds.core.failure.status_of", "img2ds.core.failure.retryability"],
    ),
    "formats": (
        "Formats", "How lists are read, and how shards are written and read back.",
        ["img2ds.source.source.Source", "img2ds.source.table.open_source",
         "img2ds.formats.contract.ShardWriter", "img2ds.formats.contract.ShardReader",
         "img2ds.formats.contract.StoredSample", "img2ds.formats.contract.DamagedShardError",
         "img2ds.formats.table.open_reader", "img2ds.storage.output.OutputFolder"],
    ),
    "laion": (
        "laion", "What scripts use of laion. Its stages are commands: `laion --help`.",
        ["laion.clip.model.ModelSpec", "laion.clip.model.fetch", "laion.clip.model.load",
         "laion.clip.embed.Embedder", "laion.knn.searcher.Searcher",
         "laion.knn.searcher.SearchParams", "laion.knn.searcher.SearchResults",
         "laion.knn.searcher.Result", "laion.data.embedding_folder.open_embedding_folder",
         "laion.data.embedding_folder.EmbeddingFolder",
         "laion.data.embedding_folder.EmbeddingShard", "laion.data.digest.pair_digest",
         "laion.data.release_schema.release_rows", "laion.wat.rules.Rules",
         "laion.wat.rules.Drop"],
    ),
}  # fmt: skip
#: Objects that the package img2ds itself has.
PUBLIC = {
    "img2ds.api.download", "img2ds.api.stream", "img2ds.downloader.stream.Stream",
    "img2ds.core.sample.Sample", "img2ds.downloader.job.Report", "img2ds.core.failure.UsageError",
}  # fmt: skip
#: Names of flags and reasons are not broken; narrow screens scroll their tables.
CSS = ".md-typeset td code { white-space: nowrap; }"

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show the documents that mkdocs.yml does not place."""
    placed = str(config.nav)
    left = [path.name for path in sorted((ROOT / "docs").glob("*.md"))]
    left = [name for name in left if f"'{name}'" not in placed]
    if left and config.nav is not None:
        config.nav.append({"More": left})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the home page, the reference and the images of the repository."""
    readme = (ROOT / "README.md").read_text()
    files.append(File.generated(config, "index.md", content=readme))
    files.append(File.generated(config, "tables.css", content=CSS))
    for image in IMAGES:
        files.append(File.generated(config, image, abs_src_path=str(ROOT / image)))
    for name, (title, first_line, objects) in REFERENCE.items():
        lines = [f"# {title}", "", first_line, "", *map(_directive, objects)]
        files.append(File.generated(config, f"reference/{name}.md", content="\n".join(lines)))
    return files


def _directive(name: str) -> str:
    last = name.rpartition(".")[2]
    lines = [f"::: {name}", "    options:"]
    lines.append(f"      heading: img2ds.{last}" if name in PUBLIC else f"      heading: {name}")
    if name in TABLES:
        lines.append("      members: false")
    return "\n".join([*lines, "", *TABLES.get(name, list)(), ""])


def _flag_tables(names: Iterable[str]) -> Iterator[str]:
    """Describe flags, a table a group."""
    wanted = set(names)
    for group in GROUPS.values():
        flags = [flag for flag in fields(group) if flag.name in wanted]
        if flags:
            yield from ("", f"### {group.TITLE}", "")
            yield from _table(("flag", "default", ""), map(_flag_row, flags))


def _flag_row(flag: Any) -> tuple[str, ...]:
    default = default_of(flag)
    text = str(flag.metadata["help"])
    if flag.metadata["choices"]:
        text += f": {', '.join(f'`{choice}`' for choice in flag.metadata['choices'])}"
    return f"`{flag.name}`", "required" if default is MISSING else f"`{default!r}`", text


def _reason_table() -> Iterator[str]:
    rows = ((f"`{r.value}`", f"`{r.status.value}`", r.retryability.value, r.hint) for r in Reason)
    yield from _table(("reason", "status", "retryability", "hint"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


#: What is shown of an object in place of its members.
TABLES: dict[str, Callable[[], Iterable[str]]] = {
    "img2ds.api.download": lambda: _flag_tables(FLAGS),
    "img2ds.api.stream": lambda: _flag_tables(STREAM_FLAGS),
    "img2ds.core.failure.Reason": _reason_table,
}


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where the site has the file, or the repository."""
    folder = ROOT if page.file.src_uri == "index.md" else ROOT / "docs"
    if page.file.src_uri.startswith("reference/"):
        return markdown

    def replaced(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        name = (folder / path).resolve().relative_to(ROOT).as_posix()
        if name == "README.md":
            return "index.md" + anchor
        on_site = name.removeprefix("docs/")
        if files.get_file_from_path(on_site) is not None:
            return on_site + anchor
        kind = "tree" if (ROOT / name).is_dir() else "blob"
        return f"{config.extra['repository']}/{kind}/main/{name}{anchor}"

    return _LINK.sub(replaced, markdown)
