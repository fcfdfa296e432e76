"""TFRecords to the byte, as TensorFlow 2.21 wrote them, and values of every kind."""

from __future__ import annotations

import datetime
import math
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tfrecord
from hypothesis import given
from hypothesis import strategies as st
from tfrecord import example_pb2

from img2ds.core.sample import Sample
from img2ds.formats import tfrecord as writer_module
from img2ds.formats.tfrecord import TFRecordWriter

#: tf.io.TFRecordWriter, of an Example with the one feature `jpg`.
ONE = (
    b"\x16\x00\x00\x00\x00\x00\x00\x00Oa\xbe(\n\x14\n\x12\n\x03jpg\x12\x0b\n\t\n\x07\xff\xd8image"
    b"\x10\xda'\x9f"
)
#: tf.train.Feature(...).SerializeToString()
FEATURES: list[tuple[Any, bytes]] = [
    (
        [0, 127, 128, -1, 2**63 - 1, -(2**63)],
        b"\x1a#\n!\x00\x7f\x80\x01" + b"\xff" * 9 + b"\x01" + b"\xff" * 8 + b"\x7f"
        + b"\x80" * 9 + b"\x01",
    ),
    ([0.5, -1e300, math.nan], b"\x12\x0e\n\x0c\x00\x00\x00?\x00\x00\x80\xff\x00\x00\xc0\x7f"),
    (["", "x" * 200], b"\n\xcd\x01\n\x00\n\xc8\x01" + b"x" * 200),
]  # fmt: skip


def write(folder: Path, *rows: dict[str, Any], caption: str | None = None) -> Path:
    path = folder / "0.tfrecord"
    writer = TFRecordWriter("0.tfrecord", "jpg", lambda name: str(folder / name))
    for index, row in enumerate(rows):
        writer.add(Sample(index, "0", b"\xff\xd8image", caption, row))
    writer.finish(pa.table({}))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return list(tfrecord.tfrecord_loader(str(path), None))


def test_a_record_is_tensorflows_to_the_byte(tmp_path: Path) -> None:
    assert write(tmp_path, {}).read_bytes() == ONE


@pytest.mark.parametrize(("value", "expected"), FEATURES)
def test_a_feature_is_tensorflows_to_the_byte(value: Any, expected: bytes) -> None:
    assert writer_module._feature(value) == expected


def test_features_have_the_kinds_of_img2dataset(tmp_path: Path) -> None:
    row = {
        "text": "ä", "null": None, "whole": -3, "flag": True, "fraction": 0.1, "raw": b"\xff",
        "ints": [1, 2], "floats": [0.5, 1.5], "texts": ["a", "bc"], "none": [],
    }  # fmt: skip
    (features,) = read(write(tmp_path, row, caption="a cat"))
    assert features.pop("txt") == b"a cat"
    assert features.pop("jpg") == b"\xff\xd8image"
    assert features.pop("text") == "ä".encode()
    assert features.pop("null") == b""
    assert features.pop("raw") == b"\xff"
    for name, value in (("whole", [-3]), ("flag", [1]), ("ints", [1, 2])):
        assert features[name].dtype == np.int64
        assert features.pop(name).tolist() == value
    for name, fractions in (("fraction", [float(np.float32(0.1))]), ("floats", [0.5, 1.5])):
        assert features[name].dtype == np.float32
        assert features.pop(name).tolist() == fractions
    assert features.pop("texts").tolist() == [b"a", b"bc"]
    assert not features


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**64 - 1, b"18446744073709551615"),
        (datetime.date(2024, 5, 17), b"2024-05-17"),
        (Decimal("1.50"), b"1.50"),
        ({"a": [1, None]}, b'{"a":[1,null]}'),
    ],
)
def test_what_img2dataset_loses_the_row_for_is_text(
    value: Any, text: bytes, tmp_path: Path
) -> None:
    (features,) = read(write(tmp_path, {"value": value}))
    assert features["value"] == text


def test_nulls_in_lists(tmp_path: Path) -> None:
    (features,) = read(write(tmp_path, {"f": [0.5, None], "i": [1, None], "t": ["a", None]}))
    assert features["f"][0] == 0.5
    assert math.isnan(features["f"][1])
    assert features["i"].tolist() == [b"1", b""]
    assert features["t"].tolist() == [b"a", b""]


scalars = st.none() | st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(width=32)


@given(st.dictionaries(st.text(), scalars, max_size=5))
def test_any_feature_is_what_protobuf_reads(row: dict[str, Any]) -> None:
    made = b"".join(map(writer_module._entry, [(k, writer_module._feature(row[k])) for k in row]))
    found = example_pb2.Features.FromString(made).feature
    assert set(found) == set(row)
    for name, value in row.items():
        kind = found[name].WhichOneof("kind")
        (kept,) = getattr(found[name], kind).value
        if value is None or isinstance(value, str):
            assert (kind, kept) == ("bytes_list", (value or "").encode())
        elif isinstance(value, int):
            assert (kind, kept) == ("int64_list", value)
        else:
            assert kind == "float_list"
            assert struct.pack("<f", kept) == struct.pack("<f", value)
