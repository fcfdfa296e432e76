"""Kinds of documents that are taken out of WAT files, as in cc2dataset. Pure.

Images are `<img>` tags; the others are links, of any tag, to files with certain extensions.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Least characters of an alt text (paper, 2.1.1).
MIN_TEXT_LENGTH = 5


@dataclass(frozen=True, slots=True)
class DocumentType:
    """One kind of documents.

    Attributes:
        extensions: of the files that links lead to, lower case, without a dot; none for images.
        needs_text: whether a document without a text is dropped.
        min_text_length: least characters of a text, unless the user says otherwise.
        languages: codes of the languages of texts that are kept, likewise; none for all.
    """

    extensions: tuple[str, ...] = ()
    needs_text: bool = False
    min_text_length: int = 0
    languages: tuple[str, ...] = ()

    @property
    def is_image(self) -> bool:
        return not self.extensions


#: Every kind by its name in `--document_type`. Extensions are those of cc2dataset 1.5.
DOCUMENT_TYPES = {
    "image": DocumentType(
        needs_text=True, min_text_length=MIN_TEXT_LENGTH, languages=("en",)
    ),
    "audio": DocumentType(("ogg", "wav", "mp3", "flac", "m4a")),
    "video": DocumentType(("avi", "mp4", "mkv", "webm", "mov", "mpg", "mpeg", "m4v")),
    "text": DocumentType(
        ("pdf", "epub", "djvu", "mobi", "doc", "docx", "rtf", "txt", "odt", "ppt", "pptx",
         "pages", "keynote", "wps", "md")
    ),
    "image_only": DocumentType(),
}  # fmt: skip
