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
from laion.knn.combined_query import EmptyQueryError, combine
from laion.knn.filters import Filters
from laion.knn.searcher import Searcher, SearchParams, SearchResults
from laion.web.answer import as_json, as_knn, as_metadata, as_parquet, as_row
from laion.web.batch_queue import BatchLimits, BatchQueue
from laion.web.file_images import FileImages
from laion.web.knn_request import KnnRequest
from laion.web.metrics import Metrics
from laion.web.parameters import BadRequest, Query, SearchRequest
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
    """A search. The vector of the row `request.query.id` is added to `parts` by the thread that
    searches: it is read from disk.

    Attributes:
        parts: vectors of the query with their weights.
    """

    request: SearchRequest
    parts: Sequence[tuple[Vectors, float]]
    started: float


@dataclass(frozen=True, slots=True)
class _Described:
    """Rows whose metadata is wanted, and what makes the answer of it."""

    ids: Sequence[int]
    body: Callable[[Sequence[dict[str, Any]]], bytes]


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
        images: ShardImages | FileImages | None,
        model: str,
        threads: int = 1,
    ) -> None:
        self.searcher = searcher
        self._vectors = vectors
        self._images = images
        self._model = model
        self._sends_images = images is not None and searcher.metadata.row(0)["url"] is None
        self._quick: BatchQueue[_Search, bytes | None] = BatchQueue(
            "search", self._answer_quickly, BatchLimits(threads, _BATCH, _MAX_WAITING)
        )
        # Costly searches have threads of their own, so that the others do not wait for them.
        self._costly: BatchQueue[_Search, bytes] = BatchQueue(
            "costly-search",
            self._answer,
            BatchLimits(max(1, threads // 2), batch=1, waiting=_MAX_COSTLY),
        )
        self._described: BatchQueue[_Described, bytes] = BatchQueue(
            "describe", self._describe, BatchLimits(1, batch=1, waiting=_MAX_COSTLY)
        )
        self._read: BatchQueue[int, tuple[bytes, str] | None] = BatchQueue(
            "read-image", self._read_images, BatchLimits(_READERS, _READ, waiting=_MAX_WAITING)
        )

    async def search(self, request: SearchRequest, upload: bytes | None, client: str) -> bytes:
        """Return the body of an answer, in the format that is asked for.

        Raises:
            BadRequest: there is no such index, or the parts of the query cancel out.
            QueryImageError: the image to search by cannot be used.
            IndexError: there is no such row.
            Overloaded: there are too many requests.
        """
        self._check_kind(request.params.index)
        started = time.perf_counter()
        search = _Search(request, await self._parts(request.query, upload, client), started)
        return await self._search(search, client)

    async def knn(self, wanted: KnnRequest, client: str, metrics: Metrics) -> bytes:
        """Return the answer to a request of clip-retrieval's API. Raises as `search`."""
        self._check_kind(wanted.modality)
        dimension = self.searcher.description.dimension
        if wanted.embedding is not None and len(wanted.embedding) != dimension:
            raise BadRequest(f"embedding_input must have {dimension} numbers")
        filters = Filters(safe=wanted.safe)
        params = SearchParams(wanted.modality, wanted.ids, 0, filters, wanted.deduplicate)
        query = Query(wanted.text, wanted.image_url)
        request = SearchRequest(query, params, "knn", wanted.images)
        started = time.perf_counter()
        if wanted.embedding is not None:
            parts = [(wanted.embedding, 1.0)]
        else:
            kind = "text" if wanted.text is not None else "image"
            with metrics.timed(f"{kind}_clip_inference_time"):
                parts = await self._parts(query, wanted.image, client)
        with metrics.timed("knn_index_time"):
            return await self._search(_Search(request, parts, started), client)

    async def rows(self, ids: Sequence[int], client: str) -> bytes:
        """Return the metadata of rows for clip-retrieval's API.

        Raises:
            IndexError: there is no such row.
            Overloaded: there are too many requests.
        """
        wanted = _Described(list(ids), lambda rows: as_metadata(ids, rows, self._shown_image))
        return await self._described.submit(wanted, client)

    async def row(self, row_id: int, client: str) -> bytes:
        """Return a row as `search` does, without a similarity. Raises as `rows`."""
        wanted = _Described([row_id], lambda rows: as_row(row_id, rows[0], self._has_image))
        return await self._described.submit(wanted, client)

    def _describe(self, batch: Sequence[_Described]) -> list[bytes | Exception]:
        answers: list[bytes | Exception] = []
        for wanted in batch:
            try:
                rows = self.searcher.metadata.rows(wanted.ids)
            except (IndexError, OverflowError):
                answers.append(IndexError(f"rows are numbered 0 to {len(self.searcher) - 1}"))
                continue
            answers.append(wanted.body(rows))
        return answers

    def _check_kind(self, index: str) -> None:
        kinds = self.searcher.kinds
        if index not in kinds:
            raise BadRequest(f"there is no {index} index, only {kinds[0]}")

    async def _search(self, search: _Search, client: str) -> bytes:
        if not self._is_costly(search.request):
            body = await self._quick.submit(search, client)
            if body is not None:
                return body
        return await self._costly.submit(search, client)

    async def _parts(
        self, query: Query, upload: bytes | None, client: str
    ) -> list[tuple[Vectors, float]]:
        parts = []
        if upload is not None:
            parts.append((await self._vectors.image(upload, client), query.image_weight))
        if query.text is not None:
            parts.append((await self._vectors.text(query.text, client), 1.0))
        if query.image_url is not None:
            parts.append((await self._vectors.url(query.image_url, client), query.image_weight))
        if query.negative_text is not None:
            negative = await self._vectors.text(query.negative_text, client)
            parts.append((negative, -query.negative_weight))
        return parts

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
        vectors = [self._vector(search) for search in searches]
        queries = [
            (vector, search.request.params)
            for vector, search in zip(vectors, searches, strict=True)
            if not isinstance(vector, Exception)
        ]
        found = iter(search_many(queries))
        return [
            vector if isinstance(vector, Exception) else self._body(search, next(found))
            for vector, search in zip(vectors, searches, strict=True)
        ]

    def _vector(self, search: _Search) -> Vectors | Exception:
        query = search.request.query
        try:
            if query.id is None:
                return combine(search.parts)
            row = (self.searcher.vector(query.id), query.image_weight)
            return combine((*search.parts, row))
        except EmptyQueryError as error:
            return BadRequest(str(error))
        except IndexError as error:
            return error

    def _body(self, search: _Search, found: SearchResults | None) -> bytes | None:
        if found is None:
            return None
        if search.request.format == "parquet":
            return as_parquet(found)
        if search.request.format == "knn":
            return as_knn(found, search.request.shown, self._shown_image)
        safe = search.request.params.filters.safe and self.searcher.description.tagged
        return as_json(found, safe, time.perf_counter() - search.started, self._has_image)

    def _has_image(self, row: dict[str, Any]) -> bool:
        return self._images is not None and self._images.name(row) is not None

    def _shown_image(self, row: dict[str, Any]) -> bytes | None:
        """Read the image of a row; None when it is not on this machine."""
        found = None if self._images is None else self._read_image(self._images.name(row))
        return None if found is None else found[0]

    def _is_costly(self, request: SearchRequest) -> bool:
        """Whether a search compares, reads or sends many rows, or reads images for its answer."""
        params = request.params
        reads = request.format == "knn" and self._sends_images
        return reads or params.deduplicate or params.offset + params.k > _COSTLY_RESULTS

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
        images = self._images
        if images is None:
            return [None] * len(rows)
        found = self.searcher.metadata.rows(rows, images.columns)
        return [self._read_image(images.name(row)) for row in found]

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
        self._described.close()
        self._vectors.close()


def open_shard_images(
    folder: str, searcher: Searcher, report: Callable[[int, int], None]
) -> ShardImages | FileImages:
    """Open the images of an index's rows: in tars by key or, without keys, by URL; else in files.

    Raises:
        UsageError: there are neither tars nor rows with paths, or the tars cannot be read.
    """
    first = searcher.metadata.row(0)
    has_path = first["image_path"] is not None
    if (
        has_path
        and os.path.isdir(folder)
        and not any(n.endswith(".tar") for n in os.listdir(folder))
    ):
        return FileImages(folder)
    by_url = first["key"] is None and not has_path
    cache = os.path.join(searcher.folder, WORK, "pictures")
    return ShardImages(folder, cache, by_url, report)
