"""A sample as files: KEY.jpg, KEY.txt when there are captions, KEY.json; in tars and in folders."""

from __future__ import annotations

import orjson

from img2ds.core.sample import Body, Sample


def members(sample: Sample, extension: str) -> list[tuple[str, Body]]:
    """Return extension and content of each file of a sample, the image (`extension`) first.

    Raises:
        TypeError: the metadata have a value that JSON cannot hold, such as numbers beyond 64 bits.
        UnicodeEncodeError: the caption cannot be encoded as UTF-8.
    """
    made: list[tuple[str, Body]] = [(extension, sample.image)]
    if sample.caption is not None:
        made.append(("txt", sample.caption.encode("utf-8")))
    made.append(("json", orjson.dumps(sample.metadata, default=plain)))
    return made


def plain(value: object) -> str:
    """Return a value that JSON has no type for as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
