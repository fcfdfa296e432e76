"""Embeds search queries, texts and images, with the model of the index."""

from __future__ import annotations

from threading import Lock

from img2ds.core.failure import Failure, UsageError
from laion.knn.ann_index import Vectors
from laion.knn.description import Description
from laion.knn.query_image import QueryImageError


class QueryEmbedder:
    """A CLIP model that embeds queries. Thread-safe.

    Args:
        model, pretrained: replace what the index names.

    Raises:
        UsageError: the model is not known, cannot be loaded, or has another dimension.
    """

    def __init__(
        self, description: Description, model: str | None = None, pretrained: str | None = None
    ) -> None:
        if model is None:
            model, pretrained = description.model, description.pretrained
        if model is None:
            raise UsageError(
                "the index does not record the CLIP model of its embeddings: give --model and "
                "--pretrained, such as --model ViT-B-32 --pretrained openai"
            )
        from laion.clip.embed import Embedder  # torch takes seconds to import
        from laion.clip.model import ModelSpec, fetch

        self.model = model
        self._embedder = Embedder(fetch(ModelSpec(model, pretrained)))
        self._lock = Lock()
        if self._embedder.dim != description.dimension:
            raise UsageError(
                f"--model {model} has {self._embedder.dim} dimensions and the index has "
                f"{description.dimension}: give the model that made the embeddings"
            )

    def embed_text(self, text: str) -> Vectors:
        """Return the unit vector of a text."""
        with self._lock:
            vector: Vectors = self._embedder.texts([text])[0]
        return vector

    def embed_image(self, body: bytes) -> Vectors:
        """Return the unit vector of an image. Raises QueryImageError when it cannot be decoded."""
        cut = self._embedder.decode(body)
        if isinstance(cut, Failure):
            raise QueryImageError(cut.message)
        with self._lock:
            vector: Vectors = self._embedder.images([cut])[0]
        return vector
