"""Answers parsed requests: searches the index, embeds queries, reads images. Blocking."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.config.options import NetworkOptions
from img2ds.core.failure import Failure
from img2ds.core.state import WORK
from img2ds.image.sniff import sniff
from laion.data.release_schema import RELEASE_SCHEMA, SAMPLE_ID
from laion.knn.ann_index import Vectors
from laion.knn.query_embedder import QueryEmbedder
from laion.knn.query_image import check_image, fetch_image
from laion.knn.searcher import Result, Searcher, SearchResults
from laion.web.parameters import BadRequest, SearchRequest
from laion.web.shard_images import ShardImages

#: Queries whose vectors are cached, so that further pages need no embedding; 2 kB each.
_CACHED_QUERIES = 1024

#: Columns of the release, and where a row's values are; `img2ds --url_col URL --caption_col TEXT`
#: reads such tables.
_SOURCES = {
    "URL": "url", "TEXT": "text", "HEIGHT": "height", "WIDTH": "width", "LICENSE": "license",
    "NSFW": "nsfw",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """One page of results, whether unsafe rows were left out, and the search's duration."""

    found: SearchResults
    safe: bool
    took_ms: float


class Service:
    """An open index, its model, and the images stored on this machine. Thread-safe.

    Args:
        network: how images are fetched from URLs in queries.
        max_pixels: of an image to search by, at most.
    """

    def __init__(
        self,
        searcher: Searcher,
        embedder: QueryEmbedder,
        images: ShardImages | None,
        network: NetworkOptions,
        max_pixels: int,
    ) -> None:
        self.searcher = searcher
        self._embedder = embedder
        self._images = images
        self._network = network
        self._max_pixels = max_pixels
        self._vectors: OrderedDict[tuple[str, str], Vectors] = OrderedDict()
        self._lock = Lock()

    def search(self, request: SearchRequest, upload: bytes | None) -> Answer:
        """Search.

        Raises:
            BadRequest: there is no such index.
            QueryImageError: the image to search by cannot be used.
            IndexError: there is no such row.
        """
        kinds = self.searcher.kinds
        if request.params.index not in kinds:
            raise BadRequest(f"there is no {request.params.index} index, only {kinds[0]}")
        started = time.perf_counter()
        found = self.searcher.search(self._vector(request, upload), request.params)
        safe = request.params.filters.safe and self.searcher.description.tagged
        return Answer(found, safe, round(1000 * (time.perf_counter() - started), 1))

    def _vector(self, request: SearchRequest, upload: bytes | None) -> Vectors:
        if upload is not None:
            name = ("upload", hashlib.sha256(upload).hexdigest())
            return self._cached(name, lambda: self._embed_image(upload))
        if request.text is not None:
            text = request.text.strip()
            return self._cached(("text", text), lambda: self._embedder.embed_text(text))
        if request.image_url is not None:
            url = request.image_url.strip()
            return self._cached(
                ("url", url), lambda: self._embed_image(fetch_image(url, self._network))
            )
        assert request.id is not None
        return self.searcher.vector(request.id)

    def _embed_image(self, body: bytes) -> Vectors:
        check_image(body, self._max_pixels)
        return self._embedder.embed_image(body)

    def _cached(self, name: tuple[str, str], embed: Callable[[], Vectors]) -> Vectors:
        with self._lock:
            if name in self._vectors:
                self._vectors.move_to_end(name)
                return self._vectors[name]
        vector = embed()
        with self._lock:
            self._vectors[name] = vector
            if len(self._vectors) > _CACHED_QUERIES:
                self._vectors.popitem(last=False)
        return vector

    def as_json(self, answer: Answer) -> dict[str, Any]:
        """Build the JSON body of an answer."""
        return {
            "results": [self._result(result) for result in answer.found.results],
            "next_offset": answer.found.next_offset,
            "safe": answer.safe,
            "took_ms": answer.took_ms,
        }

    def _result(self, result: Result) -> dict[str, Any]:
        is_here = self._images is not None and self._image_name(result.row) is not None
        return {**result.as_dict(), "picture": f"/api/picture/{result.id}" if is_here else None}

    def as_parquet(self, answer: Answer) -> bytes:
        """Build a table of the release's columns. A row without a sample ID gets its row number."""
        rows = []
        for result in answer.found.results:
            row = result.row
            values = {column: row[source] for column, source in _SOURCES.items()}
            sample_id = result.id if row["sample_id"] is None else row["sample_id"]
            rows.append({SAMPLE_ID: sample_id, **values, "similarity": result.similarity})
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, RELEASE_SCHEMA), sink)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    def image(self, row_id: int) -> tuple[bytes, str] | None:
        """Read the image of a row, with its media type. Raises IndexError.

        Returns:
            None when the image is not on this machine.
        """
        name = self._image_name(self.searcher.metadata.row(row_id))
        if self._images is None or name is None:
            return None
        try:
            body = self._images.read(name)
        except OSError as error:
            print(f"laion serve: image of row {row_id}: {error}", file=sys.stderr)
            return None
        header = sniff(body) if body else None
        if body is None or header is None or isinstance(header, Failure):
            return None
        return body, f"image/{header.format}"

    @staticmethod
    def _image_name(row: dict[str, Any]) -> str | None:
        """The key of an image in its shard: see `open_shard_images`."""
        name: str | None = row["url"] if row["key"] is None else row["key"]
        return name

    def health(self) -> dict[str, Any]:
        """Describe what is served."""
        return {
            "status": "ok",
            "rows": len(self.searcher),
            "indices": list(self.searcher.kinds),
            # Paths on this machine are private.
            "model": os.path.basename(self._embedder.model),
            "tagged": self.searcher.description.tagged,
        }


def open_shard_images(
    folder: str, searcher: Searcher, report: Callable[[int, int], None]
) -> ShardImages:
    """Open the shards that hold the images of an index's rows, by key or, without keys, by URL.

    Raises:
        UsageError: there are no tars, or they cannot be read.
    """
    by_url = searcher.metadata.row(0)["key"] is None
    cache = os.path.join(searcher.folder, WORK, "pictures")
    return ShardImages(folder, cache, by_url, report)
