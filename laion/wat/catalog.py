"""Which WAT files there are: a file, a folder, a glob, a list of paths, or a crawl by its name."""

from __future__ import annotations

import gzip
import hashlib
import random
import re
import zlib
from collections.abc import Sequence

from img2ds.core.failure import UsageError
from img2ds.storage import InputFile, find_inputs, read_whole

#: Where Common Crawl's paths begin (commoncrawl.org/get-started); over S3 it is s3://commoncrawl.
BUCKET = "https://data.commoncrawl.org"

EXTENSIONS = (".wat", ".wat.gz")
_CRAWL = re.compile(r"CC-MAIN-\d{4}-\d{2}")
_LISTS = (".paths", ".paths.gz", ".paths.txt")


def find_wats(source: str, bucket: str = BUCKET) -> list[InputFile]:
    """All WAT files of a source, in the order of its list, or sorted by path.

    Args:
        source: see the module. Lists are told by their names' ends, `.paths` or `.paths.gz`.
        bucket: what stands before paths that begin with `crawl-data/`.

    Raises:
        UsageError: there is nothing of that kind.
    """
    if _CRAWL.fullmatch(source):
        return _listed(f"{bucket.rstrip('/')}/crawl-data/{source}/wat.paths.gz", bucket)
    if source.endswith(_LISTS):
        return _listed(source, bucket)
    return find_inputs(source, EXTENSIONS)


def _listed(path: str, bucket: str) -> list[InputFile]:
    try:
        data = read_whole(path)
    except FileNotFoundError:
        raise UsageError(f"there is no list {path}; is the crawl's name right?") from None
    except OSError as error:
        raise UsageError(f"cannot read the list {error.strerror or error}") from None
    if path.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise UsageError(f"{path} is no gzip file, or it is cut off or damaged") from None
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no list of paths: it is not text") from None
    folder = path.rpartition("/")[0]
    found = [
        InputFile(_place(line, folder, bucket), None) for raw in lines if (line := raw.strip())
    ]
    if not found:
        raise UsageError(f"the list {path} is empty")
    return found


def _place(line: str, folder: str, bucket: str) -> str:
    if "://" in line or line.startswith("/"):
        return line
    if line.startswith("crawl-data/"):
        return f"{bucket.rstrip('/')}/{line}"
    return f"{folder}/{line}" if folder else line


def choose(
    wats: Sequence[InputFile], first: int | None, sample: int | None, seed: int
) -> list[InputFile]:
    """The first so many, or a random sample without replacement, in the order of `wats`.

    Raises:
        UsageError: there are not that many.
    """
    wanted = first if sample is None else sample
    if wanted is None:
        return list(wats)
    if wanted > len(wats):
        flag = "first" if sample is None else "sample"
        raise UsageError(f"--{flag} {wanted} is more than the {len(wats)} WAT files there are")
    if sample is None:
        return list(wats[:wanted])
    places = random.Random(seed).sample(range(len(wats)), wanted)
    return [wats[place] for place in sorted(places)]


def digest(wats: Sequence[InputFile]) -> str:
    """sha256 in hex of their paths and sizes: 90 000 names are too many to write down."""
    lines = "\n".join(f"{wat.path}\t{wat.size}" for wat in wats)
    return hashlib.sha256(lines.encode()).hexdigest()
