"""The rules by which an image is a candidate: those of LAION-400M's paper and workers. Pure.

Every image has one outcome: it is kept, or dropped for the first rule that it violates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from laion.wat.documents import DOCUMENT_TYPES, MIN_TEXT_LENGTH, DocumentType

#: Most characters of a URL (workers).
MAX_URL_LENGTH = 2048
#: Extensions of files that are not photographs (workers).
EXTENSIONS = frozenset({".svg", ".gif", ".ico"})

_HTTP = ("http://", "https://")
_any_http = re.compile(r"https?://[^/?#]", re.I).match
_NO_HOST = frozenset({"", "/", "?", "#"})
# A URL up to white space, then a descriptor up to a comma unless the URL ends in one
# (WHATWG HTML, "parse a srcset attribute").
_CANDIDATE = re.compile(r"[\s,]*(?:([^\s,](?:\S*[^\s,])?),+(?!\S)|([^\s,]\S*)([^,]*))")


class Drop(str, Enum):
    """Why an image is not a candidate, in the order in which the rules apply."""

    NO_ALT = "no_alt"
    TEXT_TOO_SHORT = "text_too_short"
    BAD_URL = "bad_url"
    NOT_HTTP = "not_http"
    FILE_TYPE = "file_type"
    URL_TOO_LONG = "url_too_long"
    LANGUAGE = "language"


def drop_of_url(url: str, is_image: bool = True) -> Drop | None:
    """Return the rule that an absolute URL violates; None if it violates none.

    Args:
        is_image: whether it is taken for that of a photograph.
    """
    if url.startswith(_HTTP):
        host = url.index("/") + 2
        if url[host : host + 1] in _NO_HOST:
            return Drop.NOT_HTTP
    elif not _any_http(url):
        return Drop.NOT_HTTP
    path = url
    if "?" in url or "#" in url:
        path = url.partition("#")[0].partition("?")[0]
    if is_image and path[-4:].lower() in EXTENSIONS:
        return Drop.FILE_TYPE
    if len(url) > MAX_URL_LENGTH:
        return Drop.URL_TOO_LONG
    return None


def largest_candidate(srcset: str) -> str:
    """Return the URL in a `srcset` with the largest width or density; "" if there is none.

    A URL without a descriptor has density 1 (WHATWG HTML, 4.8.4.2.3).
    """
    best, greatest = "", -1.0
    for match in _CANDIDATE.finditer(srcset):
        size = 1.0
        descriptor = (match[3] or "").strip()
        if descriptor:
            try:
                size = float(descriptor[:-1])
            except ValueError:
                continue
        if size > greatest:
            best, greatest = match[1] or match[2], size
    return best


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that the user can set.

    Attributes:
        languages: codes of the languages that are kept, None for all.
        document: the kind of documents.
        allow_damaged: whether a file without its end, or without a WAT record, is taken.
        language_rule: how the language of a text is detected, a key of `language.DETECTORS`.
    """

    min_text_length: int = MIN_TEXT_LENGTH
    languages: frozenset[str] | None = frozenset({"en"})
    document: DocumentType = DOCUMENT_TYPES["image"]
    allow_damaged: bool = False
    language_rule: str = "captions"
