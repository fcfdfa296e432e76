"""Find the Creative Commons license that a page states. It holds for the whole page. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: The column's value if a page states no license: LAION-400M's convention.
UNKNOWN = "?"

# A link to the license itself. Links for sharing have its address within theirs.
_LICENSE = re.compile(
    r"\s*(?:(https?):)?//((?:[a-z0-9-]+\.)*creativecommons\.org/licenses/[^\s/][^\s]*)", re.I
)
_KIND = re.compile(r"/licenses/([a-z+-]+)", re.I)


def page_license(
    head: Iterable[tuple[str, str | None]],
    links: Sequence[tuple[str, str | None]],
    page_url: str,
) -> str:
    """Return the URL of the license, or `?`.

    A link with rel=license states the page's own license. It takes precedence over links without,
    which may be in a text about licenses, and the head over the body.

    Args:
        head, links: (url, rel) of the links to licenses in the head and in the body.
    """
    stated = [url for url, rel in (*head, *links) if _says_license(rel)]
    for url in (*stated, *(url for url, _ in links)):
        match = _LICENSE.match(url)
        if match:
            scheme = match[1] or page_url.partition(":")[0]
            return f"{scheme.lower()}://{match[2]}"
    return UNKNOWN


def license_kind(license_url: str) -> str:
    """Return the kind of a license from its URL, as `by-nc-sa`; `?` for none."""
    match = _KIND.search(license_url)
    return match[1].lower() if match else UNKNOWN


def _says_license(rel: str | None) -> bool:
    return rel is not None and "license" in rel.lower().split()
