"""Pairs of a table that block lists name: by their URL, its host, or the hash of their image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from img2ds.blocklist.blocks import Blocks, CompiledLists, block_lists, require_hashes
from img2ds.config.flags import flag
from img2ds.core.failure import UsageError

#: The column of perceptual hashes.
PDQ = "pdq"


def block_flag(what: str) -> Any:
    """Return the flag for lists of `urls`, `hosts` or `hashes`."""
    words = {
        "urls": "files of URLs, one a line, whose pairs are dropped, whatever their scheme",
        "hosts": "files of hosts whose pairs are dropped, subdomains included",
        "hashes": "files of MD5, SHA-256 or pdq:HASH in hex, of images whose pairs are dropped",
    }
    return flag((), "list", words[what], identity=False)


def open_lists(
    flags: Any, schema: pa.Schema, where: str, images: bool = False
) -> tuple[Blocks, CompiledLists]:
    """Return the lists that the flags of a stage name, and compile them on this machine.

    Args:
        schema: of the metadata of pairs, which has to tell what is compared.
        where: the folder of the pairs, for the message.
        images: whether the images are at hand, so that they can be hashed.

    Raises:
        UsageError: a list cannot be read, or the pairs cannot be compared with it.
    """
    lists = block_lists(flags)
    compiled = CompiledLists.of(lists)
    require_hashes(compiled, [*schema.names, *([PDQ] if images else [])], where)
    blocks = Blocks(lists)
    if blocks.has_urls and "url" not in schema.names:
        raise UsageError(f"{where} has no column url, by which blocked URLs and hosts are found")
    return blocks, compiled


def blocked_reasons(blocks: Blocks, table: pa.Table) -> list[str | None]:
    """Return the reason for which each row is blocked, None where it is not.

    Raises:
        UsageError, OSError: a list cannot be read in this process.
    """
    blocks.open()
    reasons: list[str | None] = [None] * table.num_rows
    verdicts = []
    if blocks.has_urls:
        verdicts.append(blocks.judge_texts(_texts(table, "url")))
    verdicts += [blocks.judge_hashes(_texts(table, kind), kind) for kind in blocks.hash_kinds]
    for found in verdicts:
        for place, failed in enumerate(found):
            if failed is not None and reasons[place] is None:
                reasons[place] = failed.reason
    return reasons


def columns_of(blocks: Blocks) -> list[str]:
    """Return the columns that `blocked_reasons` reads; the lists are open."""
    return [*(["url"] if blocks.has_urls else []), *blocks.hash_kinds]


def _texts(table: pa.Table, column: str) -> Sequence[str | None]:
    texts: list[str | None] = table.column(column).cast(pa.string()).to_pylist()
    return texts
