"""Embeds search queries, texts and images, with the model of the index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from threading import Lock

from img2ds.core.failure import Failure, UsageError
from laion.clip.crop import Crop
from laion.clip.geometry import PreprocessConfig
from laion.knn.ann_index import Vectors
from laion.knn.description import Description
from laion.knn.query_image import QueryImageError

#: Characters of a word that are read. CLIP's tokenizer takes time that is quadratic in them (a
#: word of 1000 letters: 80 ms), and a word of this length fills the context of most models.
MAX_WORD = 100

#: Words that the tokenizer remembers; it would remember all of them.
_REMEMBERED_WORDS = 50_000

_LONG_WORD = re.compile(rf"(\S{{{MAX_WORD}}})\S+")


class QueryEmbedder:
    """A CLIP model that embeds queries. Thread-safe; texts do not wait for images.

    Args:
        model, pretrained, pretrained_tag: replace what the index names.
        threads: CPU threads of the model; None keeps torch's setting.

    Raises:
        UsageError: the model is not known, cannot be loaded, or has another dimension.
    """

    def __init__(
        self,
        description: Description,
        model: str | None = None,
        pretrained: str | None = None,
        threads: int | None = None,
        pretrained_tag: str | None = None,
    ) -> None:
        prepared = None
        if model is None:
            model, pretrained = description.model, description.pretrained
            prepared = description.prepared
        if model is None:
            raise UsageError(
                "the index does not record the CLIP model of its embeddings: give --model and "
                "--pretrained, such as --model ViT-B-32 --pretrained openai"
            )
        from laion.clip.embed import Embedder  # torch takes seconds to import
        from laion.clip.model import ModelSpec, fetch

        self.model = model
        spec = fetch(ModelSpec(model, pretrained, pretrained_tag, prepared))
        there = description.prepared or spec.prepared
        if spec.prepared is not None and spec.prepared != there:
            raise UsageError(
                f"--pretrained {pretrained}: images of the index were prepared in another way "
                f"({there}) than these weights need ({spec.prepared}): "
                "leave --model out, or give --pretrained_tag"
            )
        self._embedder = Embedder(spec, threads=threads)
        self._text_lock, self._image_lock = Lock(), Lock()
        words = getattr(self._embedder.model.tokenize, "cache", None)
        self._words: dict[str, str] = words if isinstance(words, dict) else {}
        self._special_words = dict(self._words)
        if self._embedder.dim != description.dimension:
            raise UsageError(
                f"--model {model} has {self._embedder.dim} dimensions and the index has "
                f"{description.dimension}: give the model that made the embeddings"
            )

    @property
    def batch_size(self) -> int:
        """Texts or images that are best embedded at once."""
        return self._embedder.batch_size

    @property
    def preprocess(self) -> PreprocessConfig:
        """What the model needs of an image, for `decode_crop`."""
        return self._embedder.model.config

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Return the unit vectors of texts [n, dimension]. Words are cut at `MAX_WORD`."""
        with self._text_lock:
            if len(self._words) > _REMEMBERED_WORDS:
                self._words.clear()
                self._words.update(self._special_words)
            return self._embedder.texts([_LONG_WORD.sub(r"\1", text) for text in texts])

    def embed_crops(self, crops: Sequence[Crop]) -> Vectors:
        """Return the unit vectors of decoded images [n, dimension]."""
        with self._image_lock:
            return self._embedder.images(crops)

    def embed_text(self, text: str) -> Vectors:
        """Return the unit vector of a text."""
        vector: Vectors = self.embed_texts([text])[0]
        return vector

    def embed_image(self, body: bytes) -> Vectors:
        """Return the unit vector of an image. Raises QueryImageError when it cannot be decoded."""
        crop = self._embedder.decode(body)
        if isinstance(crop, Failure):
            raise QueryImageError(crop.message)
        vector: Vectors = self.embed_crops([crop])[0]
        return vector
