"""Find WAT files: a file, a folder, a glob, a list of paths, or a crawl by its name."""

from __future__ import annotations

import gzip
import hashlib
import random
import re
import zlib
from collections.abc import Sequence

from img2ds.core.failure import UsageError
from img2ds.storage import InputFile, find_inputs, read_whole

#: The prefix of Common Crawl's paths (commoncrawl.org/get-started); s3://commoncrawl over S3.
BUCKET = "https://data.commoncrawl.org"

EXTENSIONS = (".wat", ".wat.gz")
_CRAWL = re.compile(r"CC-MAIN-\d{4}-\d{2}")
_LISTS = (".paths", ".paths.gz", ".paths.txt")


def find_wats(source: str, bucket: str = BUCKET) -> list[InputFile]:
    """Return all WAT files of a source, in the order of its list, or sorted by path.

    Args:
        source: see the module. A list has the extension `.paths`, `.paths.gz` or `.paths.txt`.
        bucket: the prefix of paths that start with `crawl-data/`.

    Raises:
        UsageError: there are none.
    """
    if _CRAWL.fullmatch(source):
        return _listed(f"{bucket.rstrip('/')}/crawl-data/{source}/wat.paths.gz", bucket)
    if source.endswith(_LISTS):
        return _listed(source, bucket)
    return find_inputs(source, EXTENSIONS)


def find_all_wats(sources: Sequence[str], bucket: str = BUCKET) -> list[InputFile]:
    """Return the WAT files of several sources, one source after the other.

    Raises:
        UsageError: a source has none, or a file is in two of them.
    """
    found: list[InputFile] = []
    seen: dict[str, str] = {}
    for source in sources:
        for wat in find_wats(source, bucket):
            if seen.setdefault(wat.path, source) != source:
                raise UsageError(
                    f"--wat: {wat.path} is in {seen[wat.path]} and in {source}: give it once"
                )
            found.append(wat)
    if len(set(sources)) < len(sources):
        raise UsageError("--wat: a source is given twice: give it once")
    return found


def _listed(path: str, bucket: str) -> list[InputFile]:
    try:
        data = read_whole(path)
    except FileNotFoundError:
        raise UsageError(f"no such list: {path}; check the name of the crawl") from None
    except OSError as error:
        raise UsageError(f"cannot read the list {error.strerror or error}") from None
    if path.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise UsageError(f"{path} is not a gzip file, or it is truncated or damaged") from None
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not a list of paths: it is not UTF-8 text") from None
    folder = path.rpartition("/")[0]
    found = [
        InputFile(_resolve(line, folder, bucket), None) for raw in lines if (line := raw.strip())
    ]
    if not found:
        raise UsageError(f"the list {path} is empty")
    return found


def _resolve(line: str, folder: str, bucket: str) -> str:
    if "://" in line or line.startswith("/"):
        return line
    if line.startswith("crawl-data/"):
        return f"{bucket.rstrip('/')}/{line}"
    return f"{folder}/{line}" if folder else line


def choose(
    wats: Sequence[InputFile], first: int | None, sample: int | None, seed: int
) -> list[InputFile]:
    """Return the first WAT files, or a random sample without replacement, in the order of `wats`.

    Args:
        first: the number of files from the start; None for all.
        sample: the size of the sample; takes precedence over `first`.

    Raises:
        UsageError: there are fewer files.
    """
    wanted = first if sample is None else sample
    if wanted is None:
        return list(wats)
    if wanted > len(wats):
        flag = "first" if sample is None else "sample"
        raise UsageError(f"--{flag} {wanted} is too large: there are {len(wats)} WAT files")
    if sample is None:
        return list(wats[:wanted])
    chosen = random.Random(seed).sample(range(len(wats)), wanted)
    return [wats[index] for index in sorted(chosen)]


def digest(wats: Sequence[InputFile]) -> str:
    """Return the sha256, in hex, of the paths and sizes: a crawl has 90,000 files."""
    lines = "\n".join(f"{wat.path}\t{wat.size}" for wat in wats)
    return hashlib.sha256(lines.encode()).hexdigest()
