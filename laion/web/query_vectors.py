"""The vectors of queries: texts, uploaded images and images at URLs. The last ones are kept."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from threading import Lock

from anyio import CapacityLimiter, to_thread

from img2ds.config.options import NetworkOptions
from laion.clip.crop import Crop
from laion.knn.ann_index import Vectors
from laion.knn.query_embedder import QueryEmbedder
from laion.knn.query_url import fetch_image
from laion.web.batch_queue import BatchLimits, BatchQueue
from laion.web.decoder_pool import DecoderPool

#: Queries whose vectors are kept, so that further pages need no embedding; 2 kB each.
KEPT_VECTORS = 10_000

#: Texts that wait to be embedded, at most.
_MAX_TEXTS = 1024

#: Images that are embedded at once: with more, the first one waits for long on a CPU.
_IMAGE_BATCH = 4

#: Images that are downloaded at once.
_DOWNLOADS = 8


class VectorCache:
    """The least recently used vectors are forgotten. Thread-safe."""

    def __init__(self, size: int = KEPT_VECTORS) -> None:
        self._size = size
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = Lock()

    def get(self, name: str) -> Vectors | None:
        with self._lock:
            vector = self._vectors.get(name)
            if vector is not None:
                self._vectors.move_to_end(name)
            return vector

    def put(self, name: str, vector: Vectors) -> None:
        with self._lock:
            self._vectors[name] = vector
            self._vectors.move_to_end(name)
            if len(self._vectors) > self._size:
                self._vectors.popitem(last=False)


class QueryVectors:
    """Finds the vector of a query. Texts do not wait for images.

    Args:
        network: how images are fetched from URLs.
    """

    def __init__(
        self, embedder: QueryEmbedder, decoders: DecoderPool, network: NetworkOptions
    ) -> None:
        self._embedder = embedder
        self._decoders = decoders
        self._network = network
        self._cache = VectorCache()
        self._texts: BatchQueue[str, Vectors] = BatchQueue(
            "embed-text",
            self._embed_texts,
            BatchLimits(batch=embedder.batch_size, waiting=_MAX_TEXTS),
        )
        self._crops: BatchQueue[Crop, Vectors] = BatchQueue(
            "embed-image",
            lambda crops: [vector.copy() for vector in embedder.embed_crops(crops)],
            BatchLimits(batch=_IMAGE_BATCH),
        )
        self._downloads: CapacityLimiter | None = None  # belongs to the event loop

    async def text(self, text: str, client: str) -> Vectors:
        """Embed a text. Raises Overloaded."""
        text = text.strip()
        kept = self._cache.get(f"text {text}")
        return kept if kept is not None else await self._texts.submit(text, client)

    async def image(self, body: bytes, client: str) -> Vectors:
        """Embed an image. Raises Overloaded, QueryImageError."""
        digest = await to_thread.run_sync(lambda: hashlib.sha256(body).hexdigest())
        return await self._kept(f"image {digest}", lambda: self._embed_image(body, client))

    async def url(self, url: str, client: str) -> Vectors:
        """Embed the image at a URL. Raises Overloaded, QueryImageError."""
        url = url.strip()
        return await self._kept(f"url {url}", lambda: self._embed_url(url, client))

    def close(self) -> None:
        """Embed no more."""
        for queue in (self._texts, self._crops):
            queue.close()
        self._decoders.close()

    async def _kept(self, name: str, embed: Callable[[], Awaitable[Vectors]]) -> Vectors:
        vector = self._cache.get(name)
        if vector is None:
            vector = await embed()
            self._cache.put(name, vector)
        return vector

    async def _embed_url(self, url: str, client: str) -> Vectors:
        if self._downloads is None:
            self._downloads = CapacityLimiter(_DOWNLOADS)
        fetch = partial(fetch_image, url, self._network)
        body = await to_thread.run_sync(fetch, limiter=self._downloads)
        return await self._embed_image(body, client)

    async def _embed_image(self, body: bytes, client: str) -> Vectors:
        return await self._crops.submit(await self._decoders.decode(body, client), client)

    def _embed_texts(self, texts: Sequence[str]) -> list[Vectors]:
        """Embed each text once, and those not at all that others have asked for meanwhile."""
        kept = {text: self._cache.get(f"text {text}") for text in texts}
        found = {text: vector for text, vector in kept.items() if vector is not None}
        missing = [text for text in kept if text not in found]
        for text, vector in zip(missing, self._embedder.embed_texts(missing), strict=True):
            found[text] = vector.copy()  # a row would keep the whole batch in memory
            self._cache.put(f"text {text}", found[text])
        return [found[text] for text in texts]
