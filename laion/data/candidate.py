"""A candidate: one image URL with its text, and the columns of candidate files. Pure.

`laion extract` writes them, `laion dedup` reads and writes them, `img2ds` downloads from them.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from laion.data.digest import DIGEST_BYTES


class Candidate(NamedTuple):
    """One row of a candidate file. Unknown texts are "", never null."""

    url: str
    text: str
    license: str
    language: str
    page_language: str
    page_url: str
    wat: str
    digest: bytes


#: The columns of a candidate file.
CANDIDATE_SCHEMA = pa.schema(
    [
        (name, pa.binary(DIGEST_BYTES) if name == "digest" else pa.string())
        for name in Candidate._fields
    ]
)

#: Of a row that stands for several candidates of one URL: its lists, a value a text, and the
#: columns that these are of. Those columns have the first candidate's.
TEXT_LISTS = {"texts": "text", "licenses": "license", "languages": "language"}
#: The columns of a grouped candidate file, see `laion group`.
GROUPED_SCHEMA = pa.schema(
    [*CANDIDATE_SCHEMA, *(pa.field(name, pa.list_(pa.string())) for name in TEXT_LISTS)]
)
