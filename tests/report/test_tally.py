"""Counting is exact however rows are spread over tallies, and messages are bounded."""

from __future__ import annotations

import pickle
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from img2ds.core.failure import Failure, Reason, failure
from img2ds.engine.marker import counts_document
from img2ds.report.tally import MAX_MESSAGES, OTHER_MESSAGES, Tally

#: One row's end: bytes written, or why there is no image.
outcomes = st.one_of(
    st.integers(0, 10**6),
    st.builds(failure, st.sampled_from(Reason), st.sampled_from(["", "a", "b", "other"])),
    st.integers(400, 599).map(lambda code: Failure(f"http_{code}", f"HTTP {code}")),
)

steady = settings(derandomize=True, deadline=None)


def tallied(rows: list[int | Failure]) -> Tally:
    tally = Tally()
    for row in rows:
        tally.bytes_received += 7
        tally.seconds["transform"] += 0.25
        if isinstance(row, Failure):
            tally.add_failure(row)
        else:
            tally.add_success(row)
    return tally


@steady
@given(st.lists(outcomes, max_size=60))
def test_counts_add_up(rows: list[int | Failure]) -> None:
    stats = counts_document(tallied(rows))
    failures = [row for row in rows if isinstance(row, Failure)]
    assert stats["count"] == len(rows)
    assert stats["successes"] == len(rows) - len(failures)
    assert (
        stats["count"]
        == stats["successes"] + stats["failed_to_download"] + stats["failed_to_resize"]
    )
    assert sum(stats["reasons"].values()) == len(failures)
    assert sum(stats["status_dict"].values()) == len(rows)
    assert stats["status_dict"].get("success", 0) == stats["successes"]
    assert stats["bytes"] == {
        "received": 7 * len(rows),
        "written": sum(row for row in rows if not isinstance(row, Failure)),
    }
    for reason, times in stats["reasons"].items():
        assert times == sum(row.reason == reason for row in failures)


@steady
@given(st.lists(outcomes, max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_merging_parts_gives_the_whole(rows: list[int | Failure], cuts: list[int]) -> None:
    whole = Tally()
    borders = [0, *sorted(cuts), len(rows)]
    for begin, end in pairwise(borders):
        whole.merge(tallied(rows[begin:end]))
    assert whole == tallied(rows)


@steady
@given(st.lists(outcomes, max_size=20), st.lists(outcomes, max_size=20))
def test_merging_leaves_the_other_alone(
    first: list[int | Failure], second: list[int | Failure]
) -> None:
    one, other = tallied(first), tallied(second)
    before = pickle.dumps(other)
    one.merge(other)
    one.merge(tallied(second))
    assert pickle.dumps(other) == before
    assert one.count == len(first) + 2 * len(second)


@steady
@given(st.lists(outcomes, max_size=20))
def test_a_tally_survives_serialization(rows: list[int | Failure]) -> None:
    tally = tallied(rows)
    assert pickle.loads(pickle.dumps(tally)) == tally


@steady
@given(st.sampled_from([*(reason.value for reason in Reason), "http_404"]), st.integers(0, 3))
def test_dropped_rows_are_failures_like_others(reason: str, times: int) -> None:
    dropped, failed = Tally(), Tally()
    dropped.drop(reason, times)
    for _ in range(times):
        failed.add_failure(Failure(reason, reason.replace("_", " ")))
    assert dropped == failed
    assert dropped.count == times


def test_endless_messages_are_counted_and_not_kept() -> None:
    tally = Tally()
    for number in range(3 * MAX_MESSAGES):
        tally.add_failure(failure(Reason.PROTOCOL_ERROR, f"error {number}"))
    tally.add_failure(failure(Reason.PROTOCOL_ERROR, "error 0"))
    assert len(tally.messages) == MAX_MESSAGES + 1
    assert tally.messages[OTHER_MESSAGES] == 2 * MAX_MESSAGES
    assert tally.messages["error 0"] == 2
    other = Tally()
    other.add_failure(failure(Reason.PROTOCOL_ERROR, "another error"))
    tally.merge(other)
    assert len(tally.messages) == MAX_MESSAGES + 1
    assert sum(tally.messages.values()) == tally.count == 3 * MAX_MESSAGES + 2


def test_status_dict_without_successes_has_no_success() -> None:
    tally = Tally()
    tally.add_failure(failure(Reason.STALLED))
    assert counts_document(tally)["status_dict"] == {"stalled": 1}
