"""A candidate: one image URL with its text, and the digest that tells equal pairs. Pure."""

from __future__ import annotations

from typing import NamedTuple

from xxhash import xxh3_128_digest

from laion.data.candidate_columns import PARTITION_BITS


class Candidate(NamedTuple):
    """One row of a candidate file, in the order of `CANDIDATE_SCHEMA`."""

    url: str
    text: str
    license: str
    language: str
    page_language: str
    page_url: str
    wat: str
    digest: bytes


def pair_digest(url: str, text: str) -> bytes:
    """16 bytes by which (url, text) is told from other pairs; `url` has no line feed."""
    return xxh3_128_digest(f"{url}\n{text}".encode())


def partition_of(digest: bytes) -> int:
    """The partition that a pair belongs to, whichever WAT file it comes from."""
    return digest[0] >> (8 - PARTITION_BITS)
