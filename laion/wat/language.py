"""The language of a text, told by CLD2; and what a crawl says of a page's.

The only importer of pycld2. CLD2 is what LAION-400M's workers and Common Crawl itself use, so a
text's language and its page's are told by one measure.
"""

from __future__ import annotations

from typing import Any

import orjson

from img2ds.core.failure import UsageError

try:
    import pycld2
except ImportError:
    raise UsageError("laion extract needs pycld2: pip install 'img2ds[extract]'") from None

#: What CLD2 says of texts that it cannot tell.
UNKNOWN = "un"

_detect = pycld2.detect
_error = pycld2.error


def detect(text: str) -> str:
    """The code of the text's first language, as `en`; `un` when it cannot be told."""
    try:
        code: str = _detect(text)[2][0][1]
    except _error:  # it takes no control characters and no unassigned code points
        return UNKNOWN
    return code


def page_language(languages: str | None) -> str:
    """The code of the language that most of a page is in, of its `languages-cld2`; "" for none."""
    if not languages:
        return ""
    try:
        document: Any = orjson.loads(languages)
        return str(document["languages"][0]["code"])
    except (ValueError, TypeError, LookupError):
        return ""


def known_codes() -> frozenset[str]:
    """Every code that `detect` may give."""
    return frozenset(code for _, code in pycld2.LANGUAGES)
