"""A dataset of any number of shards on an S3 server in memory that answers after a delay.

Each shard has a tar, a table and a commit marker, of which the marker alone can be read. It answers
what a reader asks: lists, HEAD and GET. moto's server takes a second for each page of a list of a
million objects, and 3 ms for each file.

    python -m benchmark.marker_store SHARDS DELAY COMPACTED    prints its port
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from urllib.parse import parse_qs, quote, unquote, urlsplit

from img2ds.core.naming import STATS_SUFFIX
from img2ds.core.sample import FileRecord
from img2ds.core.state import MANIFEST
from img2ds.engine.marker import marker_json
from img2ds.engine.marker_cache import PIECE
from img2ds.engine.marker_pieces import encode_piece
from img2ds.report.tally import Tally
from img2ds.storage import StoredMarker
from img2ds.storage.listed import version_number

BUCKET, FOLDER = "bucket", "dataset"
ROWS = 10_000
#: Ends of the files of a shard, in order.
_KINDS = (".parquet", ".tar", STATS_SUFFIX)


def marker(number: int, width: int) -> bytes:
    """A commit marker like that of a shard of 10,000 rows."""
    failed = 1500 + number * 7919 % 1000
    reasons = Counter(http_404=failed - 400, dns_not_found=250, connect_timeout=150)
    tally = Tally(
        ROWS - failed, 9 * 10**8 + number, reasons, failed_to_download=failed,
        messages=Counter({"HTTP 404": failed - 400, "no such host": 250, "timed out": 150}),
        bytes_written=7 * 10**8 + number,
    )  # fmt: skip
    name = f"{number:0{width}d}"
    files = [
        FileRecord(file, size, hashlib.sha256(file.encode()).hexdigest())
        for file, size in ((f"{name}.tar", 720_000_000), (f"{name}.parquet", 2_400_000))
    ]
    return marker_json(tally, 1.7e9 + number, 1.7e9 + number + 120.5, files)


def manifest(shards: int, width: int) -> bytes:
    """The manifest of the dataset."""
    options = {
        "output_format": "webdataset", "oom_shard_count": width, "number_sample_per_shard": ROWS,
    }  # fmt: skip
    files = {"format": "txt", "files": [{"name": "list.txt", "size": 1}]}
    segment = {"fingerprint": files, "options": options, "first_shard": 0, "shard_count": shards}
    return json.dumps({"version": 1, "segments": [segment]}).encode()


class Store:
    """The objects: keys in order, sizes and ETags; contents but for data."""

    def __init__(self, shards: int, compacted: bool) -> None:
        self._width = max(5, len(str(shards - 1)))
        self._other = {MANIFEST: manifest(shards, self._width)}
        self._markers: list[tuple[int, bytes]] = []
        held: list[StoredMarker] = []
        for number in range(shards):
            content = marker(number, self._width)
            tag = hashlib.md5(content).digest()
            self._markers.append((len(content), tag))
            if compacted:
                name = f"{number:0{self._width}d}{STATS_SUFFIX}"
                version = version_number(f'ETag "{tag.hex()}"')
                held.append(StoredMarker(name, content, version))
            if len(held) == PIECE or (held and number == shards - 1):
                name, data = encode_piece(held)
                self._other[name] = data
                held = []
        self._first = sorted(self._other)

    def get(self, name: str) -> bytes | None:
        if name in self._other:
            return self._other[name]
        digits = name.removesuffix(STATS_SUFFIX)
        if digits == name or not digits.isdigit() or int(digits) >= len(self._markers):
            return None
        return marker(int(digits), self._width)

    def place_after(self, name: str) -> int:
        """Return the place of the first key after a name, which begins with a shard's number."""
        digits = re.match("[0-9]+", name)
        if digits is None:
            return 0
        number = int(digits[0].ljust(self._width, "0"))
        kinds = sum(name >= f"{number:0{self._width}d}{end}" for end in _KINDS)
        return min(len(self._first) + 3 * number + kinds, len(self._first) + 3 * len(self._markers))

    def page(self, prefix: str, start: int, limit: int) -> tuple[list[tuple[str, int, str]], int]:
        """Return keys, sizes and tags from a place on, and the next place; 0 at the end."""
        if prefix:  # all of a dataset's folder, or nothing that is there
            found = [n for n in self._first if n.startswith(prefix)]
            return [(n, len(self._other[n]), _tag(self._other[n])) for n in found], 0
        rows = [(n, len(self._other[n]), _tag(self._other[n])) for n in self._first[start:]][:limit]
        place = start + len(rows)
        total = len(self._first) + 3 * len(self._markers)
        while len(rows) < limit and place < total:
            number, kind = divmod(place - len(self._first), 3)
            size, tag = self._markers[number]
            sizes = (2_400_000, 720_000_000, size)
            rows.append((f"{number:0{self._width}d}{_KINDS[kind]}", sizes[kind], tag.hex()))
            place += 1
        return rows, place if place < total else 0


