"""Detect the language of a text with CLD2; read that of a page from the crawl.

LAION-400M's workers and Common Crawl use CLD2 too, so the languages of a text and of its page are
comparable.
"""

from __future__ import annotations

from typing import Any

import orjson

from img2ds.core.failure import UsageError

try:
    import pycld2
except ImportError:
    raise UsageError(
        "laion extract needs the package pycld2: pip install 'img2ds[extract]'"
    ) from None

#: CLD2's code for a language that it does not recognise.
UNKNOWN = "un"

_detect = pycld2.detect
_error = pycld2.error


def detect(text: str) -> str:
    """Return the code of the text's main language, as `en`; `un` if it is not recognised."""
    try:
        code: str = _detect(text)[2][0][1]
    except _error:  # it refuses control characters and unassigned code points
        return UNKNOWN
    return code


def page_language(languages: str | None) -> str:
    """Return the main language's code from a page's `languages-cld2`; "" if there is none."""
    if not languages:
        return ""
    try:
        document: Any = orjson.loads(languages)
        return str(document["languages"][0]["code"])
    except (ValueError, TypeError, LookupError):
        return ""


def known_codes() -> frozenset[str]:
    """Return all codes that `detect` can return."""
    return frozenset(code for _, code in pycld2.LANGUAGES) | {UNKNOWN}
