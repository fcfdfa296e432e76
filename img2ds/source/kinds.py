"""The kinds of JSON values, the narrowest that holds several of them, and columns of a kind.

Kinds only ever widen: from nothing to truth values, whole numbers, numbers, lists and objects of
these, and to text last, in which everything can be said. So no value is lost to a column's type.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import Any

import pyarrow as pa

#: Members of an object that become fields; an object with more is a mapping with keys for data.
MAX_FIELDS = 64
#: Whole numbers that Arrow's int64 holds.
_LOW, _HIGH = -(2**63), 2**63


@dataclass(frozen=True, slots=True)
class ListOf:
    """Lists of values of one kind."""

    item: Kind


@dataclass(frozen=True, slots=True)
class Fields:
    """Objects; each member with its kind, in the order in which they came up."""

    members: tuple[tuple[str, Kind], ...]


#: "nothing", "truth", "whole", "number", "text", or one of the compound kinds.
Kind = str | ListOf | Fields

_PLAIN: dict[Kind, frozenset[type]] = {
    "truth": frozenset((bool,)),
    "whole": frozenset((int,)),
    "number": frozenset((int, float)),
    "text": frozenset((str,)),
}
_ARROW = {
    "truth": pa.bool_(), "whole": pa.int64(), "number": pa.float64(), "text": pa.string(),
}  # fmt: skip
_OF_TYPE = {type(None): "nothing", bool: "truth", float: "number", str: "text"}


def kind_of(value: Any) -> Kind:
    """The kind of one value, as a JSON parser gives it."""
    if isinstance(value, list):
        if set(map(type, value)) == {float}:  # boxes and embeddings
            return ListOf("number")
        nothing: Kind = "nothing"
        return ListOf(reduce(join, map(kind_of, value), nothing))
    if isinstance(value, dict):
        if len(value) > MAX_FIELDS:
            return "text"
        return Fields(tuple((name, kind_of(member)) for name, member in value.items()))
    if type(value) is int:
        return "whole" if _LOW <= value < _HIGH else "text"
    return _OF_TYPE[type(value)]


def join(one: Kind, other: Kind) -> Kind:
    """The narrowest kind that holds both."""
    if one == other or other == "nothing":
        return one
    if one == "nothing":
        return other
    if {one, other} == {"whole", "number"}:
        return "number"
    if isinstance(one, ListOf) and isinstance(other, ListOf):
        return ListOf(join(one.item, other.item))
    if isinstance(one, Fields) and isinstance(other, Fields):
        members = dict(one.members)
        for name, kind in other.members:
            members[name] = join(members.get(name, "nothing"), kind)
        return Fields(tuple(members.items())) if len(members) <= MAX_FIELDS else "text"
    return "text"


def widened(kind: Kind, values: Sequence[Any]) -> Kind:
    """The narrowest kind that holds `kind` and all of `values`."""
    return kind if _holds(kind, values) else reduce(join, map(kind_of, values), kind)


def column(values: Sequence[Any], kind: Kind) -> tuple[pa.Array, Kind]:
    """The values as an Arrow array of a kind, or of a wider one where they do not fit it.

    Returns:
        The array and the kind that it came to be of.
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
    """Whether all values are of a kind as they are, seen without looking at each in Python.

    Whole numbers may yet be too large, and of objects it is never known.
    """
    types = set(map(type, values)) - {type(None)}
    if isinstance(kind, ListOf):
        items = chain.from_iterable(filter(None, values))
        return types <= {list} and _holds(kind.item, list(items))
    return types <= _PLAIN.get(kind, frozenset())


def _settled(kind: Kind) -> Kind:
    """What stands for a kind in a file: what nothing is known of yet is text there."""
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
    """A value as one of a kind that holds it: as JSON, where that is text."""
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
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(member) for name, member in value.items()}
    return value
