"""What identifies an input in a manifest: its format, and its files with sizes, rows and schemas.

Two inputs are the same when their fingerprints are equal. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FileFingerprint:
    """One file of an input: its name, and whatever else of it is known, as JSON values."""

    name: str
    size: int | None
    digest: str | None = None
    rows: int | None = None
    schema: dict[str, Any] | None = None


def fingerprint(
    kind: str, files: Iterable[FileFingerprint], max_rows: int | None = None, **more: Any
) -> dict[str, Any]:
    """Return the fingerprint of an input.

    Args:
        kind: the format of its files.
        max_rows: rows of it that are used, None for all.
        more: what else identifies it, as JSON values.
    """
    return {
        "format": kind,
        "max_rows": max_rows,
        "files": [asdict(file) for file in files],
        **more,
    }


#: What manifests record that is no flag of its own, with the flag that decides it.
_FLAGS = {"captions": "caption_col", "format": "input_format"}


def difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str:
    """Describe the values that differ, as they are typed; `prefix` stands before their names."""
    changes = [
        f"{prefix}{_FLAGS.get(name, name)} {_typed(new.get(name))}, there {_typed(old.get(name))}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]
    return "; ".join(changes)


def _typed(value: Any) -> str:
    """Return a value as on a command line; whether it is given for what is recorded as that."""
    if value is None or value is False or value == []:
        return "not given"
    if value is True:
        return "given"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def input_difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Describe in a few words how two fingerprints differ."""
    if old["format"] != new["format"] or old["max_rows"] != new["max_rows"]:
        own = ("format", "max_rows")
        return difference({k: old[k] for k in own}, {k: new[k] for k in own}, "--")
    before = {file["name"]: file for file in old["files"]}
    after = {file["name"]: file for file in new["files"]}
    for name, file in after.items():
        if name not in before:
            return f"{name} is new" if set(before) & set(after) else f"there {min(before)}"
        if file != before[name]:
            for what, noun in (("size", "bytes"), ("rows", "rows")):
                now, then = file[what], before[name][what]
                if now != then:
                    return f"{name} has {_number(now)} {noun}, there {_number(then)}"
            if file["schema"] != before[name]["schema"]:
                columns, there = (_columns(f["schema"]) for f in (file, before[name]))
                return (
                    f"columns of {name} {columns}, there {there}; see --url_col, --caption_col, "
                    "--save_additional_columns"
                )
            return f"the content of {name} changed"
    for name in before:
        if name not in after:
            return f"{name} is missing"
    rest = [key for key in {**old, **new} if key != "files"]
    return difference({k: old.get(k) for k in rest}, {k: new.get(k) for k in rest})


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _columns(schema: dict[str, str] | None) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in (schema or {}).items()) or "none"
