"""SQL conditions over the metadata of pairs, evaluated by DuckDB clause by clause."""

from __future__ import annotations

import json
import re
from contextlib import closing
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from img2ds.core.failure import UsageError

_SELECT = "SELECT 1 FROM pairs WHERE "
#: An identifier that needs no quotes; DuckDB writes some with them.
_QUOTED = re.compile(r'"([A-Za-z_][A-Za-z0-9_]*)"')

Mask = npt.NDArray[np.bool_]


class Condition:
    """A condition as the clauses that AND joins. Picklable.

    Args:
        text: an SQL expression over the columns, such as `similarity >= 0.3 AND NSFW = 'UNLIKELY'`.

    Raises:
        UsageError: it is no expression, or DuckDB is not installed.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.clauses = tuple(_split(text))

    def check(self, schema: pa.Schema) -> None:
        """Raise UsageError when the condition does not fit these columns."""
        database, error = _duckdb()
        row = pa.Table.from_pylist([{}], schema)  # of NULLs: constants are converted for a row
        try:
            with closing(database.cursor()) as cursor:
                cursor.register("pairs", row)
                cursor.execute(f"{_SELECT}({self.text})").fetchall()
        except error as problem:
            words = str(problem).split("\n", 1)[0].removesuffix("!")
            columns = ", ".join(schema.names)
            raise UsageError(f"--where: {words}; the columns are {columns}") from None

    def first_failed(self, table: pa.Table) -> npt.NDArray[np.intp]:
        """Return for each row the number of the first clause that is not true; -1 if all are.

        Raises:
            OSError: the condition does not fit the values.
        """
        database, error = _duckdb()
        columns = ", ".join(f"({clause}) IS TRUE AS c{n}" for n, clause in enumerate(self.clauses))
        try:
            with closing(database.cursor()) as cursor:
                cursor.register("pairs", table)
                found = cursor.execute(f"SELECT {columns} FROM pairs").fetchnumpy()
        except error as problem:
            raise OSError(f"--where: {str(problem).splitlines()[0]}") from None
        failed = np.full(table.num_rows, -1)
        for number in reversed(range(len(self.clauses))):
            failed[~np.asarray(found[f"c{number}"], np.bool_)] = number
        return failed

    def reason(self, number: int) -> str:
        """Return a clause as people wrote it, without the parentheses and quotes around names."""
        text = _QUOTED.sub(r"\1", self.clauses[number])
        return text[1:-1] if text.startswith("(") and text.endswith(")") else text


def _split(text: str) -> list[str]:
    _, error = _duckdb()
    if not text.strip():
        raise UsageError("--where is empty: give a condition, such as 'similarity >= 0.3'")
    try:
        document = _parsed(f"{_SELECT}({text})")
        if document["error"] or len(document["statements"]) != 1:
            why = document.get("error_message", "more than one statement")
            raise UsageError(f"--where {text!r} is not an SQL condition: {why}")
        condition = document["statements"][0]["node"]["where_clause"]
        if _statement(document) != _SELECT + _written(condition):
            raise UsageError(f"--where {text!r} is not an SQL condition: more follows it")
        is_and = condition["type"] == "CONJUNCTION_AND"
        return [_written(clause) for clause in (condition["children"] if is_and else [condition])]
    except error as problem:
        why = str(problem).splitlines()[0]
        raise UsageError(f"--where {text!r} is not an SQL condition: {why}") from None


def _parsed(statement: str) -> Any:
    return json.loads(_one("json_serialize_sql(?::VARCHAR)", statement))


def _statement(document: Any) -> str:
    return _one("json_deserialize_sql(?::JSON)", json.dumps(document))


def _written(expression: Any) -> str:
    """Return the SQL of a parsed expression."""
    document = _parsed(f"{_SELECT}true")
    document["statements"][0]["node"]["where_clause"] = expression
    return _statement(document).removeprefix(_SELECT)


def _one(expression: str, argument: str) -> str:
    with closing(_duckdb()[0].cursor()) as cursor:
        return str(cursor.execute(f"SELECT {expression}", [argument]).fetchall()[0][0])


@cache
def _duckdb() -> tuple[Any, type[Exception]]:
    """Return this process's database, which reaches no files, and the class of its errors."""
    try:
        import duckdb
    except ImportError:
        raise UsageError(
            "laion filter needs the package duckdb: pip install 'img2ds[filter]'"
        ) from None
    database = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,  # workers are processes
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "preserve_insertion_order": "true",
        },
    )
    with closing(database.cursor()) as cursor:
        cursor.execute("SET lock_configuration = true").fetchall()
    return database, duckdb.Error
