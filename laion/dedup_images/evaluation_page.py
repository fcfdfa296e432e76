"""The page of rows that were dropped for an evaluation image, side by side: `evaluation.html`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from html import escape
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from img2ds.core.failure import UsageError
from img2ds.storage import OutputFolder, find_inputs, open_seekable
from laion.dedup_images.duplicates_table import FOLDER
from laion.dedup_images.evaluation import EvaluationSet
from laion.dedup_images.links import EVALUATION_IMAGE
from laion.samples.files import read_files
from laion.samples.sample import Sample
from laion.samples.source import SampleShard, SampleShards
from laion.samples.thumbnail import Thumbnails

NAME = "evaluation.html"
#: Rows that are shown: the closest ones.
SHOWN = 200
#: Shards that are read for images whose keys do not tell theirs.
_SEARCHED = 16

_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Evaluation images in the dataset</title>
<style>
html { color-scheme: light dark; }
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em; max-width: 70em; }
td, th { padding: .4em .8em; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
img { width: 112px; height: 112px; border-radius: 6px; }
td:first-child img { filter: blur(9px); } img:hover, #show:checked ~ table img { filter: none; }
</style>
<h1>Evaluation images in the dataset</h1>
"""

Row = Mapping[str, Any]


def write_page(
    folder: OutputFolder, sets: Iterable[EvaluationSet], images: SampleShards | None
) -> None:
    """Write the page of a finished folder.

    Args:
        images: the images of the dataset, where they are at hand.

    Raises:
        OSError, UsageError: something cannot be read or written.
    """
    rows, count = _closest(folder.path)
    with Thumbnails() as small:

        def thumbnails(shards: SampleShards | None, keys: set[str]) -> dict[str, str]:
            found = {}
            with suppress(OSError, UsageError):  # those of a damaged shard are not at hand
                for sample in _samples(shards, keys):
                    if (made := small.make(sample, None)) is not None:
                        found[sample.key] = made.source
            return found

        own = thumbnails(images, {row["key"] for row in rows if row.get("key")})
        theirs = {
            one.place: thumbnails(one.images, {
                row["duplicate_of"] for row in rows if row["evaluation"] == one.place
            })
            for one in sets
        }  # fmt: skip
    shown = f"{count:,} rows were dropped; the closest {len(rows):,} are shown"
    lines = [
        f"<p>{shown}, with the images that are at hand.</p>",
        '<input type="checkbox" id="show"> <label for="show">Show images without blur</label>',
        "<table><tr><th>dropped</th><th>evaluation image</th><th></th></tr>",
    ]
    for row in rows:
        place = row["evaluation"]
        lines.append(
            f"<tr><td>{_image(own.get(row.get('key') or ''))}</td>"
            f"<td>{_image(theirs.get(place, {}).get(row['duplicate_of'] or ''))}</td>"
            f"<td>{_text(row)}</td></tr>"
        )
    page = "\n".join([_HEAD, *lines, "</table></html>\n"])
    folder.write_bytes(NAME, page.encode())


def _closest(path: str) -> tuple[list[Row], int]:
    """Return the rows to show, and how many there are."""
    rows: list[Row] = []
    count = 0
    try:
        files = find_inputs(f"{path}/{FOLDER}", (".parquet",))
    except UsageError:  # nothing was dropped
        return [], 0
    for file in files:
        table = pq.read_table(open_seekable(file.path))
        table = table.filter(pc.equal(table["reason"], EVALUATION_IMAGE))
        count += table.num_rows
        rows = sorted([*rows, *table.to_pylist()], key=_closeness)[:SHOWN]
    return rows, count


def _closeness(row: Row) -> float:
    return float(-row["similarity"] if row["distance"] is None else row["distance"] / 256 - 1)


def _samples(shards: SampleShards | None, keys: set[str]) -> Iterator[Sample]:
    """Yield the samples with these keys, as far as few shards have to be read."""
    if shards is None or not keys:
        return
    likely = [shard for shard in shards.shards if _may_have(shard, keys)]
    for shard in likely or shards.shards[:_SEARCHED]:
        if shard.kind == "files":
            found = read_files([files for files in shard.files if files[0] in keys])
        else:
            found = (sample for sample in shard.samples() if sample.key in keys)
        yield from found


def _may_have(shard: SampleShard, keys: set[str]) -> bool:
    """Return whether keys begin with the name of a shard, as img2ds's do, or are of its files."""
    if shard.kind == "files":
        return any(key in keys for key, _ in shard.files)
    stem = shard.name.partition(".")[0]
    return any(key.startswith(stem) for key in keys)


def _image(source: str | None) -> str:
    return f'<img src="{escape(source)}" alt="">' if source else "not at hand"


def _text(row: Row) -> str:
    near = (
        f"cosine {row['similarity']:.3f}" if row["distance"] is None
        else f"{row['distance']} of 256 bits differ"
    )  # fmt: skip
    name = row.get("url") or row.get("key") or ""
    return (
        f"{near}<br>{escape(str(name))}<br>"
        f"{escape(str(row['evaluation']))}: {escape(str(row['duplicate_of'] or ''))}"
    )
