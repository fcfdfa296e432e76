"""Answers parsed requests: finds the vector of a query, searches the index, reads images."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from img2ds.core.failure import Failure
from img2ds.core.state import WORK
from img2ds.image.sniff import sniff
from laion.knn.ann_index import Vectors
from laion.knn.searcher import Searcher, SearchParams, SearchResults
from laion.web.answer import as_json, as_parquet
from laion.web.batch_queue import BatchLimits, BatchQueue
from laion.web.parameters import BadRequest, SearchRequest
from laion.web.query_vectors import QueryVectors
from laion.web.shard_images import ShardImages

#: Searches that one thread does at once.
_BATCH = 32

#: Searches that wait, at most: those that look at few rows, and the costly ones.
_MAX_WAITING, _MAX_COSTLY = 1024, 64

#: Threads that read images of results from disk, and images that one of them reads in turn.
_READERS, _READ = 4, 8

#: Last result of a page from which a search is costly: it reads and sends that many rows.
_COSTLY_RESULTS = 500


@dataclass(frozen=True, slots=True)
class _Search:
    """A search for a vector or, without one, for the vector of the row `request.id`."""

    request: SearchRequest
    vector: Vectors | None
    started: float


class Service:
    """An open index, the vectors of queries, and the images stored on this machine.

    Args:
        model: the name of the CLIP model.
        threads: searches at once; each of them may be a batch.
    """

    def __init__(
        self,
        searcher: Searcher,
        vectors: QueryVectors,
        images: ShardImages | None,
        model: str,
        threads: int = 1,
    ) -> None:
        self.searcher = searcher
        self._vectors = vectors
        self._images = images
        self._model = model
        self._quick: BatchQueue[_Search, bytes | None] = BatchQueue(
            "search", self._answer_quickly, BatchLimits(threads, _BATCH, _MAX_WAITING)
        )
        # Costly searches have threads of their own, so that the others do not wait for them.
        self._costly: BatchQueue[_Search, bytes] = BatchQueue(
            "costly-search",
            self._answer,
            BatchLimits(max(1, threads // 2), batch=1, waiting=_MAX_COSTLY),
        )
        self._read: BatchQueue[int, tuple[bytes, str] | None] = BatchQueue(
            "read-image", self._read_images, BatchLimits(_READERS, _READ, waiting=_MAX_WAITING)
        )

    async def search(self, request: SearchRequest, upload: bytes | None, client: str) -> bytes:
        """Return the body of an answer, in the format that is asked for.

        Raises:
            BadRequest: there is no such index.
            QueryImageError: the image to search by cannot be used.
            IndexError: there is no such row.
            Overloaded: there are too many requests.
        """
        kinds = self.searcher.kinds
        if request.params.index not in kinds:
            raise BadRequest(f"there is no {request.params.index} index, only {kinds[0]}")
        started = time.perf_counter()
        search = _Search(request, await self._vector(request, upload, client), started)
        if not _is_costly(request.params):
            body = await self._quick.submit(search, client)
            if body is not None:
                return body
        return await self._costly.submit(search, client)

    async def _vector(
        self, request: SearchRequest, upload: bytes | None, client: str
    ) -> Vectors | None:
        if upload is not None:
            return await self._vectors.image(upload, client)
        if request.text is not None:
            return await self._vectors.text(request.text, client)
        if request.image_url is not None:
            return await self._vectors.url(request.image_url, client)
        return None  # of a row, which is read from disk: not in the event loop

    def _answer(self, searches: Sequence[_Search]) -> list[bytes | Exception]:
        return self._answers(searches, lambda queries: self.searcher.search_many(queries))

    def _answer_quickly(self, searches: Sequence[_Search]) -> list[bytes | Exception | None]:
        """Return None for searches whose filters leave too few of the first rows."""
        answers: list[bytes | Exception | None] = []
        answers += self._answers(searches, self.searcher.search_first)
        return answers

    def _answers(
        self,
        searches: Sequence[_Search],
        search_many: Callable[[list[tuple[Vectors, SearchParams]]], list[Any]],
    ) -> list[Any]:
        vectors = [self._row_vector(search) for search in searches]
        queries = [
            (vector, search.request.params)
            for vector, search in zip(vectors, searches, strict=True)
            if not isinstance(vector, IndexError)
        ]
        found = iter(search_many(queries))
        return [
            vector if isinstance(vector, IndexError) else self._body(search, next(found))
            for vector, search in zip(vectors, searches, strict=True)
        ]

    def _row_vector(self, search: _Search) -> Vectors | IndexError:
        if search.vector is not None:
            return search.vector
        assert search.request.id is not None
        try:
            return self.searcher.vector(search.request.id)
        except IndexError as error:
            return error

    def _body(self, search: _Search, found: SearchResults | None) -> bytes | None:
        if found is None:
            return None
        if search.request.format == "parquet":
            return as_parquet(found)
        safe = search.request.params.filters.safe and self.searcher.description.tagged
        return as_json(found, safe, time.perf_counter() - search.started, self._has_image)

    def _has_image(self, row: dict[str, Any]) -> bool:
        return self._images is not None and _image_name(row) is not None

    async def image(self, row_id: int, client: str) -> tuple[bytes, str] | None:
        """Read the image of a row, with its media type.

        Returns:
            None when the image is not on this machine.

        Raises:
            IndexError: there is no such row.
            Overloaded: there are too many requests.
        """
        if not 0 <= row_id < len(self.searcher):
            raise IndexError(f"there is no row {row_id}")
        return None if self._images is None else await self._read.submit(row_id, client)

    def _read_images(self, rows: Sequence[int]) -> list[tuple[bytes, str] | Exception | None]:
        names = self.searcher.metadata.rows(rows, ("key", "url"))
        return [self._read_image(_image_name(row)) for row in names]

    def _read_image(self, name: str | None) -> tuple[bytes, str] | None:
        if self._images is None or name is None:
            return None
        try:
            body = self._images.read(name)
        except OSError as error:
            print(f"laion serve: image {name!r}: {error}", file=sys.stderr)
            return None
        header = sniff(body) if body else None
        if body is None or header is None or isinstance(header, Failure):
            return None
        return body, f"image/{header.format}"

    def health(self) -> dict[str, Any]:
        """Describe what is served."""
        return {
            "status": "ok",
            "rows": len(self.searcher),
            "indices": list(self.searcher.kinds),
            # Paths on this machine are private.
            "model": os.path.basename(self._model),
            "tagged": self.searcher.description.tagged,
        }

    def close(self) -> None:
        """Answer no more, and end the processes that decode."""
        self._quick.close()
        self._costly.close()
        self._read.close()
        self._vectors.close()


def _is_costly(params: SearchParams) -> bool:
    """Whether a search compares, reads or sends many rows."""
    return params.deduplicate or params.offset + params.k > _COSTLY_RESULTS


def _image_name(row: dict[str, Any]) -> str | None:
    """The key of an image in its shard: see `open_shard_images`."""
    name: str | None = row["url"] if row["key"] is None else row["key"]
    return name


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
