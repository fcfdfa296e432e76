"""Pieces of the marker cache: files that hold some thousand commit markers each.

A piece is a parquet file with the name, the version and the content of each marker. Its name tells
the shards it is about, and the hash of its bytes, so that a damaged one is not trusted.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import pyarrow as pa
import pyarrow.parquet as pq

from img2ds.core.naming import shard_of_file
from img2ds.core.state import state_file
from img2ds.storage import Listing, StoredMarker

_START = state_file("markers-")
_NAME = re.compile(re.escape(_START) + r"(\d+)-(\d+)-([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Piece:
    """The name of a piece, and the numbers of the first and of the last of its shards."""

    name: str
    first: int
    last: int


def find_pieces(names: Listing) -> list[Piece]:
    """Return those of `names` that are pieces, in order of names."""
    return [
        Piece(name, int(match[1]), int(match[2]))
        for name in sorted(names.starting(_START))
        if (match := _NAME.fullmatch(name))
    ]


def encode_piece(markers: Sequence[StoredMarker]) -> tuple[str, bytes]:
    """Return the name and the content of a piece with these markers, at least one."""
    numbers = [number for m in markers if (number := shard_of_file(m.name)) is not None]
    table = pa.table(
        {
            "name": pa.array([m.name for m in markers], pa.string()),
            "version": pa.array([m.version for m in markers], pa.int64()),
            "content": pa.array([m.content for m in markers], pa.binary()),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", use_dictionary=False)
    data = sink.getvalue()
    return state_file(f"markers-{min(numbers)}-{max(numbers)}-{_hash(data)}"), data


def decode_piece(name: str, data: bytes) -> dict[str, StoredMarker]:
    """Return the markers of a piece by their names; none if it is damaged: it is a cache."""
    match = _NAME.fullmatch(name)
    if match is None or match[3] != _hash(data):
        return {}
    table = pq.read_table(pa.BufferReader(data), use_threads=False)
    columns = (table[column].to_pylist() for column in ("name", "content", "version"))
    return {marker.name: marker for marker in map(StoredMarker, *columns)}


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()
