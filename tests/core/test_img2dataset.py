"""What img2dataset writes differently."""

from __future__ import annotations

import math

import pytest

from img2ds.core.img2dataset import read_json


def test_nan_is_null() -> None:
    assert read_json(b'{"a": NaN, "b": [1, NaN], "c": "NaN"}') == {
        "a": None,
        "b": [1, None],
        "c": "NaN",
    }
    assert read_json(b"[Infinity, -Infinity]") == [math.inf, -math.inf]
    with pytest.raises(ValueError, match="Expecting value"):
        read_json(b'{"a": nan}')
