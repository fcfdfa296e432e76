"""The marker cache: commit markers by the thousand, so that a run need not read each file.

The markers are the truth. What the cache holds for one is used only if the folder lists that marker
with the same size and version (ETag or time of the last change); all others are read. Without the
cache, or with a damaged one, everything works as before, at a request for each shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from img2ds.core.naming import STATS_SUFFIX, shard_of_file
from img2ds.engine.marker_pieces import Piece, decode_piece, encode_piece, find_pieces
from img2ds.storage import Listing, OutputFolder, StoredMarker, read_many, sizes

#: Markers of one piece: 0.8 MB, so that one can be decoded while the next is on its way.
PIECE = 4096
#: Fewer are not worth a file: reading them takes a second at 20 ms each.
FEWEST = 512


class MarkerCache:
    """The cache of one folder: reads markers through it, and adds those that it lacks.

    Attributes:
        collects: whether markers that were read from files of their own are kept, to be written
            by `write`.
    """

    def __init__(
        self, folder: OutputFolder, listed: Listing | None = None, *, collects: bool = False
    ) -> None:
        """Raises OSError: the folder cannot be listed.

        Args:
            listed: what is in the folder, if that is known.
        """
        self._folder = folder
        self._listed = sizes(folder) if listed is None else listed
        self._pieces = find_pieces(self._listed)
        self._loaded: dict[Piece, dict[str, StoredMarker]] = {}
        self._used: set[Piece] = set()
        self.collects = collects
        self._new: list[StoredMarker] = []
        self._encoded: list[tuple[str, bytes]] = []

    @property
    def pieces(self) -> list[str]:
        """The names of the pieces there were."""
        return [piece.name for piece in self._pieces]

    @property
    def unused(self) -> list[str]:
        """The names of pieces of which nothing that was read is valid any more."""
        return [piece.name for piece in self._pieces if piece not in self._used]

    def marker_names(self) -> Iterator[str]:
        """Yield the names of all commit markers of the folder, sorted."""
        return self._listed.ending(STATS_SUFFIX)

    def read(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, bytes | OSError]]:
        """Yield the name and content of commit markers; the error if one cannot be read.

        Args:
            names: of these, in this order; all by default.
        """
        left = iter(self.marker_names() if names is None else names)
        while batch := list(islice(left, PIECE)):
            held = self._held(batch)
            missing = [name for name in batch if name not in held]
            fresh = read_many(self._folder, missing, self._listed)
            for name in batch:
                if name in held:
                    yield name, held[name]
                    continue
                _, content = next(fresh)
                if self.collects and isinstance(content, bytes):
                    self._collect(name, content)
                yield name, content

    def add(self, marker: StoredMarker) -> None:
        """Add a marker that was committed now; writes a piece when there are enough.

        Raises OSError.
        """
        if marker.version:
            self._new.append(marker)
        if len(self._new) >= PIECE:
            self._encode()
            self.write()

    def close(self) -> None:
        """Write what was added, unless it is too little. Raises OSError."""
        if len(self._new) >= FEWEST:
            self._encode()
        self.write()

    def write(self) -> None:
        """Write the pieces that are complete, while the folder is locked. Raises OSError."""
        while self._encoded:
            self._folder.write_bytes(*self._encoded[-1])
            self._encoded.pop()

    def _collect(self, name: str, content: bytes) -> None:
        version = self._listed.version(name)
        if version and len(content) == self._listed.get(name):
            self._new.append(StoredMarker(name, content, version))
            if len(self._new) >= PIECE:
                self._encode()

    def _encode(self) -> None:
        self._encoded.append(encode_piece(self._new))
        self._new = []

    def _held(self, batch: list[str]) -> dict[str, bytes]:
        """Return the contents of those markers of a batch for which the cache is valid."""
        if not self._pieces:
            return {}
        self._load([number for name in batch if (number := shard_of_file(name)) is not None])
        held: dict[str, bytes] = {}
        for name in batch:
            there = self._listed.find(name)
            for piece, markers in self._loaded.items():
                marker = markers.get(name)
                if marker and there == (len(marker.content), marker.version):
                    held[name] = marker.content
                    self._used.add(piece)
                    break
        return held

    def _load(self, numbers: list[int]) -> None:
        """Load the pieces that may hold these shards, and forget the others."""
        first, last = min(numbers), max(numbers)
        wanted = [p for p in self._pieces if p.first <= last and p.last >= first]
        self._loaded = {p: self._loaded[p] for p in wanted if p in self._loaded}
        new = {p.name: p for p in wanted if p not in self._loaded}
        for name, data in read_many(self._folder, list(new), self._listed):
            self._loaded[new[name]] = {} if isinstance(data, OSError) else decode_piece(name, data)
