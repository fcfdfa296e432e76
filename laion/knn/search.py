"""`laion search`: search an index folder once and print the results."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import Any

from img2ds.core.failure import UsageError
from laion.knn.ann_index import Vectors
from laion.knn.combined_query import EmptyQueryError, combine
from laion.knn.filters import Filters
from laion.knn.options import SearchOptions
from laion.knn.query_embedder import QueryEmbedder
from laion.knn.query_image import QueryImageError, check_image
from laion.knn.query_url import fetch_image, query_network
from laion.knn.searcher import Result, Searcher, SearchParams, SearchResults

#: Columns of the table when the width of the terminal is unknown.
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class SearchOutput:
    """What is printed."""

    text: str
    exit_code: int = 0


def run(options: SearchOptions) -> SearchOutput:
    """Search. Raises UsageError: the index, the model or the image cannot be used."""
    searcher = Searcher(options.index)
    if options.by not in searcher.kinds:
        raise UsageError(f"--by {options.by}: the folder has only an index of {searcher.kinds[0]}")
    filters = Filters(options.safe, options.min_size, options.license)
    params = SearchParams(
        options.by,
        options.k,
        0,
        filters,
        options.deduplicate,
        options.min_similarity,
        excluded=options.id,
    )
    found = searcher.search(_vector(searcher, options), params)
    if options.json:
        results = [_as_dict(result) for result in found.results]
        return SearchOutput(json.dumps({"results": results}, ensure_ascii=False, indent=1))
    text = _table(found)
    if options.safe and not searcher.description.tagged:
        text += "\nno row has an NSFW tag: --safe had no effect"
    return SearchOutput(text)


def _as_dict(result: Result) -> dict[str, Any]:
    """Return the JSON of a result, with the path of its image where it has no URL."""
    found = result.as_dict()
    return found if found["url"] else {**found, "image_path": result.row["image_path"]}


def _vector(searcher: Searcher, options: SearchOptions) -> Vectors:
    parts: list[tuple[Vectors, float]] = []
    if options.id is not None:
        try:
            parts.append((searcher.vector(options.id), options.image_weight))
        except IndexError as error:
            raise UsageError(f"--id: {error}") from None
    images = _images(options)
    if images or options.text is not None or options.negative_text is not None:
        embedder = QueryEmbedder(
            searcher.description,
            options.model,
            options.pretrained,
            pretrained_tag=options.pretrained_tag,
        )
        for name, body in images:
            try:
                parts.append((embedder.embed_image(body), options.image_weight))
            except QueryImageError as error:
                raise UsageError(f"{name}: {error}") from None
        if options.text is not None:
            parts.append((embedder.embed_text(options.text), 1.0))
        if options.negative_text is not None:
            parts.append((embedder.embed_text(options.negative_text), -options.negative_weight))
    try:
        return combine(parts)
    except EmptyQueryError as error:
        raise UsageError(str(error)) from None


def _images(options: SearchOptions) -> list[tuple[str, bytes]]:
    """Return the encoded images to search by, with their names."""
    found = []
    if options.image is not None:
        try:
            with open(options.image, "rb") as file:
                found.append((options.image, file.read()))
        except OSError as error:
            raise UsageError(f"--image {options.image}: {(error.strerror or '').lower()}") from None
    try:
        if options.url is not None:
            network = query_network(allow_private=options.allow_private_addresses)
            found.append((options.url, fetch_image(options.url, network)))
    except QueryImageError as error:
        raise UsageError(f"{options.url}: {error}") from None
    for name, body in found:
        try:
            check_image(body)
        except QueryImageError as error:
            raise UsageError(f"{name}: {error}") from None
    return found


def _table(found: SearchResults) -> str:
    """Two lines a result: similarity, row, size and text, cut to the terminal; then the URL."""
    if not found.results:
        return "nothing found"
    width = shutil.get_terminal_size((_WIDTH, 24)).columns
    lines = [f"{'similarity':>10}  {'id':>8}  {'size':>11}  text"]
    for result in found.results:
        row = result.row
        size = f"{row['width'] or '?'}x{row['height'] or '?'}"
        text = _printable(row["text"])
        lines.append(f"{result.similarity:>10.4f}  {result.id:>8}  {size:>11}  {text}"[:width])
        lines.append(f"{'':35}{_printable(row['url'] or row['image_path'])}")
    return "\n".join(lines)


def _printable(text: str | None) -> str:
    """Replace control characters: captions are untrusted, and terminals obey escape sequences."""
    return "".join(c if c.isprintable() else " " for c in text or "")
