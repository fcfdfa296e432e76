"""Columns of JSON values: the narrowest type that holds them, and nothing lost to it."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2ds.source.kinds import MAX_FIELDS, Kind, column, join, kind_of, widened


def made(*values: Any, kind: Kind = "null") -> pa.Array:
    return column(values, kind)[0]


BOXES = pa.list_(pa.list_(pa.float64()))


@pytest.mark.parametrize(
    ("values", "kind", "shown"),
    [
        ([1, None, -3], pa.int64(), None),
        ([1, 0.5], pa.float64(), [1.0, 0.5]),
        ([True, None, False], pa.bool_(), None),
        (["a", None], pa.string(), None),
        ([None, None], pa.string(), None),
        ([1, "b", True, 0.5], pa.string(), ["1", "b", "true", "0.5"]),
        ([1, True], pa.string(), ["1", "true"]),
        ([2**63, 1], pa.string(), ["9223372036854775808", "1"]),
        ([2**60 + 1, 0.5], pa.string(), ["1152921504606846977", "0.5"]),
        ([[], [[0.1, 1]], None], BOXES, [[], [[0.1, 1.0]], None]),
        ([[], None], pa.list_(pa.string()), None),
        ([[1], "a"], pa.string(), ["[1]", "a"]),
        ([[1], [2, "ü"]], pa.list_(pa.string()), [["1"], ["2", "ü"]]),
        ([[[True]], [[0.5]]], pa.list_(pa.list_(pa.string())), [[["true"]], [["0.5"]]]),
        (
            [{"a": 1}, {"b": "x"}, None],
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
            [{"a": 1, "b": None}, {"a": None, "b": "x"}, None],
        ),
        ([{}, {}], pa.string(), ["{}", "{}"]),
        ([{}, 1], pa.string(), ["{}", "1"]),
        (["cut \ud83d", "\ud83d\ude00"], pa.string(), ["cut \ufffd", "\U0001f600"]),
        ([["cut \udc00"]], pa.string(), ['["cut \ufffd"]']),
    ],
    ids=str,
)
def test_types(values: list[Any], kind: pa.DataType, shown: list[Any] | None) -> None:
    array = made(*values)
    assert array.type == kind
    assert array.to_pylist() == (values if shown is None else shown)


@pytest.mark.parametrize(
    ("first_values", "later_values"),
    [
        ([1, 2], ["three"]), ([1], [0.5]), ([0.5], ["x"]), (["x"], [1]), ([True], [2]),
        ([1], [2**70]), ([[0.5]], [[True]]), ([[[0.5]]], [""]), ([[[0.5]]], [[""]]),
        ([[0.5]], [7]), ([[1]], [[1.5]]),
        ([{"a": 1}], [{"a": 1, "b": 2}]), ([{"a": 1}], [{"a": "x"}]), ([{"a": 1}], [3]),
        ([{"a": {"b": []}}], [{"a": {"b": [None]}}]),
    ],
    ids=str,
)  # fmt: skip
def test_later_values_widen_their_column(first_values: list[Any], later_values: list[Any]) -> None:
    first, kind = column(first_values, widened("null", first_values))
    second, wider = column(later_values, kind)
    assert first.to_pylist() == first_values
    assert plain(second.to_pylist()[0]) == plain(later_values[0])
    assert column(first_values, wider)[0].type == second.type  # and so they stay


def plain(value: Any) -> Any:
    """A value in a comparable form: JSON texts parsed, null members left out."""
    if isinstance(value, str):
        try:
            return plain(json.loads(value))
        except ValueError:
            return value
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if item is not None}
    return value


def test_objects_with_keys_for_data_are_text() -> None:
    wide = {str(n): n for n in range(MAX_FIELDS + 1)}
    (text,) = made(wide).to_pylist()
    assert json.loads(text) == wide
    assert made({str(n): n for n in range(MAX_FIELDS)}, {"more": 1}).type == pa.string()


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(derandomize=True, max_examples=300)
@given(values, values, values)
def test_joining_knows_no_order(one: Any, other: Any, third: Any) -> None:
    kinds = [kind_of(value) for value in (one, other, third)]
    forward = join(join(kinds[0], kinds[1]), kinds[2])
    backward = join(kinds[2], join(kinds[1], kinds[0]))
    assert made(one, other, third).type.equals(made(one, other, third, kind=forward).type)
    assert join(forward, backward) in (forward, backward)
    assert join(forward, kinds[1]) == forward


@settings(derandomize=True, max_examples=300)
@given(st.lists(values, min_size=1, max_size=5), st.lists(values, min_size=1, max_size=5))
def test_any_values_make_a_column(first_values: list[Any], later_values: list[Any]) -> None:
    first, kind = column(first_values, widened("null", first_values))
    second, _ = column(later_values, kind)
    for array, given_ in ((first, first_values), (second, later_values)):
        assert len(array) == len(given_)
        for shown, value in zip(array.to_pylist(), given_, strict=True):
            assert (shown is None) == (value is None)
