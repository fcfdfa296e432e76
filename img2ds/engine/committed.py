"""Which shards of a folder are committed: their markers are whole, and their files are there.

Cheap checks only, since every run begins with them: `img2ds verify` reads the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from img2ds.core.naming import shard_of_file
from img2ds.core.sample import FileRecord
from img2ds.engine.marker import DamagedMarkerError, read_files
from img2ds.engine.marker_cache import MarkerCache
from img2ds.storage import Listing, OutputFolder, add_sizes


@dataclass(slots=True)
class Committed:
    """What a folder holds.

    Attributes:
        names: its files and folders.
        cache: through which its markers were read.
        shards: the numbers of committed shards.
        damaged: shards that have a marker and are not committed all the same, and why.
    """

    names: Listing
    cache: MarkerCache
    shards: set[int] = field(default_factory=set)
    damaged: dict[int, str] = field(default_factory=dict)


def find_committed(
    folder: OutputFolder, places: tuple[str, ...] = (), *, check_files: bool = True
) -> Committed:
    """Look at all commit markers of a folder. Raises OSError.

    Args:
        places: folders in it that hold files of shards as well.
        check_files: whether a marker's files have to be there at their sizes.
    """
    there = Listing()
    for place in ("", *places):
        add_sizes(there, folder, place)
    cache = MarkerCache(folder, there.sort(), collects=True)
    found = Committed(there, cache)
    for name, data in cache.read():
        if isinstance(data, OSError):
            raise data
        number = shard_of_file(name)
        assert number is not None
        try:
            files = read_files(data)
            problem = _problem(files or (), there, places) if check_files else None
        except DamagedMarkerError as error:
            problem = f"in {name}, {error}" if data.strip() else f"{name} is empty"
        if problem is None:
            found.shards.add(number)
        else:
            found.damaged[number] = problem
    return found


def _problem(files: Sequence[FileRecord], there: Listing, places: tuple[str, ...]) -> str | None:
    """Return what is wrong with the files of a marker; None if nothing is.

    img2dataset's markers list no files, and its users move tars away.
    """
    for record in files:
        found = there.find(record.name)
        if found is None:
            if record.name.rpartition("/")[0] in ("", *places):
                return f"{record.name} is missing"
            continue
        size, _ = found
        if size is not None and size != record.size:  # that of a folder is not known
            return f"{record.name} has {size:,} bytes, its commit marker has {record.size:,}"
    return None
