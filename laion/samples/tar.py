"""The samples of a webdataset tar, whatever wrote it and wherever it is stored, one by one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from img2ds.formats.contract import DamagedShardError
from img2ds.formats.tar import read_members
from img2ds.storage import open_stream

#: Bytes read at once.
_BUFFER = 1 << 18
#: Bytes of a member above which it is skipped: no image, caption or metadata is that large.
MAX_MEMBER = 256 << 20

#: Extensions of images; the first image of a sample counts.
IMAGES = ("jpg", "jpeg", "png", "webp")
#: Fields of the metadata that hold a caption, where there is no .txt; the first counts.
CAPTIONS = ("caption", "TEXT", "text")


@dataclass(slots=True)
class Sample:
    """One sample: consecutive members that share a key.

    Attributes:
        body: the encoded image, None where there is none.
        caption: the text, None likewise.
        fields: the members of its JSON.
        flaw: what else is wrong with it, as a reason.
    """

    key: str
    body: bytes | None = None
    caption: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    flaw: str | None = None

    @property
    def lack(self) -> str | None:
        """The reason why it is not a pair of image and caption; None where it is."""
        if self.flaw or self.body is None:
            return self.flaw or "no_image"
        return None if self.caption and self.caption.strip() else "no_caption"


def read_samples(path: str) -> Iterator[Sample]:
    """Yield the samples of a tar, which may be gzipped, in its order.

    Members without an extension belong to no sample.

    Raises:
        UsageError: it does not exist, or cannot be read.
        OSError: it is not a tar, is truncated, or damaged.
    """
    with open_stream(path) as raw, io.BufferedReader(cast(Any, raw), _BUFFER) as file:
        sample: Sample | None = None
        try:
            for name, data in read_members(file.read, MAX_MEMBER):
                folder, slash, leaf = name.rpartition("/")
                stem, dot, ending = leaf.partition(".")
                if not dot or not stem:
                    continue
                key = folder + slash + stem
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield _completed(sample)
                    sample = Sample(key)
                _add(sample, ending.lower(), data)
        except DamagedShardError as error:
            raise OSError(f"{path}: {error}") from None
        if sample is not None:
            yield _completed(sample)


def _add(sample: Sample, ending: str, data: bytes | None) -> None:
    if ending in IMAGES:
        if data is None:
            sample.flaw = "too_large"
        elif sample.body is None:
            sample.body = data
    elif data is None:
        return
    elif ending == "txt":
        sample.caption = data.decode("utf-8", "replace")
    elif ending == "json":
        try:
            fields = orjson.loads(data)
        except orjson.JSONDecodeError:
            fields = None
        if isinstance(fields, dict):
            sample.fields = fields
        else:
            sample.flaw = "bad_metadata"


def _completed(sample: Sample) -> Sample:
    """The sample, with the caption of its metadata where there is no .txt."""
    if sample.caption is None:
        for name in CAPTIONS:
            if isinstance(value := sample.fields.get(name), str):
                sample.caption = value
                break
    return sample
