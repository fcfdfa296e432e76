"""The files of an input: a file, a folder, a glob or a URL of these, local or remote."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from img2ds.core.failure import UsageError
from img2ds.core.naming import STATS_SUFFIX
from img2ds.storage.filesystem import as_usage_error, local_path, resolve
from img2ds.storage.input_stream import STDIN, open_raw
from img2ds.storage.remote_listing import has_pages, list_remote

#: Bytes at each end of a file that its digest covers.
DIGEST_BYTES = 64 * 1024
#: Seconds that a service has to say whether it has a list.
CONTACT_TIME = 15.0
#: fsspec's types of an entry, by whether it is a folder.
_KINDS = {True: "directory", False: "file"}


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of an input.

    Attributes:
        path: opens the file in any process.
        size: bytes, None if unknown.
        recorded: its name in manifests, if that is not the last part of the path.
    """

    path: str
    size: int | None
    recorded: str | None = None

    @property
    def name(self) -> str:
        """The last part of the path; `-` for standard input."""
        return self.recorded or self.path.rstrip("/").rpartition("/")[2]

    @property
    def is_remote(self) -> bool:
        """Whether it is on a service, rather than on this machine."""
        return local_path(self.path) is None

    @property
    def format_name(self) -> str:
        """The name that tells its format: in `zip://list.csv::lists.zip` that in the archive."""
        inner = self.path.partition("::")[0]
        return inner if "://" in inner else self.name

    def digest(self) -> str:
        """Return the sha256 in hex of the first and last 64 KiB, as stored. Raises OSError."""
        digest = hashlib.sha256()
        with open_raw(self.path) as file:
            digest.update(file.read(DIGEST_BYTES))
            if self.size is not None and self.size > DIGEST_BYTES and file.seekable():
                file.seek(max(DIGEST_BYTES, self.size - DIGEST_BYTES))
                digest.update(file.read(DIGEST_BYTES))
        return digest.hexdigest()


def find_inputs(url_list: str, extensions: Sequence[str]) -> list[InputFile]:
    """Return the files that `url_list` stands for, sorted by path.

    A folder stands for its files (not those of folders inside it) that end in one of `extensions`,
    except hidden ones, those that start with an underscore, as Spark's markers do, and commit
    markers of shards.

    Args:
        url_list: a file, a folder, a glob, an fsspec URL of any of these, or `-`.
        extensions: endings with their dot, such as `.csv`.

    Raises:
        UsageError: there is no such file, or it cannot be listed.
    """
    if url_list == STDIN:
        return [InputFile(STDIN, None)]
    with as_usage_error(f"read {url_list}"):
        local = local_path(url_list)
        if local is not None and os.path.isfile(local):
            return [InputFile(local, os.path.getsize(local))]
        fs, path = resolve(local or url_list)
        if local is None and _answers(fs, path, url_list):
            # As typed: the parts of a chained URL cannot be joined again.
            return [InputFile(url_list, fs.size(path))]
        if "::" in url_list:
            raise UsageError(f"there is no file {url_list}: a chained URL must refer to one file")
        inside = _in_folder(fs, path, extensions)
        if inside is not None:
            entries = [entry for entry in inside if _is_file(fs, entry)]
            if not entries:
                raise UsageError(
                    f"the folder {url_list} has no file that ends in {', '.join(extensions)}"
                )
        elif any(marker in path for marker in "*?["):
            found = fs.glob(path, detail=True)
            entries = [entry for entry in found.values() if _is_file(fs, entry)]
            if not entries:
                raise UsageError(f"no file matches {url_list}")
        elif local is not None and os.path.exists(local):
            raise UsageError(
                f"{url_list} is a pipe or a device, which can be read only once: "
                "use --url_list - and give it on standard input"
            )
        else:
            raise UsageError(f"there is no file or folder {url_list}")
    files = [InputFile(_full_path(fs, entry["name"]), entry.get("size")) for entry in entries]
    return sorted(files, key=lambda file: file.path)


def _answers(fs: Any, path: str, url_list: str) -> bool:
    """Return whether `path` on a service is a file. The first contact has a time limit.

    Raises:
        UsageError: the service does not answer in time.
        Exception: it cannot be reached, or refuses; fsspec's own `isfile` is False then over HTTP.
    """
    outcome: list[Any] = []

    def ask() -> None:
        try:
            found = fs.isfile(path)
            if not found and url_list.startswith(("http://", "https://")) and "::" not in url_list:
                fs.info(path)
            outcome.append(found)
        except FileNotFoundError as error:  # of fsspec for HTTP, whatever went wrong
            cause = error.__cause__
            gone = cause is None or getattr(cause, "status", None) in (404, 410)
            outcome.append(error if gone else cause)
        except BaseException as error:
            outcome.append(error)

    # Nothing can cancel a call into fsspec: the thread is left behind when the process ends.
    thread = threading.Thread(target=ask, name="first-contact", daemon=True)
    thread.start()
    thread.join(CONTACT_TIME)
    if not outcome:
        raise UsageError(
            f"cannot read {url_list}: no answer within {CONTACT_TIME:.0f} s; check the address, "
            "the network and the proxy"
        )
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return bool(outcome[0])


def _in_folder(fs: Any, path: str, extensions: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return what is in a folder and may be a file of the input; None if there is no folder."""
    if not has_pages(fs):
        if not fs.isdir(path):
            return None
        return [e for e in fs.ls(path, detail=True) if _is_list(e["name"], extensions)]
    there = False
    found: dict[str, int | None] = {}

    def add(name: str, size: int | None, version: int) -> None:
        nonlocal there
        there = True
        if _is_list(name, extensions):
            found[name] = size

    try:
        list_remote(fs, path, add)
    except FileNotFoundError:
        return None
    if not there:
        return None
    return [
        {"name": f"{path.rstrip('/')}/{name}", "size": size, "type": _KINDS[size is None]}
        for name, size in found.items()
    ]


def _is_list(path: str, extensions: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    return (
        not name.startswith((".", "_"))
        and not name.endswith(STATS_SUFFIX)
        and name.lower().endswith(tuple(extensions))
    )


def _is_file(fs: Any, entry: dict[str, Any]) -> bool:
    """Return whether an entry of a listing is a file or a link to one, as in caches of hubs.

    Raises:
        UsageError: it is a broken link, so a part of the input is missing.
    """
    if not entry.get("islink"):
        return bool(entry["type"] == "file")
    if not fs.exists(entry["name"]):
        raise UsageError(f"{entry['name']} is a broken link: repair or remove it")
    return bool(fs.isfile(entry["name"]))


def _full_path(fs: Any, path: str) -> str:
    full = fs.unstrip_protocol(path)
    return local_path(full) or cast(str, full)
