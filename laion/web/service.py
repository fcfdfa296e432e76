"""Answers questions: what lies between a request that was read and a response. Blocking."""

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
from img2ds.image.sniff import sniff
from laion.knn.ann_index import Vectors
from laion.knn.query_embedder import QueryEmbedder
from laion.knn.query_image import check_image, fetch_image
from laion.knn.searcher import Result, Searcher, SearchResults
from laion.web.parameters import BadRequest, SearchRequest
from laion.web.shard_images import ShardImages

#: Questions whose vectors are remembered, so that paging embeds and fetches once; 2 kB each.
_REMEMBERED = 1024

#: As the release spells them, so that `img2ds --url_col URL --caption_col TEXT` reads it.
_TABLE = pa.schema(
    [
        ("SAMPLE_ID", pa.int64()),
        ("URL", pa.string()),
        ("TEXT", pa.string()),
        ("HEIGHT", pa.int32()),
        ("WIDTH", pa.int32()),
        ("LICENSE", pa.string()),
        ("NSFW", pa.string()),
        ("similarity", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Results, and what is said about them."""

    found: SearchResults
    safe: bool
    took_ms: float


class Service:
    """An open index, its model, and the pictures that are here. Any thread may ask.

    Args:
        network: how pictures are fetched from the addresses that people give.
        max_pixels: of a picture to ask with.
    """

    def __init__(
        self,
        searcher: Searcher,
        embedder: QueryEmbedder,
        pictures: ShardImages | None,
        network: NetworkOptions,
        max_pixels: int,
    ) -> None:
        self.searcher = searcher
        self._embedder = embedder
        self._pictures = pictures
        self._network = network
        self._max_pixels = max_pixels
        self._vectors: OrderedDict[tuple[str, str], Vectors] = OrderedDict()
        self._lock = Lock()

    def answer(self, asked: SearchRequest, upload: bytes | None) -> Answer:
        """Search.

        Raises:
            BadRequest: there is no such index.
            QueryImageError: the picture to ask with cannot be had or is none.
            IndexError: there is no such row.
        """
        kinds = self.searcher.kinds
        if asked.wanted.index not in kinds:
            raise BadRequest(f"there is no {asked.wanted.index} index here, only {kinds[0]}")
        started = time.perf_counter()
        found = self.searcher.search(self._vector(asked, upload), asked.wanted)
        safe = asked.wanted.filters.safe and self.searcher.description.tagged
        return Answer(found, safe, round(1000 * (time.perf_counter() - started), 1))

    def _vector(self, asked: SearchRequest, upload: bytes | None) -> Vectors:
        if upload is not None:
            name = ("upload", hashlib.sha256(upload).hexdigest())
            return self._remembered(name, lambda: self._of_picture(upload))
        if asked.text is not None:
            text = asked.text.strip()
            return self._remembered(("text", text), lambda: self._embedder.embed_text(text))
        if asked.image_url is not None:
            url = asked.image_url.strip()
            return self._remembered(
                ("url", url), lambda: self._of_picture(fetch_image(url, self._network))
            )
        assert asked.id is not None
        return self.searcher.vector(asked.id)

    def _of_picture(self, body: bytes) -> Vectors:
        check_image(body, self._max_pixels)
        return self._embedder.embed_image(body)

    def _remembered(self, name: tuple[str, str], make: Callable[[], Vectors]) -> Vectors:
        with self._lock:
            if name in self._vectors:
                self._vectors.move_to_end(name)
                return self._vectors[name]
        vector = make()
        with self._lock:
            self._vectors[name] = vector
            if len(self._vectors) > _REMEMBERED:
                self._vectors.popitem(last=False)
        return vector

    def as_json(self, answer: Answer) -> dict[str, Any]:
        """The body of an answer."""
        return {
            "results": [self._result(result) for result in answer.found.results],
            "next_offset": answer.found.next_offset,
            "safe": answer.safe,
            "took_ms": answer.took_ms,
        }

    def _result(self, result: Result) -> dict[str, Any]:
        here = self._pictures is not None and self._picture_name(result.row) is not None
        return {**result.as_dict(), "picture": f"/api/picture/{result.id}" if here else None}

    def as_parquet(self, answer: Answer) -> bytes:
        """The results as a table for img2ds. Rows without a sample's number get their own."""
        rows = []
        for result in answer.found.results:
            row = result.row
            number = row["sample_id"]
            values = (
                result.id if number is None else number, row["url"], row["text"], row["height"],
                row["width"], row["license"], row["nsfw"], result.similarity,
            )  # fmt: skip
            rows.append(dict(zip(_TABLE.names, values, strict=True)))
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, _TABLE), sink)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    def picture(self, row_id: int) -> tuple[bytes, str] | None:
        """The picture of a row and its media type; None when it is not here. Raises IndexError."""
        row = self.searcher.metadata.row(row_id)
        name = self._picture_name(row)
        if self._pictures is None or name is None:
            return None
        try:
            body = self._pictures.read(name)
        except OSError as error:
            print(f"laion serve: picture of row {row_id}: {error}", file=sys.stderr)
            return None
        header = sniff(body) if body else None
        if body is None or header is None or isinstance(header, Failure):
            return None
        return body, f"image/{header.format}"

    @staticmethod
    def _picture_name(row: dict[str, Any]) -> str | None:
        """What a shard knows the picture by: see `open_shard_images`."""
        name: str | None = row["url"] if row["key"] is None else row["key"]
        return name

    def health(self) -> dict[str, Any]:
        """What is served."""
        return {
            "status": "ok",
            "rows": len(self.searcher),
            "indices": list(self.searcher.kinds),
            # A path on this machine is nobody else's business.
            "model": os.path.basename(self._embedder.model),
            "tagged": self.searcher.description.tagged,
        }


def open_shard_images(
    folder: str, searcher: Searcher, tell: Callable[[int, int], None]
) -> ShardImages:
    """The shards that the index's rows are of: by their keys, else by their URLs.

    Raises:
        UsageError: there are no tars, or they cannot be read.
    """
    by_url = searcher.metadata.row(0)["key"] is None
    kept = os.path.join(searcher.folder, "_img2ds", "pictures")
    return ShardImages(folder, kept, by_url, tell)
