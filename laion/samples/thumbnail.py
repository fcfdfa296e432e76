"""Small images for reports."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

from img2ds.config.image import ImageOptions
from img2ds.core.failure import Failure
from img2ds.image.transform import Transformer
from laion.samples.sample import Sample

#: Pixels of a side.
_SIDE = 112


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image as a data URL, with its caption."""

    source: str
    caption: str
    similarity: float | None


class Thumbnails:
    """Makes thumbnails. Use as a context manager."""

    def __init__(self) -> None:
        self._transformer = Transformer(
            ImageOptions(image_size=_SIDE, resize_mode="center_crop", encode_quality=75)
        )

    def __enter__(self) -> Thumbnails:
        return self

    def __exit__(self, *error: object) -> None:
        self._transformer.close()

    def make(self, sample: Sample, similarity: float | None) -> Thumbnail | None:
        """Return a sample's thumbnail, None for one whose image cannot be decoded."""
        if sample.body is None:
            return None
        inspected = self._transformer.inspect(sample.body)
        made = inspected if isinstance(inspected, Failure) else self._transformer.render(inspected)
        if isinstance(made, Failure):
            return None
        source = f"data:image/jpeg;base64,{b64encode(bytes(made.data)).decode()}"
        return Thumbnail(source, " ".join((sample.caption or "").split()), similarity)
