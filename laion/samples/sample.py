"""A sample, an image and its caption, from files that share a key. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from img2ds.core.img2dataset import read_json
from laion.data.candidate import TEXT_LISTS

#: Bytes of a file above which it is skipped: no image, caption or metadata is that large.
MAX_FILE = 256 << 20

#: Extensions of images; the first image of a sample counts.
IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "avif", "jp2")
#: Extensions of captions and metadata.
TEXT, METADATA = "txt", "json"
#: Fields of the metadata that hold a caption, where there is no .txt; the first counts.
CAPTIONS = ("caption", "TEXT", "text")
#: The place of a pair's text among those of its image, see `laion group`.
TEXT_INDEX = "text_index"


@dataclass(slots=True)
class Sample:
    """One sample.

    Attributes:
        body: the encoded image, None where there is none.
        caption: the text, None likewise.
        fields: its metadata.
        flaw: what else is wrong with it, as a reason.
    """

    key: str
    body: bytes | None = None
    caption: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    flaw: str | None = None

    def by_text(self) -> list[Sample]:
        """Return a sample for each text of the image; itself where it is no group of texts.

        They share the image, and have the place of their text as the field `text_index`.
        """
        texts = self.fields.get("texts")
        if not isinstance(texts, list) or not texts:
            return [self]
        others = {name: value for name, value in self.fields.items() if name not in TEXT_LISTS}
        found = []
        for place, text in enumerate(texts):
            fields = {**others, TEXT_INDEX: place}
            for name, column in TEXT_LISTS.items():
                values = self.fields.get(name)
                if column != "text" and isinstance(values, list) and len(values) == len(texts):
                    fields[column] = values[place]
            found.append(Sample(self.key, self.body, text, fields, self.flaw))
        return found

    def lack(self, image: bool = True, text: bool = True) -> str | None:
        """Return the reason why it lacks an image or a text, where wanted; None if it does not."""
        if self.flaw:
            return self.flaw
        if image and self.body is None:
            return "no_image"
        return "no_caption" if text and not (self.caption or "").strip() else None

    def add(self, ending: str, data: bytes | None) -> None:
        """Take a file of the sample.

        Args:
            ending: its extension in lower case.
            data: its content; None where it has more than `MAX_FILE` bytes.
        """
        if ending in IMAGES:
            if data is None:
                self.flaw = "too_large"
            elif self.body is None:
                self.body = data
        elif data is None:
            return
        elif ending == TEXT:
            self.caption = data.decode("utf-8", "replace")
        elif ending == METADATA:
            try:
                fields = read_json(data)
            except (ValueError, RecursionError):
                fields = None
            if isinstance(fields, dict):
                self.fields = fields
            else:
                self.flaw = "bad_metadata"

    def complete(self) -> Sample:
        """Take the caption from the metadata where there is no other, and return the sample."""
        if self.caption is None:
            found = (self.fields.get(name) for name in CAPTIONS)
            self.caption = next((text for text in found if isinstance(text, str)), None)
        return self
