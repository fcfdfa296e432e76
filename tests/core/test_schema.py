"""Metadata columns: img2dataset's in its order, ours last."""

from __future__ import annotations

import pyarrow as pa
import pytest

from img2ds.core.schema import metadata_schema, metadata_table

MEASURES = ["key", "status", "error_message", "width", "height", "original_width",
            "original_height"]  # fmt: skip


def test_columns_stand_in_order() -> None:
    schema = metadata_schema(
        {"licence": pa.string(), "score": pa.float64()}, caption=True, exif=True, digest="sha256"
    )
    assert schema.names == [
        "licence", "score", "caption", "url", *MEASURES, "exif", "sha256", "reason",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("caption", "exif", "digest", "names"),
    [
        (False, False, None, ["url", *MEASURES, "reason"]),
        (True, False, None, ["caption", "url", *MEASURES, "reason"]),
        (False, True, None, ["url", *MEASURES, "exif", "reason"]),
        (False, False, "md5", ["url", *MEASURES, "md5", "reason"]),
    ],
)
def test_columns_not_asked_for_are_absent(
    caption: bool, exif: bool, digest: str | None, names: list[str]
) -> None:
    assert metadata_schema({}, caption=caption, exif=exif, digest=digest).names == names


def test_types() -> None:
    schema = metadata_schema({"n": pa.int64()}, caption=True, exif=True, digest="sha512")
    integers = {"width", "height", "original_width", "original_height"}
    for field in schema:
        if field.name == "n":
            assert field.type == pa.int64()
        else:
            assert field.type == (pa.int32() if field.name in integers else pa.string())


def test_a_table_has_exactly_the_schema() -> None:
    schema = metadata_schema({"n": pa.int64()}, caption=False, exif=False, digest=None)
    columns: dict[str, list[object] | pa.Array] = {name: [None, None] for name in schema.names}
    columns["n"] = pa.array([1, 2], pa.int64())
    columns["width"] = [256, None]
    columns["reason"] = [None, "http_404"]
    table = metadata_table(schema, {**columns, "more": [0, 0]})
    assert table.schema == schema
    assert table.column("width").to_pylist() == [256, None]
    assert table.column("n").to_pylist() == [1, 2]
    assert table.column("reason").to_pylist() == [None, "http_404"]


def test_what_does_not_fit_is_refused() -> None:
    schema = metadata_schema({}, caption=False, exif=False, digest=None)
    columns: dict[str, list[object]] = {name: [None] for name in schema.names}
    with pytest.raises(KeyError):
        metadata_table(schema, {name: columns[name] for name in schema.names[1:]})
    with pytest.raises(pa.ArrowInvalid):
        metadata_table(schema, {**columns, "width": ["wide"]})
    with pytest.raises(pa.ArrowInvalid):
        metadata_table(schema, {**columns, "width": [1, 2]}).validate()
