"""Types of JSON values: the narrowest kind that holds several values, and columns of a kind.

Kinds only ever widen: from null to booleans, integers, numbers, lists and objects of these, and
to text at last, which can hold everything as JSON. So no value is lost to a column's type.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import Any

import pyarrow as pa

#: Members of an object that become fields; one with more is a mapping, with data for keys.
MAX_FIELDS = 64
#: Integers that Arrow's int64 holds.
_LOW, _HIGH = -(2**63), 2**63


@dataclass(frozen=True, slots=True)
class ListOf:
    """Lists of values of one kind."""

    item: Kind


@dataclass(frozen=True, slots=True)
class Fields:
    """Objects: each member with its kind, in the order of appearance."""

    members: tuple[tuple[str, Kind], ...]


#: "null", "boolean", "integer", "number", "text", or one of the compound kinds.
Kind = str | ListOf | Fields

_PLAIN: dict[Kind, frozenset[type]] = {
    "boolean": frozenset((bool,)),
    "integer": frozenset((int,)),
    "number": frozenset((int, float)),
    "text": frozenset((str,)),
}
_ARROW = {
    "boolean": pa.bool_(), "integer": pa.int64(), "number": pa.float64(), "text": pa.string(),
}  # fmt: skip
_OF_TYPE = {type(None): "null", bool: "boolean", float: "number", str: "text"}


def kind_of(value: Any) -> Kind:
    """Return the kind of one value, as a JSON parser returns it."""
    if isinstance(value, list):
        if set(map(type, value)) == {float}:  # boxes and embeddings
            return ListOf("number")
        null: Kind = "null"
        return ListOf(reduce(join, map(kind_of, value), null))
    if isinstance(value, dict):
        if len(value) > MAX_FIELDS:
            return "text"
        return Fields(tuple((name, kind_of(member)) for name, member in value.items()))
    if type(value) is int:
        return "integer" if _LOW <= value < _HIGH else "text"
    return _OF_TYPE[type(value)]


def join(one: Kind, other: Kind) -> Kind:
    """Return the narrowest kind that holds both."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if {one, other} == {"integer", "number"}:
        return "number"
    if isinstance(one, ListOf) and isinstance(other, ListOf):
        return ListOf(join(one.item, other.item))
    if isinstance(one, Fields) and isinstance(other, Fields):
        members = dict(one.members)
        for name, kind in other.members:
            members[name] = join(members.get(name, "null"), kind)
        return Fields(tuple(members.items())) if len(members) <= MAX_FIELDS else "text"
    return "text"


def widened(kind: Kind, values: Sequence[Any]) -> Kind:
    """Return the narrowest kind that holds `kind` and all of `values`."""
    return kind if _holds(kind, values) else reduce(join, map(kind_of, values), kind)


def column(values: Sequence[Any], kind: Kind) -> tuple[pa.Array, Kind]:
    """Return the values as an Arrow array of a kind, or of a wider one where they do not fit it.

    Returns:
        The array and its kind.
    """
    if not _holds(kind, values):
        kind = widened(kind, values)
        shown = _settled(kind)
        values = [_fitted(value, shown) for value in values]
    try:
        return pa.array(values, _arrow(_settled(kind))), kind
    except UnicodeEncodeError:  # half of a surrogate pair: a text that was cut inside an emoji
        return column([_mended(value) for value in values], kind if kind in _PLAIN else "text")
    except (pa.ArrowInvalid, OverflowError):  # numbers beyond what their type holds exactly
        return pa.array([_fitted(value, "text") for value in values], pa.string()), "text"


def _holds(kind: Kind, values: Sequence[Any]) -> bool:
    """Return whether all values are of a kind as they are, without a loop over them in Python.

    Integers may still be too large. For objects it is always False.
    """
    types = set(map(type, values)) - {type(None)}
    if isinstance(kind, ListOf):
        items = chain.from_iterable(filter(None, values))
        return types <= {list} and _holds(kind.item, list(items))
    return types <= _PLAIN.get(kind, frozenset())


def _settled(kind: Kind) -> Kind:
    """Return the kind that is written to a file: text where only nulls are known."""
    if isinstance(kind, ListOf):
        return ListOf(_settled(kind.item))
    if isinstance(kind, Fields) and kind.members:
        return Fields(tuple((name, _settled(member)) for name, member in kind.members))
    return kind if kind in _PLAIN else "text"


def _arrow(kind: Kind) -> pa.DataType:
    if isinstance(kind, ListOf):
        return pa.list_(_arrow(kind.item))
    if isinstance(kind, Fields):
        return pa.struct([(name, _arrow(member)) for name, member in kind.members])
    return _ARROW[kind]


def _fitted(value: Any, kind: Kind) -> Any:
    """Return a value as one of a kind that holds it: as JSON, where that is text."""
    if value is None or (kind == "text" and isinstance(value, str)):
        return value
    if kind == "text":
        return json.dumps(value, ensure_ascii=False)
    if isinstance(kind, ListOf):
        return [_fitted(item, kind.item) for item in value]
    if isinstance(kind, Fields):
        return {name: _fitted(value.get(name), member) for name, member in kind.members}
    return value


def _mended(value: Any) -> Any:
    """Return a value with half surrogate pairs in its texts replaced."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(member) for name, member in value.items()}
    return value
