"""Folders `NNNNN/` of KEY.jpg, KEY.txt, KEY.json: the format files, read back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from img2ds.core.sample import listing_line
from img2ds.formats.stored import Digest, StoredSample
from img2ds.storage import OutputFolder, read_many, sizes


class FilesSamples:
    """See `stored.StoredShard`."""

    has_json = has_captions = True

    def __init__(self, folder: OutputFolder, shard: str) -> None:
        self.names = [shard]
        self._folder = folder
        self._digests: dict[str, Digest] = {}

    def digests(self) -> Mapping[str, Digest]:
        return self._digests

    def samples(self) -> Iterator[StoredSample]:
        place = self.names[0]
        # A folder's hash is that of the list which `sha256sum *` prints in it.
        listing, total = hashlib.sha256(), 0
        sample: StoredSample | None = None
        for name, data in read_many(self._folder, list(sizes(self._folder, place))):
            if isinstance(data, OSError):
                raise data
            leaf = name.rpartition("/")[2]
            listing.update(listing_line(leaf, hashlib.sha256(data).hexdigest()).encode())
            total += len(data)
            key, _, extension = leaf.partition(".")
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = StoredSample(key)
            sample.parts[extension] = data
        self._digests[place] = total, listing.hexdigest()
        if sample is not None:
            yield sample
