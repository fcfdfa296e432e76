"""Says of URLs and of bodies whether they are blocked: all lists of a run together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from img2ds.blocklist.compiled import BlockList, Compiled
from img2ds.blocklist.entries import DIGEST_BYTES, HASH_DIGITS, domains, host_digest, url_digest
from img2ds.blocklist.near_hashes import NearHashes
from img2ds.core.failure import Failure, Reason, UsageError, failure
from img2ds.core.pdq import BYTES
from img2ds.core.sample import Body
from img2ds.net.error import FetchError
from img2ds.net.url import Url, parse_url
from img2ds.report.units import counted
from img2ds.storage.digest_file import DigestFile, Mask, as_words
from img2ds.storage.filesystem import local_path

_BLOCKED_URL = failure(Reason.BLOCKLISTED_URL, "URL is on a block list")
_BLOCKED_HOST = failure(Reason.BLOCKLISTED_HOST, "host is on a block list")
_BLOCKED_HASH = failure(Reason.BLOCKLISTED_HASH, "image is on a block list")
#: Hosts whose verdict is remembered.
_MOST_HOSTS = 10_000

_HASHES: Mapping[str, Callable[[Body], Any]] = {"md5": hashlib.md5, "sha256": hashlib.sha256}


class BlockFlags(Protocol):
    """The flags that name lists, of any command."""

    @property
    def block_hashes(self) -> tuple[str, ...]: ...

    @property
    def block_urls(self) -> tuple[str, ...]: ...

    @property
    def block_hosts(self) -> tuple[str, ...]: ...


def block_lists(flags: BlockFlags) -> tuple[BlockList, ...]:
    """Return the lists that flags name."""
    named = (
        ("block_urls", "urls", flags.block_urls),
        ("block_hosts", "hosts", flags.block_hosts),
        ("block_hashes", "hashes", flags.block_hashes),
        ("block_hashes", "pdq", flags.block_hashes),
    )
    # Workers may have another working directory.
    return tuple(
        BlockList(flag, kind, tuple(local_path(path) or path for path in paths))
        for flag, kind, paths in named
        if paths
    )


@dataclass(frozen=True, slots=True)
class CompiledLists:
    """The lists of a command, compiled on this machine, by kind."""

    compiled: Mapping[str, Compiled]

    @classmethod
    def of(cls, lists: Sequence[BlockList]) -> CompiledLists:
        """Compile lists, one of a kind. Blocks. Raises UsageError."""
        compiled = {each.kind: each.compile() for each in lists}
        if not compiled.get("pdq", _NONE).count:
            compiled.pop("pdq", None)
        return cls(compiled)

    @property
    def hash_kinds(self) -> tuple[str, ...]:
        """The hashes that the lists have: `md5`, `sha256`, `pdq`."""
        hashes = self.compiled.get("hashes", _NONE)
        found = [kind for kind in HASH_DIGITS if hashes.kinds.get(kind)]
        return (*found, *(["pdq"] if "pdq" in self.compiled else []))

    def identity(self) -> dict[str, str]:
        """Return what the lists block, for a manifest: by content."""
        return {f"block_{kind}": found.digest for kind, found in self.compiled.items()}

    def __str__(self) -> str:
        nouns = {"urls": "URL", "hosts": "host"}
        words = [
            counted(found.count, nouns[kind])
            for kind, found in self.compiled.items()
            if kind in nouns
        ]
        if "hashes" in self.compiled:
            hashes = sum(self.compiled.get(kind, _NONE).count for kind in ("hashes", "pdq"))
            words.append("1 hash" if hashes == 1 else f"{hashes:,} hashes")
        return ", ".join(words)


#: A list that is not there.
_NONE = Compiled(Path(), 0, "")


class Blocks:
    """All lists of a command. Without a list it blocks nothing.

    Picklable until it is opened, which each process does for itself.
    """

    def __init__(self, lists: Sequence[BlockList]) -> None:
        self.lists = tuple(lists)
        self._is_open = False
        self._urls: DigestFile | None = None
        self._hosts: DigestFile | None = None
        self._hashes: DigestFile | None = None
        self._near: NearHashes | None = None
        self._kinds: tuple[str, ...] = ()
        self._known_hosts: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self.lists)

    def open(self) -> None:
        """Open the lists; once they are open, do nothing. Blocks.

        Raises:
            UsageError: a list cannot be read.
            OSError: its compiled file cannot be.
        """
        if self._is_open:
            return
        compiled = CompiledLists.of(self.lists)
        lists = dict(compiled.compiled)
        pdq = lists.pop("pdq", None)
        self._near = None if pdq is None else pdq.open_near()
        opened = {kind: found.open() for kind, found in lists.items()}
        self._urls, self._hosts = opened.get("urls"), opened.get("hosts")
        self._hashes = opened.get("hashes")
        self._kinds = compiled.hash_kinds
        self._is_open = True

    @property
    def hash_kinds(self) -> tuple[str, ...]:
        """The hashes that the open lists have: `md5`, `sha256`, `pdq`."""
        return self._kinds

    @property
    def has_pdq(self) -> bool:
        """Whether the open lists have PDQ hashes."""
        return self._near is not None

    @property
    def has_urls(self) -> bool:
        """Whether URLs or hosts are blocked."""
        return any(each.kind in ("urls", "hosts") for each in self.lists)

    def judge(self, url: Url) -> Failure | None:
        """Return why a URL is blocked; None if it is not."""
        if self._hosts is not None and self._blocks_host(url.host):
            return _BLOCKED_HOST
        if self._urls is not None and url_digest(url) in self._urls:
            return _BLOCKED_URL
        return None

    def judge_text(self, text: str | None) -> Failure | None:
        """Return why a URL is blocked; None if it is not, or is no URL."""
        try:
            return self.judge(parse_url(text))
        except FetchError:
            return None

    def judge_texts(self, texts: Sequence[str | None]) -> list[Failure | None]:
        """Return why each of many URLs is blocked; as `judge_text`, faster."""
        found: list[Failure | None] = [None] * len(texts)
        places: list[int] = []
        digests = bytearray()
        for place, text in enumerate(texts):
            try:
                url = parse_url(text)
            except FetchError:
                continue
            if self._hosts is not None and self._blocks_host(url.host):
                found[place] = _BLOCKED_HOST
            elif self._urls is not None:
                places.append(place)
                digests += url_digest(url)
        if self._urls is not None:
            for number in np.flatnonzero(self._urls.contains(*as_words(bytes(digests)))).tolist():
                found[places[number]] = _BLOCKED_URL
        return found

    def judge_hashes(self, values: Sequence[str | None], kind: str) -> list[Failure | None]:
        """Return why each image is blocked, given its hash in hex; None without one."""
        blocked = self.blocked_hashes(values, kind)
        return [_BLOCKED_HASH if each else None for each in blocked.tolist()]

    def judge_body(
        self, body: Body, kind_known: str | None = None, known: str | None = None
    ) -> Failure | None:
        """Return why an image is blocked, given the bytes that were downloaded.

        Args:
            known: a hash of it in hex that is known already, of the kind `kind_known`.
        """
        if self._hashes is None:
            return None
        for kind in self._kinds:
            if kind == "pdq":  # of the decoded image: see `judge_pdq`
                continue
            found = known if kind == kind_known and known else _HASHES[kind](body).hexdigest()
            if bytes.fromhex(found[: 2 * DIGEST_BYTES]) in self._hashes:
                return _BLOCKED_HASH
        return None

    def judge_pdq(self, found: bytes) -> Failure | None:
        """Return why an image is blocked, given its PDQ hash."""
        if self._near is None:
            return None
        (blocked,) = self._near.contains(np.frombuffer(found, np.uint8).reshape(1, BYTES))
        return _BLOCKED_HASH if blocked else None

    def blocked_hashes(self, values: Sequence[str | None], kind: str) -> Mask:
        """Return which hashes in hex are blocked; a missing or a damaged one is not."""
        assert self._hashes is not None
        digits = 2 * BYTES if kind == "pdq" else HASH_DIGITS[kind]
        width = BYTES if kind == "pdq" else DIGEST_BYTES
        joined = bytearray()
        places = []
        for place, value in enumerate(values):
            try:
                digest = bytes.fromhex(value) if value and len(value) == digits else b""
            except ValueError:
                continue
            if digest:
                places.append(place)
                joined += digest[:width]
        blocked = np.zeros(len(values), np.bool_)
        if kind != "pdq":
            blocked[places] = self._hashes.contains(*as_words(bytes(joined)))
        elif self._near is not None:
            rows = np.frombuffer(bytes(joined), np.uint8).reshape(-1, BYTES)
            blocked[places] = self._near.contains(rows)
        return blocked

    def _blocks_host(self, host: str) -> bool:
        known = self._known_hosts.get(host)
        if known is None:
            hosts = self._hosts
            known = hosts is not None and any(host_digest(d) in hosts for d in domains(host))
            if len(self._known_hosts) >= _MOST_HOSTS:
                self._known_hosts.clear()
            self._known_hosts[host] = known
        return known


def require_hashes(lists: CompiledLists, columns: Sequence[str], where: str) -> None:
    """Raise UsageError when images cannot be compared with a list for want of their hashes.

    Args:
        columns: those of the table of images.
        where: the table, for the message.
    """
    for kind in lists.hash_kinds:
        if kind not in columns:
            name = "PDQ" if kind == "pdq" else kind
            flag = "--compute_pdq" if kind == "pdq" else f"--compute_hash {kind}"
            raise UsageError(
                f"--block_hashes has {name} hashes, and {where} has no column {kind}: download "
                f"with {flag}, or give a list of hashes that it has"
            )
