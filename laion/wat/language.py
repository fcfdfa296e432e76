"""Detect the language of a text; read that of a page from the crawl.

LAION-400M's workers and Common Crawl use CLD2. It recognises few texts of less than 20 characters,
so a model of our own tells first whether a text is English.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import orjson

from img2ds.core.failure import UsageError
from laion.wat.english import EnglishModel

try:
    import pycld2
except ImportError:
    raise UsageError(
        "laion extract needs the package pycld2: pip install 'img2ds[extract]'"
    ) from None

#: CLD2's code for a language that it does not recognise.
UNKNOWN = "un"
ENGLISH = "en"
#: Log odds above which a text of fewer characters is taken for English, and above which a longer
#: one is: short texts, of which less is known, need more.
ENGLISH_ABOVE = ((10, 0.0), (20, -0.3))
LONG_ABOVE = -0.8

_detect = pycld2.detect
_error = pycld2.error


def detect_cld2(text: str) -> str:
    """Return CLD2's code of the text's main language, as `en`; `un` if it is not recognised."""
    try:
        code: str = _detect(text)[2][0][1]
    except _error:  # it refuses control characters and unassigned code points
        return UNKNOWN
    return code


def detect_caption(text: str) -> str:
    """Return the code of a text that may be a few words; `un` if it is not recognised.

    English is what the model takes for it, at any length; other languages are CLD2's.
    """
    length = len(text)
    above = next((odds for limit, odds in ENGLISH_ABOVE if length < limit), LONG_ABOVE)
    if _english_log_odds()(text) > above:
        return ENGLISH
    code = detect_cld2(text)
    return UNKNOWN if code == ENGLISH else code


#: How to detect the language of a text, by the value of `--language_rule`.
DETECTORS: dict[str, Callable[[str], str]] = {"captions": detect_caption, "cld2": detect_cld2}


@cache
def _english_log_odds() -> Callable[[str], float]:
    return EnglishModel().log_odds  # read at first use: commands other than extract need none


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
    """Return all codes that a detector can return."""
    return frozenset(code for _, code in pycld2.LANGUAGES) | {UNKNOWN}
