"""Finding and listing failed rows: exact for any sizes, types and earlier retries."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2ds.core.failure import Failure, UsageError
from img2ds.core.img2dataset import reason_of
from img2ds.core.naming import sample_keys
from img2ds.core.state import retry_file
from img2ds.downloader.retried_rows import KEY_COLUMN, REASON_COLUMN, rows_path
from img2ds.manage.failed import failed_rows
from img2ds.manage.retried import RetryList, take_back
from img2ds.manage.retry_list import write_list
from img2ds.report.tally import Tally
from img2ds.storage import OutputFolder

PER_SHARD = 4
REASONS = (None, "http_503", "http_404", "connect_timeout")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[OutputFolder]:
    folder = OutputFolder.open(str(tmp_path / "set"))
    with folder.lock():
        yield folder
    folder.close()


def write_table(folder: OutputFolder, number: int, reasons: Sequence[str | None]) -> None:
    keys = sample_keys(number, len(reasons), PER_SHARD, 5)
    table = {
        "url": [f"u{key}" for key in keys],
        "key": keys,
        "status": ["success" if r is None else "failed_to_download" for r in reasons],
        "reason": pa.array(reasons, pa.string()),
    }
    Path(folder.path).mkdir(exist_ok=True)
    pq.write_table(pa.table(table), f"{folder.path}/{number:05d}.parquet")


def find(
    folder: OutputFolder, shards: int, wanted: set[str], lists: Sequence[RetryList] = ()
) -> list[pa.Table]:
    names = [(number, f"{number:05d}") for number in range(shards)]
    found = failed_rows(folder, names, ["url"], wanted.__contains__, lists, PER_SHARD)
    return list(found)


@settings(max_examples=30, deadline=None)
@given(
    shards=st.lists(st.lists(st.sampled_from(REASONS), max_size=4), max_size=12),
    rounds=st.lists(st.sets(st.sampled_from(REASONS[1:]), min_size=1), min_size=1, max_size=4),
)
def test_each_row_is_on_one_list_at_most(
    shards: list[list[str | None]], rounds: list[set[str]]
) -> None:
    with tempfile.TemporaryDirectory() as path:
        folder = OutputFolder.open(path)
        for number, reasons in enumerate(shards):
            write_table(folder, number, reasons)
        left = {
            key: reason
            for number, reasons in enumerate(shards)
            for key, reason in zip(
                sample_keys(number, len(reasons), PER_SHARD, 5), reasons, strict=True
            )
        }
        lists: list[RetryList] = []
        for place, wanted in enumerate(rounds):
            expected = {key: reason for key, reason in left.items() if reason in wanted}
            left = {key: reason for key, reason in left.items() if key not in expected}
            tables = find(folder, len(shards), wanted, lists)
            written = write_list(folder, f"{place:04d}", (), tables, PER_SHARD)
            if written is None:
                assert expected == {}
                continue
            lists.append(RetryList.read(folder, f"{place:04d}"))
            assert lists[-1] == written
            table = pq.read_table(rows_path(folder, written.name, written.files[0]))
            keys = table[KEY_COLUMN].to_pylist()
            assert keys == sorted(expected)
            assert dict(zip(keys, table[REASON_COLUMN].to_pylist(), strict=True)) == expected
            assert table["url"].to_pylist() == [f"u{key}" for key in keys]
            for shard, counts in enumerate(written.shards):
                of = keys[shard * PER_SHARD : (shard + 1) * PER_SHARD]
                assert counts == Counter(expected[key] for key in of)
        folder.close()


def test_a_list_of_many_row_groups_is_whole(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2ds.manage.retry_list._GROUP", 10)
    tables = [rows(range(n, n + 7)) for n in range(0, 70, 7)]
    written = write_list(folder, "0001", ("a",), tables, PER_SHARD)
    assert written is not None
    file = pq.ParquetFile(rows_path(folder, written.name, "00000.parquet"))
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sizes == [12, 12, 12, 12, 12, 10]  # whole shards of four
    assert file.read()["url"].to_pylist() == [str(n) for n in range(70)]
    assert [sum(counts.values()) for counts in written.shards] == [4] * 17 + [2]
    # Keys stream past in pieces as well.
    monkeypatch.setattr("img2ds.manage.failed._BATCH", 5)
    for number in range(20):
        write_table(folder, number, ["http_503"] * 4)
    left = find(folder, 20, {"http_503"}, [written])
    assert sorted(key for t in left for key in t[KEY_COLUMN].to_pylist()) == [
        f"{shard * 10 + n:06d}" for shard in range(20) for n in range(4) if shard * 10 + n >= 70
    ]


def rows(numbers: Sequence[int], kind: pa.DataType | None = None) -> pa.Table:
    return pa.table(
        {
            "url": [str(n) for n in numbers],
            "n": pa.array([None] * len(numbers) if kind == pa.null() else numbers).cast(
                kind or pa.int64()
            ),
            KEY_COLUMN: [f"{n:06d}" for n in numbers],
            REASON_COLUMN: ["http_503"] * len(numbers),
        }
    )


def test_columns_whose_type_changes_begin_another_file(folder: OutputFolder) -> None:
    kinds = (pa.int64(), pa.null(), pa.string(), pa.null(), pa.int64())
    tables = [rows(range(3 * n, 3 * n + 3), kind) for n, kind in enumerate(kinds)]
    written = write_list(folder, "0001", (), tables, PER_SHARD)
    assert written is not None
    found = [pq.read_table(rows_path(folder, written.name, name)) for name in written.files]
    assert [table.schema.field("n").type for table in found] == [
        pa.int64(), pa.string(), pa.int64()
    ]  # fmt: skip
    assert found[0]["n"].to_pylist() == [0, 1, 2, None, None, None]
    # Shards are cut per file.
    assert [sum(counts.values()) for counts in written.shards] == [4, 2, 4, 2, 3]


def test_a_list_that_is_not_whole_is_refused(folder: OutputFolder) -> None:
    with pytest.raises(UsageError, match="is missing"):
        RetryList.read(folder, "0001")
    folder.write_bytes(retry_file("0001"), b"{}")
    with pytest.raises(UsageError, match="is damaged"):
        RetryList.read(folder, "0001")


def test_retried_rows_are_subtracted() -> None:
    tally = Tally()
    for reason in ("http_503", "http_503", "http_404", "truncated_image"):
        tally.add_failure(Failure(reason, ""))
    take_back(tally, {"http_503": 1, "truncated_image": 1})
    assert tally.reasons == {"http_503": 1, "http_404": 1}
    assert (tally.failed_to_download, tally.failed_to_resize, tally.count) == (2, 0, 2)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("HTTP Error 404: Not Found", "http_404"),
        ("HTTP Error 503: Service Unavailable", "http_503"),
        ("HTTP Error 302: The HTTP server returned a redirect error", "too_many_redirects"),
        ("<urlopen error timed out>", "connect_timeout"),
        ("The read operation timed out", "stalled"),
        ("<urlopen error [Errno -2] Name or service not known>", "dns_not_found"),
        ("<urlopen error [Errno -3] Temporary failure in name resolution>", "dns_failure"),
        ("<urlopen error [Errno 111] Connection refused>", "connect_refused"),
        ("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>", "tls_error"),
        ("Remote end closed connection without response", "closed_before_reply"),
        ("[Errno 104] Connection reset by peer", "connect_reset"),
        ("IncompleteRead(12 bytes read, 34 more expected)", "incomplete_body"),
        ("Use of image disallowed by X-Robots-Tag directive", "disallowed_by_header"),
        ("hash mismatch", "hash_mismatch"),
        ("image too small", "image_too_small"),
        ("Image decoding error", "decode_error"),
        ("something else", "other"),
    ],
)
def test_messages_of_img2dataset(message: str, reason: str) -> None:
    assert reason_of(message) == reason
