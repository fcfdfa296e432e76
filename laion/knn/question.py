"""From what people ask with to a vector: a text, a picture's bytes, a picture's URL."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import trio

from img2ds.config.network import PROXY_NONE, NetworkOptions
from img2ds.core.failure import Failure, UsageError
from img2ds.image.sniff import sniff
from img2ds.net.budget import Budget
from img2ds.net.context import FetchContext
from img2ds.net.fetcher import open_fetcher
from laion.knn.description import Description
from laion.knn.vectors import Vectors

#: The largest picture to ask with, in bytes and pixels: a good photograph.
MAX_BYTES = 10_000_000
MAX_PIXELS = 40_000_000

#: Seconds that fetching a picture to ask with may take in all.
MAX_TIME = 10.0


class BadPicture(ValueError):
    """There is no picture to ask with; the message says why."""


class Asker:
    """A CLIP model that questions are embedded with. Any number of threads may ask.

    Raises:
        UsageError: no model is known, it cannot be had, or it is of another dimension.
    """

    def __init__(
        self, description: Description, model: str | None = None, pretrained: str | None = None
    ) -> None:
        if model is None:
            model, pretrained = description.model, description.pretrained
        if model is None:
            raise UsageError(
                "the index does not say which CLIP model its embeddings are of: give --model and "
                "--pretrained, such as --model ViT-B-32 --pretrained openai"
            )
        from laion.clip.embed import Embedder  # torch takes seconds to import
        from laion.clip.model import ModelSpec, fetch

        self.model = model
        self._embedder = Embedder(fetch(ModelSpec(model, pretrained)))
        self._lock = Lock()
        if self._embedder.dim != description.dimension:
            raise UsageError(
                f"--model {model} embeds in {self._embedder.dim} dimensions and the index has "
                f"{description.dimension}: it was made with another model"
            )

    def text(self, text: str) -> Vectors:
        """The unit vector of a text."""
        with self._lock:
            vector: Vectors = self._embedder.texts([text])[0]
        return vector

    def picture(self, body: bytes) -> Vectors:
        """The unit vector of a picture. Raises BadPicture when it cannot be decoded."""
        cut = self._embedder.decode(body)
        if isinstance(cut, Failure):
            raise BadPicture(cut.message)
        with self._lock:
            vector: Vectors = self._embedder.images([cut])[0]
        return vector


def check_picture(body: bytes, max_pixels: int = MAX_PIXELS) -> None:
    """Judge a picture by its header. Raises BadPicture: it is none, or too large to decode."""
    header = sniff(body)
    if isinstance(header, Failure):
        raise BadPicture(header.message)
    if not header.width or not header.height:
        raise BadPicture("image without pixels")
    if header.width * header.height > max_pixels:
        raise BadPicture(
            f"the picture has {header.width} x {header.height} pixels, above {max_pixels} in all"
        )


def picture_network(
    max_bytes: int = MAX_BYTES, allow_private: bool = False, connect_to: Sequence[str] = ()
) -> NetworkOptions:
    """How pictures to ask with are fetched: within caps, and from public addresses alone."""
    return NetworkOptions(
        timeout=5.0,
        max_time=MAX_TIME,
        max_image_bytes=max_bytes,
        disallowed_header_directives=(),  # a question keeps nothing of the picture
        allow_private_addresses=allow_private,
        connect_to=tuple(connect_to),
        # Strangers name the URLs, and what a proxy would look up for them the guard never sees.
        proxy=PROXY_NONE,
    )


def fetch_picture(url: str, options: NetworkOptions) -> bytes:
    """The body at `url`. Blocks; runs a loop of its own, so any thread but a loop's may call it.

    Raises:
        BadPicture: it cannot be had.
    """

    async def fetch() -> bytes:
        fetcher = open_fetcher(options)
        try:
            with Budget(options.max_image_bytes).lease() as lease:
                got = await fetcher.fetch(url, FetchContext.start(options, lease))
        finally:
            await fetcher.aclose()
        if isinstance(got, Failure):
            raise BadPicture(f"{got.message} ({got.reason})")
        return bytes(got.body)

    return trio.run(fetch)
