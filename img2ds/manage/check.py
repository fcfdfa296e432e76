"""Checks one committed shard: its commit marker, files, metadata table and samples must agree."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from img2ds.core.failure import UsageError
from img2ds.core.naming import STATS_SUFFIX, TABLE_SUFFIX, data_name, format_names
from img2ds.engine.marker import CommitMarker, DamagedMarkerError, is_intact, read_image_marker
from img2ds.formats.contract import Digest
from img2ds.formats.tar import has_end
from img2ds.manage.layout import Layout, open_stored
from img2ds.manage.sample_check import SampleCheck
from img2ds.manage.table_check import TableCheck
from img2ds.manage.verdict import Verdict
from img2ds.storage import OutputFolder, RetryingFile, sizes

#: Bytes read at once.
_READ = 1 << 20


class ShardCheck:
    """Checks shards of one dataset.

    Args:
        fast: check only which files there are, their sizes, and the table's row count.
        decode: decode each image.
    """

    def __init__(self, folder: OutputFolder, layout: Layout, fast: bool, decode: bool) -> None:
        self._folder = folder
        self._layout = layout
        self._fast = fast
        self._table = TableCheck(layout, fast)
        self._samples = SampleCheck(layout, decode)

    def check(self, shard: str, there: dict[str, int | None]) -> Verdict:
        """Check a shard.

        Args:
            shard: its name, such as `00042`.
            there: the files with its number and their sizes in bytes; folders have None.

        Raises:
            UsageError: samples of its format cannot be read back.
        """
        verdict = Verdict()
        marker_name = shard + STATS_SUFFIX
        try:
            data = self._folder.read_bytes(marker_name)
            marker = read_image_marker(data)
        except DamagedMarkerError as error:
            verdict.add("damaged_mark", f"{marker_name}: {error}")
            return verdict
        except OSError as error:
            verdict.unreadable("damaged_mark", marker_name, error)
            return verdict
        if not is_intact(data):
            verdict.add("damaged_mark", f"{marker_name} has changed since it was written")
        verdict.rows = marker.count
        intact = self._check_files(verdict, marker, shard, there)
        table = None
        if self._layout.has_table and shard + TABLE_SUFFIX in intact:
            table = self._table.check(verdict, marker, self._folder.path, shard)
        if self._fast:
            tar = data_name(shard, "webdataset")
            if marker.by_img2dataset and tar in intact:  # its marker does not have the size
                self._check_end(verdict, tar)
            return verdict
        stored = open_stored(self._folder, shard, self._layout)
        digests: Mapping[str, Digest] = {}
        if all(name in there for name in stored.names):
            self._samples.check(verdict, marker, stored, table)
            digests = stored.digests()
        self._check_digests(verdict, marker, intact, digests)
        return verdict

    def _check_files(
        self, verdict: Verdict, marker: CommitMarker, shard: str, there: dict[str, int | None]
    ) -> set[str]:
        """Check that files exist with the sizes of the marker; return those that do."""
        expected: dict[str, int | None]
        if marker.files is not None:
            expected = {record.name: record.size for record in marker.files}
        else:
            expected = dict.fromkeys(_expected_names(shard, self._layout.output_format))
        found = {
            name: sum(size or 0 for size in sizes(self._folder, name).values())
            if there[name] is None  # a folder of files
            else there[name]
            for name in expected
            if name in there
        }
        intact = set()
        for name, size in expected.items():
            if name not in found:
                verdict.add("missing_file", f"{name} is missing")
            elif size is not None and found[name] != size:
                message = f"{name} has {found[name]} bytes, its commit marker has {size}"
                verdict.add("wrong_size", message)
            elif there[name] == 0 and size is None:
                verdict.add("wrong_size", f"{name} is empty")
            else:
                intact.add(name)
        verdict.strays = [n for n in there if n not in expected and n != shard + STATS_SUFFIX]
        return intact

    def _check_end(self, verdict: Verdict, name: str) -> None:
        try:
            complete = has_end(f"{self._folder.path}/{name}")
        except (OSError, UsageError) as error:
            verdict.unreadable("damaged_data", name, error)
            return
        if not complete:
            verdict.add("damaged_data", f"{name} is truncated: it has no end-of-archive marker")

    def _check_digests(
        self,
        verdict: Verdict,
        marker: CommitMarker,
        intact: set[str],
        digests: Mapping[str, Digest],
    ) -> None:
        """Check the sha256 of each file in the marker; `digests` has those that are known."""
        for record in marker.files or ():
            if record.name not in intact:
                continue
            try:
                _, sha256 = digests.get(record.name) or self._digest(record.name)
            except OSError as error:
                verdict.unreadable("damaged_data", record.name, error)
                continue
            if sha256 != record.sha256:
                message = f"{record.name} has changed since it was committed (sha256 differs)"
                verdict.add("wrong_hash", message)

    def _digest(self, name: str) -> Digest:
        digest, size = hashlib.sha256(), 0
        with RetryingFile(f"{self._folder.path}/{name}") as file:
            while piece := file.read(_READ):
                digest.update(piece)
                size += len(piece)
        return size, digest.hexdigest()


def _expected_names(shard: str, output_format: str) -> list[str]:
    """Return the files of a shard whose marker does not list them, as img2dataset's do not."""
    if format_names(output_format).suffix is None:
        return []
    return [data_name(shard, output_format), shard + TABLE_SUFFIX]
