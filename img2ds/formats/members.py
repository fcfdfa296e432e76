"""What a sample is as files: KEY.jpg, KEY.txt when there are captions, KEY.json.

The same bytes in tars and in folders.
"""

from __future__ import annotations

import orjson

from img2ds.core.sample import Body, Sample


def members(sample: Sample, extension: str) -> list[tuple[str, Body]]:
    """The extension and the content of each file of a sample, the image's (`extension`) first.

    Raises:
        TypeError: the metadata hold what JSON cannot, such as numbers of more than 64 bits.
        UnicodeEncodeError: the caption has no UTF-8.
    """
    made: list[tuple[str, Body]] = [(extension, sample.image)]
    if sample.caption is not None:
        made.append(("txt", sample.caption.encode("utf-8")))
    made.append(("json", orjson.dumps(sample.metadata, default=plain)))
    return made


def plain(value: object) -> str:
    """What JSON has no form for, as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
