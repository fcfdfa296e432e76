"""Flags: dataclass fields with a kind, how their values are read, and the flags of a command.

Values come as typed on a command line, or as Python objects from a caller of `img2ds.download`;
both are read by the same rules. No I/O.
"""

from __future__ import annotations

import ast
import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import Enum
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.plugin_object import Plugin, plugin_of, reference_of
from img2ds.core.plugins import installed, load, names_plugin

#: For `copy_flag`: the default of the flag that is copied.
KEEP_DEFAULT: Any = object()

_SIZE_UNITS = {
    "": 1, "b": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9,
    "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_SIZE = re.compile(r"\s*([0-9.]+)\s*([a-zA-Z]*)\s*")


def flag(
    default: Any,
    kind: str,
    text: str,
    *choices: str,
    secret: bool = False,
    identity: bool = True,
    plugins: bool = False,
) -> Any:
    """Return a dataclass field that is a flag.

    Args:
        default: MISSING for a required flag.
        kind: how values are read: str, int, float, bool, list (None is the default), mapping, size
            (bytes, with an optional unit), side (pixels, or a pair of them), plugins (a tuple of
            `Plugin`) or choice (in any case); a trailing `?` also allows None.
        text: the help text.
        choices: the values that a choice can have.
        secret: values may hold passwords; they are never printed or logged.
        identity: whether the value decides what a shard contains, see `identity_of`.
        plugins: whether a choice can also be a plug-in, see `core.plugins`.
    """
    metadata = {
        "kind": kind, "help": text, "choices": choices, "secret": secret, "identity": identity,
        "plugins": plugins,
    }  # fmt: skip
    return _field(default, metadata)


def copy_flag(spec: Field[Any], default: Any = KEEP_DEFAULT) -> Any:
    """Return a field for another dataclass that is the same flag, with another default if given."""
    return _field(default_of(spec) if default is KEEP_DEFAULT else default, spec.metadata)


def _field(default: Any, metadata: Mapping[str, Any]) -> Any:
    shown = not metadata["secret"]
    if default is MISSING:
        return field(metadata=metadata, repr=shown)
    if isinstance(default, (dict, list)):
        return field(default_factory=default.copy, metadata=metadata, repr=shown)
    return field(default=default, metadata=metadata, repr=shown)


def identity_of(group: Any) -> dict[str, Any]:
    """Return the values of the flags that decide what a shard contains, by name, as JSON.

    A manifest records them: resuming with other values would mix two datasets in one folder.

    Args:
        group: an instance of a dataclass of flags.
    """
    values = {f.name: getattr(group, f.name) for f in fields(group) if f.metadata["identity"]}
    return {name: _as_json(value) for name, value in values.items()}


def _as_json(value: Any) -> Any:
    if value == math.inf:
        return "inf"
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of one command.

    Attributes:
        program: the command as typed, such as `laion dedup`.
        fields: the flags by name, in the order of the help page.
        aliases: other names of flags, with the flags' names.
        positions: the flags that can be given by position, in order, and by their first letter.
    """

    program: str
    fields: Mapping[str, Field[Any]]
    aliases: Mapping[str, str]
    positions: tuple[str, ...] = ()

    @classmethod
    def of(cls, program: str, *groups: type[Any]) -> Flags:
        """Return the flags of a command whose options are these dataclasses."""
        return cls(program, {f.name: f for group in groups for f in fields(group)}, {})

    def name(self, typed: str) -> str:
        """Return the name of the flag that was typed: without leading dashes, aliases resolved."""
        plain = typed.lstrip("-").replace("-", "_")
        return self.aliases.get(plain, plain)

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the given flags by name, converted to their kinds.

        Raises:
            UsageError: an unknown name, a value of the wrong kind, or a required flag is missing.
        """
        values: dict[str, Any] = {}
        for typed, value in given.items():
            name = self.name(typed)
            if name not in self.fields:
                raise UsageError(self.unknown(typed))
            if name in values:
                raise UsageError(f"--{name} is given twice")
            values[name] = read_value(self.fields[name], value)
        for name, spec in self.fields.items():
            if is_required(spec) and name not in values:
                raise UsageError(f"--{name} is required: {spec.metadata['help']}")
        return values

    def unknown(self, typed: str) -> str:
        """Return the message for an unknown flag; it names the nearest one."""
        plain = typed.lstrip("-").replace("-", "_")
        near = difflib.get_close_matches(plain, [*self.fields, *self.aliases], n=1)
        hint = f"did you mean --{near[0]}?" if near else f"{self.program} --help lists the flags"
        return f"unknown flag --{plain}; {hint}"


def default_of(spec: Field[Any]) -> Any:
    """Return the default of a flag, MISSING if it is required."""
    if spec.default_factory is not MISSING:
        return spec.default_factory()
    return spec.default


def is_required(spec: Field[Any]) -> bool:
    """Return whether a flag has no default."""
    return spec.default is MISSING and spec.default_factory is MISSING


def read_value(spec: Field[Any], value: Any) -> Any:
    """Convert a value from a command line or a Python caller to the flag's kind.

    Raises:
        UsageError: it is of another kind, or not one of the choices.
    """
    kind: str = spec.metadata["kind"]
    if kind.endswith("?"):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        kind = kind[:-1]
    try:
        return _READERS[kind](spec, value)
    except (ValueError, TypeError, SyntaxError, KeyError, OverflowError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"--{spec.name} takes {_WORDS[kind]}, got {value!r}") from None


def _read_str(spec: Field[Any], value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, os.PathLike)):
        raise ValueError
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _read_int(spec: Field[Any], value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, str):
        value = ast.literal_eval(value.strip())
    if isinstance(value, bool) or int(value) != value:
        raise ValueError
    return int(value)