def _tag(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Answers:
    """What the server answers to the head of a request."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.requests: Counter[str] = Counter()

    def answer(self, method: str, target: str, range_of: str | None) -> bytes:
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if query.get("list-type") == "2":
            self.requests["list"] += 1
            return _response(200, self._list(query), "Content-Type: application/xml\r\n")
        self.requests[method] += 1
        data = self._store.get(key.removeprefix(f"{FOLDER}/")) if bucket == BUCKET else None
        if data is None:
            return _response(404, b"", "")
        extra = f'ETag: "{_tag(data)}"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n'
        status = 200
        if range_of is not None:
            first, _, last = range_of.removeprefix("bytes=").partition("-")
            whole, end = len(data), int(last) + 1 if last else len(data)
            data, status = data[int(first) : end], 206
            extra += f"Content-Range: bytes {first}-{int(first) + len(data) - 1}/{whole}\r\n"
        return _response(status, data, extra, head=method == "HEAD")

    def _list(self, query: dict[str, str]) -> bytes:
        prefix = query.get("prefix", "")
        inside = prefix.removeprefix(f"{FOLDER}/") if prefix.startswith(f"{FOLDER}/") else None
        rows: list[tuple[str, int, str]] = []
        following = 0
        if inside is not None:
            limit = int(query.get("max-keys", "1000"))
            after = query.get("start-after", "").removeprefix(f"{FOLDER}/")
            start = int(query.get("continuation-token", self._store.place_after(after)))
            rows, following = self._store.page(inside, start, limit)
        contents = "".join(
            f"<Contents><Key>{FOLDER}/{quote(name)}</Key>"
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{tag}&quot;</ETag><Size>{size}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for name, size, tag in rows
        )
        more = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult '
            'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>'
            f"<Name>{BUCKET}</Name><Prefix>{quote(prefix)}</Prefix><Delimiter>/</Delimiter>"
            f"<IsTruncated>{'true' if following else 'false'}</IsTruncated>{more}{contents}"
            f"<KeyCount>{len(rows)}</KeyCount></ListBucketResult>"
        ).encode()


def _response(status: int, body: bytes, extra: str, head: bool = False) -> bytes:
    lines = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return lines.encode() + (b"" if head else body)


class Connection(asyncio.Protocol):
    """One connection: requests without bodies, each answered after the delay."""

    def __init__(self, answer: Callable[[str, str, str | None], bytes], delay: float) -> None:
        self._answer, self._delay, self._held = answer, delay, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            lines = self._held[:end].decode("latin-1").split("\r\n")
            self._held = self._held[end + 4 :]
            method, target, _ = lines[0].split(" ")
            fields = dict(line.lower().split(": ", 1) for line in lines[1:])
            answer = self._answer(method, target, fields.get("range"))
            assert isinstance(self._transport, asyncio.Transport)
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)


async def serve(store: Store, delay: float) -> None:
    loop = asyncio.get_running_loop()
    answers = Answers(store)
    server = await loop.create_server(
        lambda: Connection(answers.answer, delay), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    count, seconds, folded = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "True"
    asyncio.run(serve(Store(count, folded), seconds))
