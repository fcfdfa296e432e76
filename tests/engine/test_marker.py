"""Commit markers: read back as they were written, img2dataset's too, and changed by a purge."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from img2ds.core.failure import Reason, UsageError, failure
from img2ds.core.sample import FileRecord
from img2ds.engine.marker import (
    DamagedMarkerError,
    is_intact,
    load_marker,
    marker_json,
    read_files,
    read_image_marker,
    read_marker,
    record_purge,
    total_counts,
)
from img2ds.report.counters import Counts
from img2ds.report.tally import Tally
from img2ds.storage import OutputFolder

FILES = [FileRecord("00000.tar", 10, "ab"), FileRecord("00000", 20, "cd", 3)]
STAGE = Counts(successes=3, reasons=Counter(odd=2), metrics=Counter(pages=4))


def tally() -> Tally:
    counts = Tally(bytes_received=100)
    counts.add_success(30)
    counts.add_failure(failure(Reason.STALLED))
    counts.fetches.add(0.3)
    counts.lookups.add(0.002)
    return counts


@pytest.mark.parametrize("counts", [tally(), STAGE], ids=["images", "stage"])
def test_it_is_read_back(counts: Counts) -> None:
    marker = read_marker(marker_json(counts, 5.0, 7.5, FILES))
    assert marker.counts == counts
    assert (marker.count, marker.duration) == (counts.count, 2.5)
    assert marker.files == tuple(FILES)
    assert not marker.by_img2dataset


@pytest.mark.parametrize("counts", [tally(), STAGE], ids=["images", "stage"])
def test_every_bit_of_it_is_vouched_for(counts: Counts) -> None:
    data = marker_json(counts, 5.0, 7.5, FILES)
    assert is_intact(data)
    assert is_intact(data.replace(b"digest", b"older.")), "earlier versions did not tell"
    for at in range(data.index(b'"digest"')):
        changed = bytearray(data)
        changed[at] ^= 1
        try:
            read_marker(bytes(changed))
            intact = is_intact(bytes(changed))
        except DamagedMarkerError:
            continue
        assert not intact or json.loads(changed) == json.loads(data)


def test_img2datasets_are_read() -> None:
    document = {
        "count": 5, "successes": 2, "failed_to_download": 1, "failed_to_resize": 1, "duration": 1.5,
        "status_dict": {"success": 2, "HTTP Error 404: Not Found": 1, "image decoding error": 1},
    }  # fmt: skip
    marker = read_image_marker(json.dumps(document).encode())
    assert marker.by_img2dataset
    assert (marker.count, marker.tally.count) == (5, 4), "one row is lost"
    assert marker.tally.reasons["http_404"] == 1
    assert "success" not in marker.tally.messages


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b'{"count": 1', "not JSON, or is cut off"),
        (b"{}", "it has no 'count'"),
        (marker_json(STAGE, 0, 1, []), "it has no 'status_dict'"),
    ],
)
def test_an_invalid_marker_is_reported(data: bytes, words: str) -> None:
    with pytest.raises(DamagedMarkerError, match=words):
        read_image_marker(data)


@pytest.mark.parametrize("counts", [tally(), STAGE], ids=["images", "stage"])
def test_files_are_read_alone(counts: Counts) -> None:
    data = marker_json(counts, 5.0, 7.5, FILES)
    assert read_files(data) == tuple(FILES)
    assert read_files(data.replace(b"digest", b"older.")) == tuple(FILES)
    assert read_files(data.replace(b'"bytes"', b'"octets"')) == tuple(FILES), "as `read_marker`"
    for damaged in (data.replace(b'"count"', b'"rows"'), data[:-9], b"[]", b"\n"):
        with pytest.raises(DamagedMarkerError):
            read_files(damaged)


def purged(tmp_path: Path, counts: Counts, *left: int) -> dict[str, Any]:
    folder = OutputFolder.open(str(tmp_path))
    folder.write_bytes("00000_stats.json", marker_json(counts, 0, 1, FILES))
    for successes in left:
        record_purge(folder, "00000_stats.json", successes, FILES[:1])
    document: dict[str, Any] = json.loads(folder.read_bytes("00000_stats.json"))
    return document


def test_purged_rows_of_images_are_counted_no_more(tmp_path: Path) -> None:
    counts = tally()
    counts.add_success(1)
    document = purged(tmp_path, counts, 1, 1, 0)
    assert (document["count"], document["successes"], document["purged"]) == (1, 0, 2)
    assert document["status_dict"]["success"] == 0
    assert [file["name"] for file in document["files"]] == ["00000.tar"]
    assert "files_before_purge" not in document


def test_purged_rows_of_img2dataset_leave_its_messages(tmp_path: Path) -> None:
    document = {
        "count": 4, "successes": 3, "failed_to_download": 1, "failed_to_resize": 0,
        "status_dict": {"success": 3, "HTTP Error 404: Not Found": 1},
    }  # fmt: skip
    folder = OutputFolder.open(str(tmp_path))
    folder.write_bytes("00000_stats.json", json.dumps(document).encode())
    record_purge(folder, "00000_stats.json", 1, FILES[:1])
    marker = load_marker(folder, "00000_stats.json")
    assert (marker.count, marker.counts.successes, marker.by_img2dataset) == (2, 1, True)
    assert marker.counts.reasons == {"http_404": 1}
    assert marker.files == tuple(FILES[:1])


def test_purged_rows_of_a_stage_are_dropped(tmp_path: Path) -> None:
    document = purged(tmp_path, STAGE, 2, 1)
    assert (document["count"], document["successes"], document["dropped"]) == (5, 1, 4)
    assert document["reasons"] == {"odd": 2, "purged": 2}
    marker = load_marker(OutputFolder.open(str(tmp_path)), "00000_stats.json")
    assert marker.files_before_purge == tuple(FILES), "those of the first commit"
    assert marker.files == tuple(FILES[:1])


def test_markers_add_up_whatever_their_digits(tmp_path: Path) -> None:
    folder = OutputFolder.open(str(tmp_path))
    folder.write_bytes("00000_stats.json", marker_json(STAGE, 0, 1, []))
    folder.write_bytes("000001_stats.json", marker_json(tally(), 0, 1, []))
    folder.write_bytes("notes_stats.json", b"mine")
    total = total_counts(folder)
    assert (total.count, total.successes, total.metrics["pages"]) == (7, 4, 4)
    folder.write_bytes("00002_stats.json", b"")
    with pytest.raises(UsageError, match=r"00002_stats\.json is damaged \(it is empty\)"):
        total_counts(folder)
