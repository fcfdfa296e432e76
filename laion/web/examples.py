"""Example queries for the landing page, with results of the first one. Found once, then kept."""

from __future__ import annotations

import random
from collections.abc import Sequence

import anyio
import orjson
from anyio import to_thread

from laion.knn.metadata import Metadata
from laion.knn.searcher import SearchParams
from laion.web.parameters import Query, SearchRequest
from laion.web.service import Service

#: Example queries, and results of the first one.
TEXTS, RESULTS = 6, 12

#: Rows whose captions are looked at, and the words and characters of those that are taken.
_SAMPLE = 400
_WORDS = range(2, 6)
_CHARACTERS = 40


class Examples:
    """The answer to `GET /api/examples`.

    Args:
        texts: the queries; without any, captions of rows that are tagged safe. An index without
            tags has none then: nobody has said that its captions and images may be shown unasked.
    """

    def __init__(self, service: Service, texts: Sequence[str]) -> None:
        self._service = service
        self._texts = tuple(texts)
        self._body: bytes | None = None
        self._lock: anyio.Lock | None = None  # belongs to the event loop

    async def body(self, client: str) -> bytes:
        """Return the JSON. Raises Overloaded."""
        if self._lock is None:
            self._lock = anyio.Lock()
        async with self._lock:
            if self._body is None:
                self._body = await self._find(client)
            return self._body

    async def _find(self, client: str) -> bytes:
        texts = self._texts
        searcher = self._service.searcher
        if not texts and searcher.description.tagged:
            texts = await to_thread.run_sync(safe_captions, searcher.metadata)
        if not texts:
            return orjson.dumps({"texts": [], "results": []})
        params = SearchParams(searcher.kinds[0], RESULTS)
        request = SearchRequest(Query(texts[0]), params, "json")
        answer = orjson.loads(await self._service.search(request, None, client))
        return orjson.dumps({"texts": texts, "results": answer["results"]})


def safe_captions(metadata: Metadata) -> tuple[str, ...]:
    """Return up to TEXTS short captions of rows tagged UNLIKELY, the same ones each time."""
    count = min(len(metadata), _SAMPLE)
    ids = sorted(random.Random(0).sample(range(len(metadata)), count))
    found: dict[str, str] = {}
    for row in metadata.rows(ids, ("text", "nsfw")):
        words = (row["text"] or "").split()
        text = " ".join(words)
        is_short = len(words) in _WORDS and len(text) <= _CHARACTERS
        if row["nsfw"] == "UNLIKELY" and is_short and all(map(str.isalpha, words)):
            found.setdefault(text.lower(), text)
    return tuple(found.values())[:TEXTS]
