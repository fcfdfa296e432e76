"""The bodies of answers: JSON for the page, and a table that img2ds can download. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from laion.data.release_schema import RELEASE_SCHEMA, SAMPLE_ID
from laion.knn.searcher import Result, SearchResults

#: Columns of the release, and where a row's values are; `img2ds --url_col URL --caption_col TEXT`
#: reads such tables.
_SOURCES = {
    "URL": "url", "TEXT": "text", "HEIGHT": "height", "WIDTH": "width", "LICENSE": "license",
    "NSFW": "nsfw",
}  # fmt: skip


def as_json(
    found: SearchResults, safe: bool, seconds: float, has_image: Callable[[dict[str, Any]], bool]
) -> bytes:
    """Build the body that `openapi` describes.

    Args:
        safe: whether unsafe rows were left out.
        seconds: that the search took.
        has_image: whether the image of a row is on this machine.
    """

    def shown(result: Result) -> dict[str, Any]:
        body = result.as_dict()
        body["picture"] = f"/api/picture/{result.id}" if has_image(result.row) else None
        return body

    return orjson.dumps(
        {
            "results": [shown(result) for result in found.results],
            "next_offset": found.next_offset,
            "safe": safe,
            "took_ms": round(1000 * seconds, 1),
        }
    )


def as_knn(
    found: SearchResults, shown: int, read: Callable[[dict[str, Any]], bytes | None]
) -> bytes:
    """Build the answer of clip-retrieval's `/knn-service`.

    Args:
        shown: results that get metadata.
        read: returns the image of a row, for rows without a URL; None where it is not here.
    """
    rows: list[dict[str, Any]] = []
    for place, result in enumerate(found.results):
        row = knn_metadata(result.row, read) if place < shown else {}
        rows.append({**row, "id": result.id, "similarity": result.similarity})
    return orjson.dumps(rows)


def knn_metadata(
    row: dict[str, Any], read: Callable[[dict[str, Any]], bytes | None]
) -> dict[str, Any]:
    """Return what clip-retrieval's clients are told of a row; never a path on this machine."""
    found = {"url": row["url"], "caption": row["text"], "NSFW": row["nsfw"]}
    found = {name: value for name, value in found.items() if value is not None}
    if row["url"] is None and (body := read(row)) is not None:
        found["image"] = base64.b64encode(body).decode()
    return found


def as_parquet(found: SearchResults) -> bytes:
    """Build a table of the release's columns. A row without a sample ID gets its row number."""
    rows = []
    for result in found.results:
        row = result.row
        values = {column: row[source] for column, source in _SOURCES.items()}
        sample_id = result.id if row["sample_id"] is None else row["sample_id"]
        rows.append({SAMPLE_ID: sample_id, **values, "similarity": result.similarity})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, RELEASE_SCHEMA), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data
