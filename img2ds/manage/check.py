"""What is wrong with one committed shard: its marker, files, table and samples, held together."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pyarrow as pa

from img2ds.core.failure import Failure, Status, UsageError
from img2ds.core.img2dataset import read_json
from img2ds.core.naming import OUTPUT_FORMATS, STATS_SUFFIX, TABLE_SUFFIX, data_name, sample_keys
from img2ds.engine.marker import CommitMarker, DamagedMarkerError, read_image_marker
from img2ds.formats.contract import DamagedShardError, Digest, ShardReader, StoredSample
from img2ds.formats.tar import has_end
from img2ds.image.decode import DecodeError, decode
from img2ds.image.sniff import sniff
from img2ds.manage.layout import Layout, open_stored
from img2ds.manage.verdict import Problem, Repeated, Verdict
from img2ds.storage import OutputFolder, RetryingFile, sizes
from img2ds.storage.parquet import open_parquet

#: Extensions of pictures, where nobody wrote down which one a data set has.
PICTURES = ("jpg", "png", "webp", "jpeg")
_COLUMNS = ("key", "status", "width", "height", "reason")
_READ = 1 << 20
#: Width and height by the table, in pixels.
_Size = tuple[int | None, int | None]


class ShardCheck:
    """Checks shards of one data set.

    Args:
        fast: look at files, their sizes and the table's row count alone.
        decode: decode each picture.
    """

    def __init__(self, folder: OutputFolder, layout: Layout, fast: bool, decode: bool) -> None:
        self._folder = folder
        self._layout = layout
        self._fast = fast
        self._decode = decode

    def check(self, number: int, shard: str, there: dict[str, int | None]) -> Verdict:
        """The verdict on a shard.

        Args:
            shard: its name, such as `00042`.
            there: the files and folders with its number, and their sizes in bytes.

        Raises:
            UsageError: samples of its format cannot be read back.
        """
        verdict = Verdict()
        marker_name = shard + STATS_SUFFIX
        try:
            marker = read_image_marker(self._folder.read_bytes(marker_name))
        except DamagedMarkerError as error:
            verdict.problems.append(Problem("damaged_mark", f"{marker_name}: {error}"))
            return verdict
        except OSError as error:
            verdict.problems.append(Problem("damaged_mark", f"{marker_name}: {_why(error)}"))
            return verdict
        verdict.rows = marker.count
        stored = open_stored(self._folder, shard, self._layout) if not self._fast else None
        table_name = f"{shard}.parquet"
        sound = self._check_files(verdict, marker, shard, there)
        table = None
        if self._layout.has_table and table_name in sound:
            table = self._check_table(verdict, marker, number, shard, table_name)
        if stored is None:
            if marker.by_img2dataset and f"{shard}.tar" in sound:  # no size is known of it
                self._check_end(verdict, f"{shard}.tar")
            return verdict
        digests: dict[str, Digest] = {}
        if all(name in there for name in stored.names):
            self._check_samples(verdict, marker, stored, table)
            digests.update(stored.digests())
        self._check_digests(verdict, marker, sound, digests)
        return verdict

    def _check_files(
        self, verdict: Verdict, marker: CommitMarker, shard: str, there: dict[str, int | None]
    ) -> set[str]:
        """Whether the files are there and as large as they were; the names of those that are."""
        expected: dict[str, int | None] = {}
        if marker.files is not None:
            expected = {record.name: record.size for record in marker.files}
        else:
            kind = self._layout.output_format
            expected = dict.fromkeys(_names(shard, kind))
        known = dict(there)
        for name in expected:
            if name in known and known[name] is None:  # a folder of files is as large as these
                inside_it = sizes(self._folder, name).values()
                known[name] = sum(size or 0 for size in inside_it)
        sound = set()
        for name, size in expected.items():
            if name not in known:
                verdict.problems.append(Problem("missing_file", f"{name} is missing"))
            elif size is not None and known[name] != size:
                words = f"{name} has {known[name]} bytes, it had {size}"
                verdict.problems.append(Problem("wrong_size", words))
            elif known[name] == 0 and size is None and there[name] is not None:
                verdict.problems.append(Problem("wrong_size", f"{name} is empty"))
            else:
                sound.add(name)
        verdict.strays = [n for n in there if n not in expected and n != shard + STATS_SUFFIX]
        return sound

    def _check_table(
        self, verdict: Verdict, marker: CommitMarker, number: int, shard: str, name: str
    ) -> pa.Table | None:
        """Whether the metadata table can be read and says what the commit marker says."""
        try:
            with open_parquet(f"{self._folder.path}/{name}") as file:
                rows = file.metadata.num_rows
                if rows != marker.count:
                    words = f"{name} has {rows} rows of {marker.count}"
                    if marker.by_img2dataset and rows < marker.count:
                        words += ": img2dataset lost the others"
                    verdict.problems.append(Problem("wrong_rows", words))
                if self._fast:
                    return None
                columns = [c for c in _COLUMNS if c in file.schema_arrow.names]
                table = file.read(columns=columns, use_threads=False)
        except (OSError, pa.ArrowException, UsageError) as error:
            words = f"{name} cannot be read: {str(error).splitlines()[0]}"
            verdict.problems.append(Problem("damaged_table", words))
            return None
        if not {"key", "status"} <= set(table.column_names):
            words = f"{name} has no columns key and status"
            verdict.problems.append(Problem("damaged_table", words))
            return None
        self._check_keys(verdict, marker, number, shard, table)
        self._check_counts(verdict, marker, name, table)
        return table

    def _check_keys(
        self, verdict: Verdict, marker: CommitMarker, number: int, shard: str, table: pa.Table
    ) -> None:
        keys = table.column("key").to_pylist()
        layout = self._layout
        if not keys:
            return
        if layout.per_shard is not None and layout.digits is not None:
            count = marker.count if marker.by_img2dataset else len(keys)
            wanted = sample_keys(number, count, layout.per_shard, layout.digits)
            if marker.by_img2dataset:  # its rows stand as they ended, and some may be lost
                wrong = sorted(set(map(str, keys)) - set(wanted))
            else:
                wrong = [str(k) for k, want in zip(keys, wanted, strict=True) if k != want]
        else:
            digits = Counter(len(str(key)) - len(shard) for key in keys).most_common(1)[0][0]
            verdict.key_digits = digits
            wrong = [
                str(key)
                for key in keys
                if not str(key).isdigit() or int(key) // 10 ** max(digits, 0) != number
            ]
        many = Repeated()
        for key in wrong:
            many.add("wrong_key", key)
        for key, times in Counter(keys).items():
            if times > 1:
                many.add("key_twice_in_table", str(key))
        verdict.problems += many.problems()

    @staticmethod
    def _check_counts(verdict: Verdict, marker: CommitMarker, name: str, table: pa.Table) -> None:
        found = Counter(table.column("status").to_pylist())
        tally = marker.tally
        for status, counted in (
            (Status.SUCCESS, tally.successes),
            (Status.FAILED_TO_DOWNLOAD, tally.failed_to_download),
            (Status.FAILED_TO_RESIZE, tally.failed_to_resize),
        ):
            if found[status.value] != counted:
                words = (
                    f"{name} has {found[status.value]} rows {status.value}, its marker {counted}"
                )
                verdict.problems.append(Problem("wrong_counts", words))
        if not marker.by_img2dataset and "reason" in table.column_names:
            reasons = Counter(r for r in table.column("reason").to_pylist() if r is not None)
            if reasons != tally.reasons:
                words = f"{name} has other reasons than its commit marker"
                verdict.problems.append(Problem("wrong_counts", words))

    def _check_samples(
        self, verdict: Verdict, marker: CommitMarker, stored: ShardReader, table: pa.Table | None
    ) -> None:
        """Whether each success has exactly one whole sample, and nothing else is there."""
        rows: dict[str, _Size] = {}
        failed: set[str] = set()
        if table is not None:
            names = ("key", "status", "width", "height")
            columns = [
                table.column(n).to_pylist() if n in table.column_names else [None] * table.num_rows
                for n in names
            ]
            for key, status, width, height in zip(*columns, strict=True):
                if status == Status.SUCCESS.value:
                    rows[key] = width, height
                else:
                    failed.add(key)
        many, seen, damaged = Repeated(), set(), False
        reencoded = self._layout.reencoded and not marker.by_img2dataset
        try:
            for sample in stored.samples():
                verdict.read += sum(map(len, sample.parts.values()))
                if sample.key in seen:
                    many.add("sample_twice", sample.key)
                    continue
                seen.add(sample.key)
                if table is not None and sample.key not in rows:
                    what = "sample_of_a_failed_row" if sample.key in failed else "unknown_sample"
                    many.add(what, sample.key)
                size = rows.get(sample.key, (None, None))
                for kind in self._faults(stored, sample, size, reencoded):
                    many.add(kind, sample.key)
        except DamagedShardError as error:
            damaged = True
            verdict.problems.append(Problem("damaged_data", f"{stored.names[0]}: {error}"))
        except OSError as error:
            damaged = True
            words = f"{stored.names[0]} cannot be read: {_why(error)}"
            verdict.problems.append(Problem("damaged_data", words))
        missing = [key for key in rows if key not in seen]
        if missing and damaged:
            words = f"{len(missing)} of {len(rows)} samples are behind that or missing"
            verdict.problems.append(Problem("missing_sample", words))
        elif missing:
            for key in missing:
                many.add("missing_sample", key)
        verdict.problems += many.problems()

    def _faults(
        self, stored: ShardReader, sample: StoredSample, size: _Size, reencoded: bool
    ) -> list[str]:
        """What is wrong with one sample, in words of one kind each."""
        layout = self._layout
        wanted = PICTURES if layout.encode_format is None else (layout.encode_format,)
        pictures = [sample.parts[name] for name in wanted if name in sample.parts]
        faults = []
        if len(pictures) != 1:
            faults.append("no_picture" if not pictures else "several_pictures")
        for body in pictures:
            faults += self._picture_faults(body, size, reencoded)
        if layout.captions and stored.has_captions and "txt" not in sample.parts:
            faults.append("no_caption")
        if not stored.has_json:
            return faults
        if "json" not in sample.parts:
            faults.append("no_metadata")
        elif not _is_of(sample.parts["json"], sample.key):
            faults.append("wrong_metadata")
        return faults

    def _picture_faults(self, body: bytes, size: _Size, reencoded: bool) -> list[str]:
        if not body:
            return ["empty_picture"]
        header = sniff(body)
        if isinstance(header, Failure) or not header.complete:
            return ["damaged_picture"]
        if reencoded:
            if header.format == "jpeg" and b"\xff\xd9" not in body[-4096:]:
                return ["damaged_picture"]
            if None not in size and (header.width, header.height) != size:
                return ["picture_of_another_size"]
        if self._decode:
            try:
                decode(body, header, (1, 1), header.width * header.height)
            except DecodeError:
                return ["damaged_picture"]
        return []

    def _check_end(self, verdict: Verdict, name: str) -> None:
        try:
            whole = has_end(f"{self._folder.path}/{name}")
        except (OSError, UsageError) as error:
            verdict.problems.append(Problem("damaged_data", f"{name} cannot be read: {error}"))
            return
        if not whole:
            words = f"{name} is cut off: it has no end mark"
            verdict.problems.append(Problem("damaged_data", words))

    def _check_digests(
        self, verdict: Verdict, marker: CommitMarker, sound: set[str], digests: dict[str, Digest]
    ) -> None:
        for record in marker.files or ():
            if record.name not in sound:
                continue
            try:
                found = digests.get(record.name) or self._digest(record.name)
            except OSError as error:
                words = f"{record.name} cannot be read: {_why(error)}"
                verdict.problems.append(Problem("damaged_data", words))
                continue
            if found[1] != record.sha256:
                words = f"{record.name} has other bytes than when it was committed (sha256)"
                verdict.problems.append(Problem("wrong_hash", words))

    def _digest(self, name: str) -> Digest:
        digest, size = hashlib.sha256(), 0
        with RetryingFile(f"{self._folder.path}/{name}") as file:
            while piece := file.read(_READ):
                digest.update(piece)
                size += len(piece)
        return size, digest.hexdigest()


def _names(shard: str, output_format: str) -> list[str]:
    """Return the files of a shard of img2dataset, without its commit marker."""
    if OUTPUT_FORMATS[output_format].suffix is None:
        return []
    return [data_name(shard, output_format), shard + TABLE_SUFFIX]


def _is_of(data: bytes, key: str) -> bool:
    """Whether a sample's JSON is that of `key`, a success."""
    document: Any
    try:
        document = read_json(data)
    except ValueError:
        return False
    return (
        isinstance(document, dict)
        and document.get("key") == key
        and document.get("status") in (None, Status.SUCCESS.value)
    )


def _why(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()