def _read_float(spec: Field[Any], value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    number = float(value)
    if math.isnan(number):
        raise ValueError
    return number


def _read_bool(spec: Field[Any], value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "1", "yes"):
        return True
    if isinstance(value, str) and value.lower() in ("false", "0", "no"):
        return False
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    raise ValueError


def _read_list(spec: Field[Any], value: Any) -> tuple[str, ...]:
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        # img2dataset's default of --disallowed_header_directives is None, which means four of them.
        return () if is_required(spec) else tuple(default_of(spec))
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return ()
        value = _bracketed(text) if text[:1] in ("[", "(") else text.split(",")
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ValueError
    return tuple(str(item).strip() for item in value)


def _bracketed(text: str) -> Any:
    """Read `["a","b"]`, and `[a,b]`, which is what a shell makes of it without outer quotes."""
    import fire.parser  # loads in 70 ms, and few lists have brackets

    if text[-1] not in "])":
        raise ValueError
    value = fire.parser.DefaultParseValue(text)
    if isinstance(value, str):  # not Python's syntax, nor fire's
        return [item.strip().strip("\"'") for item in text[1:-1].split(",") if item.strip()]
    return value


def _read_mapping(spec: Field[Any], value: Any) -> dict[str, str]:
    if isinstance(value, str):
        value = ast.literal_eval(value)
    if not isinstance(value, Mapping):
        raise ValueError
    return {str(key): str(item) for key, item in value.items()}


def _read_size(spec: Field[Any], value: Any) -> int:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if not match:
            raise ValueError
        return int(float(match[1]) * _SIZE_UNITS[match[2].lower()])
    return _read_int(spec, value)


def _read_side(spec: Field[Any], value: Any) -> int | tuple[int, ...]:
    if isinstance(value, str):
        value = ast.literal_eval(value.strip())
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return tuple(_read_int(spec, number) for number in value)
    return _read_int(spec, value)


def _read_choice(spec: Field[Any], value: Any) -> str:
    choices: tuple[str, ...] = spec.metadata["choices"]
    if isinstance(value, Enum):
        value = value.name if value.name in choices else value.value
    if spec.metadata["plugins"] and not isinstance(value, str):
        return reference_of(spec.name, value)
    text = str(value)
    if text.lower() in choices:
        return text.lower()
    if spec.metadata["plugins"]:
        if names_plugin(spec.name, text):
            load(spec.name, text)
            return text
        choices = (*choices, *installed(spec.name))
    near = difflib.get_close_matches(text, choices, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"--{spec.name} is one of {', '.join(choices)}, got {text!r}{hint}")


def _read_plugins(spec: Field[Any], value: Any) -> tuple[Plugin, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = _read_list(spec, value)
    elif not isinstance(value, (tuple, list)):
        value = (value,)
    return tuple(plugin_of(spec.name, item) for item in value)


_READERS = {
    "str": _read_str, "int": _read_int, "float": _read_float, "bool": _read_bool,
    "list": _read_list, "mapping": _read_mapping, "size": _read_size, "side": _read_side,
    "choice": _read_choice, "plugins": _read_plugins,
}  # fmt: skip

_WORDS = {
    "str": "a text", "int": "a whole number", "float": "a number", "bool": "True or False",
    "list": "a list such as '[\"a\",\"b\"]'",
    "mapping": "a mapping such as '{\"name\": \"value\"}'",
    "size": "a number of bytes such as 50MB", "side": "a whole number",
    "plugins": "names of plug-ins, or functions",
}  # fmt: skip


def at_least(name: str, value: float | None, low: float) -> None:
    if value is not None and not value >= low:  # NaN is refused, too
        raise UsageError(f"--{name} must be at least {low}, got {value}")


def positive(name: str, value: float) -> None:
    if not value > 0:
        raise UsageError(f"--{name} must be above 0, got {value}")
