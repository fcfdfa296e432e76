"""The bodies of answers: JSON for the page, and a table that img2ds can download. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from laion.data.release_schema import RELEASE_SCHEMA, SAMPLE_ID
from laion.knn.searcher import Result, SearchResults

#: Bytes of all images in one answer to clients of clip-retrieval, which has no limit. Further rows
#: come without their images.
IMAGE_BYTES = 50_000_000

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

    return orjson.dumps(
        {
            "results": [_shown(result, has_image) for result in found.results],
            "next_offset": found.next_offset,
            "safe": safe,
            "took_ms": round(1000 * seconds, 1),
        }
    )


def as_row(row_id: int, row: dict[str, Any], has_image: Callable[[dict[str, Any]], bool]) -> bytes:
    """Build the body for a row that was not searched for: it has no similarity."""
    body = _shown(Result(row_id, 0.0, row), has_image)
    del body["similarity"]
    return orjson.dumps(body)


def _shown(result: Result, has_image: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    body = result.as_dict()
    body["picture"] = f"/api/picture/{result.id}" if has_image(result.row) else None
    return body


def as_knn(
    found: SearchResults, shown: int, read: Callable[[dict[str, Any]], bytes | None]
) -> bytes:
    """Build the answer of clip-retrieval's `/knn-service`.

    Args:
        shown: results that get metadata.
        read: returns the image of a row, for rows without a URL; None where it is not here.
    """
    described = _described([result.row for result in found.results[:shown]], read)
    described += [{}] * (len(found.results) - len(described))
    return orjson.dumps(
        [
            {**row, "id": result.id, "similarity": result.similarity}
            for row, result in zip(described, found.results, strict=True)
        ]
    )


def as_metadata(
    ids: Sequence[int],
    rows: Sequence[dict[str, Any]],
    read: Callable[[dict[str, Any]], bytes | None],
) -> bytes:
    """Build the answer of clip-retrieval's `/metadata`; `read` as for `as_knn`."""
    described = _described(rows, read)
    return orjson.dumps([{"id": i, "metadata": row} for i, row in zip(ids, described, strict=True)])


def _described(
    rows: Sequence[dict[str, Any]], read: Callable[[dict[str, Any]], bytes | None]
) -> list[dict[str, Any]]:
    """What clip-retrieval's clients are told of rows; never a path on this machine."""
    left = IMAGE_BYTES
    described = []
    for row in rows:
        found = {"url": row["url"], "caption": row["text"], "NSFW": row["nsfw"]}
        found = {name: value for name, value in found.items() if value is not None}
        body = read(row) if row["url"] is None and left > 0 else None
        if body is not None and len(body) <= left:
            left -= len(body)
            found["image"] = base64.b64encode(body).decode()
        described.append(found)
    return described


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
