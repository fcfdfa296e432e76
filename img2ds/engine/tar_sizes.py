"""`sizes.json`: how many samples each tar has, as OpenCLIP and webdataset's users read it.

Written on request only: img2dataset takes every JSON file of a folder that it resumes for a commit
marker.
"""

from __future__ import annotations

from collections.abc import Collection

import orjson

from img2ds.core.naming import STATS_SUFFIX, TAR_SIZES, data_name
from img2ds.engine.marker import DamagedMarkerError, read_image_marker
from img2ds.engine.marker_cache import MarkerCache
from img2ds.storage import OutputFolder, sizes


def count_samples(folder: OutputFolder) -> dict[str, int]:
    """Return the samples of each committed tar of a folder, by its name, in order.

    Raises:
        OSError: a commit marker cannot be read.
    """
    names = sizes(folder)
    found: dict[str, int] = {}
    for marker, data in MarkerCache(folder, names).read():
        if isinstance(data, OSError):
            raise data
        tar = data_name(marker.removesuffix(STATS_SUFFIX), "webdataset")
        if tar in names:
            try:
                found[tar] = read_image_marker(data).tally.successes
            except DamagedMarkerError:  # its shard is rebuilt
                continue
    return found


def write_tar_sizes(folder: OutputFolder) -> None:
    """Write `sizes.json` for the tars that are committed now. Raises OSError."""
    document = orjson.dumps(count_samples(folder), option=orjson.OPT_INDENT_2)
    folder.write_bytes(TAR_SIZES, document)


def tar_sizes_problem(folder: OutputFolder, names: Collection[str]) -> str | None:
    """Return what is wrong with the `sizes.json` of a folder; None if nothing is, or without one.

    Args:
        names: what is in the folder.

    Raises:
        OSError: the folder cannot be read.
    """
    if TAR_SIZES not in names:
        return None
    try:
        listed = orjson.loads(folder.read_bytes(TAR_SIZES))
    except orjson.JSONDecodeError:
        return f"{TAR_SIZES} is not JSON"
    if not isinstance(listed, dict):
        return f"{TAR_SIZES} is no object of numbers by tar"
    counted = count_samples(folder)
    for tar in sorted({*listed, *counted}):
        if listed.get(tar) != counted.get(tar):
            if tar not in counted:
                return f"{TAR_SIZES} is out of date: {tar} is not committed"
            there = listed.get(tar, "nothing")
            return f"{TAR_SIZES} is out of date: it has {there} for {tar}, not {counted[tar]}"
    return None
