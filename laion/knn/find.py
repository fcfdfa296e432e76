"""`laion search`: asks an index folder one question and prints what it finds."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass

from img2ds.core.failure import UsageError
from laion.knn.filters import Filters
from laion.knn.options import SearchOptions
from laion.knn.question import (
    Asker,
    BadPicture,
    check_picture,
    fetch_picture,
    picture_network,
)
from laion.knn.search import Found, Searcher, Wanted
from laion.knn.vectors import Vectors

#: Of a table, when nobody knows how wide the terminal is.
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Printed:
    """What people read."""

    text: str
    exit_code: int = 0


def run(options: SearchOptions) -> Printed:
    """Search. Raises UsageError: the index, the model or the picture cannot be used."""
    searcher = Searcher(options.index)
    if options.by not in searcher.kinds:
        raise UsageError(f"--by {options.by}: there is only an index of {searcher.kinds[0]}")
    filters = Filters(options.safe, options.min_size, options.license)
    wanted = Wanted(options.by, options.k, 0, filters, options.deduplicate)
    found = searcher.find(_vector(searcher, options), wanted)
    if options.json:
        results = [result.as_dict() for result in found.results]
        return Printed(json.dumps({"results": results}, ensure_ascii=False, indent=1))
    text = _table(found)
    if options.safe and not searcher.description.tagged:
        text += "\nno row has an NSFW tag: --safe had no effect"
    return Printed(text)


def _vector(searcher: Searcher, options: SearchOptions) -> Vectors:
    if options.id is not None:
        try:
            return searcher.vector(options.id)
        except IndexError as error:
            raise UsageError(f"--id: {error}") from None
    try:
        body = _picture(options)
        if body is not None:
            check_picture(body)
        asker = Asker(searcher.description, options.model, options.pretrained)
        if body is not None:
            return asker.picture(body)
    except BadPicture as error:
        raise UsageError(f"{options.image or options.url}: {error}") from None
    return asker.text(options.text or "")


def _picture(options: SearchOptions) -> bytes | None:
    if options.url is not None:
        network = picture_network(allow_private=options.allow_private_addresses)
        return fetch_picture(options.url, network)
    if options.image is None:
        return None
    try:
        with open(options.image, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"--image {options.image}: {(error.strerror or '').lower()}") from None


def _table(found: Found) -> str:
    """A line a result, cut to the terminal: similarity, row, size, tag, text; the URL below."""
    if not found.results:
        return "nothing found"
    width = shutil.get_terminal_size((_WIDTH, 24)).columns
    lines = [f"{'similarity':>10}  {'id':>8}  {'size':>11}  text"]
    for result in found.results:
        row = result.row
        size = f"{row['width'] or '?'}x{row['height'] or '?'}"
        text = _plain(row["text"])
        lines.append(f"{result.similarity:>10.4f}  {result.id:>8}  {size:>11}  {text}"[:width])
        lines.append(f"{'':35}{_plain(row['url'])}")
    return "\n".join(lines)


def _plain(text: str | None) -> str:
    """Without control characters: captions come from strangers, and terminals obey them."""
    return "".join(c if c.isprintable() else " " for c in text or "")
