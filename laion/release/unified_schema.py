"""One schema for the metadata of many shards, whose columns and types may differ. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


def unified_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return a schema that the tables of all shards fit into.

    A shard may lack a column, or have it with another type where it has no values. Numbers
    become the wider type; columns of different kinds become text.
    """
    types: dict[str, list[pa.DataType]] = {}
    for schema in schemas:
        for column in schema:
            found = types.setdefault(column.name, [])
            if column.type not in found and not pa.types.is_null(column.type):
                found.append(column.type)
    return pa.schema([pa.field(name, _common(found)) for name, found in types.items()])


def _common(types: list[pa.DataType]) -> pa.DataType:
    if len(types) == 1:
        return types[0]
    if types and all(pa.types.is_integer(kind) for kind in types):
        return pa.int64()
    if types and all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in types):
        return pa.float64()
    return pa.string()


def as_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table in the columns of a `unified_schema`; columns that it lacks are null."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
